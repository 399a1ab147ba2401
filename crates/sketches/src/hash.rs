//! The two hash functions that Druid's own collectors use.
//!
//! * Austin Appleby's MurmurHash3 x64 128 (Guava's `Hashing.murmur3_128`, seed 0, for `hyperUnique` and `cardinality`;
//!   DataSketches, seed 9001, for tuple sketches).
//! * Hive's 64-bit variant of it (`org.apache.hive.common.util.Murmur3`, seed 104729) for bloom filters.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn mix_k1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut k: u64) -> u64 {
    k ^= k >> 33;
    k = k.wrapping_mul(0xff51_afd7_ed55_8ccd);
    k ^= k >> 33;
    k = k.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

/// Reads up to 8 bytes as a little-endian number.
fn tail_le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .enumerate()
        .fold(0, |word, (index, byte)| word | u64::from(*byte) << (8 * index))
}

/// Hashes bytes to 128 bits.
pub(crate) fn murmur3_128(bytes: &[u8], seed: u64) -> (u64, u64) {
    let (mut h1, mut h2) = (seed, seed);
    let blocks = bytes.chunks_exact(16);
    let tail = blocks.remainder();
    for block in blocks {
        h1 ^= mix_k1(tail_le(&block[..8]));
        h1 = h1
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 ^= mix_k2(tail_le(&block[8..]));
        h2 = h2
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    if tail.len() > 8 {
        h2 ^= mix_k2(tail_le(&tail[8..]));
    }
    if !tail.is_empty() {
        h1 ^= mix_k1(tail_le(&tail[..tail.len().min(8)]));
    }
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2)
}

/// What Hive's filter takes for the hash of null.
pub(crate) const HIVE_NULL: u64 = 2_862_933_555_777_941_757;

/// Hashes bytes to Hive's 64 bits.
pub(crate) fn hive_murmur3(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 104_729;
    let blocks = bytes.chunks_exact(8);
    let tail = blocks.remainder();
    for block in blocks {
        hash ^= mix_k1(tail_le(block));
        hash = hash.rotate_left(27).wrapping_mul(5).wrapping_add(0x52dc_e729);
    }
    if !tail.is_empty() {
        hash ^= mix_k1(tail_le(tail));
    }
    finish(hash ^ bytes.len() as u64)
}

/// Hashes a long to Hive's 64 bits: its bytes are taken from the highest down.
pub(crate) fn hive_murmur3_long(value: i64) -> u64 {
    hive_murmur3(&value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_test_vectors_of_murmur3() {
        assert_eq!(murmur3_128(b"", 0), (0, 0));
        // From the reference implementation's verification texts, as Guava's tests list them.
        assert_eq!(murmur3_128(b"abc", 0), (0xb496_3f3f_3fad_7867, 0x3ba2_7441_26ca_2d52));
        assert_eq!(
            murmur3_128(b"The quick brown fox jumps over the lazy dog", 0),
            (0xe34b_bc7b_bc07_1b6c, 0x7a43_3ca9_c49a_9347)
        );
    }
}
