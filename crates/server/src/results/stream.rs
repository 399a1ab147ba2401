//! A response body out of a stream of batches: rendered chunk by chunk, never collected. A client that stops reading, or goes
//! away, stops the query: the task that renders ends and drops the stream.

use arrow::array::RecordBatch;
use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::writer::ResultWriter;
use crate::limits::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, SEND_TIMEOUT};

/// Why a result ended before its last row, told to the log: the status line is long gone.
#[derive(Debug)]
pub enum StreamFailure {
    /// The query failed.
    Query(String),
    /// The client left or stopped reading.
    Client,
}

/// Waits for the first batch that has rows, so that a query that fails before its first row can still answer with a status.
pub async fn first_batch<S, E>(stream: &mut S) -> Result<Option<RecordBatch>, E>
where
    S: Stream<Item = Result<RecordBatch, E>> + Unpin,
{
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Makes the body: header rows, the first batch, the rest of the stream, the end. `done` is called once, with the rows written and
/// the failure if there was one. A failure cuts the body before its last bytes, which is how clients of every format notice.
pub fn into_body<S, E>(
    mut writer: ResultWriter,
    first: Option<RecordBatch>,
    mut rest: S,
    done: impl FnOnce(u64, Option<StreamFailure>) + Send + 'static,
) -> Body
where
    S: Stream<Item = Result<RecordBatch, E>> + Unpin + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(CHUNKS_IN_FLIGHT);
    tokio::spawn(async move {
        let mut out = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        let mut rows = 0;
        let mut next = first;
        writer.start(&mut out);
        let failure = loop {
            if let Some(batch) = next.take() {
                rows += batch.num_rows() as u64;
                if let Err(failure) = render(&mut writer, &batch, &mut out, &sender).await {
                    break Some(failure);
                }
            }
            match rest.next().await {
                Some(Ok(batch)) => next = Some(batch),
                Some(Err(error)) => break Some(StreamFailure::Query(error.to_string())),
                None => break None,
            }
        };
        if failure.is_none() {
            writer.end(&mut out);
        }
        let failure = match (failure, send(&sender, &mut out).await) {
            (None, Err(failure)) => Some(failure),
            (failure, _) => failure,
        };
        drop(rest);
        done(rows, failure);
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// Renders a batch in slices, so that wide rows do not make giant chunks.
async fn render(
    writer: &mut ResultWriter,
    batch: &RecordBatch,
    out: &mut Vec<u8>,
    sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), StreamFailure> {
    const CELLS_A_SLICE: usize = 16_384;
    let slice_rows = (CELLS_A_SLICE / batch.num_columns().max(1)).clamp(16, 8_192);
    let mut at = 0;
    while at < batch.num_rows() {
        let length = slice_rows.min(batch.num_rows() - at);
        writer
            .batch(out, &batch.slice(at, length))
            .map_err(|error| StreamFailure::Query(error.to_string()))?;
        at += length;
        if out.len() >= CHUNK_BYTES {
            send(sender, out).await?;
        }
    }
    Ok(())
}

async fn send(sender: &mpsc::Sender<Result<Bytes, std::io::Error>>, out: &mut Vec<u8>) -> Result<(), StreamFailure> {
    if out.is_empty() {
        return Ok(());
    }
    let chunk = Bytes::from(std::mem::replace(
        out,
        Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4),
    ));
    match tokio::time::timeout(SEND_TIMEOUT, sender.send(Ok(chunk))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(StreamFailure::Client),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use futures::stream;

    use super::*;
    use crate::results::{ResultColumn, ResultFormat, ResultOptions};

    fn batch(values: Vec<i64>) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values)) as ArrayRef]).unwrap()
    }

    fn writer() -> ResultWriter {
        let column = ResultColumn {
            name: "a".to_string(),
            native_type: "LONG".to_string(),
            sql_type: "BIGINT".to_string(),
            multi_value: false,
        };
        ResultWriter::new(
            vec![column],
            ResultOptions {
                format: ResultFormat::Array,
                ..ResultOptions::default()
            },
        )
    }

    #[tokio::test]
    async fn rows_arrive_whole_and_in_order() {
        let batches: Vec<Result<RecordBatch, String>> = (0..40)
            .map(|i| Ok(batch((i * 9000..(i + 1) * 9000).collect())))
            .collect();
        let body = into_body(writer(), None, stream::iter(batches), |rows, failure| {
            assert_eq!(rows, 360_000);
            assert!(failure.is_none());
        });
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let rows: Vec<Vec<i64>> = serde_json::from_slice(&bytes).unwrap();
        assert!(rows.iter().enumerate().all(|(i, row)| row == &[i as i64]));
    }

    #[tokio::test]
    async fn a_failure_cuts_the_body() {
        let batches = vec![Ok(batch(vec![1])), Err("gone".to_string())];
        let body = into_body(writer(), None, stream::iter(batches), |_, failure| {
            assert!(matches!(failure, Some(StreamFailure::Query(message)) if message == "gone"));
        });
        assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap(), "[[1]");
    }

    #[tokio::test]
    async fn a_client_that_leaves_stops_the_stream() {
        let (ended, wait) = tokio::sync::oneshot::channel();
        let endless = stream::repeat_with(|| Ok::<_, String>(batch((0..8000).collect())));
        let body = into_body(writer(), None, endless, move |_, failure| {
            let _ = ended.send(matches!(failure, Some(StreamFailure::Client)));
        });
        drop(body);
        assert!(wait.await.unwrap());
    }
}
