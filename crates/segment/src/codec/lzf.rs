//! LZF blocks of older clusters (`com.ning:compress-lzf`).
//!
//! ```text
//! block    chunk │ chunk │ …
//! chunk    "ZV" │ u8 0 │ u16 bytes │ bytes as they are          "ZV" │ u8 1 │ u16 bytes │ u16 original bytes │ compressed
//! inside   000lllll   l + 1 bytes as they are follow
//!          lllooooo oooooooo            l + 2 bytes (l from 1 to 6) again that stand o + 1 bytes back
//!          111ooooo llllllll oooooooo   l + 9 bytes again
//! ```

/// Bytes of a chunk at most.
const CHUNK_BYTES: usize = 0xFFFF;
/// Bytes as they are at a stretch at most.
const RUN_BYTES: usize = 32;
/// How far back a match may lie, and how long it may be.
const WINDOW_BYTES: usize = 1 << 13;
const MATCH_BYTES: usize = 264;
/// Shorter matches save nothing.
const MIN_MATCH_BYTES: usize = 3;
const HASH_BITS: u32 = 14;

/// Appends the compressed form of a block.
pub(crate) fn compress(block: &[u8], out: &mut Vec<u8>) {
    let mut table = vec![u32::MAX; 1 << HASH_BITS];
    for chunk in block.chunks(CHUNK_BYTES) {
        let start = out.len();
        out.extend_from_slice(&[b'Z', b'V', 1, 0, 0]);
        out.extend_from_slice(&(chunk.len() as u16).to_be_bytes());
        let inside = out.len();
        compress_chunk(chunk, &mut table, out);
        let packed = out.len() - inside;
        if packed + 2 < chunk.len() {
            out[start + 3..start + 5].copy_from_slice(&(packed as u16).to_be_bytes());
            continue;
        }
        out.truncate(start);
        out.extend_from_slice(&[b'Z', b'V', 0]);
        out.extend_from_slice(&(chunk.len() as u16).to_be_bytes());
        out.extend_from_slice(chunk);
    }
}

/// Appends the inside of a compressed chunk: at each place the last place of the same three bytes is tried.
fn compress_chunk(chunk: &[u8], table: &mut [u32], out: &mut Vec<u8>) {
    table.fill(u32::MAX);
    let hash = |at: usize| {
        let three = u32::from(chunk[at]) << 16 | u32::from(chunk[at + 1]) << 8 | u32::from(chunk[at + 2]);
        (three.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize
    };
    let put_run = |out: &mut Vec<u8>, run: &[u8]| {
        for run in run.chunks(RUN_BYTES) {
            out.push(run.len() as u8 - 1);
            out.extend_from_slice(run);
        }
    };
    let (mut at, mut run) = (0, 0);
    while at + MIN_MATCH_BYTES <= chunk.len() {
        let slot = &mut table[hash(at)];
        let before = *slot as usize;
        *slot = at as u32;
        let longest = MATCH_BYTES.min(chunk.len() - at);
        let len = match before < at && at - before <= WINDOW_BYTES {
            true => (0..longest).take_while(|i| chunk[before + i] == chunk[at + i]).count(),
            false => 0,
        };
        if len < MIN_MATCH_BYTES {
            at += 1;
            continue;
        }
        put_run(out, &chunk[run..at]);
        let back = at - before - 1;
        match len - 2 {
            short @ 1..=6 => out.push((short << 5 | back >> 8) as u8),
            long => out.extend_from_slice(&[(7 << 5 | back >> 8) as u8, (long - 7) as u8]),
        }
        out.push(back as u8);
        for inside in at + 1..(at + len).min(chunk.len().saturating_sub(MIN_MATCH_BYTES - 1)) {
            table[hash(inside)] = inside as u32;
        }
        at += len;
        run = at;
    }
    put_run(out, &chunk[run..]);
}

/// Decompresses a run of chunks; the error says what is wrong with them.
pub(crate) fn decompress(mut input: &[u8], out: &mut [u8]) -> Result<usize, String> {
    const SHORT: &str = "an LZF chunk that is cut short";
    let mut filled = 0;
    while !input.is_empty() {
        let [b'Z', b'V', kind, hi, lo, rest @ ..] = input else {
            return Err("an LZF chunk beginning with ZV".into());
        };
        let len = usize::from(u16::from_be_bytes([*hi, *lo]));
        match kind {
            0 => {
                let data = rest.get(..len).ok_or(SHORT)?;
                out.get_mut(filled..filled + len)
                    .ok_or("an LZF chunk that fits its block")?
                    .copy_from_slice(data);
                filled += len;
                input = &rest[len..];
            }
            1 => {
                let [hi, lo, rest @ ..] = rest else {
                    return Err(SHORT.into());
                };
                let original = usize::from(u16::from_be_bytes([*hi, *lo]));
                let data = rest.get(..len).ok_or(SHORT)?;
                let target = out
                    .get_mut(filled..filled + original)
                    .ok_or("an LZF chunk that fits its block")?;
                decompress_chunk(data, target)?;
                filled += original;
                input = &rest[len..];
            }
            other => return Err(format!("an LZF chunk of type 0 or 1, found {other}")),
        }
    }
    Ok(filled)
}

/// Decompresses the inside of a compressed chunk.
fn decompress_chunk(data: &[u8], out: &mut [u8]) -> Result<(), String> {
    const SHORT: &str = "LZF data that is cut short";
    const LONG: &str = "LZF data that fits its chunk";
    let (mut at, mut filled) = (0, 0);
    let byte = |at: &mut usize| -> Result<usize, String> {
        let value = data.get(*at).copied().ok_or(SHORT)?;
        *at += 1;
        Ok(usize::from(value))
    };
    while filled < out.len() {
        let control = byte(&mut at)?;
        if control < 32 {
            let len = control + 1;
            let run = data.get(at..at + len).ok_or(SHORT)?;
            out.get_mut(filled..filled + len).ok_or(LONG)?.copy_from_slice(run);
            at += len;
            filled += len;
            continue;
        }
        let mut len = control >> 5;
        if len == 7 {
            len += byte(&mut at)?;
        }
        len += 2;
        let back = ((control & 0x1F) << 8 | byte(&mut at)?) + 1;
        if back > filled {
            return Err("an LZF match inside what was decompressed".into());
        }
        if filled + len > out.len() {
            return Err(LONG.into());
        }
        for i in filled..filled + len {
            out[i] = out[i - back];
        }
        filled += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_may_overlap_and_damage_is_refused() {
        // a literal run "ab", then a match of 6 bytes 2 back
        let data = [b'Z', b'V', 1, 0, 5, 0, 8, 1, b'a', b'b', 4 << 5, 1];
        let mut out = [0; 8];
        assert_eq!(decompress(&data, &mut out).unwrap(), 8);
        assert_eq!(&out, b"abababab");
        for cut in 1..data.len() {
            assert!(decompress(&data[..cut], &mut out).is_err());
        }
        assert!(decompress(&data, &mut out[..7]).is_err());
        let mut packed = Vec::new();
        compress(b"abababababababab", &mut packed);
        assert_eq!(packed, [b'Z', b'V', 1, 0, 6, 0, 16, 1, b'a', b'b', 7 << 5, 5, 1]);
    }

    fn check(block: &[u8]) {
        let mut packed = Vec::new();
        compress(block, &mut packed);
        let mut out = vec![0; block.len()];
        assert_eq!(decompress(&packed, &mut out).unwrap(), block.len());
        assert!(out == block);
        assert!(packed.len() <= block.len() + 7 * block.len().div_ceil(CHUNK_BYTES));
    }

    #[test]
    fn blocks_of_every_kind_come_back() {
        check(&[]);
        check(&[7; 1 << 16]);
        let bytes: Vec<u8> = (0..1u32 << 16).map(|i| ((i * i) >> 9) as u8).collect();
        check(&bytes);
        let far: Vec<u8> = (0..1u32 << 16).map(|i| ((i % 8191 * 31) >> 5) as u8).collect();
        check(&far);
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(block in proptest::collection::vec(0u8..4, 0..3000)) {
            check(&block);
        }
    }
}
