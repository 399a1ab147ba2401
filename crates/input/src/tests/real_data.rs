//! The larger real inputs, which lie beside the project.

use std::path::PathBuf;

use ::arrow::array::AsArray;
use ::arrow::compute::sum;
use ::arrow::datatypes::Int64Type;
use serde_json::json;

use super::*;

fn data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn totals(batches: &[RecordBatch], columns: &[usize]) -> Vec<i64> {
    let total = |column: usize| -> i64 {
        batches
            .iter()
            .filter_map(|batch| sum(batch.column(column).as_primitive::<Int64Type>()))
            .sum()
    };
    columns.iter().map(|column| total(*column)).collect()
}

#[test]
fn wikipedia() {
    let Some(path) = data("wikiticker-2015-09-12-sampled.json.gz") else {
        return;
    };
    let columns = [
        "time:string",
        "channel:string",
        "page:string",
        "user:string",
        "added:long",
        "deleted:long",
        "delta:long",
        "metroCode:long",
        "isRobot:string",
    ];
    let spec = local(&path, json!({"type": "json"}), &columns);
    let notes = Notes::allowing(0);
    let batches = read_splits(&spec, &spec.splits(&SplitLimits::default()).unwrap(), &notes).unwrap();
    assert_eq!(notes.counts(), (39_244, 2_366_222, 1));
    // Against serde_json.
    let stream = flate2::read::MultiGzDecoder::new(std::fs::File::open(&path).unwrap());
    let mut expected = vec![0i64; 4];
    let mut text_bytes = 0;
    for line in std::io::BufRead::lines(std::io::BufReader::new(stream)) {
        let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
        for (total, name) in expected.iter_mut().zip(["added", "deleted", "delta", "metroCode"]) {
            *total += row[name].as_i64().unwrap_or(0);
        }
        text_bytes += row["page"].as_str().map_or(0, str::len) + row["user"].as_str().map_or(0, str::len);
    }
    assert_eq!(totals(&batches, &[4, 5, 6, 7]), expected);
    assert_eq!(expected[0], 9_385_573, "the sum of added that Druid's tutorial shows");
    let read_bytes: usize = batches
        .iter()
        .flat_map(|batch| [2, 3].map(|i| batch.column(i).as_string::<i32>().value_data().len()))
        .sum();
    assert_eq!(read_bytes, text_bytes);
}

#[test]
fn flights() {
    let Some(path) = data("flights-3m.parquet") else { return };
    let columns = [
        "date:long",
        "delay:long",
        "distance:long",
        "origin:string",
        "destination:string",
    ];
    let spec = local(&path, json!({"type": "parquet"}), &columns);
    for dictionary_strings in [false, true] {
        let mut options = ReadOptions::all(&spec);
        options.dictionary_strings = dictionary_strings;
        let notes = Notes::allowing(0);
        let limits = SplitLimits {
            split_bytes: 1 << 20,
            min_split_bytes: 1,
            ..SplitLimits::default()
        };
        let batches = read_all(
            &spec,
            &spec.splits(&limits).unwrap(),
            &options,
            Arc::clone(&notes) as Arc<dyn ReadObserver>,
        )
        .unwrap();
        assert_eq!(notes.counts().0, 3_000_000);
        let dates = batches
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
        let (first, last) = dates.fold((i64::MAX, i64::MIN), |(first, last), date| {
            (first.min(date), last.max(date))
        });
        // 2001-01-01 to 2001-06-30, in milliseconds.
        assert!(first >= 978_307_200_000 && last <= 993_945_600_000, "{first} {last}");
        let sums = totals(&batches, &[1, 2]);
        assert!(sums[1] > 1_000_000_000, "{sums:?}");
        eprintln!(
            "flights: delay {} distance {} from {first} to {last}, {} batches",
            sums[0],
            sums[1],
            batches.len()
        );
    }
}
