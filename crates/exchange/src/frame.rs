//! The bytes of a run on disk.
//!
//! ```text
//! file  = "HENGRUN1" message*
//! message = FFFFFFFF, u32 header length, flatbuffer header (padded)     Arrow IPC encapsulated record batch,
//!           body: buffers, each LZ4 frame compressed, padded to 64      without schema and dictionaries
//! ```
//!
//! Offsets, lengths and an xxh3 checksum of every message are in the run's index ([`crate::BatchMeta`]), not in the file: a
//! file alone means nothing, and a reader fetches exactly the bytes of the batches that it needs.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message};
use arrow::ipc::{Block, CompressionType, MetadataVersion};
use xxhash_rust::xxh3::xxh3_64;

use crate::{BatchExtent, ExchangeError};

/// First bytes of a run.
pub(crate) const MAGIC: &[u8; 8] = b"HENGRUN1";

/// Encodes batches into messages; keeps its buffers between them.
pub(crate) struct FrameEncoder {
    options: IpcWriteOptions,
    context: IpcWriteContext,
    dictionaries: DictionaryTracker,
    message: Vec<u8>,
}

impl FrameEncoder {
    pub(crate) fn new() -> Result<Self, ExchangeError> {
        Ok(Self {
            options: IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?,
            context: IpcWriteContext::default(),
            dictionaries: DictionaryTracker::new(true),
            message: Vec::new(),
        })
    }

    /// Gives the message of a batch and its extent at `offset`.
    pub(crate) fn encode(&mut self, batch: &RecordBatch, offset: u64) -> Result<(&[u8], BatchExtent), ExchangeError> {
        let generator = IpcDataGenerator::default();
        let (dictionaries, encoded) =
            generator.encode(batch, &mut self.dictionaries, &self.options, &mut self.context)?;
        if !dictionaries.is_empty() {
            return Err(ExchangeError::Batch(
                "a staged batch has a dictionary inside a nested column".to_string(),
            ));
        }
        self.message.clear();
        let (header, body) = write_message(&mut self.message, encoded, &self.options)?;
        let header_bytes = u32::try_from(header)
            .map_err(|_| ExchangeError::Batch(format!("the header of a staged batch has [{header}] bytes")))?;
        let checksum = xxh3_64(&self.message);
        Ok((
            &self.message,
            BatchExtent {
                offset,
                header_bytes,
                body_bytes: body as u64,
                checksum,
            },
        ))
    }
}

/// Decodes the message of one extent; `run` names the run in errors.
pub(crate) fn decode(
    run: &str,
    schema: &SchemaRef,
    message: MutableBuffer,
    extent: &BatchExtent,
) -> Result<RecordBatch, ExchangeError> {
    let damaged = |message: String| ExchangeError::Corrupt {
        run: run.to_string(),
        message,
    };
    let message: Buffer = message.into();
    let checksum = xxh3_64(&message);
    if checksum != extent.checksum {
        return Err(damaged(format!(
            "checksum [{checksum:016x}] at offset [{}], expected [{:016x}]",
            extent.offset, extent.checksum
        )));
    }
    let header = i32::try_from(extent.header_bytes).map_err(|error| damaged(error.to_string()))?;
    let body = i64::try_from(extent.body_bytes).map_err(|error| damaged(error.to_string()))?;
    let decoder = FileDecoder::new(Arc::clone(schema), MetadataVersion::V5);
    decoder
        .read_record_batch(&Block::new(0, header, body), &message)
        .map_err(|error| damaged(error.to_string()))?
        .ok_or_else(|| damaged(format!("no batch at offset [{}]", extent.offset)))
}
