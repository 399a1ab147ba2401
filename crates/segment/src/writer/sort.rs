//! Sorts distinct strings in Java's string order.
//!
//! 1. Take the next eight bytes of every string as one big-endian number (bytes mapped so that they compare as Java does), and sort by it.
//! 2. Strings that share the number: those that end within it come first, the shorter before the longer.
//! 3. The others go on with their next eight bytes; few of them are compared byte by byte instead.
//!
//! Comparing numbers that lie side by side beats chasing pointers to strings by far.

use crate::codec::dictionary::{java_order, java_order_byte};

/// Fewer strings than this are compared directly.
const FEW: usize = 12;

/// Deeper than this many bytes strings are compared directly: long equal beginnings are rare, and the stack is finite.
const DEEP: usize = 512;

/// Distinct strings laid end to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strings<'a> {
    pub bytes: &'a [u8],
    pub ends: &'a [u32],
}

impl<'a> Strings<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub fn get(&self, index: u32) -> &'a [u8] {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// Gives the indexes of the strings in order.
    pub fn sorted(&self) -> Vec<u32> {
        // Only lead bytes of U+E000 and above compare otherwise than in UTF-8.
        let mapped = self.bytes.iter().any(|byte| *byte >= 0xEE);
        let mut items: Vec<(u64, u32)> = (0..self.len() as u32).map(|index| (0, index)).collect();
        self.sort(&mut items, 0, mapped);
        items.into_iter().map(|(_, index)| index).collect()
    }

    fn sort(&self, items: &mut [(u64, u32)], depth: usize, mapped: bool) {
        if items.len() < FEW || depth > DEEP {
            items.sort_unstable_by(|a, b| java_order(&self.get(a.1)[depth..], &self.get(b.1)[depth..]));
            return;
        }
        for item in items.iter_mut() {
            item.0 = key(&self.get(item.1)[depth..], mapped);
        }
        items.sort_unstable_by_key(|item| item.0);
        let mut rest = items;
        while let Some(first) = rest.first() {
            let key = first.0;
            let same = rest.iter().take_while(|item| item.0 == key).count();
            let (group, others) = rest.split_at_mut(same);
            rest = others;
            if same > 1 {
                self.sort_group(group, depth, mapped);
            }
        }
    }

    /// Sorts strings that agree in eight bytes from `depth` on, zeros standing for bytes behind the end.
    fn sort_group(&self, group: &mut [(u64, u32)], depth: usize, mapped: bool) {
        let ended = |index: u32| self.get(index).len() <= depth + 8;
        if group.iter().any(|item| ended(item.1)) {
            group.sort_unstable_by_key(|item| self.get(item.1).len().min(depth + 9));
        }
        let first_longer = group.iter().position(|item| !ended(item.1)).unwrap_or(group.len());
        self.sort(&mut group[first_longer..], depth + 8, mapped);
    }
}

#[inline]
fn key(bytes: &[u8], mapped: bool) -> u64 {
    let mut eight = match bytes.first_chunk::<8>() {
        Some(eight) => *eight,
        None => {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            eight
        }
    };
    if mapped {
        eight.iter_mut().for_each(|byte| *byte = java_order_byte(*byte));
    }
    u64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(mut strings: Vec<String>) {
        strings.sort();
        strings.dedup();
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for string in strings.iter().rev() {
            bytes.extend_from_slice(string.as_bytes());
            ends.push(bytes.len() as u32);
        }
        let all = Strings {
            bytes: &bytes,
            ends: &ends,
        };
        let sorted: Vec<&[u8]> = all.sorted().into_iter().map(|i| all.get(i)).collect();
        strings.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        assert!(sorted.iter().copied().eq(strings.iter().map(|s| s.as_bytes())));
    }

    #[test]
    fn long_equal_beginnings_and_zeros() {
        check(
            (0..600)
                .map(|i| format!("{}{}", "a".repeat(i % 37), "\0".repeat(i / 37)))
                .collect(),
        );
        check((0..40).map(|i| format!("{}{i}", "x".repeat(5000))).collect());
    }

    proptest! {
        #[test]
        fn agrees_with_utf16_order(strings in proptest::collection::vec("[ab\u{0}\u{e000}\u{ffff}\u{10000}é]{0,20}", 0..200)) {
            check(strings);
        }
    }
}
