//! Turns one JSON object into one row: a single pass over its fields notes where the wanted values are, then every column
//! takes its value. Nothing reaches a column before the whole object is known to be sound, so a bad row leaves no trace.
//!
//! Names are looked up by their order in the row before: records of one file almost always have the same fields in the same
//! order, so a name costs one comparison of bytes, wanted or not.

use std::collections::HashMap;

use super::raw::{Kind, RawJson};
use super::scan::{self, Grammar, Unsound};
use crate::column::{Column, Misfit};
use crate::spec::{ExternColumn, JsonFormat, PathStep};

/// Where a field ends up.
type Slot = u32;

/// What stands in a slot: the value, as bytes of the record.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    kind: Option<Kind>,
}

const ABSENT: Found = Found {
    start: 0,
    end: 0,
    kind: None,
};

/// Where a column takes its value from.
enum Origin {
    /// Nowhere: it is always null.
    Nothing,
    /// A field at the root.
    Root(Slot),
    /// What a path finds below a field at the root.
    Below(Slot, Vec<PathStep>),
    /// What a path finds in the whole record.
    Record(Vec<PathStep>),
}

/// A name met in the row before at the same place, as it stands in the text: `"name"` with quotes.
struct Expected {
    quoted: Box<[u8]>,
    slot: Option<Slot>,
}

pub(crate) struct JsonDecoder {
    slots: HashMap<Box<str>, Slot>,
    found: Vec<Found>,
    origins: Vec<Origin>,
    expected: Vec<Expected>,
    allow_controls: bool,
    non_numeric: bool,
    scratch: String,
    list: String,
}

/// Names that are remembered in order; records with more fields look the rest up.
const MAX_EXPECTED: usize = 4_096;

impl JsonDecoder {
    pub(crate) fn new<'a>(format: &JsonFormat, columns: impl Iterator<Item = &'a ExternColumn>) -> Self {
        let mut slots: HashMap<Box<str>, Slot> = HashMap::new();
        let mut slot_of = |name: &str| {
            let next = slots.len() as Slot;
            *slots.entry(name.into()).or_insert(next)
        };
        let origins = columns
            .map(|column| {
                let path = format
                    .flatten
                    .as_ref()
                    .and_then(|flatten| flatten.path_of(&column.name));
                let discovers = format.flatten.as_ref().is_none_or(|flatten| flatten.discover);
                match path {
                    Some([PathStep::Field(name)]) => Origin::Root(slot_of(name)),
                    Some([PathStep::Field(name), rest @ ..]) => Origin::Below(slot_of(name), rest.to_vec()),
                    Some(path) => Origin::Record(path.to_vec()),
                    None if discovers => Origin::Root(slot_of(&column.name)),
                    None => Origin::Nothing,
                }
            })
            .collect();
        Self {
            found: vec![ABSENT; slots.len()],
            slots,
            origins,
            expected: Vec::new(),
            allow_controls: format.allow_control_characters,
            non_numeric: format.allow_non_numeric_numbers,
            scratch: String::new(),
            list: String::new(),
        }
    }

    /// Looks at a whole record for what its grammar must mind. Once for each text, not for each object of it.
    pub(crate) fn grammar(&self, text: &str) -> Grammar {
        Grammar {
            // Almost no record has any; one pass over all bytes at once spares every string its own.
            check_controls: !self.allow_controls && text.bytes().any(|byte| byte < 0x20),
            non_numeric: self.non_numeric,
        }
    }

    /// Scans the value that begins at this byte and notes the fields of an object. Gives the byte after it. A value that is
    /// no object is a row without fields, as in Druid.
    pub(crate) fn scan(&mut self, text: &str, at: usize, grammar: Grammar) -> Result<usize, Unsound> {
        self.found.fill(ABSENT);
        let bytes = text.as_bytes();
        if bytes.get(at) != Some(&b'{') {
            return scan::value(bytes, at, grammar).map(|(_, end)| end);
        }
        let mut at = scan::skip_whitespace(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        let mut position = 0;
        loop {
            let (slot, end) = self.name(text, at, position, grammar)?;
            position += 1;
            at = end;
            if bytes.get(at) != Some(&b':') {
                at = scan::skip_whitespace(bytes, at);
                if bytes.get(at) != Some(&b':') {
                    return Err(Unsound { expected: ":", at });
                }
            }
            let start = scan::skip_whitespace(bytes, at + 1);
            let (kind, end) = scan::value(bytes, start, grammar)?;
            if let Some(slot) = slot {
                // The last of several fields of one name counts, as in Jackson.
                self.found[slot as usize] = Found {
                    start,
                    end,
                    kind: Some(kind),
                };
            }
            at = scan::skip_whitespace(bytes, end);
            match bytes.get(at) {
                Some(b',') => at = scan::skip_whitespace(bytes, at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return Err(Unsound { expected: ", or }", at }),
            }
        }
    }

    /// Reads a name and finds its slot. Gives the byte after its quote.
    #[inline]
    fn name(
        &mut self,
        text: &str,
        at: usize,
        position: usize,
        grammar: Grammar,
    ) -> Result<(Option<Slot>, usize), Unsound> {
        let bytes = text.as_bytes();
        if let Some(expected) = self.expected.get(position)
            && bytes[at..].starts_with(&expected.quoted)
        {
            return Ok((expected.slot, at + expected.quoted.len()));
        }
        self.unexpected_name(text, at, position, grammar)
    }

    #[cold]
    fn unexpected_name(
        &mut self,
        text: &str,
        at: usize,
        position: usize,
        grammar: Grammar,
    ) -> Result<(Option<Slot>, usize), Unsound> {
        let bytes = text.as_bytes();
        if bytes.get(at) != Some(&b'"') {
            let at = at.min(bytes.len());
            return Err(Unsound {
                expected: "a name in quotes",
                at,
            });
        }
        let (kind, end) = scan::string(bytes, at + 1, grammar)?;
        let quoted = text.get(at..end).unwrap_or_default();
        let raw = RawJson { kind, raw: quoted };
        if kind == Kind::EscapedText {
            self.scratch.clear();
            raw.unescape(&mut self.scratch);
            return Ok((self.slots.get(self.scratch.as_str()).copied(), end));
        }
        let slot = self.slots.get(raw.content()).copied();
        let expected = Expected {
            quoted: quoted.as_bytes().into(),
            slot,
        };
        if position < self.expected.len() {
            self.expected[position] = expected;
        } else if position == self.expected.len() && position < MAX_EXPECTED {
            self.expected.push(expected);
        }
        Ok((slot, end))
    }

    /// Gives every column its value out of the record that was scanned last. Columns come in the order they were given to
    /// [`new`](Self::new). On a misfit it tells the position of the column.
    pub(crate) fn emit(
        &mut self,
        text: &str,
        record: (usize, usize),
        columns: &mut [Column],
    ) -> Result<(), (usize, Misfit)> {
        let Self {
            origins,
            found,
            scratch,
            list,
            ..
        } = self;
        let value_of = |found: Found| {
            let raw = text.get(found.start..found.end)?;
            found.kind.map(|kind| RawJson { kind, raw })
        };
        for (i, (origin, column)) in origins.iter().zip(columns.iter_mut()).enumerate() {
            let value = match origin {
                Origin::Nothing => None,
                Origin::Root(slot) => value_of(found[*slot as usize]),
                Origin::Below(slot, path) => value_of(found[*slot as usize]).and_then(|value| value.follow(path, list)),
                Origin::Record(path) => text
                    .get(record.0..record.1)
                    .and_then(|record| scan::sound_value(record, 0))
                    .and_then(|(value, _)| value.follow(path, list)),
            };
            match value {
                Some(value) => column.push_json(value, scratch).map_err(|misfit| (i, misfit))?,
                None => column.push_null(),
            }
        }
        Ok(())
    }
}
