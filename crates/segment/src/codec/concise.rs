//! Concise bitmaps of older clusters (`org.apache.druid.extendedset.intset.ImmutableConciseSet`).
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

/// All bits of a block.
const FULL: u32 = 0x7FFF_FFFF;

/// Blocks of a fill at most.
const FILL_BLOCKS: u64 = 1 << 25;

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
            let mut bits = word & FULL;
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

/// What waits to be written: the next blocks may still become part of it.
enum Pending {
    Nothing,
    Literal(u32),
    Fill {
        bit: bool,
        blocks: u64,
        /// The bit of the first block that differs.
        flipped: Option<u32>,
    },
}

/// Writes words as Druid's encoder does: a block with one bit that differs from the fill behind it is part of the fill.
struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    pending: Pending,
}

impl Encoder<'_> {
    fn word(&mut self, word: u32) {
        self.out.extend_from_slice(&word.to_be_bytes());
    }

    fn flush(&mut self) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Literal(bits) => self.word(1 << 31 | bits),
            Pending::Fill {
                bit,
                mut blocks,
                mut flipped,
            } => {
                while blocks > 0 {
                    let now = blocks.min(FILL_BLOCKS);
                    blocks -= now;
                    match (now, flipped.take()) {
                        (1, None) => self.word(1 << 31 | if bit { FULL } else { 0 }),
                        (now, flipped) => {
                            let position = flipped.map_or(0, |bit| bit + 1);
                            self.word(u32::from(bit) << 30 | position << 25 | (now - 1) as u32);
                        }
                    }
                }
            }
        }
    }

    fn fill(&mut self, fill: bool, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.pending {
            Pending::Fill { bit, blocks, .. } if *bit == fill => *blocks += count,
            Pending::Literal(bits) if (*bits ^ if fill { FULL } else { 0 }).count_ones() == 1 => {
                let flipped = (*bits ^ if fill { FULL } else { 0 }).trailing_zeros();
                self.pending = Pending::Fill {
                    bit: fill,
                    blocks: count + 1,
                    flipped: Some(flipped),
                };
            }
            _ => {
                self.flush();
                self.pending = Pending::Fill {
                    bit: fill,
                    blocks: count,
                    flipped: None,
                };
            }
        }
    }

    fn block(&mut self, bits: u32) {
        if bits == FULL {
            return self.fill(true, 1);
        }
        self.flush();
        self.pending = Pending::Literal(bits);
    }
}

/// Appends the bitmap of strictly ascending rows; no rows are no bytes.
pub(crate) fn encode(rows: &[u32], out: &mut Vec<u8>) {
    let mut encoder = Encoder {
        out,
        pending: Pending::Nothing,
    };
    let mut next = 0u64;
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let block = u64::from(*first) / BLOCK_ROWS;
        let same = rest.iter().take_while(|row| u64::from(**row) / BLOCK_ROWS == block);
        let (mut bits, mut count) = (0u32, 0);
        for row in same {
            bits |= 1 << (u64::from(*row) % BLOCK_ROWS);
            count += 1;
        }
        encoder.fill(false, block - next);
        encoder.block(bits);
        next = block + 1;
        rest = &rest[count..];
    }
    encoder.flush();
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

    fn words(rows: &[u32]) -> Vec<u32> {
        let mut bytes = Vec::new();
        encode(rows, &mut bytes);
        let words = bytes.as_chunks::<4>().0.iter();
        words.map(|word| u32::from_be_bytes(*word)).collect()
    }

    #[test]
    fn encodes_literals_and_fills() {
        assert_eq!(words(&[]), [0u32; 0]);
        assert_eq!(words(&[0, 2]), [0x8000_0005]);
        assert_eq!(words(&[31]), [0x8000_0000, 0x8000_0001]);
        assert_eq!(words(&[62]), [0x0000_0001, 0x8000_0001]);
        assert_eq!(words(&[2, 62]), [0x0600_0001, 0x8000_0001]);
        assert_eq!(words(&(0..31).collect::<Vec<_>>()), [0xFFFF_FFFF]);
        assert_eq!(words(&(0..62).collect::<Vec<_>>()), [0x4000_0001]);
        assert_eq!(words(&(1..62).collect::<Vec<_>>()), [0x4200_0001]);
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let mut samples: Vec<Vec<u32>> = vec![vec![0], vec![70_000], vec![30, 31, 61, 62]];
        samples.push((0..5000).collect());
        samples.push((0..5000).filter(|row| row % 97 != 3).collect());
        samples.push((0..90_000).step_by(997).collect());
        samples.push((0..9000).filter(|row| row / 100 % 3 == 1 || row % 31 == 7).collect());
        for rows in samples {
            let mut bytes = Vec::new();
            encode(&rows, &mut bytes);
            let blob = Blob::new(Bytes::from(bytes), "f", "c");
            assert!(decode(&blob, 100_000).unwrap().iter().eq(rows.iter().copied()));
        }
    }
}
