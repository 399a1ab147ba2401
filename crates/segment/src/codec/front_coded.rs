//! Front-coded sorted strings (Druid's `FrontCodedIndexed`), behind the marker `7F` and the encoding id of
//! `EncodedStringDictionaryWriter`.
//!
//! ```text
//! u8 version 0 or 1 │ u8 bucket size, a power of two │ u8 has null │ vbyte count without null │ vbyte bytes that follow
//! (buckets - 1) × i32 end of a bucket, in the column's byte order │ buckets
//! bucket: vbyte length, bytes of the first value; then vbyte prefix length, vbyte suffix length, suffix for each further value
//! the prefix is that of the first value of the bucket (version 0) or of the preceding value (version 1)
//! ```

use crate::SegmentError;
use crate::blob::{Blob, Cursor, put_vbyte};

/// Values in a bucket unless asked for otherwise, as Druid has it.
pub(crate) const DEFAULT_BUCKET: u8 = 4;

/// Values in a bucket at most.
pub(crate) const LARGEST_BUCKET: u8 = 128;

/// A dictionary that is decoded bucket by bucket.
#[derive(Debug, Clone)]
pub(crate) struct FrontCoded {
    version: u8,
    bucket_size: usize,
    has_null: bool,
    count: usize,
    ends: Blob,
    buckets: Blob,
}

impl FrontCoded {
    /// Reads the head.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, SegmentError> {
        let version = cursor.u8("front-coded version")?;
        if version > 1 {
            return Err(cursor.corrupt(format!("front-coded strings have version 0 or 1, found {version}")));
        }
        let bucket_size = usize::from(cursor.u8("bucket size")?);
        if !bucket_size.is_power_of_two() || bucket_size > usize::from(LARGEST_BUCKET) {
            return Err(cursor.corrupt(format!("a bucket has 1, 2, 4 … 128 values, found {bucket_size}")));
        }
        let has_null = cursor.u8("null flag")? == 1;
        let count = cursor.vbyte("value count")?;
        let bytes = cursor.vbyte("bytes of buckets")?;
        let body = cursor.take_blob(bytes, "buckets")?;
        // Every value takes a byte at least: a count beyond that is damage, whatever the buckets hold.
        if count > body.len() {
            return Err(body.corrupt(0, format!("{count} values need as many bytes, found {}", body.len())));
        }
        let mut inner = body.cursor();
        let ends = inner.take_blob(count.div_ceil(bucket_size).saturating_sub(1) * 4, "bucket ends")?;
        Ok(Self {
            version,
            bucket_size,
            has_null,
            count,
            ends,
            buckets: inner.rest(),
        })
    }

    /// Counts the entries, null included.
    pub fn len(&self) -> usize {
        self.count + usize::from(self.has_null)
    }

    pub fn has_null(&self) -> bool {
        self.has_null
    }

    fn bucket(&self, bucket: usize) -> Result<Blob, SegmentError> {
        let end = |i: usize| -> Result<usize, SegmentError> {
            if i * 4 >= self.ends.len() {
                return Ok(self.buckets.len());
            }
            let b = &self.ends.bytes()[i * 4..i * 4 + 4];
            let end = i32::from_le_bytes(self.ends.order().to_little([b[0], b[1], b[2], b[3]]));
            usize::try_from(end).map_err(|_| self.ends.corrupt(i * 4, format!("a bucket end, found {end}")))
        };
        let start = if bucket == 0 { 0 } else { end(bucket - 1)? };
        self.buckets.slice(start, end(bucket)?, "bucket")
    }

    /// Hands the first `limit` values of a bucket to `visit`.
    fn walk(&self, bucket: usize, limit: usize, mut visit: impl FnMut(&[u8])) -> Result<(), SegmentError> {
        let blob = self.bucket(bucket)?;
        let mut cursor = blob.cursor();
        let len = cursor.vbyte("value length")?;
        let mut value = cursor.take(len, "value")?.to_vec();
        let first = value.clone();
        visit(&value);
        for _ in 1..limit {
            let prefix = cursor.vbyte("prefix length")?;
            let suffix_len = cursor.vbyte("suffix length")?;
            let suffix = cursor.take(suffix_len, "suffix")?;
            if self.version == 0 {
                value.clear();
                value.extend_from_slice(&first);
            }
            if prefix > value.len() {
                return Err(cursor.corrupt(format!("a prefix of at most {} bytes, found {prefix}", value.len())));
            }
            value.truncate(prefix);
            value.extend_from_slice(suffix);
            visit(&value);
        }
        Ok(())
    }

    /// Gives the value of an id below [`Self::len`]; none for null.
    pub fn get(&self, id: usize) -> Result<Option<Vec<u8>>, SegmentError> {
        let index = match (self.has_null, id) {
            (true, 0) => return Ok(None),
            (true, id) => id - 1,
            (false, id) => id,
        };
        let mut value = Vec::new();
        self.walk(index / self.bucket_size, index % self.bucket_size + 1, |v| {
            value.clear();
            value.extend_from_slice(v);
        })?;
        Ok(Some(value))
    }

    /// Hands all values but null to `visit`, in order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8])) -> Result<(), SegmentError> {
        for start in (0..self.count).step_by(self.bucket_size) {
            self.walk(
                start / self.bucket_size,
                self.bucket_size.min(self.count - start),
                &mut visit,
            )?;
        }
        Ok(())
    }
}

/// Serialises sorted values with the marker and the encoding id in front; the bucket size is a power of two up to
/// [`LARGEST_BUCKET`], the version 0 or 1.
pub(crate) fn write<'a>(
    values: impl ExactSizeIterator<Item = &'a [u8]>,
    has_null: bool,
    bucket_size: u8,
    version: u8,
) -> Vec<u8> {
    let count = values.len();
    let mut ends = Vec::new();
    let mut buckets = Vec::new();
    let (mut first, mut previous): (&[u8], &[u8]) = (&[], &[]);
    for (index, value) in values.enumerate() {
        if index % usize::from(bucket_size) == 0 {
            if index > 0 {
                ends.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
            }
            put_vbyte(&mut buckets, value.len());
            buckets.extend_from_slice(value);
            first = value;
        } else {
            let base = if version == 0 { first } else { previous };
            let shared = value.iter().zip(base).take_while(|(a, b)| a == b).count();
            put_vbyte(&mut buckets, shared);
            put_vbyte(&mut buckets, value.len() - shared);
            buckets.extend_from_slice(&value[shared..]);
        }
        previous = value;
    }
    let head = vec![0x7F, 1, version, bucket_size, u8::from(has_null)];
    with_buckets(head, count, &ends, &buckets)
}

/// Puts what follows the head of a front-coded list: the number of values, the ends of the buckets but the last, the buckets.
pub(super) fn with_buckets(head: Vec<u8>, count: usize, ends: &[u8], buckets: &[u8]) -> Vec<u8> {
    let mut out = head;
    put_vbyte(&mut out, count);
    put_vbyte(&mut out, ends.len() + buckets.len());
    out.extend_from_slice(ends);
    out.extend_from_slice(buckets);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn check(values: &[&str], has_null: bool, bucket_size: u8, version: u8) -> Vec<u8> {
        let written = write(values.iter().map(|v| v.as_bytes()), has_null, bucket_size, version);
        let blob = Blob::new(Bytes::from(written[2..].to_vec()), "f", "c");
        let read = FrontCoded::read(&mut blob.cursor()).unwrap();
        let mut found = Vec::new();
        read.for_each(|value| found.push(String::from_utf8(value.to_vec()).unwrap()))
            .unwrap();
        assert_eq!(found, values);
        for (id, value) in values.iter().enumerate() {
            let found = read.get(id + usize::from(has_null)).unwrap();
            assert_eq!(found.as_deref(), Some(value.as_bytes()));
        }
        written
    }

    #[test]
    fn writes_the_examples_of_the_format() {
        let hex = |text: &str| -> Vec<u8> {
            let bytes = text.split(' ');
            bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        let values = ["ab", "abcd", "abcde"];
        assert_eq!(
            check(&values, false, 4, 1),
            hex("7F 01 01 04 00 83 8A 82 61 62 82 82 63 64 84 81 65")
        );
        assert_eq!(
            check(&values, false, 4, 0),
            hex("7F 01 00 04 00 83 8C 82 61 62 82 82 63 64 82 83 63 64 65")
        );
        assert_eq!(
            check(&["ab", "abcd", "abcde", "b"], true, 2, 1),
            hex("7F 01 01 02 01 84 94 07 00 00 00 82 61 62 82 82 63 64 85 61 62 63 64 65 80 81 62")
        );
        assert_eq!(check(&[], true, 4, 1), hex("7F 01 01 04 01 80 80"));
    }

    #[test]
    fn buckets_of_every_size() {
        let values: Vec<String> = (0..300)
            .map(|i| format!("value {i:04} {}", "é".repeat(i % 5)))
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for bucket_size in [1, 2, 4, 16, 128] {
            for version in [0, 1] {
                for count in [0, 1, 2, 127, 128, 129, 300] {
                    check(&values[..count], count % 2 == 0, bucket_size, version);
                }
            }
        }
    }
}
