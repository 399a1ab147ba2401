//! Sorted dictionaries of arrays of ids, front-coded (Druid's `FrontCodedIntArrayIndexed`).
//!
//! ```text
//! u8 version 0 │ u8 bucket size │ u8 has null │ vbyte count │ vbyte bytes that follow
//! (buckets - 1) × i32 end of a bucket │ buckets
//! bucket: vbyte length, ints of the first array; then vbyte shared ints, vbyte further ints, those ints for each further array
//! shared are the first ints of the *preceding* array; all ints are in the column's byte order
//! ```

use super::front_coded::with_buckets;
use crate::SegmentError;
use crate::blob::{Cursor, put_vbyte};

/// Arrays in a bucket, as Druid writes them.
const BUCKET_SIZE: usize = 4;

/// Arrays laid end to end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct IntArrays {
    pub ends: Vec<usize>,
    pub ints: Vec<u32>,
}

impl IntArrays {
    /// Decodes a dictionary. An array shares what the one before it has at most, and there are at most 128 in a bucket, so the
    /// decoded form is at most that many times the bytes read.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, SegmentError> {
        cursor.version(0, "array dictionary")?;
        let bucket_size = usize::from(cursor.u8("bucket size")?);
        if !bucket_size.is_power_of_two() || bucket_size > 128 {
            return Err(cursor.corrupt(format!("a bucket has 1, 2, 4 … 128 arrays, found {bucket_size}")));
        }
        if cursor.u8("null flag")? != 0 {
            return Err(cursor.corrupt("an array dictionary has no null entry"));
        }
        let count = cursor.vbyte("array count")?;
        let bytes = cursor.vbyte("bytes of arrays")?;
        let body = cursor.take_blob(bytes, "arrays")?;
        let mut inner = body.cursor();
        // Buckets follow each other without gaps, so their ends need not be known to read all of them.
        inner.take(
            count.div_ceil(bucket_size).saturating_sub(1).saturating_mul(4),
            "bucket ends",
        )?;
        let mut arrays = Self::default();
        let order = cursor.order();
        let mut previous = 0..0;
        for index in 0..count {
            let start = arrays.ints.len();
            if index % bucket_size != 0 {
                let shared = inner.vbyte("shared ints")?;
                if shared > previous.len() {
                    return Err(inner.corrupt(format!("at most {} shared ints, found {shared}", previous.len())));
                }
                arrays.ints.extend_from_within(previous.start..previous.start + shared);
            }
            let len = inner.vbyte("array length")?;
            let ints = inner.take(len.saturating_mul(4), "ints of an array")?;
            let ints = ints.as_chunks::<4>().0.iter();
            arrays
                .ints
                .extend(ints.map(|b| u32::from_le_bytes(order.to_little(*b))));
            previous = start..arrays.ints.len();
            arrays.ends.push(arrays.ints.len());
        }
        Ok(arrays)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.ints[start..self.ends[index]]
    }
}

/// Serialises sorted arrays.
pub(crate) fn write<'a>(arrays: impl ExactSizeIterator<Item = &'a [u32]>) -> Vec<u8> {
    let count = arrays.len();
    let mut ends = Vec::new();
    let mut buckets = Vec::new();
    let mut previous: &[u32] = &[];
    for (index, array) in arrays.enumerate() {
        let mut rest = array;
        if index % BUCKET_SIZE == 0 {
            if index > 0 {
                ends.extend_from_slice(&(buckets.len() as u32).to_le_bytes());
            }
        } else {
            let shared = array.iter().zip(previous).take_while(|(a, b)| a == b).count();
            put_vbyte(&mut buckets, shared);
            rest = &array[shared..];
        }
        put_vbyte(&mut buckets, rest.len());
        for int in rest {
            buckets.extend_from_slice(&int.to_le_bytes());
        }
        previous = array;
    }
    with_buckets(vec![0, BUCKET_SIZE as u8, 0], count, &ends, &buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use bytes::Bytes;

    #[test]
    fn what_is_written_is_read() {
        let arrays: Vec<Vec<u32>> = vec![
            vec![],
            vec![1],
            vec![1, 2],
            vec![1, 2, 3, 4],
            vec![1, 3],
            vec![2; 300],
            vec![7],
        ];
        for count in 0..=arrays.len() {
            let bytes = write(arrays[..count].iter().map(Vec::as_slice));
            let blob = Blob::new(Bytes::from(bytes.clone()), "f", "c");
            let read = IntArrays::read(&mut blob.cursor()).unwrap();
            assert_eq!(read.len(), count);
            assert!((0..count).all(|i| read.get(i) == arrays[i]));
            for cut in 0..bytes.len() {
                let short = Blob::new(Bytes::copy_from_slice(&bytes[..cut]), "f", "c");
                assert!(IntArrays::read(&mut short.cursor()).is_err());
            }
        }
        assert_eq!(write(std::iter::empty()), [0, 4, 0, 0x80, 0x80]);
    }
}
