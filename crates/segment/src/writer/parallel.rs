//! Columns are independent: threads take them one after the other, those that hold most first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use arrow::record_batch::RecordBatch;

use super::{ColumnWriter, Compressors};
use crate::container::SmooshWriter;
use crate::{IndexSpec, SegmentError};

/// Batches of fewer rows are not worth a thread.
const FEW_ROWS: usize = 512;

/// Hands the rows of a batch to every column.
pub(super) fn append(
    columns: &mut [ColumnWriter],
    batch: &RecordBatch,
    threads: &mut [Compressors],
) -> Result<(), SegmentError> {
    let (mine, others) = match threads {
        [mine, others @ ..] if batch.num_rows() >= FEW_ROWS => (mine, others),
        [mine, ..] => (mine, &mut [][..]),
        [] => return Err(SegmentError::invalid("a segment is written by one thread at least")),
    };
    if others.is_empty() {
        return columns.iter_mut().try_for_each(|column| column.append(batch, mine));
    }
    let mut sorted: Vec<(usize, &mut ColumnWriter)> = columns.iter_mut().enumerate().collect();
    sorted.sort_by_key(|(_, column)| Reverse(column.memory_bytes()));
    let queue = Mutex::new(sorted.into_iter());
    let failures = Mutex::new(BTreeMap::new());
    let work = |compressors: &mut Compressors| {
        loop {
            let next = lock(&queue).next();
            let Some((position, column)) = next else {
                return;
            };
            if let Err(e) = column.append(batch, compressors) {
                lock(&failures).insert(position, e);
            }
        }
    };
    std::thread::scope(|scope| {
        for compressors in others {
            scope.spawn(|| work(compressors));
        }
        work(mine);
    });
    // The same failure whichever thread was faster.
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.into_values().next().map_or(Ok(()), Err)
}

/// Writes the internal files of all columns in their order, and names the columns without values.
pub(super) fn finish(
    columns: Vec<ColumnWriter>,
    smoosh: &mut SmooshWriter,
    threads: &mut [Compressors],
    spec: &IndexSpec,
    dir: &Path,
) -> Result<Vec<String>, SegmentError> {
    let mut without_values = Vec::new();
    if let [only] = threads {
        for column in columns {
            let name = column.name.clone();
            if !column.finish(smoosh, only, spec)? {
                without_values.push(name);
            }
        }
        return Ok(without_values);
    }
    let mut sorted: Vec<(usize, ColumnWriter)> = columns.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, column)| Reverse(column.memory_bytes()));
    let queue = Mutex::new(sorted.into_iter());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for compressors in threads {
            let (sender, queue) = (sender.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let next = lock(queue).next();
                    let Some((position, column)) = next else {
                        return;
                    };
                    let name = column.name.clone();
                    let mut staged = SmooshWriter::staged(dir);
                    let finished = column.finish(&mut staged, compressors, spec);
                    if sender.send((position, name, staged, finished)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for (position, name, staged, finished) in receiver {
            waiting.insert(position, (name, staged, finished));
            while let Some((name, staged, finished)) = waiting.remove(&next) {
                if !finished? {
                    without_values.push(name);
                }
                smoosh.take(staged)?;
                next += 1;
            }
        }
        Ok(without_values)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
