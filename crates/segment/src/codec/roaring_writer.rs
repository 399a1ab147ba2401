//! Writes roaring bitmaps in the portable format straight from ascending row numbers, without building a bitmap first.
//!
//! ```text
//! no runs   i32le 12346 │ i32le n │ n × (u16 key, u16 cardinality - 1) │ n × u32 container offset │ containers
//! with runs u16 12347 │ u16 n - 1 │ ⌈n/8⌉ bytes: which are runs │ n × (u16 key, u16 cardinality - 1) │ n × u32 offset if n ≥ 4 │ containers
//! container array: u16 … (cardinality ≤ 4096)   bit set: 1024 × u64   runs: u16 count, (u16 start, u16 length - 1) …
//! ```
//!
//! As Druid does, a container becomes runs where that is smaller. A bitmap of one container also does where only the shorter
//! head makes it smaller: the one row of a unique value takes 15 bytes instead of 18.

const COOKIE_NO_RUNS: u32 = 12346;
const COOKIE_RUNS: u16 = 12347;
const ARRAY_MAX: usize = 4096;
const BITSET_BYTES: usize = 8192;
/// Fewer containers have no offsets in the form with runs.
const NO_OFFSET_CONTAINERS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Container {
    key: u16,
    start: u32,
    end: u32,
    runs: u32,
    use_runs: bool,
}

impl Container {
    fn cardinality(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn plain_bytes(&self) -> usize {
        if self.cardinality() <= ARRAY_MAX {
            self.cardinality() * 2
        } else {
            BITSET_BYTES
        }
    }

    fn run_bytes(&self) -> usize {
        2 + 4 * self.runs as usize
    }

    fn bytes(&self) -> usize {
        if self.use_runs {
            self.run_bytes()
        } else {
            self.plain_bytes()
        }
    }
}

/// Serialises bitmaps one after the other, keeping its buffers.
#[derive(Debug, Default)]
pub(crate) struct RoaringWriter {
    containers: Vec<Container>,
}

impl RoaringWriter {
    /// Appends the bitmap of strictly ascending rows to `out`.
    pub fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        if let [row] = rows {
            return write_one(*row, out);
        }
        self.split(rows);
        let n = self.containers.len();
        let any_runs = self.containers.iter().any(|c| c.use_runs);
        if !any_runs && n == 1 {
            let only = &mut self.containers[0];
            only.use_runs = 9 + only.run_bytes() < 16 + only.plain_bytes();
        }
        let any_runs = any_runs || self.containers.first().is_some_and(|c| c.use_runs);
        let start = out.len();
        let head = if any_runs {
            let offsets = if n >= NO_OFFSET_CONTAINERS { 4 * n } else { 0 };
            4 + n.div_ceil(8) + 4 * n + offsets
        } else {
            8 + 8 * n
        };
        if any_runs {
            out.extend_from_slice(&COOKIE_RUNS.to_le_bytes());
            out.extend_from_slice(&((n - 1) as u16).to_le_bytes());
            let flags = out.len();
            out.resize(flags + n.div_ceil(8), 0);
            for (i, _) in self.containers.iter().enumerate().filter(|(_, c)| c.use_runs) {
                out[flags + i / 8] |= 1 << (i % 8);
            }
        } else {
            out.extend_from_slice(&COOKIE_NO_RUNS.to_le_bytes());
            out.extend_from_slice(&(n as u32).to_le_bytes());
        }
        for container in &self.containers {
            out.extend_from_slice(&container.key.to_le_bytes());
            out.extend_from_slice(&((container.cardinality() - 1) as u16).to_le_bytes());
        }
        if !any_runs || n >= NO_OFFSET_CONTAINERS {
            let mut at = head;
            for container in &self.containers {
                out.extend_from_slice(&(at as u32).to_le_bytes());
                at += container.bytes();
            }
        }
        debug_assert_eq!(
            out.len() - start,
            head,
            "the head has the length that the offsets count from"
        );
        for container in &self.containers {
            write_container(container, &rows[container.start as usize..container.end as usize], out);
        }
    }

    /// Cuts rows into containers of equal upper halves and chooses the form of each.
    fn split(&mut self, rows: &[u32]) {
        self.containers.clear();
        let mut previous = u32::MAX;
        for (i, &row) in rows.iter().enumerate() {
            let key = (row >> 16) as u16;
            match self.containers.last_mut() {
                Some(last) if last.key == key => {
                    last.end = i as u32 + 1;
                    last.runs += u32::from(row != previous.wrapping_add(1));
                }
                _ => self.containers.push(Container {
                    key,
                    start: i as u32,
                    end: i as u32 + 1,
                    runs: 1,
                    use_runs: false,
                }),
            }
            previous = row;
        }
        for container in &mut self.containers {
            container.use_runs = container.run_bytes() < container.plain_bytes();
        }
    }
}

fn write_one(row: u32, out: &mut Vec<u8>) {
    let [lo0, lo1, hi0, hi1] = row.to_le_bytes();
    let [cookie0, cookie1] = COOKIE_RUNS.to_le_bytes();
    out.extend_from_slice(&[cookie0, cookie1, 0, 0, 1, hi0, hi1, 0, 0, 1, 0, lo0, lo1, 0, 0]);
}

fn write_container(container: &Container, rows: &[u32], out: &mut Vec<u8>) {
    if container.use_runs {
        out.extend_from_slice(&(container.runs as u16).to_le_bytes());
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let len = 1 + rest.windows(2).take_while(|w| w[1] == w[0] + 1).count();
            out.extend_from_slice(&(first as u16).to_le_bytes());
            out.extend_from_slice(&((len - 1) as u16).to_le_bytes());
            rest = &rest[len..];
        }
    } else if rows.len() <= ARRAY_MAX {
        out.reserve(rows.len() * 2);
        for row in rows {
            out.extend_from_slice(&(*row as u16).to_le_bytes());
        }
    } else {
        let start = out.len();
        out.resize(start + BITSET_BYTES, 0);
        let bits = &mut out[start..];
        for row in rows {
            let low = *row as u16;
            bits[usize::from(low >> 3)] |= 1 << (low & 7);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roaring::RoaringBitmap;

    fn write(rows: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        RoaringWriter::default().write(rows, &mut out);
        out
    }

    #[test]
    fn writes_the_examples_of_the_format() {
        let hex = |text: &str| -> Vec<u8> {
            text.split(' ')
                .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                .collect()
        };
        assert_eq!(write(&[]), hex("3A 30 00 00 00 00 00 00"));
        assert_eq!(
            write(&(0..100).collect::<Vec<_>>()),
            hex("3B 30 00 00 01 00 00 63 00 01 00 00 00 63 00")
        );
        assert_eq!(
            write(&[1, 3, 5, 70000]),
            hex("3A 30 00 00 02 00 00 00 00 00 02 00 01 00 00 00 18 00 00 00 1E 00 00 00 01 00 03 00 05 00 70 11")
        );
    }

    #[test]
    fn a_library_reads_what_is_written() {
        let mut samples: Vec<Vec<u32>> = vec![vec![], vec![0], vec![70_000], vec![5, 6], vec![5, 9], vec![1, 2, 9]];
        samples.push((0..200_000).collect());
        samples.push((0..200_000).step_by(2).collect());
        samples.push((0..600_000).filter(|i| i % 7 < 3 || i % 65536 < 5000).collect());
        samples.push((0..20).map(|i| i * 65536).collect());
        samples.push((0..4097).map(|i| i * 3).collect());
        samples.push((0..4096).map(|i| i * 3).collect());
        for rows in samples {
            let bytes = write(&rows);
            let read = RoaringBitmap::deserialize_from(&bytes[..]).unwrap();
            assert!(read.iter().eq(rows.iter().copied()));
        }
    }
}
