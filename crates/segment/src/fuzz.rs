//! Targets for fuzzing every reader of foreign bytes; not part of the API.
//!
//! 1. A golden segment is loaded as a map of internal files.
//! 2. Some of them are damaged, by a generator that gives the same damage for the same seed.
//! 3. Everything that can be read is read. The result may be an error or other rows, but no panic.
//!
//! `make fuzz` runs this for a bounded time (`examples/fuzz.rs`), every test run does a little of it.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::blob::Blob;
use crate::codec::bitmap::{BitmapIndex, read_bitmap};
use crate::codec::compression::Compression;
use crate::codec::dictionary::StringDictionary;
use crate::codec::int_arrays::IntArrays;
use crate::codec::ints::Ids;
use crate::codec::longs::Longs;
use crate::codec::multi_ints::MultiIds;
use crate::codec::{json_text, smile};
use crate::container::{Container, Projection};
use crate::limits::BLOCK_BYTES;
use crate::projection::Plan;
use crate::{
    BitmapKind, ColumnType, IndexValue, MultiValueHandling, RowSelection, Segment, SegmentError, dump, verify,
};

/// Internal files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A small generator of numbers, so that damage can be repeated.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Gives a number below `below`, 0 if that is 0.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Loads the internal files of a segment in a folder.
pub fn load(path: &Path) -> Result<Files, SegmentError> {
    let container = Container::open(path)?;
    let file = |name: String| container.file(&name).map(|blob| (name, blob.bytes().to_vec()));
    Ok(container.names().into_iter().filter_map(file).collect())
}

/// Opens a segment of internal files.
pub fn open(files: &Files) -> Result<Segment, SegmentError> {
    let files = files
        .iter()
        .map(|(name, bytes)| (name.clone(), Bytes::copy_from_slice(bytes)));
    Segment::from_container(Container::from_files(files.collect()))
}

/// Opens a `druid.segment`.
pub fn open_v10(bytes: &[u8]) -> Result<Segment, SegmentError> {
    Segment::from_container(Container::from_v10(Bytes::copy_from_slice(bytes))?)
}

/// Gives the head of a `druid.segment` with this metadata, as it is or as one Zstandard frame.
pub fn v10_head(metadata: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = vec![10, compression.id()];
    out.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
    match compression {
        Compression::None => out.extend_from_slice(metadata),
        _ => {
            let packed = zstd::bulk::compress(metadata, 3).unwrap_or_default();
            out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            out.extend_from_slice(&packed);
        }
    }
    out
}

/// Damages bytes: cuts them, overwrites or flips some, or repeats a piece.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(&[0; 3]);
    }
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 | 2 => {
            // Lengths and counts lie at the beginning of things, and are most telling when extreme.
            let at = random.below(bytes.len());
            let value = [0x00, 0xFF, 0x7F, 0x80, 0x01][random.below(5)];
            for byte in bytes.iter_mut().skip(at).take(1 + random.below(8)) {
                *byte = value;
            }
        }
        3 => {
            let from = random.below(bytes.len());
            let len = random.below(64).min(bytes.len() - from);
            let piece = bytes[from..from + len].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        4 => {
            let from = random.below(bytes.len());
            let to = (from + random.below(16)).min(bytes.len());
            bytes.drain(from..to);
        }
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
    }
}

/// Reads everything that can be read, to the end, whatever fails on the way.
pub fn read_all(segment: &Segment) {
    for projection in segment.projections() {
        if let Ok(table) = segment.projection(&projection.name) {
            read_all(&table);
        }
    }
    let _ = dump::rows(segment, &mut std::io::sink());
    dump::describe(segment);
    verify(segment);
    let some: RoaringBitmap = (0..segment.rows().min(5000) as u32).step_by(3).collect();
    for info in segment.columns() {
        let name = info.name.as_str();
        let _ = segment.read(name, RowSelection::Rows(&some));
        let _ = segment.null_bitmap(name);
        let _ = segment.range(name);
        for value in [
            IndexValue::Null,
            IndexValue::String("a"),
            IndexValue::Long(1),
            IndexValue::Double(0.5),
        ] {
            let _ = segment.rows_of(name, &value);
            let _ = segment.rows_with_element(name, &value);
            if let Ok(Some(fields)) = segment.json_fields(name) {
                for field in fields.iter().take(20) {
                    let _ = segment.rows_of_json_field(name, &field.path, &value);
                    let _ = segment.rows_with_json_element(name, &field.path, &value);
                    let _ = segment.read_json_field(name, &field.path, RowSelection::Rows(&some));
                }
            }
        }
        if let Some(dictionary) = segment.dictionary(name) {
            for id in (0..dictionary.len().min(100_000) as u32).step_by(dictionary.len() / 50 + 1) {
                let _ = dictionary.get(id);
                let _ = segment.bitmap(name, id);
            }
            let _ = dictionary.lookup("a value");
        }
    }
}

/// Damages one to three internal files of a segment and reads what is left of it.
pub fn segment(files: &Files, random: &mut Random) {
    let mut files = files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    for _ in 0..=random.below(3) {
        let name = &names[random.below(names.len())];
        if random.below(40) == 0 {
            files.remove(name);
        } else if let Some(bytes) = files.get_mut(name) {
            damage(bytes, random);
        }
    }
    if let Ok(segment) = open(&files) {
        read_all(&segment);
    }
}

/// A reader of plain bytes.
pub type Target = fn(&[u8]);

/// Every reader that takes plain bytes, by name.
pub const TARGETS: [(&str, Target); 14] = [
    ("v10", |bytes| {
        let _ = open_v10(bytes).map(|segment| read_all(&segment));
        let _ = open_v10(&v10_head(bytes, Compression::None)).map(|segment| read_all(&segment));
    }),
    ("projections", |bytes| {
        if let Ok(json) = serde_json::from_slice(bytes)
            && let Ok(projection) = Projection::read(&json)
        {
            let _ = Plan::new(&projection, |_| Some(ColumnType::LONG), |_| MultiValueHandling::Array);
        }
    }),
    ("smile", |bytes| {
        let mut out = Vec::new();
        let document = [b":)\n\x05", bytes].concat();
        let _ = smile::to_json(&blob(&document), &mut out);
        let _ = smile::to_json(&blob(bytes), &mut Vec::new());
    }),
    ("json", |bytes| {
        let _ = json_text::parse(&String::from_utf8_lossy(bytes));
    }),
    ("roaring", |bytes| {
        let _ = read_bitmap(&blob(bytes), BitmapKind::Roaring, 100_000);
    }),
    ("concise", |bytes| {
        let _ = read_bitmap(&blob(bytes), BitmapKind::Concise, 100_000);
    }),
    ("bitmap-index", |bytes| {
        let blob = blob(bytes);
        let index = BitmapIndex::read(&mut blob.cursor(), &nothing(), BitmapKind::Roaring, 100_000, 3);
        if let Ok(Some(index)) = index {
            (0..3).for_each(|id| drop(index.get(id)));
        }
    }),
    ("dictionary", |bytes| {
        for head in [&[][..], &[0x7F, 1]] {
            let bytes = [head, bytes].concat();
            let blob = blob(&bytes);
            if let Ok(dictionary) = StringDictionary::read(&mut blob.cursor(), &nothing()) {
                let _ = dictionary.values();
                let _ = dictionary.check();
                let _ = dictionary.lookup("m");
            }
        }
    }),
    ("ids", |bytes| {
        let blob = blob(bytes);
        if let Ok(ids) = Ids::read(&mut blob.cursor(), &nothing()) {
            let _ = crate::codec::blocks::read_values(&ids, &RowSelection::All);
        }
    }),
    ("multi-value-ids", |bytes| {
        let blob = blob(bytes);
        if let Ok(ids) = MultiIds::read(&mut blob.cursor(), &nothing()) {
            let _ = ids.read_rows(&RowSelection::All);
        }
    }),
    ("longs", |bytes| {
        let blob = blob(bytes);
        if let Ok(longs) = Longs::read(&mut blob.cursor(), &nothing()) {
            let _ = crate::codec::blocks::read_values(&longs, &RowSelection::All);
        }
    }),
    ("arrays", |bytes| {
        let _ = IntArrays::read(&mut blob(bytes).cursor());
    }),
    ("lzf", |bytes| {
        let _ = Compression::Lzf.decompress(bytes, &mut vec![0; BLOCK_BYTES]);
    }),
    ("lz4-and-zstd", |bytes| {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let _ = compression.decompress(bytes, &mut vec![0; BLOCK_BYTES]);
        }
    }),
];

/// Gives a piece of the files to a target, damaged or as it is.
pub fn piece(files: &Files, target: Target, random: &mut Random) {
    let names: Vec<&String> = files.keys().collect();
    let bytes = &files[names[random.below(names.len())]];
    let from = random.below(bytes.len());
    let to = (from + random.below(4096)).min(bytes.len());
    let mut piece = bytes[from..to].to_vec();
    for _ in 0..random.below(4) {
        damage(&mut piece, random);
    }
    target(&piece);
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::new(Bytes::copy_from_slice(bytes), "fuzz", "bytes")
}

fn nothing() -> Container {
    Container::from_files(BTreeMap::new())
}
