//! Tests of the whole path from an `EXTERN` to record batches; rules of single pieces are tested beside them.

mod coercion;
mod compressed;
mod differential;
mod garbage;
mod http;
mod parquet;
mod real_data;
mod rows;
mod splitting;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ::arrow::array::RecordBatch;
use ::arrow::json::LineDelimitedWriter;
use serde_json::{Value, json};

use crate::{ExternSpec, InputError, InputSplit, ParseIssue, ReadObserver, ReadOptions, SplitLimits, read_all};

/// Notes everything, and gives up when there were more bad rows than `allowed`.
#[derive(Default)]
pub(super) struct Notes {
    pub bytes: AtomicU64,
    pub rows: AtomicU64,
    pub files: AtomicU64,
    pub issues: Mutex<Vec<ParseIssue>>,
    pub allowed: usize,
}

impl Notes {
    pub(super) fn allowing(allowed: usize) -> Arc<Self> {
        Arc::new(Self {
            allowed,
            ..Self::default()
        })
    }

    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (of(&self.rows), of(&self.bytes), of(&self.files))
    }

    pub(super) fn messages(&self) -> Vec<String> {
        self.issues.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

impl ReadObserver for Notes {
    fn bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::SeqCst);
    }
    fn rows(&self, n: u64) {
        self.rows.fetch_add(n, Ordering::SeqCst);
    }
    fn file_done(&self) {
        self.files.fetch_add(1, Ordering::SeqCst);
    }
    fn bad_row(&self, issue: ParseIssue) -> ControlFlow<()> {
        let mut issues = self.issues.lock().unwrap();
        issues.push(issue);
        if issues.len() > self.allowed {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Makes a spec of `name:type` columns.
pub(super) fn spec(source: Value, format: Value, columns: &[&str]) -> ExternSpec {
    let signature: Vec<Value> = columns
        .iter()
        .map(|column| {
            let (name, kind) = column.rsplit_once(':').expect("columns are name:type");
            json!({"name": name, "type": kind})
        })
        .collect();
    ExternSpec::parse(
        &source.to_string(),
        &format.to_string(),
        Some(&json!(signature).to_string()),
    )
    .expect("a good spec")
}

pub(super) fn inline(data: &str, format: Value, columns: &[&str]) -> ExternSpec {
    spec(json!({"type": "inline", "data": data}), format, columns)
}

pub(super) fn local(path: &Path, format: Value, columns: &[&str]) -> ExternSpec {
    spec(json!({"type": "local", "files": [path]}), format, columns)
}

/// Writes batches as JSON rows with nulls.
pub(super) fn to_json(batches: &[RecordBatch]) -> Vec<Value> {
    use ::arrow::json::writer::{LineDelimited, WriterBuilder};
    let mut out = Vec::new();
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(&mut out);
    batches
        .iter()
        .for_each(|batch| writer.write(batch).expect("batches print"));
    writer.finish().expect("batches print");
    drop(writer);
    String::from_utf8(out)
        .expect("JSON is UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("what Arrow prints is JSON"))
        .collect()
}

pub(super) fn read_splits(
    spec: &ExternSpec,
    splits: &[InputSplit],
    notes: &Arc<Notes>,
) -> Result<Vec<RecordBatch>, InputError> {
    read_all(
        spec,
        splits,
        &ReadOptions::all(spec),
        Arc::clone(notes) as Arc<dyn ReadObserver>,
    )
}

/// Reads everything in one split.
pub(super) fn read(spec: &ExternSpec, notes: &Arc<Notes>) -> Result<Vec<Value>, InputError> {
    let splits = spec.splits(&SplitLimits::default())?;
    Ok(to_json(&read_splits(spec, &splits, notes)?))
}

/// Reads good data.
pub(super) fn rows(spec: &ExternSpec) -> Vec<Value> {
    read(spec, &Notes::allowing(0)).expect("good data")
}
