//! Cuts a stream of bytes into lines, or into JSON records that spread over lines, in one buffer that holds no more than the
//! longest record.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::InputError;
use crate::json::scan::Extent;
use crate::limits;

/// A stream of bytes with a buffer that records are slices of.
pub(crate) struct Lines {
    stream: Box<dyn Read + Send>,
    /// The address that errors name.
    file: String,
    buffer: Vec<u8>,
    /// The first byte of the buffer that is not given out yet.
    start: usize,
    /// One after the last byte that was read.
    end: usize,
    at_end: bool,
    /// Where `start` is in the stream, counted from the beginning of the file.
    offset: u64,
    /// Lines that begin at this offset or later belong to somebody else.
    limit: u64,
    /// Line ends that were given out.
    line_ends: u64,
    max_row_bytes: usize,
}

/// What [`Lines::next_record`] found.
pub(crate) enum Record {
    /// A value that may span lines.
    Whole(Range<usize>),
    /// A line that begins no value that ends.
    Broken(Range<usize>),
}

impl Lines {
    pub(crate) fn new(
        stream: Box<dyn Read + Send>,
        file: String,
        offset: u64,
        limit: u64,
        max_row_bytes: usize,
    ) -> Self {
        Self {
            stream,
            file,
            buffer: vec![0; limits::READ_BUFFER_BYTES],
            start: 0,
            end: 0,
            at_end: false,
            offset,
            limit,
            line_ends: 0,
            max_row_bytes,
        }
    }

    /// Gives the bytes of a record.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Where the next line begins in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Counts the line ends so far; the line given out last has this number, counted from one.
    pub(crate) fn line_ends(&self) -> u64 {
        self.line_ends
    }

    /// Tells whether a record so far was longer than a buffer.
    pub(crate) fn holds_long_rows(&self) -> bool {
        self.buffer.len() > limits::READ_BUFFER_BYTES
    }

    /// Reads more behind what is there. Gives false at the end of the stream.
    fn fill(&mut self) -> Result<bool, InputError> {
        if self.at_end {
            return Ok(false);
        }
        if self.start > 0 && self.buffer.len() - self.end < limits::READ_BUFFER_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end - self.start > self.max_row_bytes {
                return Err(InputError::Limit {
                    what: "a line or record",
                    path: format!("{}, byte {}", self.file, self.offset),
                    limit: self.max_row_bytes as u64,
                    remedy: "check that the format fits the file, or cut the record",
                });
            }
            let larger = (self.buffer.len() * 2).min(self.max_row_bytes + limits::READ_BUFFER_BYTES);
            self.buffer.resize(larger.max(self.buffer.len() + 1), 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.at_end = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(stream_error(&self.file, e)),
            }
        }
    }

    fn take(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads up to so many bytes ahead without giving them out. Tells whether they are all there are.
    pub(crate) fn peek(&mut self, bytes: usize) -> Result<(&[u8], bool), InputError> {
        while self.end - self.start < bytes && self.fill()? {}
        let end = self.end.min(self.start + bytes);
        Ok((&self.buffer[self.start..end], self.at_end && end == self.end))
    }

    /// Leaves out a byte order mark at the beginning of a file.
    pub(crate) fn skip_mark(&mut self) -> Result<(), InputError> {
        if self.offset == 0 && self.peek(3)?.0 == b"\xef\xbb\xbf" {
            self.take(3);
            // The first line still belongs to the part that holds the first byte.
            self.limit = self.limit.max(self.offset + 1);
        }
        Ok(())
    }

    /// Gives the next line that begins before the limit, without its end.
    #[inline]
    pub(crate) fn next_line(&mut self) -> Result<Option<Range<usize>>, InputError> {
        if self.offset >= self.limit {
            return Ok(None);
        }
        self.any_line()
    }

    /// Gives the next line, whomever it belongs to.
    pub(crate) fn any_line(&mut self) -> Result<Option<Range<usize>>, InputError> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start + searched..self.end];
            if let Some(found) = memchr::memchr(b'\n', unread) {
                let length = searched + found;
                let range = self.start..self.start + length;
                self.take(length + 1);
                self.line_ends += 1;
                return self.checked(range).map(Some);
            }
            searched = self.end - self.start;
            if searched > self.max_row_bytes {
                return self.checked(self.start..self.end).map(Some);
            }
            if !self.fill()? {
                if self.start == self.end {
                    return Ok(None);
                }
                let range = self.start..self.end;
                self.take(searched);
                self.line_ends += 1;
                return self.checked(range).map(Some);
            }
        }
    }

    fn checked(&self, mut range: Range<usize>) -> Result<Range<usize>, InputError> {
        if range.len() > self.max_row_bytes {
            return Err(InputError::Limit {
                what: "a line",
                path: format!("{}, line {}", self.file, self.line_ends.max(1)),
                limit: self.max_row_bytes as u64,
                remedy: "check that the format fits the file, or cut the line",
            });
        }
        if self.buffer[range.clone()].ends_with(b"\r") {
            range.end -= 1;
        }
        Ok(range)
    }

    /// Leaves out bytes up to and with the next line end, for a part that begins within a line.
    pub(crate) fn skip_line(&mut self) -> Result<(), InputError> {
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                self.take(found + 1);
                return Ok(());
            }
            // The line is not ours, so its length does not matter.
            self.take(self.end - self.start);
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Leaves out whitespace and, in an array, commas. Gives the next byte.
    fn skip_between(&mut self, in_array: bool) -> Result<Option<u8>, InputError> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            let between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n') || (in_array && *byte == b',');
            let n = unread.iter().position(|byte| !between(byte)).unwrap_or(unread.len());
            let next = unread.get(n).copied();
            self.line_ends += memchr::memchr_iter(b'\n', &unread[..n]).count() as u64;
            self.take(n);
            if next.is_some() || !self.fill()? {
                return Ok(next);
            }
        }
    }

    /// Leaves out the bracket that opens the array of all records.
    pub(crate) fn open_array(&mut self) -> Result<(), InputError> {
        if self.skip_between(false)? == Some(b'[') {
            self.take(1);
        }
        Ok(())
    }

    /// Gives the next record wherever its lines end. The line ends within it are counted before it is given out.
    pub(crate) fn next_record(&mut self, in_array: bool) -> Result<Option<Record>, InputError> {
        let Some(first) = self.skip_between(in_array)? else {
            return Ok(None);
        };
        if in_array && first == b']' {
            self.take(1);
            return match self.skip_between(false)? {
                None => Ok(None),
                Some(_) => Ok(self.any_line()?.map(Record::Broken)),
            };
        }
        if first != b'{' && !(in_array && first == b'[') {
            return Ok(self.any_line()?.map(Record::Broken));
        }
        let mut extent = Extent::default();
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(length) = extent.find(unread) {
                let range = self.start..self.start + length;
                self.line_ends += memchr::memchr_iter(b'\n', &unread[..length]).count() as u64;
                self.take(length);
                return Ok(Some(Record::Whole(range)));
            }
            if unread.len() > self.max_row_bytes || !self.fill()? {
                return Ok(self.any_line()?.map(Record::Broken));
            }
        }
    }
}

/// Tells a failing disk from bytes that do not decompress.
fn stream_error(file: &str, error: io::Error) -> InputError {
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<InputError>()) {
        return inner.clone();
    }
    match error.kind() {
        io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::Other => InputError::corrupt(file, format!("damaged or cut off: {error}")),
        _ => InputError::io("read", file, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at a time, so that every seam is met.
    struct Dribble(Vec<u8>, usize, usize);

    impl Read for Dribble {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.2.min(to.len()).min(self.0.len() - self.1);
            to[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
            self.1 += n;
            Ok(n)
        }
    }

    fn lines(text: &[u8], step: usize, max_row_bytes: usize) -> Result<Vec<Vec<u8>>, InputError> {
        let stream = Box::new(Dribble(text.to_vec(), 0, step));
        let mut lines = Lines::new(stream, "test".to_string(), 0, u64::MAX, max_row_bytes);
        let mut all = Vec::new();
        while let Some(range) = lines.next_line()? {
            all.push(lines.bytes(range).to_vec());
        }
        assert_eq!(lines.offset(), text.len() as u64);
        Ok(all)
    }

    #[test]
    fn a_line_too_long_is_an_error() {
        let error = lines(b"short\nmuch too long\n", 3, 8).unwrap_err();
        assert!(error.to_string().contains("limit of 8"), "{error}");
        assert!(lines(&vec![b'a'; 3 << 20], 4096, 1 << 20).is_err());
        assert!(lines(&vec![b'a'; 1 << 20], 4096, 1 << 20).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_split(text in proptest::collection::vec(proptest::sample::select(b"ab\r\n".to_vec()), 0..60), step in 1usize..9) {
            let mut expected: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            for line in &mut expected {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
            }
            prop_assert_eq!(lines(&text, step, 100).unwrap(), expected);
        }
    }
}
