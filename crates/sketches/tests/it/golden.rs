//! Values that Druid stored, rebuilt from their inputs, read, estimated and merged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use henge_sketches::approximate_histogram::ApproximateHistogram;
use henge_sketches::hll::{Hll, RegisterType};
use henge_sketches::hyper_unique::HyperUnique;
use henge_sketches::kll::{KllDoubles, KllFloats};
use henge_sketches::quantiles::QuantilesDoubles;
use henge_sketches::theta::Theta;
use henge_sketches::tuple::TupleDoubles;
use henge_sketches::variance::Variance;
use henge_sketches::{Complex, ComplexType, Settings, StringEncoding, Value};
use serde_json::Value as Json;

pub fn lines(text: &str) -> Vec<Json> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("goldens are JSON lines"))
        .collect()
}

pub fn druid() -> Vec<Json> {
    lines(include_str!("../golden/druid.jsonl"))
}

fn java() -> Vec<Json> {
    lines(include_str!("../golden/java.jsonl"))
}

pub fn bytes(value: &Json) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().expect("values are base64"))
        .expect("values are base64")
}

/// Values of one golden, null ones left out.
fn inputs(golden: &Json) -> impl Iterator<Item = &Json> {
    golden["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|value| !value.is_null())
}

fn number(golden: &Json, setting: &str) -> usize {
    golden["make"][setting]
        .as_u64()
        .unwrap_or_else(|| panic!("{setting} of {}", golden["name"])) as usize
}

fn registers(golden: &Json) -> RegisterType {
    RegisterType::from_name(golden["make"]["tgt"].as_str().expect("a type")).expect("a type")
}

/// Builds a golden of its inputs and gives the bytes.
fn build(golden: &Json) -> Vec<u8> {
    match golden["type"].as_str().expect("a type") {
        "HLLSketch" => {
            let mut sketch = Hll::new(number(golden, "lgK") as u8, registers(golden)).unwrap();
            inputs(golden).for_each(|user| sketch.update(Value::Text(user.as_str().unwrap()), StringEncoding::Utf16Le));
            sketch.image()
        }
        "thetaSketch" => {
            let mut sketch = Theta::new(number(golden, "size")).unwrap();
            inputs(golden).for_each(|user| sketch.update(Value::Text(user.as_str().unwrap())));
            sketch.image()
        }
        "quantilesDoublesSketch" => {
            let mut sketch = QuantilesDoubles::new(number(golden, "k") as u16).unwrap();
            inputs(golden).for_each(|price| sketch.update(price.as_f64().unwrap()));
            sketch.image()
        }
        "arrayOfDoublesSketch" => {
            let mut sketch: Option<TupleDoubles> = None;
            for row in inputs(golden) {
                let values: Vec<f64> = row.as_array().unwrap()[1..].iter().filter_map(Json::as_f64).collect();
                let sketch = sketch.get_or_insert_with(|| {
                    TupleDoubles::new(number(golden, "entries"), row.as_array().unwrap().len() - 1).unwrap()
                });
                if values.len() == sketch.values_per_key() && row[0].is_string() {
                    sketch.update(row[0].as_str().unwrap(), &values);
                }
            }
            let sketch = sketch.expect("rows");
            if golden["name"].as_str().is_some_and(|name| name.starts_with("msq")) {
                // Multi-stage ingestion merges what its first stage built.
                let union = TupleDoubles::union(&[sketch], number(golden, "entries"));
                return union.unwrap().to_bytes();
            }
            sketch.to_bytes()
        }
        "hyperUnique" => {
            let mut collector = HyperUnique::default();
            let utf16 = golden["make"]["utf16"].as_bool().unwrap_or(false);
            for user in inputs(golden).map(|user| user.as_str().unwrap()) {
                if utf16 {
                    collector.update(Value::Text(user));
                } else {
                    collector.update_text(user);
                }
            }
            collector.to_bytes()
        }
        "variance" => {
            let mut variance = Variance::default();
            inputs(golden).for_each(|added| variance.update(added.as_f64().unwrap()));
            variance.to_bytes()
        }
        "approximateHistogram" => {
            let mut histogram = ApproximateHistogram::new(number(golden, "resolution")).unwrap();
            inputs(golden).for_each(|k| histogram.update(k.as_f64().unwrap() as f32));
            histogram.to_bytes()
        }
        other => panic!("{other} is not built"),
    }
}

#[test]
fn the_same_values_give_the_bytes_that_druid_stored() {
    let mut built = 0;
    for golden in druid().iter().filter(|golden| !golden["make"].is_null()) {
        let (ours, theirs) = (build(golden), bytes(&golden["value"]));
        let name = golden["name"].as_str().unwrap();
        if name.contains("var") {
            // Druid rolls up incrementally; sums of squares differ in the last bits.
            let (ours, theirs) = (Variance::parse(&ours).unwrap(), Variance::parse(&theirs).unwrap());
            assert_eq!(ours.count(), theirs.count(), "{name}");
            let (a, b) = (ours.variance(false).unwrap(), theirs.variance(false).unwrap());
            assert!((a - b).abs() <= 1e-9 * b.abs(), "{name}: {a} {b}");
        } else {
            assert_eq!(STANDARD.encode(ours), STANDARD.encode(theirs), "{name}");
        }
        built += 1;
    }
    assert!(built > 40, "{built} goldens were built");
}

#[test]
fn what_druid_stored_is_read_and_written_the_same() {
    for golden in druid().iter().filter(|golden| golden["value"].is_string()) {
        let kind = ComplexType::from_name(golden["type"].as_str().unwrap()).unwrap();
        let theirs = bytes(&golden["value"]);
        let value = Complex::parse(kind, &theirs, &Settings::default()).unwrap();
        let ours = value.image();
        if kind == ComplexType::TupleDoubles || (kind == ComplexType::Hll && theirs.first() == Some(&3)) {
            // The order of keys and coupons that share a slot depends on the order in which they came.
            let sorted = |image: &[u8]| {
                let mut bytes = image.to_vec();
                bytes.sort_unstable();
                bytes
            };
            assert_eq!(sorted(&ours), sorted(&theirs), "{}", golden["name"]);
        } else {
            assert_eq!(STANDARD.encode(&ours), STANDARD.encode(&theirs), "{}", golden["name"]);
        }
        // Once more, from our own bytes; empty values may be stored as nothing.
        let again = Complex::parse(kind, &value.to_bytes(), &Settings::default()).unwrap();
        assert_eq!(
            format!("{:?}", again.finalise()),
            format!("{:?}", value.finalise()),
            "{}",
            golden["name"]
        );
    }
}

fn assert_numbers(name: &Json, ours: &[f64], theirs: &Json) {
    let theirs: Vec<f64> = theirs
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap_or(f64::NAN))
        .collect();
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(
            (ours - theirs).abs() <= 1e-9 * theirs.abs(),
            "{name}: {ours} is not {theirs}"
        );
    }
}

fn bounds(estimate: f64, bounds: impl Fn(u8) -> (f64, f64), deviations: &[u8]) -> Vec<f64> {
    let mut numbers = vec![estimate];
    for deviation in deviations {
        let (low, high) = bounds(*deviation);
        numbers.extend([low, high]);
    }
    numbers
}

fn numbers_of_hll(sketch: &Hll, deviations: &[u8]) -> Vec<f64> {
    bounds(
        sketch.estimate(),
        |deviation| sketch.bounds(deviation).unwrap(),
        deviations,
    )
}

fn numbers_of_theta(sketch: &Theta, deviations: &[u8]) -> Vec<f64> {
    bounds(
        sketch.estimate(),
        |deviation| sketch.bounds(deviation).unwrap(),
        deviations,
    )
}

#[test]
fn estimates_and_bounds_are_those_of_java() {
    let druid = druid();
    let mut compared = 0;
    for java in java().iter().filter(|java| !java["name"].is_null()) {
        let name = &java["name"];
        let golden = druid.iter().find(|golden| golden["name"] == *name).expect("the golden");
        let stored = bytes(&golden["value"]);
        let numbers = match java["type"].as_str().unwrap() {
            "HLLSketch" => {
                let sketch = Hll::parse(&stored).unwrap();
                if let Some(updatable) = java["updatable"].as_str() {
                    let again = Hll::parse(&STANDARD.decode(updatable).unwrap()).unwrap();
                    assert_eq!(
                        again.image().len(),
                        sketch.image().len(),
                        "{name} from its updatable image"
                    );
                    assert_numbers(name, &numbers_of_hll(&again, &[1, 2, 3]), &java["numbers"]);
                }
                numbers_of_hll(&sketch, &[1, 2, 3])
            }
            "thetaSketch" => numbers_of_theta(&Theta::parse(&stored, 16384).unwrap(), &[1, 2, 3]),
            "quantilesDoublesSketch" => {
                let sketch = QuantilesDoubles::parse(&stored).unwrap();
                let mut numbers = sketch.quantiles(&[0.0, 0.1, 0.5, 0.99, 1.0]).unwrap();
                numbers.extend([sketch.rank(50.0), sketch.rank(33000.0)]);
                if let Some(text) = java["text"].as_str() {
                    assert_summary(&sketch.summary(), text);
                }
                numbers
            }
            "KllDoublesSketch" => {
                let sketch = KllDoubles::parse(&stored).unwrap();
                let mut numbers: Vec<f64> = [0.1, 0.5, 0.99].map(|rank| sketch.quantile(rank).unwrap()).to_vec();
                numbers.push(sketch.rank(50.0));
                numbers
            }
            "KllFloatsSketch" => {
                let sketch = KllFloats::parse(&stored).unwrap();
                let mut numbers: Vec<f64> = [0.1, 0.5, 0.99].map(|rank| sketch.quantile(rank).unwrap()).to_vec();
                numbers.push(sketch.rank(50.0));
                numbers
            }
            "arrayOfDoublesSketch" => {
                let sketch = TupleDoubles::parse(&stored, 4096).unwrap();
                let mut numbers = vec![sketch.estimate()];
                numbers.extend(sketch.sums());
                numbers
            }
            "hyperUnique" => vec![HyperUnique::parse(&stored).unwrap().estimate()],
            other => panic!("{other} is not compared"),
        };
        assert_numbers(name, &numbers, &java["numbers"]);
        compared += 1;
    }
    assert!(compared > 80, "{compared} were compared");
}

/// Compares all lines but those that tell Java's class and its memory.
fn assert_summary(ours: &str, java: &str) {
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !["Memory", "SUMMARY", "Combined"].iter().any(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines(ours), lines(java));
}

/// All goldens of a family, as the Java program named them: the running number left out.
fn family(druid: &[Json], family: &str) -> Vec<Vec<u8>> {
    druid
        .iter()
        .filter(|golden| golden["value"].is_string())
        .filter(|golden| {
            let name = golden["name"].as_str().unwrap();
            let parts: Vec<&str> = name.split('_').collect();
            match parts[..] {
                ["big" | "mid" | "small", column] => family == format!("g_{column}"),
                [set, _, column] => family == format!("{set}_{column}"),
                _ => family == name,
            }
        })
        .map(|golden| bytes(&golden["value"]))
        .collect()
}

#[test]
fn merges_give_the_bytes_and_numbers_of_java() {
    let druid = druid();
    for java in java().iter().filter(|java| !java["merged"].is_null()) {
        let name = &java["merged"];
        let theirs = bytes(&java["image"]);
        match java["type"].as_str().unwrap() {
            "HLLSketch" => {
                let registers = RegisterType::from_name(java["tgt"].as_str().unwrap()).unwrap();
                let mut union = Hll::new(12, registers).unwrap();
                for stored in family(&druid, name.as_str().unwrap()) {
                    union.merge(&Hll::parse(&stored).unwrap()).unwrap();
                }
                assert_numbers(name, &numbers_of_hll(&union, &[2]), &java["numbers"]);
                let ours = union.image();
                // Java's HLL_8 gives the lowest register and how many have it; ours always gives the zeros, which is read the same.
                let skipped = |at: usize| {
                    registers == RegisterType::Hll8 && (at == 6 || (8..16).contains(&at) || (32..36).contains(&at))
                };
                let hip = |at: usize| (8..16).contains(&at);
                assert_eq!(ours.len(), theirs.len(), "{name} {registers:?}");
                for at in (0..ours.len()).filter(|at| !(skipped(*at) || ours[0] == 10 && hip(*at))) {
                    assert_eq!(ours[at], theirs[at], "{name} {registers:?} byte {at}");
                }
                assert_summary_of_hll(&union.summary(), java["text"].as_str().unwrap(), registers);
            }
            "thetaSketch" => {
                let mut union = Theta::new(512).unwrap();
                for stored in family(&druid, name.as_str().unwrap()) {
                    union.merge(&Theta::parse(&stored, 512).unwrap()).unwrap();
                }
                assert_eq!(union.image(), theirs, "{name}");
                assert_numbers(name, &numbers_of_theta(&union, &[2]), &java["numbers"]);
            }
            "arrayOfDoublesSketch" => {
                let values = usize::from(theirs[5]);
                let mut union = TupleDoubles::new(128, values).unwrap();
                let family_name = name.as_str().unwrap();
                for stored in family(&druid, &family_name[..family_name.len() - 1]) {
                    union.merge(&TupleDoubles::parse(&stored, 128).unwrap()).unwrap();
                }
                let union = union.trimmed();
                assert_numbers(name, &[union.estimate()], &java["numbers"]);
                let theirs = TupleDoubles::parse(&theirs, 128).unwrap();
                for (ours, theirs) in union.sums().iter().zip(theirs.sums()) {
                    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs(), "{name}");
                }
            }
            "hyperUnique" => {
                let mut union = HyperUnique::default();
                for golden in druid.iter().filter(|golden| golden["type"] == "hyperUnique") {
                    if golden["name"] != "many_card" {
                        union.merge(&HyperUnique::parse(&bytes(&golden["value"])).unwrap());
                    }
                }
                assert_eq!(STANDARD.encode(union.to_bytes()), STANDARD.encode(theirs), "{name}");
                assert_numbers(name, &[union.estimate()], &java["numbers"]);
            }
            other => panic!("{other} is not merged"),
        }
    }
}

fn assert_summary_of_hll(ours: &str, java: &str, registers: RegisterType) {
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("HipAccum"))
            .filter(|line| registers != RegisterType::Hll8 || !line.contains("CurMin"))
            .map(str::to_owned)
            .collect()
    };
    let (ours, java) = (lines(ours), lines(java));
    assert_eq!(ours, java);
}

#[test]
fn numbers_are_hashed_as_java_hashes_them() {
    let java = java();
    let made = |name: &str| java.iter().find(|java| java["made"] == name).expect("made by Java");
    let mut hll = Hll::new(12, RegisterType::Hll4).unwrap();
    let mut theta = Theta::new(16).unwrap();
    let mut tuple = TupleDoubles::new(16, 1).unwrap();
    for step in 0..50_i32 {
        for value in [Value::Long(i64::from(step) - 7), Value::Double(f64::from(step) * 0.25)] {
            hll.update(value, StringEncoding::Utf16Le);
            theta.update(value);
        }
        tuple.update(&format!("k{step}"), &[f64::from(step)]);
    }
    hll.update(Value::Double(-0.0), StringEncoding::Utf16Le);
    hll.update(Value::Double(f64::NAN), StringEncoding::Utf16Le);
    assert_eq!(STANDARD.encode(hll.image()), made("hll")["image"]);
    assert_eq!(STANDARD.encode(theta.image()), made("theta")["image"]);
    assert_eq!(STANDARD.encode(tuple.to_bytes()), made("tuple")["image"]);
    let updatable = Theta::parse(&bytes(&made("theta")["updatable"]), 16).unwrap();
    assert_numbers(
        &made("theta")["made"],
        &[updatable.estimate()],
        &made("theta")["numbers"],
    );

    let quantiles = made("quantiles");
    let compact = QuantilesDoubles::parse(&bytes(&quantiles["image"])).unwrap();
    let updatable = QuantilesDoubles::parse(&bytes(&quantiles["updatable"])).unwrap();
    assert_eq!(compact.image(), updatable.image());
    let numbers = [compact.quantiles(&[0.5]).unwrap()[0], compact.rank(50.0)];
    assert_numbers(&quantiles["made"], &numbers, &quantiles["numbers"]);
    assert_summary(&compact.summary(), quantiles["text"].as_str().unwrap());
}

#[test]
fn pairs_are_read_as_druid_prints_them() {
    use henge_sketches::pair::{Keep, Pair, PairType, PairValue};
    let mut latest = Pair::new(PairType::Text, Keep::Last);
    for golden in druid().iter().filter(|golden| golden["type"] == "pair") {
        let value = golden["value"]["rhs"].as_str().map(|text| PairValue::Text(text.into()));
        let pair = Pair::of(PairType::Text, golden["value"]["lhs"].as_i64().unwrap(), value);
        assert_eq!(Pair::parse(PairType::Text, &pair.to_bytes()).unwrap(), pair);
        latest.merge(&pair, Keep::Last).unwrap();
    }
    assert!(latest.time > 0);
}
