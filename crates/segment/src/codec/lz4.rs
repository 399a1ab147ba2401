//! An LZ4 block encoder for columns: values of one width side by side.
//!
//! Druid compresses with LZ4's high-compression encoder. What that finds in columns are sequences of whole values seen before, so this one
//! looks for just those, in one pass:
//!
//! 1. At every value, look up where the next 4, 2 and 1 values (or bytes that stand for so many) were seen last, the longest first.
//! 2. Take the longest match, lengthen it byte by byte to both sides, write it, and go on behind it.
//! 3. Remember every value passed, inside matches too.
//!
//! ```text
//! block      sequences; the last has literals only
//! sequence   token: literals (high half), match - 4 (low half), 15 = bytes follow, the last below 255 │ literals │ u16le distance │ …
//! ends       the last 5 bytes are literals, the last match begins 12 bytes before the end or earlier
//! ```

/// Shorter matches cannot be written.
pub(super) const MIN_MATCH: usize = 4;
/// Bytes at the end that are always literals.
pub(super) const LAST_LITERALS: usize = 5;
/// Matches begin this far before the end or earlier.
pub(super) const MATCH_MARGIN: usize = 12;
/// How far back a match may lie.
pub(super) const MAX_DISTANCE: usize = 65535;
/// Bits of a hash.
const HASH_BITS: u32 = 14;
/// So many values without a match double the step, as long as none is found.
const PATIENCE: usize = 64;

/// Where values were seen last, by the hash of as many bytes as each table is for.
#[derive(Debug)]
pub(crate) struct Encoder {
    tables: [Vec<u16>; 3],
}

impl Encoder {
    pub fn new() -> Self {
        Self {
            tables: [(); 3].map(|()| vec![0; 1 << HASH_BITS]),
        }
    }

    /// Appends the compressed form of a block of at most 64 KiB whose values are `stride` bytes wide.
    pub fn compress(&mut self, input: &[u8], stride: usize, out: &mut Vec<u8>) {
        let Some(last_start) = input.len().checked_sub(MATCH_MARGIN) else {
            return write_literals(input, out);
        };
        // Positions of the block before would be found again: the same block must always give the same bytes.
        self.tables.iter_mut().for_each(|table| table.fill(0));
        let unit = stride.max(MIN_MATCH.next_multiple_of(stride));
        let lengths = [unit * 4, unit * 2, unit];
        let match_end = input.len() - LAST_LITERALS;
        let (mut at, mut anchor, mut misses) = (0, 0, 0);
        while at <= last_start {
            let Some((mut candidate, mut len)) = self.find(input, at, &lengths, match_end) else {
                misses += 1;
                at += stride * (1 + misses / PATIENCE);
                continue;
            };
            misses = 0;
            let mut start = at;
            while start > anchor && candidate > 0 && input[start - 1] == input[candidate - 1] {
                start -= 1;
                candidate -= 1;
                len += 1;
            }
            write_sequence(&input[anchor..start], start - candidate, len, out);
            anchor = start + len;
            let next = anchor.next_multiple_of(stride);
            at += stride;
            while at < next && at <= last_start {
                self.remember(input, at, &lengths);
                at += stride;
            }
            at = next;
        }
        write_literals(&input[anchor..], out);
    }

    /// Finds the longest match for what begins at `at`, and remembers the place.
    fn find(&mut self, input: &[u8], at: usize, lengths: &[usize; 3], match_end: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for (table, len) in self.tables.iter_mut().zip(lengths) {
            let Some(bytes) = input.get(at..at + len) else {
                continue;
            };
            let slot = &mut table[hash(bytes)];
            let candidate = usize::from(std::mem::replace(slot, at as u16));
            let found_longer = best.is_some_and(|(_, found)| found >= *len);
            if found_longer || candidate >= at || at - candidate > MAX_DISTANCE {
                continue;
            }
            let common = common_len(&input[candidate..], &input[at..match_end]);
            if common >= MIN_MATCH && best.is_none_or(|(_, found)| common > found) {
                best = Some((candidate, common));
            }
        }
        best
    }

    fn remember(&mut self, input: &[u8], at: usize, lengths: &[usize; 3]) {
        for (table, len) in self.tables.iter_mut().zip(lengths) {
            if let Some(bytes) = input.get(at..at + len) {
                table[hash(bytes)] = at as u16;
            }
        }
    }
}

#[inline]
fn hash(bytes: &[u8]) -> usize {
    let mut hash = 0u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 29;
    }
    if !rest.is_empty() {
        let rest = rest.iter().fold(0u64, |acc, byte| acc << 8 | u64::from(*byte));
        hash = (hash ^ rest).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    (hash >> (64 - HASH_BITS)) as usize
}

/// Counts the bytes at the beginning that agree.
#[inline]
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return len + difference.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + a[len..].iter().zip(&b[len..]).take_while(|(x, y)| x == y).count()
}

pub(super) fn write_sequence(literals: &[u8], distance: usize, len: usize, out: &mut Vec<u8>) {
    let extra = len - MIN_MATCH;
    out.push((literals.len().min(15) << 4 | extra.min(15)) as u8);
    write_length(literals.len(), out);
    out.extend_from_slice(literals);
    out.extend_from_slice(&(distance as u16).to_le_bytes());
    write_length(extra, out);
}

pub(super) fn write_literals(literals: &[u8], out: &mut Vec<u8>) {
    out.push((literals.len().min(15) << 4) as u8);
    write_length(literals.len(), out);
    out.extend_from_slice(literals);
}

/// Writes what of a length does not fit into the token.
fn write_length(len: usize, out: &mut Vec<u8>) {
    if let Some(mut rest) = len.checked_sub(15) {
        while rest >= 255 {
            out.push(255);
            rest -= 255;
        }
        out.push(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;
    use proptest::prelude::*;

    fn check(input: &[u8], stride: usize) -> usize {
        let mut packed = Vec::new();
        let mut encoder = Encoder::new();
        encoder.compress(&vec![7; 1000], 1, &mut packed);
        packed.clear();
        encoder.compress(input, stride, &mut packed);
        let mut out = vec![0; BLOCK_BYTES];
        let len = lz4_flex::block::decompress_into(&packed, &mut out).unwrap();
        assert_eq!(&out[..len], input);
        let mut again = Vec::new();
        encoder.compress(input, stride, &mut again);
        assert_eq!(packed, again, "the same block gives the same bytes");
        packed.len()
    }

    #[test]
    fn whole_blocks() {
        for stride in 1..=8 {
            check(&vec![0; BLOCK_BYTES], stride);
            let scattered: Vec<u8> = (0..BLOCK_BYTES as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            check(&scattered, stride);
            for len in 0..64 {
                check(&vec![1; len], stride);
                check(&scattered[..len], stride);
            }
        }
    }

    #[test]
    fn few_distinct_doubles_become_small() {
        let values = (0..8192u64).map(|i| ((i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 11) as f64 / 100.0);
        let bytes: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        let ours = check(&bytes, 8);
        let fast = lz4_flex::block::compress(&bytes).len();
        assert!(ours * 3 < fast * 2, "{ours} bytes, the fast encoder makes {fast}");
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            values in proptest::collection::vec(0u64..6, 0..2000),
            stride in 1usize..9,
        ) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| (v * 0x0102_0304_0506_0708).to_le_bytes()[..stride].to_vec()).collect();
            check(&bytes, stride);
        }
    }
}
