//! Damaged and hostile bytes: an error or a value that can be used, never a panic.

use henge_sketches::pair::PairType;
use henge_sketches::{Complex, ComplexType, Settings, Value};
use proptest::prelude::*;

use crate::golden::{bytes, druid};

const KINDS: [ComplexType; 15] = [
    ComplexType::Hll,
    ComplexType::Theta,
    ComplexType::TupleDoubles,
    ComplexType::QuantilesDoubles,
    ComplexType::KllDoubles,
    ComplexType::KllFloats,
    ComplexType::HyperUnique,
    ComplexType::ApproximateHistogram,
    ComplexType::FixedBuckets,
    ComplexType::Variance,
    ComplexType::Bloom,
    ComplexType::Pair(PairType::Text),
    ComplexType::Pair(PairType::Long),
    ComplexType::Pair(PairType::Double),
    ComplexType::Pair(PairType::Float),
];

/// Parses and, if that succeeds, does everything that can be done with a value.
fn exercise(kind: ComplexType, bytes: &[u8]) {
    let settings = Settings::default();
    let Ok(mut value) = Complex::parse(kind, bytes, &settings) else {
        return;
    };
    let copy = value.clone();
    // Merging may refuse, for example if counts would overflow.
    let merged = value.merge(&copy, &settings);
    let _ = (value.finalise(), value.size());
    match &mut value {
        Complex::Hll(sketch) => {
            for number in 0..300 {
                sketch.update(Value::Long(number), Default::default());
            }
            let _ = (sketch.summary(), sketch.bounds(2));
        }
        Complex::Theta(sketch) => sketch.update(Value::Long(1)),
        Complex::TupleDoubles(sketch) => {
            let values = vec![1.0; sketch.values_per_key()];
            sketch.update("k", &values);
            let _ = (sketch.sums(), sketch.summary());
        }
        Complex::QuantilesDoubles(sketch) => {
            if merged.is_ok() && sketch.n() < 1 << 60 {
                (0..600).for_each(|number| sketch.update(f64::from(number)));
            }
            let _ = (
                sketch.quantiles(&[0.0, 0.5, 1.0]),
                sketch.cdf(&[1.0, 2.0]),
                sketch.even_histogram(5),
                sketch.summary(),
            );
        }
        Complex::KllDoubles(sketch) if sketch.n() < 1 << 60 => {
            (0..600).for_each(|number| sketch.update(f64::from(number)));
            let _ = sketch.quantile(0.5);
        }
        Complex::KllFloats(sketch) if sketch.n() < 1 << 60 => {
            (0..600).for_each(|number| sketch.update(number as f32));
            let _ = sketch.rank(2.0);
        }
        Complex::HyperUnique(collector) => (0..3000).for_each(|number| collector.update(Value::Long(number))),
        Complex::ApproximateHistogram(histogram) => {
            (0..100).for_each(|number| histogram.update(number as f32));
            let _ = histogram.quantile(0.5);
        }
        Complex::FixedBuckets(histogram) => {
            let mut other =
                henge_sketches::fixed_buckets::FixedBuckets::new(-5.0, 1000.0, 7, Default::default()).unwrap();
            other.update(Some(3.0));
            histogram.merge(&other);
            other.merge(histogram);
            let _ = histogram.percentile(50.0);
        }
        Complex::Bloom(filter) => {
            filter.update(Some(Value::Text("a")));
            assert!(filter.test(Some(Value::Text("a"))));
        }
        _ => {}
    }
    // What was read can be written and read again.
    let again = Complex::parse(kind, &copy.to_bytes(), &settings);
    assert!(again.is_ok(), "{kind:?}: {:?} of {bytes:02x?}", again.err());
}

#[test]
fn every_prefix_of_a_golden() {
    for golden in druid().iter().filter(|golden| golden["value"].is_string()) {
        let kind = ComplexType::from_name(golden["type"].as_str().unwrap()).unwrap();
        let stored = bytes(&golden["value"]);
        let step = (stored.len() / 40).max(1);
        for end in (0..stored.len()).step_by(step) {
            exercise(kind, &stored[..end]);
        }
    }
}

#[test]
fn every_bit_of_the_first_bytes_of_a_golden() {
    for golden in druid().iter().filter(|golden| golden["value"].is_string()) {
        let kind = ComplexType::from_name(golden["type"].as_str().unwrap()).unwrap();
        let stored = bytes(&golden["value"]);
        for bit in 0..(stored.len().min(72) * 8) {
            // Images of many kilobytes take their time; every seventh bit finds the same.
            if stored.len() > 500 && bit % 7 != 0 {
                continue;
            }
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            exercise(kind, &damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes(kind in 0..KINDS.len(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(KINDS[kind], &bytes);
    }

    #[test]
    fn random_damage_of_goldens(golden in any::<prop::sample::Index>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let goldens = druid();
        let goldens: Vec<_> = goldens.iter().filter(|golden| golden["value"].is_string()).collect();
        let golden = goldens[golden.index(goldens.len())];
        let kind = ComplexType::from_name(golden["type"].as_str().unwrap()).unwrap();
        let mut stored = bytes(&golden["value"]);
        for (at, byte) in changes {
            let at = at.index(stored.len());
            stored[at] = byte;
        }
        exercise(kind, &stored);
    }
}
