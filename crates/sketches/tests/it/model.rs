//! Sketches against exact answers over random values, and the recorded answers of single functions.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use henge_sketches::approximate_histogram::ApproximateHistogram;
use henge_sketches::bloom::Bloom;
use henge_sketches::fixed_buckets::{FixedBuckets, Outliers};
use henge_sketches::hll::{Hll, RegisterType};
use henge_sketches::hyper_unique::HyperUnique;
use henge_sketches::quantiles::QuantilesDoubles;
use henge_sketches::theta::Theta;
use henge_sketches::tuple::TupleDoubles;
use henge_sketches::variance::Variance;
use henge_sketches::{StringEncoding, Value};
use proptest::prelude::*;

#[test]
fn a_bloom_filter_is_the_one_that_druid_recorded() {
    let mut filter = Bloom::new(100).unwrap();
    ["a", "a", "b", "b", "c"]
        .into_iter()
        .for_each(|text| filter.update(Some(Value::Text(text))));
    assert_eq!(
        STANDARD.encode(filter.to_bytes()),
        concat!(
            "BAAAABAACAAAAAAAAAAgAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAABAAAAACAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAhAAAAAAAAAAAAAIAAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
        )
    );
    assert!(filter.test(Some(Value::Text("c"))) && !filter.test(Some(Value::Text("d"))) && !filter.test(None));
    // Recorded: "failed to deserialize bloom filter".
    assert!(Bloom::parse(&STANDARD.decode("BAAAJhAAAA==").unwrap()).is_err());
}

#[test]
fn recorded_answers_of_exact_sketches() {
    let mut histogram = ApproximateHistogram::new(50).unwrap();
    [1.0, 2.0, 3.0].into_iter().for_each(|value| histogram.update(value));
    assert_eq!(histogram.quantile(0.5).unwrap(), 1.5);

    let mut sketch = QuantilesDoubles::new(128).unwrap();
    (1..=8).for_each(|value| sketch.update(f64::from(value)));
    assert_eq!(sketch.histogram(&[3.0, 6.0]).unwrap(), [3.0, 3.0, 2.0]);
    assert_eq!(sketch.cdf(&[3.0, 6.0]).unwrap(), [0.375, 0.75, 1.0]);
    assert_eq!(sketch.rank(5.0), 0.625);
    let mut five = QuantilesDoubles::new(128).unwrap();
    (1..=5).for_each(|value| five.update(f64::from(value)));
    assert_eq!(five.quantiles(&[0.5]).unwrap(), [3.0]);
    assert!(
        QuantilesDoubles::new(128)
            .unwrap()
            .cdf(&[1.0])
            .unwrap()
            .iter()
            .all(|share| share.is_nan())
    );

    let mut hll = Hll::new(10, RegisterType::Hll6).unwrap();
    ["a", "a", "b", "b", "c"]
        .into_iter()
        .for_each(|text| hll.update(Value::Text(text), StringEncoding::Utf16Le));
    assert_eq!(
        hll.summary(),
        "### HLL SKETCH SUMMARY: \n  Log Config K   : 10\n  Hll Target     : HLL_6\n  Current Mode   : LIST\n  \
         Memory         : false\n  LB             : 3.0\n  Estimate       : 3.000000014901161\n  UB             : \
         3.0001498026537594\n  OutOfOrder Flag: false\n  Coupon Count   : 3\n"
    );

    let mut variance = Variance::default();
    [1.0, 2.0, 4.0].into_iter().for_each(|value| variance.update(value));
    assert_eq!(variance.variance(true), Some(1.555_555_555_555_555_6));
    assert_eq!(Variance::default().variance(false), None);
}

fn tuple_of(keys: &[u16]) -> TupleDoubles {
    let mut sketch = TupleDoubles::new(64, 1).unwrap();
    keys.iter().for_each(|key| sketch.update(&key.to_string(), &[1.0]));
    sketch
}

fn theta_of(keys: &[u16]) -> Theta {
    let mut sketch = Theta::new(64).unwrap();
    keys.iter().for_each(|key| sketch.update(Value::Text(&key.to_string())));
    sketch
}

fn near(estimate: f64, exact: usize, tolerance: f64) -> bool {
    (estimate - exact as f64).abs() <= tolerance * exact as f64 + 2.0
}

proptest! {
    #[test]
    fn counts_are_near_the_exact_ones(left in proptest::collection::vec(0_u16..3000, 0..2000), right in proptest::collection::vec(0_u16..3000, 0..2000)) {
        let exact: BTreeSet<u16> = left.iter().chain(&right).copied().collect();
        let mut hll = [Hll::new(11, RegisterType::Hll4).unwrap(), Hll::new(11, RegisterType::Hll8).unwrap()];
        let mut unique = [HyperUnique::default(), HyperUnique::default()];
        for (at, side) in [&left, &right].into_iter().enumerate() {
            for number in side.iter().map(|number| i64::from(*number)) {
                hll[at].update(Value::Long(number), StringEncoding::Utf16Le);
                unique[at].update(Value::Long(number));
            }
        }
        let [mut merged, other] = hll;
        merged.merge(&other).unwrap();
        prop_assert!(near(merged.estimate(), exact.len(), 0.1), "{} for {}", merged.estimate(), exact.len());
        let [mut merged, other] = unique;
        merged.merge(&other);
        prop_assert!(near(merged.estimate(), exact.len(), 0.15), "{} for {}", merged.estimate(), exact.len());
    }

    #[test]
    fn theta_does_not_depend_on_any_order(left in proptest::collection::vec(0_u16..400, 0..300), right in proptest::collection::vec(0_u16..400, 0..300)) {
        let mut all = left.clone();
        all.extend(&right);
        let whole = theta_of(&all);
        let mut merged = theta_of(&left);
        merged.merge(&theta_of(&right)).unwrap();
        prop_assert_eq!(merged.image(), whole.image());
        let mut parsed = Theta::parse(&theta_of(&right).to_bytes(), 64).unwrap();
        parsed.merge(&theta_of(&left)).unwrap();
        prop_assert_eq!(parsed.image(), whole.image());
    }

    #[test]
    fn set_operations_are_exact_while_sketches_are(left in proptest::collection::vec(0_u16..60, 0..40), right in proptest::collection::vec(0_u16..60, 0..40)) {
        let (a, b): (BTreeSet<u16>, BTreeSet<u16>) = (left.iter().copied().collect(), right.iter().copied().collect());
        let thetas = || [theta_of(&left), theta_of(&right)];
        let tuples = || [tuple_of(&left), tuple_of(&right)];
        let both = a.intersection(&b).count() as f64;
        let only = a.difference(&b).count() as f64;
        let any = a.union(&b).count() as f64;
        prop_assert_eq!(Theta::intersect(&thetas(), 64).unwrap().estimate(), both);
        prop_assert_eq!(Theta::a_not_b(&thetas(), 64).unwrap().estimate(), only);
        prop_assert_eq!(Theta::union(&thetas(), 64).unwrap().estimate(), any);
        prop_assert_eq!(TupleDoubles::intersect(&tuples(), 64).unwrap().estimate(), both);
        prop_assert_eq!(TupleDoubles::a_not_b(&tuples(), 64).unwrap().estimate(), only);
        prop_assert_eq!(TupleDoubles::union(&tuples(), 64).unwrap().estimate(), any);
        prop_assert_eq!(TupleDoubles::union(&tuples(), 64).unwrap().sums()[0], (left.len() + right.len()) as f64);
    }

    #[test]
    fn ranks_are_within_the_error(values in proptest::collection::vec(-1000_i32..1000, 1..3000), parts in 1_usize..5) {
        let mut merged = QuantilesDoubles::new(128).unwrap();
        for part in values.chunks(values.len().div_ceil(parts)) {
            let mut sketch = QuantilesDoubles::new(128).unwrap();
            part.iter().for_each(|value| sketch.update(f64::from(*value)));
            merged.merge(&sketch).unwrap();
        }
        prop_assert_eq!(merged.n(), values.len() as u64);
        for split in [-500, 0, 700] {
            let exact = values.iter().filter(|value| **value <= split).count() as f64 / values.len() as f64;
            prop_assert!((merged.rank(f64::from(split)) - exact).abs() < 0.05);
        }
        let parsed = QuantilesDoubles::parse(&merged.to_bytes()).unwrap();
        prop_assert_eq!(parsed.image(), merged.image());
    }

    #[test]
    fn sketches_of_different_k_merge(values in proptest::collection::vec(0_i32..1000, 1..1500), swap in any::<bool>()) {
        let (fine, coarse) = values.split_at(values.len() / 2);
        let build = |k: u16, values: &[i32]| {
            let mut sketch = QuantilesDoubles::new(k).unwrap();
            values.iter().for_each(|value| sketch.update(f64::from(*value)));
            sketch
        };
        let (mut left, mut right) = (build(128, fine), build(32, coarse));
        if swap {
            std::mem::swap(&mut left, &mut right);
        }
        left.merge(&right).unwrap();
        let exact = values.iter().filter(|value| **value <= 500).count() as f64 / values.len() as f64;
        prop_assert!((left.rank(500.0) - exact).abs() < 0.12);
        prop_assert_eq!(QuantilesDoubles::parse(&left.to_bytes()).unwrap().image(), left.image());
    }

    #[test]
    fn histograms_keep_their_counts(values in proptest::collection::vec(-50_i32..150, 0..300), other in proptest::collection::vec(-50_i32..150, 0..300)) {
        let approximate = |values: &[i32]| {
            let mut histogram = ApproximateHistogram::new(20).unwrap();
            values.iter().for_each(|value| histogram.update(*value as f32));
            histogram
        };
        let mut merged = approximate(&values);
        merged.merge(&approximate(&other));
        prop_assert_eq!(merged.count() as usize, values.len() + other.len());
        prop_assert_eq!(ApproximateHistogram::parse(&merged.to_bytes()).unwrap().to_bytes(), merged.to_bytes());

        let fixed = |values: &[i32], buckets| {
            let mut histogram = FixedBuckets::new(0.0, 100.0, buckets, Outliers::Clip).unwrap();
            values.iter().for_each(|value| histogram.update(Some(f64::from(*value))));
            histogram
        };
        let mut merged = fixed(&values, 10);
        merged.merge(&fixed(&other, 10));
        prop_assert_eq!(merged.count() as usize, values.len() + other.len());
        prop_assert_eq!(FixedBuckets::parse(&merged.to_bytes()).unwrap().to_bytes(), merged.to_bytes());
        // Twice as many buckets fall into these exactly.
        let mut merged = fixed(&values, 10);
        merged.merge(&fixed(&other, 20));
        prop_assert_eq!(merged.count() as usize, values.len() + other.len());
    }

    #[test]
    fn variances_merge(values in proptest::collection::vec(-1e6_f64..1e6, 2..200), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(values.len());
        let gather = |values: &[f64]| {
            let mut variance = Variance::default();
            values.iter().for_each(|value| variance.update(*value));
            variance
        };
        let mut merged = gather(&values[..cut]);
        merged.merge(&gather(&values[cut..]));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let exact = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
        prop_assert!((merged.variance(false).unwrap() - exact).abs() <= 1e-6 * exact + 1e-9);
    }
}
