//! The recorded answers of a real Druid over its sample of Wikipedia edits, computed from the same file.

use std::io::{BufRead, BufReader};

use henge_sketches::fixed_buckets::{FixedBuckets, Outliers};
use henge_sketches::hll::{Hll, RegisterType};
use henge_sketches::hyper_unique::HyperUnique;
use henge_sketches::theta::Theta;
use henge_sketches::tuple::TupleDoubles;
use henge_sketches::variance::Variance;
use henge_sketches::{StringEncoding, Value};
use serde_json::Value as Json;

fn rows() -> Option<Vec<Json>> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/wikiticker-2015-09-12-sampled.json.gz"
    );
    let file = std::fs::File::open(file).ok()?;
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    Some(
        lines
            .map(|line| serde_json::from_str(&line.expect("text")).expect("JSON"))
            .collect(),
    )
}

#[test]
fn recorded_answers_over_wikipedia() {
    let Some(rows) = rows() else {
        println!("SKIPPED: the sample of Wikipedia edits is not beside the project");
        return;
    };
    let texts = |column: &'static str| rows.iter().filter_map(move |row| row[column].as_str());
    let hll = |column, lg_k, registers, encoding| {
        let mut sketch = Hll::new(lg_k, registers).unwrap();
        texts(column).for_each(|text| sketch.update(Value::Text(text), encoding));
        sketch
    };
    let theta = |column, size| {
        let mut sketch = Theta::new(size).unwrap();
        texts(column).for_each(|text| sketch.update(Value::Text(text)));
        sketch
    };

    // Sketches that do not depend on the order of rows: every digit.
    assert_eq!(theta("user", 16384).estimate(), 10531.0);
    let pages = theta("page", 1024);
    assert_eq!(pages.estimate(), 37160.14054414029);
    assert_eq!(pages.bounds(2).unwrap(), (34921.26082746614, 39541.29483256748));
    let of_channel = |channel: &str| {
        let mut sketch = Theta::new(16384).unwrap();
        for row in rows.iter().filter(|row| row["channel"] == channel) {
            sketch.update(Value::Text(row["user"].as_str().unwrap()));
        }
        sketch
    };
    let both = [of_channel("#en.wikipedia"), of_channel("#fr.wikipedia")];
    assert_eq!(Theta::union(&both, 16384).unwrap().estimate(), 5114.0);
    assert_eq!(Theta::intersect(&both, 16384).unwrap().estimate(), 16.0);
    assert_eq!(Theta::a_not_b(&both, 16384).unwrap().estimate(), 4327.0);

    let mut sums = TupleDoubles::new(65536, 2).unwrap();
    for row in &rows {
        let values = ["added", "deleted"].map(|column| row[column].as_f64().unwrap());
        sums.update(row["user"].as_str().unwrap(), &values);
    }
    assert_eq!(sums.sums(), [9385573.0, 394298.0]);

    let mut cities = HyperUnique::default();
    texts("cityName").for_each(|city| cities.update(Value::Text(city)));
    assert_eq!(cities.count(), 1023);

    for (outliers, quantile) in [
        (Outliers::Clip, 17.67409896850586),
        (Outliers::Ignore, 16.521793365478516),
    ] {
        let mut histogram = FixedBuckets::new(0.0, 1000.0, 100, outliers).unwrap();
        rows.iter().for_each(|row| histogram.update(row["added"].as_f64()));
        assert_eq!(f64::from(histogram.percentile(50.0)), quantile, "{outliers:?}");
    }
    let mut variance = Variance::default();
    rows.iter()
        .filter_map(|row| row["added"].as_f64())
        .for_each(|added| variance.update(added));
    assert!((variance.variance(true).unwrap() - 3902472.581627613).abs() < 1e-2);

    // HLL's estimate of one pass depends on the order of rows; the file has the segment's.
    let sketch = hll("user", 12, RegisterType::Hll4, StringEncoding::Utf16Le);
    assert_eq!(sketch.estimate(), 10578.331185972218);
    assert_eq!(sketch.bounds(2).unwrap(), (10308.874826191524, 10855.949213625701));
    for (sketch, recorded) in [
        (hll("user", 12, RegisterType::Hll4, StringEncoding::Utf8), 10503.0),
        (hll("page", 14, RegisterType::Hll8, StringEncoding::Utf8), 35186.0),
        (hll("page", 18, RegisterType::Hll8, StringEncoding::Utf16Le), 35136.0),
    ] {
        assert_eq!(sketch.estimate().round(), recorded);
    }
}
