//! Concise bitmaps of older clusters (`org.apache.druid.extendedset.intset.ImmutableConciseSet`), read only.
//!
//! ```text
//! words u32be, each for one or more blocks of 31 rows
//!   1 lllllll llllllll llllllll llllllll   literal: bit i is row i of the block
//!   0 f ppppp ccccccc cccccccc cccccccc ..  fill: c + 1 blocks of the bit f; p > 0 flips bit p - 1 of the first block
//! ```

use roaring::RoaringBitmap;

use crate::SegmentError;
use crate::blob::Blob;

const BLOCK_ROWS: u64 = 31;

/// Decodes a bitmap; words that reach far behind `rows` end it early, the caller checks the largest row.
pub(crate) fn decode(blob: &Blob, rows: usize) -> Result<RoaringBitmap, SegmentError> {
    let (words, rest) = blob.bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return Err(blob.corrupt(
            0,
            format!("a concise bitmap of whole words, found {} bytes", blob.len()),
        ));
    }
    let mut bitmap = RoaringBitmap::new();
    let mut first = 0u64;
    for (index, word) in words.iter().enumerate() {
        let word = u32::from_be_bytes(*word);
        if first > rows as u64 + BLOCK_ROWS {
            return Err(blob.corrupt(index * 4, format!("a concise bitmap of {rows} rows that ends here")));
        }
        if word >> 31 == 1 {
            let mut bits = word & 0x7FFF_FFFF;
            while bits != 0 {
                bitmap.insert((first + u64::from(bits.trailing_zeros())) as u32);
                bits &= bits - 1;
            }
            first += BLOCK_ROWS;
            continue;
        }
        let blocks = u64::from(word & 0x01FF_FFFF) + 1;
        let end = first + blocks * BLOCK_ROWS;
        let flipped = (word >> 25 & 0x1F)
            .checked_sub(1)
            .map(|bit| (first + u64::from(bit)) as u32);
        if word >> 30 & 1 == 1 {
            // Rows behind the last one are refused by the caller, so the fill need not be longer than that.
            let shown = end.min(rows as u64 + BLOCK_ROWS);
            bitmap.insert_range(first as u32..shown as u32);
            if let Some(row) = flipped {
                bitmap.remove(row);
            }
        } else if let Some(row) = flipped {
            bitmap.insert(row);
        }
        first = end;
    }
    Ok(bitmap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn rows(words: &[u32]) -> Vec<u32> {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        let blob = Blob::new(Bytes::from(bytes), "f", "c");
        decode(&blob, 200).unwrap().into_iter().collect()
    }

    #[test]
    fn decodes_literals_and_fills() {
        assert_eq!(rows(&[0x8000_0005]), [0, 2]);
        assert_eq!(rows(&[0x0000_0001, 0x8000_0001]), [62]);
        assert_eq!(rows(&[0x0600_0001, 0x8000_0001]), [2, 62]);
        assert_eq!(rows(&[0x4000_0001]), (0..62).collect::<Vec<_>>());
        assert_eq!(rows(&[0x4200_0001]), (1..62).collect::<Vec<_>>());
    }
}
