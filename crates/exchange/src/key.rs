//! The exchange key: which columns, in which order, and the bytes that compare as the key does (Druid's `ClusterBy` and
//! `FrameWriter` sortable keys; bytes from `arrow::row`).
//!
//! ```text
//! key = [hash bucket: 01, u32 big-endian]      where KeySpec::hash is set
//!       column 0 … column n−1                  row format of arrow: self-delimiting, nulls first, strings by bytes
//!       [task u32][run u32][row u32]           where KeySpec::boost is set: makes equal keys distinct
//! ```
//!
//! The *bucket* is the prefix that a range never crosses: the hash bucket, or the first `bucket_by_count` columns (time
//! chunks), which must have a fixed width. The boost is not stored with the rows: it is the position in the run.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use crate::{ExchangeError, limits};

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyField {
    /// Index of the column in the batch.
    pub index: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before everything, whichever the direction.
    pub nulls_first: bool,
}

impl KeyField {
    /// Makes Druid's usual key column: ascending, nulls first.
    pub fn ascending(index: usize) -> Self {
        Self {
            index,
            descending: false,
            nulls_first: true,
        }
    }

    /// Makes Druid's descending key column: the exact reverse, so nulls last.
    pub fn descending(index: usize) -> Self {
        Self {
            index,
            descending: true,
            nulls_first: false,
        }
    }
}

/// Partitions by hash: rows with equal values of the columns come into the same bucket, in every task and process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKey {
    /// Indexes of the columns in the batch. Both sides of a join need the same types.
    pub columns: Vec<usize>,
    /// Number of buckets, at least one.
    pub buckets: u32,
}

/// How rows are ordered and kept apart in the exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpec {
    /// Leading hash bucket, where rows are partitioned by hash.
    pub hash: Option<HashKey>,
    /// Columns to sort by; none and no hash means that rows keep the order in which they come.
    pub columns: Vec<KeyField>,
    /// How many of the columns form the bucket that ranges never cross.
    pub bucket_by_count: usize,
    /// Columns that order rows of equal keys inside a task. They are compared in place and are no part of the key's bytes, so
    /// they cost nothing where keys differ; ranges are never cut by them.
    pub ties: Vec<KeyField>,
    /// Makes equal keys distinct, so that a key that is larger than a partition can be cut.
    pub boost: bool,
}

impl KeySpec {
    /// No key: rows keep the order in which they come (Druid's `mix`).
    pub fn mix() -> Self {
        Self::default()
    }

    /// Sorts by columns.
    pub fn sorted(columns: Vec<KeyField>) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Partitions by hash; add `columns` to sort inside the partitions.
    pub fn hash(columns: Vec<usize>, buckets: u32) -> Self {
        Self {
            hash: Some(HashKey { columns, buckets }),
            ..Self::default()
        }
    }

    /// Sets how many leading columns form the bucket.
    #[must_use]
    pub fn with_buckets(mut self, bucket_by_count: usize) -> Self {
        self.bucket_by_count = bucket_by_count;
        self
    }

    /// Lets equal keys be cut.
    #[must_use]
    pub fn with_boost(mut self) -> Self {
        self.boost = true;
        self
    }

    /// Orders rows of equal keys.
    #[must_use]
    pub fn with_ties(mut self, ties: Vec<KeyField>) -> Self {
        self.ties = ties;
        self
    }

    /// Tells whether rows have to be rearranged at all.
    pub fn has_key(&self) -> bool {
        self.hash.is_some() || !self.columns.is_empty()
    }
}

/// Bytes of a key: compares as the key does. In JSON a string of hexadecimal digits.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

impl Key {
    /// Copies bytes.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Key(Bytes::copy_from_slice(bytes))
    }

    /// Gives the first key behind all keys that start with these bytes; none where they are all `FF`.
    pub(crate) fn after_prefix(&self) -> Option<Key> {
        let last = self.0.iter().rposition(|byte| *byte != 0xFF)?;
        let mut next = self.0[..=last].to_vec();
        next[last] += 1;
        Some(Key(next.into()))
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        let bytes: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| {
                let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
                u8::from_str_radix(text, 16).ok()
            })
            .collect();
        bytes
            .map(|bytes| Key(bytes.into()))
            .ok_or_else(|| serde::de::Error::custom(format!("[{text}] is not a key in hexadecimal digits")))
    }
}

/// Length of the boost behind a key.
pub(crate) const BOOST_BYTES: usize = 12;

/// Gives the bytes that make the key at `row` of a run distinct.
pub(crate) fn boost_bytes(task: u32, run: u32, row: u32) -> [u8; BOOST_BYTES] {
    let mut bytes = [0; BOOST_BYTES];
    bytes[..4].copy_from_slice(&task.to_be_bytes());
    bytes[4..8].copy_from_slice(&run.to_be_bytes());
    bytes[8..].copy_from_slice(&row.to_be_bytes());
    bytes
}

/// Gives the key prefix of a hash bucket.
pub(crate) fn hash_prefix(bucket: u32) -> Key {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&bucket.to_be_bytes());
    Key(bytes.into())
}

/// Turns batches into key bytes.
pub(crate) struct KeyEncoder {
    spec: KeySpec,
    converter: Option<RowConverter>,
    hasher: Option<RowConverter>,
    bucket_len: usize,
}

impl KeyEncoder {
    pub(crate) fn new(spec: &KeySpec, schema: &Schema) -> Result<Self, ExchangeError> {
        if spec.columns.len() > limits::KEY_COLUMNS_MAX {
            return Err(ExchangeError::TooManyKeyColumns {
                columns: spec.columns.len(),
                max: limits::KEY_COLUMNS_MAX,
            });
        }
        if spec.bucket_by_count > spec.columns.len() || (spec.hash.is_some() && spec.bucket_by_count > 0) {
            return Err(ExchangeError::Batch(format!(
                "bucketBy [{}] does not fit a key of [{}] columns{}",
                spec.bucket_by_count,
                spec.columns.len(),
                if spec.hash.is_some() { " with hash buckets" } else { "" }
            )));
        }
        for field in spec.columns.iter().chain(&spec.ties) {
            check_key_column(schema, field.index)?;
        }
        let mut fields: Vec<SortField> = Vec::with_capacity(spec.columns.len() + 1);
        let mut bucket_len = 0;
        let mut hasher = None;
        if let Some(hash) = &spec.hash {
            let mut hashed = Vec::with_capacity(hash.columns.len());
            for index in &hash.columns {
                hashed.push(SortField::new(check_key_column(schema, *index)?.clone()));
            }
            hasher = Some(RowConverter::new(hashed)?);
            fields.push(SortField::new(DataType::UInt32));
            bucket_len = 5;
        }
        for (place, field) in spec.columns.iter().enumerate() {
            let data_type = schema.field(field.index).data_type();
            if place < spec.bucket_by_count {
                let width = data_type
                    .primitive_width()
                    .ok_or_else(|| ExchangeError::KeyNotSupported {
                        column: schema.field(field.index).name().clone(),
                        data_type: data_type.to_string(),
                        reason: "a bucket needs a fixed width".to_string(),
                    })?;
                bucket_len += 1 + width;
            }
            let options = SortOptions {
                descending: field.descending,
                nulls_first: field.nulls_first,
            };
            fields.push(SortField::new_with_options(data_type.clone(), options));
        }
        let converter = if fields.is_empty() {
            None
        } else {
            Some(RowConverter::new(fields)?)
        };
        Ok(Self {
            spec: spec.clone(),
            converter,
            hasher,
            bucket_len,
        })
    }

    /// Length of the bucket at the start of every key.
    pub(crate) fn bucket_len(&self) -> usize {
        self.bucket_len
    }

    /// Gives the keys of a batch without their boost; none where the spec has no key.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Option<Rows>, ExchangeError> {
        let Some(converter) = &self.converter else {
            return Ok(None);
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.spec.columns.len() + 1);
        if let (Some(hash), Some(hasher)) = (&self.spec.hash, &self.hasher) {
            columns.push(Arc::new(hash_buckets(hash, hasher, batch)?));
        }
        columns.extend(
            self.spec
                .columns
                .iter()
                .map(|field| Arc::clone(batch.column(field.index))),
        );
        Ok(Some(converter.convert_columns(&columns)?))
    }
}

fn check_key_column(schema: &Schema, index: usize) -> Result<&DataType, ExchangeError> {
    let Some(field) = schema.fields().get(index) else {
        return Err(ExchangeError::Batch(format!(
            "key column [{index}] does not exist, the stage has [{}] columns",
            schema.fields().len()
        )));
    };
    if RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
        Ok(field.data_type())
    } else {
        Err(ExchangeError::KeyNotSupported {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            reason: "the type has no order".to_string(),
        })
    }
}

fn hash_buckets(hash: &HashKey, hasher: &RowConverter, batch: &RecordBatch) -> Result<UInt32Array, ExchangeError> {
    let buckets = u64::from(hash.buckets.max(1));
    if hash.columns.is_empty() || buckets == 1 {
        return Ok(UInt32Array::from(vec![0; batch.num_rows()]));
    }
    let columns: Vec<ArrayRef> = hash
        .columns
        .iter()
        .map(|index| Arc::clone(batch.column(*index)))
        .collect();
    let rows = hasher.convert_columns(&columns)?;
    // The high half of the product maps the hash evenly on the buckets without a division.
    Ok(rows
        .iter()
        .map(|row| Some(((u128::from(xxh3_64(row.data())) * u128::from(buckets)) >> 64) as u32))
        .collect())
}

/// Decodes a boundary of a range: one array of length one for each key column (without the hash bucket and the boost).
/// The bytes must be a whole key of this spec and schema; the start of a bucket is only the prefix of one.
pub fn decode_key(spec: &KeySpec, schema: &Schema, key: &[u8]) -> Result<Vec<ArrayRef>, ExchangeError> {
    let encoder = KeyEncoder::new(spec, schema)?;
    let Some(converter) = &encoder.converter else {
        return Ok(Vec::new());
    };
    let boost = if spec.boost { BOOST_BYTES } else { 0 };
    let Some(columns) = key
        .len()
        .checked_sub(boost)
        .filter(|length| *length > encoder.bucket_len)
    else {
        return Err(ExchangeError::Batch(format!(
            "[{:?}] is no whole key",
            Key::copy_from(key)
        )));
    };
    let parser = converter.parser();
    let mut columns = converter.convert_rows([parser.parse(&key[..columns])])?;
    if spec.hash.is_some() {
        columns.remove(0);
    }
    Ok(columns)
}

/// Decodes the bucket of a range ([`crate::KeyRange::bucket`]): one array of length one for each bucket column.
pub fn decode_bucket(spec: &KeySpec, schema: &Schema, bucket: &[u8]) -> Result<Vec<ArrayRef>, ExchangeError> {
    let columns = spec.columns.iter().take(spec.bucket_by_count).cloned().collect();
    let spec = KeySpec::sorted(columns);
    let whole = KeyEncoder::new(&spec.clone().with_buckets(spec.columns.len()), schema)?.bucket_len;
    if bucket.len() != whole {
        return Err(ExchangeError::Batch(format!(
            "[{:?}] is no bucket",
            Key::copy_from(bucket)
        )));
    }
    decode_key(&spec, schema, bucket)
}

/// Decodes a key into texts, as shard specs want them: null stays null, a list gives its only value.
pub fn decode_key_strings(spec: &KeySpec, schema: &Schema, key: &[u8]) -> Result<Vec<Option<String>>, ExchangeError> {
    decode_key(spec, schema, key)?.iter().map(first_string).collect()
}

fn first_string(column: &ArrayRef) -> Result<Option<String>, ExchangeError> {
    if column.is_empty() || column.is_null(0) {
        return Ok(None);
    }
    if let Some(list) = column.as_list_opt::<i32>() {
        return first_string(&list.value(0));
    }
    let text = cast(column, &DataType::Utf8)?;
    Ok(text.is_valid(0).then(|| text.as_string::<i32>().value(0).to_string()))
}
