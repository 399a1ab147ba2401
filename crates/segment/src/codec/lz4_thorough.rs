//! An LZ4 block encoder that looks for the smallest form, for the one block of a column that is not full.
//!
//! Small segments have nothing but such blocks, and large ones one a column: there the search costs little and saves most. It is at least
//! as good as LZ4's high-compression encoder, which Druid uses.
//!
//! 1. At every byte, find the longest match among the places where the same four bytes were seen, the nearest first.
//! 2. From the end to the beginning, choose literal or match, and how much of it, so that the rest takes the fewest bytes.
//! 3. Write what was chosen.
//!
//! See [`super::lz4`] for the bytes.

use super::lz4::{LAST_LITERALS, MATCH_MARGIN, MAX_DISTANCE, MIN_MATCH, common_len, write_literals, write_sequence};

/// Bits of the hash of four bytes.
const HASH_BITS: u32 = 13;

/// Places that are tried for matches in a block, all in all: short blocks are searched through and through.
const BLOCK_ATTEMPTS: usize = 1 << 18;

/// Places that are tried for one match, at least.
const ATTEMPTS: usize = 16;

/// A match so long is taken as it is; inside it nothing else is looked for.
const LONG_MATCH: usize = 512;

/// Matches longer than this are cut at few places only.
const CUTS: usize = 36;

const NOWHERE: u32 = u32::MAX;

/// A match: how long, how far back; length 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    len: u32,
    distance: u32,
}

/// Finds the smallest form of blocks one after the other, keeping its tables.
#[derive(Debug, Default)]
pub(crate) struct ThoroughEncoder {
    heads: Vec<u32>,
    previous: Vec<u32>,
    matches: Vec<Match>,
    costs: Vec<u32>,
}

impl ThoroughEncoder {
    /// Appends the compressed form of a block.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if input.len() <= MATCH_MARGIN {
            return write_literals(input, out);
        }
        self.find(input);
        self.choose(input.len());
        let (mut at, mut anchor) = (0, 0);
        while at < input.len() {
            let chosen = self.matches[at];
            if chosen.len == 0 {
                at += 1;
                continue;
            }
            write_sequence(&input[anchor..at], chosen.distance as usize, chosen.len as usize, out);
            at += chosen.len as usize;
            anchor = at;
        }
        write_literals(&input[anchor..], out);
    }

    /// Finds the longest match at every byte.
    fn find(&mut self, input: &[u8]) {
        self.heads.clear();
        self.heads.resize(1 << HASH_BITS, NOWHERE);
        self.previous.clear();
        self.previous.resize(input.len(), NOWHERE);
        self.matches.clear();
        self.matches.resize(input.len(), Match::default());
        let last_start = input.len() - MATCH_MARGIN;
        let end = input.len() - LAST_LITERALS;
        let attempts = (BLOCK_ATTEMPTS / input.len()).max(ATTEMPTS);
        let mut at = 0;
        while at <= last_start {
            let best = self.longest(input, at, end, attempts);
            self.matches[at] = best;
            self.remember(input, at);
            at += 1;
            if best.len as usize >= LONG_MATCH {
                // What is left of a long match is as good as anything.
                let stop = (at + best.len as usize - 1 - MIN_MATCH).min(last_start + 1);
                while at < stop {
                    let len = self.matches[at - 1].len - 1;
                    self.matches[at] = Match { len, ..best };
                    self.remember(input, at);
                    at += 1;
                }
            }
        }
    }

    fn longest(&self, input: &[u8], at: usize, end: usize, attempts: usize) -> Match {
        let mut best = Match::default();
        let mut candidate = self.heads[hash(&input[at..])];
        for _ in 0..attempts {
            let place = candidate as usize;
            if candidate == NOWHERE || at - place > MAX_DISTANCE {
                break;
            }
            // A longer match agrees in the byte behind the best one.
            let len = best.len as usize;
            if at + len < end && input[place + len] == input[at + len] {
                let common = common_len(&input[place..], &input[at..end]);
                if common >= MIN_MATCH && common > len {
                    best = Match {
                        len: common as u32,
                        distance: (at - place) as u32,
                    };
                    if common >= LONG_MATCH {
                        break;
                    }
                }
            }
            candidate = self.previous[place];
        }
        best
    }

    fn remember(&mut self, input: &[u8], at: usize) {
        let head = &mut self.heads[hash(&input[at..])];
        self.previous[at] = std::mem::replace(head, at as u32);
    }

    /// Cuts or drops matches so that all is smallest.
    fn choose(&mut self, len: usize) {
        self.costs.clear();
        self.costs.resize(len + 1, 0);
        for at in (0..len).rev() {
            let mut cost = self.costs[at + 1] + 1;
            let found = self.matches[at];
            let mut chosen = Match::default();
            let longest = found.len as usize;
            let mut try_len = |len: usize| {
                let with_match = self.costs[at + len] + match_cost(len);
                if with_match < cost {
                    cost = with_match;
                    chosen = Match {
                        len: len as u32,
                        ..found
                    };
                }
            };
            if longest >= MIN_MATCH {
                try_len(longest);
                (MIN_MATCH..longest.min(CUTS)).rev().for_each(&mut try_len);
            }
            self.costs[at] = cost;
            self.matches[at] = chosen;
        }
    }
}

/// Counts the bytes of a sequence without its literals.
fn match_cost(len: usize) -> u32 {
    let extra = len - MIN_MATCH;
    3 + if extra >= 15 { 1 + (extra as u32 - 15) / 255 } else { 0 }
}

fn hash(bytes: &[u8]) -> usize {
    let four = bytes.first_chunk::<4>().map_or(0, |four| u32::from_le_bytes(*four));
    (four.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;
    use proptest::prelude::*;

    fn check(input: &[u8]) -> usize {
        let mut packed = Vec::new();
        let mut encoder = ThoroughEncoder::default();
        encoder.compress(&[7; 1000], &mut packed);
        packed.clear();
        encoder.compress(input, &mut packed);
        let mut out = vec![0; BLOCK_BYTES];
        let len = lz4_flex::block::decompress_into(&packed, &mut out).unwrap();
        assert_eq!(&out[..len], input);
        let mut again = Vec::new();
        encoder.compress(input, &mut again);
        assert_eq!(packed, again, "the same block gives the same bytes");
        packed.len()
    }

    #[test]
    fn blocks_of_every_kind() {
        let scattered: Vec<u8> = (0..BLOCK_BYTES as u32 - 1)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        check(&scattered);
        check(&vec![0; BLOCK_BYTES - 1]);
        for len in 0..64 {
            check(&vec![1; len]);
            check(&scattered[..len]);
        }
        for len in 500..560 {
            check(&[scattered[..600].to_vec(), scattered[..len].to_vec(), vec![9; 30]].concat());
        }
    }

    #[test]
    fn ascending_longs_become_smaller_than_with_a_fast_encoder() {
        let bytes: Vec<u8> = (0..300i64)
            .flat_map(|i| (1_704_067_200_000 + i * 1000).to_le_bytes())
            .collect();
        let (ours, fast) = (check(&bytes), lz4_flex::block::compress(&bytes).len());
        assert!(ours < fast, "{ours} bytes, the fast encoder makes {fast}");
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(values in proptest::collection::vec(0u8..4, 0..3000)) {
            check(&values);
        }
    }
}
