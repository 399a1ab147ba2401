//! Text formats: bytes to lines, lines to rows, rows to batches, with the bookkeeping of bad rows.

mod delimited;
mod lines;

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::column::Column;
use crate::compression::Compression;
use crate::error::{InputError, ParseIssue};
use crate::file::{FileId, FileInfo};
use crate::json::decoder::JsonDecoder;
use crate::json::scan::skip_whitespace;
use crate::json::{self, Layout};
use crate::limits;
use crate::observer::{ReadObserver, Strict};
use crate::reader::{PartReader, ReadContext, ReadOptions};
use crate::spec::{DelimitedFormat, ExternColumn, ExternSpec, ExternType, InputFormat, SystemField};
use crate::split::{PartRange, SplitPart};
use delimited::DelimitedDecoder;
use lines::{Lines, Record};

enum Decoder {
    Json {
        decoder: JsonDecoder,
        layout: Layout,
    },
    Delimited(DelimitedDecoder),
    /// The line itself, for every column called `line`.
    Line {
        is_line: Vec<bool>,
    },
}

struct TextReader {
    context: Arc<ReadContext>,
    schema: SchemaRef,
    part: SplitPart,
    lines: Lines,
    decoder: Decoder,
    /// Columns that are read, which come before the constant ones in neither order: `layout` says where each is.
    columns: Vec<Column>,
    /// For each column of the schema: a read one, or a text that is the same in all rows.
    arrangement: Vec<Arrangement>,
    rows: usize,
    /// Rows of this file that were good, and lines that were no rows, for the numbers in messages.
    good_records: u64,
    /// Bytes told to the observer; `None` when the stored bytes are counted as they are decompressed.
    told_bytes: Option<u64>,
    /// Where the rest of a line of many objects is, when the batch was full: its bytes and where to go on.
    rest: Option<(std::ops::Range<usize>, usize)>,
    /// Where the first line of this part begins.
    first_offset: u64,
    /// Lines before that, counted when the first bad row asks.
    before: Option<Option<u64>>,
    header_lines: u64,
}

enum Arrangement {
    Read(usize),
    Constant(Option<String>),
}

/// Opens a part of a text file.
pub(crate) fn open(
    context: Arc<ReadContext>,
    part: &SplitPart,
    schema: SchemaRef,
) -> Result<Box<dyn PartReader>, InputError> {
    let spec = &context.spec;
    let (start, limit) = match part.range {
        PartRange::Whole => (0, u64::MAX),
        PartRange::Lines { start, end } => (start, end),
        PartRange::RowGroups { .. } => return Err(InputError::corrupt("split", "a text file has no row groups")),
    };
    let mut arrangement = Vec::new();
    let mut read: Vec<&ExternColumn> = Vec::new();
    for column in context.options.projection.iter().filter_map(|&i| spec.columns.get(i)) {
        arrangement.push(match constant(spec, part, &column.name) {
            Some(text) => Arrangement::Constant(text),
            None => {
                read.push(column);
                Arrangement::Read(read.len() - 1)
            }
        });
    }
    let columns = read
        .iter()
        .map(|column| Column::new(column, context.options.batch_rows))
        .collect();
    let (mut lines, compressed) = stream(&context, part, start, limit)?;
    let mut header_lines = 0;
    let decoder = match &spec.format {
        InputFormat::Json(format) => {
            let lines_only = format.assume_newline_delimited || matches!(part.range, PartRange::Lines { .. });
            let layout = if lines_only {
                Layout::Lines
            } else {
                let (head, is_all) = lines.peek(limits::SNIFF_BYTES)?;
                json::layout(head, is_all)
            };
            if layout == Layout::Array {
                lines.open_array()?;
            }
            let decoder = JsonDecoder::new(format, read.iter().copied());
            Decoder::Json { decoder, layout }
        }
        InputFormat::Csv(format) | InputFormat::Tsv(format) => {
            let quotes = matches!(spec.format, InputFormat::Csv(_));
            let mut decoder = DelimitedDecoder::new(format, quotes);
            header_lines = u64::from(format.skip_header_rows) + u64::from(format.find_columns_from_header);
            let names = if start == 0 {
                header(&mut lines, format, &mut decoder, spec, part)?
            } else {
                // The header is at the beginning of the file, whichever part this is.
                let whole = SplitPart {
                    range: PartRange::Whole,
                    ..part.clone()
                };
                let (mut beginning, _) = stream(&context, &whole, 0, u64::MAX)?;
                let names = header(&mut beginning, format, &mut decoder, spec, part)?;
                if beginning.offset() > start {
                    lines = stream(&context, part, beginning.offset(), limit)?.0;
                }
                names
            };
            let types = read
                .iter()
                .map(|column| (column.name.as_str(), column.column_type.clone()));
            decoder.bind(&names, types);
            Decoder::Delimited(decoder)
        }
        InputFormat::Lines => Decoder::Line {
            is_line: read.iter().map(|column| column.name == "line").collect(),
        },
        InputFormat::Parquet(_) => return Err(InputError::corrupt("split", "parquet is no text")),
    };
    // The header is part of the first part's bytes.
    let told_bytes = (!compressed).then_some(if start == 0 { 0 } else { lines.offset() });
    Ok(Box::new(TextReader {
        rest: None,
        first_offset: lines.offset(),
        part: part.clone(),
        schema,
        lines,
        decoder,
        columns,
        arrangement,
        rows: 0,
        good_records: 0,
        told_bytes,
        before: None,
        header_lines,
        context,
    }))
}

/// Gives the text of a column that is about the file, if it is one.
pub(crate) fn constant(spec: &ExternSpec, part: &SplitPart, name: &str) -> Option<Option<String>> {
    let fields = spec.source.leaves().get(part.leaf)?.system_fields();
    let field = fields.iter().find(|field| field.name() == name)?;
    Some(match field {
        SystemField::Uri => spec.uri_of(part.leaf, &part.file),
        SystemField::Path => spec.path_of(part.leaf, &part.file),
    })
}

/// Opens the bytes of a part at the first line that begins at `start` or later. Tells whether they are compressed.
fn stream(context: &ReadContext, part: &SplitPart, start: u64, limit: u64) -> Result<(Lines, bool), InputError> {
    let spec = &context.spec;
    let name = spec
        .uri_of(part.leaf, &part.file)
        .unwrap_or_else(|| "inline data".to_string());
    let compression = match &part.file {
        FileId::Inline => Compression::None,
        _ => Compression::of_name(name.split(['?', '#']).next().unwrap_or_default()),
    };
    // A line begins at `start` if the byte before it ends one.
    let stored = spec.open(part.leaf, &part.file, start.saturating_sub(1))?;
    let max_row_bytes = context.options.max_row_bytes.clamp(1, limits::MAX_MAX_ROW_BYTES);
    if compression == Compression::None {
        let mut lines = Lines::new(stored, name, start.saturating_sub(1), limit, max_row_bytes);
        if start > 0 {
            lines.skip_line()?;
        } else {
            lines.skip_mark()?;
        }
        return Ok((lines, false));
    }
    let counted = Box::new(Counted {
        inner: stored,
        observer: Arc::clone(&context.observer),
    });
    let mut lines = Lines::new(compression.decoder(&name, counted)?, name, 0, limit, max_row_bytes);
    lines.skip_mark()?;
    Ok((lines, true))
}

/// Reads past the header of a file and gives the names of its fields.
fn header(
    lines: &mut Lines,
    format: &DelimitedFormat,
    decoder: &mut DelimitedDecoder,
    spec: &ExternSpec,
    part: &SplitPart,
) -> Result<Vec<String>, InputError> {
    let mut header = None;
    for _ in 0..format.skip_header_rows {
        if lines.any_line()?.is_none() {
            break;
        }
    }
    if format.find_columns_from_header {
        header = lines.any_line()?;
    }
    let Some(range) = header else {
        return Ok(format.columns.clone());
    };
    let line = String::from_utf8_lossy(lines.bytes(range)).into_owned();
    decoder.header(&line).map_err(|message| {
        InputError::BadRow(Box::new(ParseIssue {
            message,
            file: spec.uri_of(part.leaf, &part.file),
            record: None,
            line: None,
            field: None,
            detail: Some(format!("line {} is the header", lines.line_ends())),
        }))
    })
}

/// Reads the names of the fields from the header of a file, for a sample.
pub(crate) fn header_names(
    spec: &ExternSpec,
    format: &DelimitedFormat,
    file: &FileInfo,
) -> Result<Vec<String>, InputError> {
    let context = ReadContext {
        spec: spec.clone(),
        options: ReadOptions::projected(Vec::new()),
        observer: Arc::new(Strict),
    };
    let part = SplitPart {
        leaf: file.leaf,
        file: file.id.clone(),
        range: PartRange::Whole,
    };
    let quotes = matches!(spec.format, InputFormat::Csv(_));
    let (mut lines, _) = stream(&context, &part, 0, u64::MAX)?;
    header(
        &mut lines,
        format,
        &mut DelimitedDecoder::new(format, quotes),
        spec,
        &part,
    )
}

struct Counted {
    inner: Box<dyn Read + Send>,
    observer: Arc<dyn ReadObserver>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(to)?;
        self.observer.bytes(n as u64);
        Ok(n)
    }
}

/// Why a row was refused.
struct Refusal {
    row: String,
    detail: String,
}

impl Refusal {
    fn new(row: &str, detail: impl ToString) -> Self {
        let mut end = row.len().min(limits::MAX_ISSUE_TEXT_BYTES);
        while !row.is_char_boundary(end) {
            end -= 1;
        }
        let cut = if end < row.len() { "..." } else { "" };
        Self {
            row: format!("{}{cut}", &row[..end]),
            detail: detail.to_string(),
        }
    }
}

impl TextReader {
    /// Reads the next line or record, or the rest of one. Gives false at the end.
    #[inline]
    fn step(&mut self) -> Result<bool, InputError> {
        if let Some((range, at)) = self.rest.take() {
            self.decode(range, at)?;
            return Ok(true);
        }
        let spread = match &self.decoder {
            Decoder::Json { layout, .. } if *layout != Layout::Lines => Some(*layout == Layout::Array),
            _ => None,
        };
        let Some(in_array) = spread else {
            let Some(range) = self.lines.next_line()? else {
                return Ok(false);
            };
            self.decode(range, 0)?;
            return Ok(true);
        };
        match self.lines.next_record(in_array)? {
            None => return Ok(false),
            Some(Record::Whole(range)) => self.decode(range, 0)?,
            Some(Record::Broken(range)) => {
                // Looking for the end of the next record would walk over the rest of the file again.
                if let Decoder::Json { layout, .. } = &mut self.decoder {
                    *layout = Layout::Lines;
                }
                let text = String::from_utf8_lossy(self.lines.bytes(range)).into_owned();
                self.refuse(Refusal::new(&text, "expected an object that ends"))?;
            }
        }
        Ok(true)
    }

    /// Adds the rows of a line or record from this byte of it on, as many as the batch takes.
    fn decode(&mut self, range: std::ops::Range<usize>, from: usize) -> Result<(), InputError> {
        let bytes = self.lines.bytes(range.clone());
        // Sound UTF-8 costs nothing; what is not is repaired as Java repairs it.
        let text: Cow<'_, str> = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        };
        let mut refusal = None;
        match &mut self.decoder {
            Decoder::Json { decoder, .. } => {
                let grammar = decoder.grammar(&text);
                let mut at = skip_whitespace(text.as_bytes(), from);
                // A line may hold several objects; other things behind the first value are ignored, as in Druid.
                while at < text.len() {
                    if self.rows >= self.context.options.batch_rows {
                        self.rest = Some((range, at));
                        break;
                    }
                    match decoder.scan(&text, at, grammar) {
                        Err(unsound) => {
                            refusal = Some(Refusal::new(&text, unsound));
                            break;
                        }
                        Ok(end) => {
                            if let Err((i, misfit)) = decoder.emit(&text, (at, end), &mut self.columns) {
                                return Err(self.misfit(i, misfit.message));
                            }
                            self.rows += 1;
                            self.good_records += 1;
                            at = skip_whitespace(text.as_bytes(), end);
                            if text.as_bytes().get(at) != Some(&b'{') {
                                break;
                            }
                        }
                    }
                }
            }
            Decoder::Delimited(decoder) => {
                decoder.push(&text, &mut self.columns);
                self.rows += 1;
                self.good_records += 1;
            }
            Decoder::Line { is_line } => {
                for (column, is_line) in self.columns.iter_mut().zip(is_line) {
                    if *is_line {
                        column.push_text(&text)
                    } else {
                        column.push_null()
                    }
                }
                self.rows += 1;
                self.good_records += 1;
            }
        }
        match refusal {
            None => Ok(()),
            Some(refusal) => self.refuse(refusal),
        }
    }

    #[cold]
    fn refuse(&mut self, refusal: Refusal) -> Result<(), InputError> {
        let before = self.lines_before();
        let records_before = before.map(|lines| lines.saturating_sub(self.header_lines_before()));
        let issue = ParseIssue {
            message: format!("Unable to parse row [{}]", refusal.row),
            file: self.context.spec.uri_of(self.part.leaf, &self.part.file),
            record: records_before.map(|records| records + self.good_records + 1),
            line: before.map(|lines| lines + self.lines.line_ends()),
            field: None,
            detail: Some(refusal.detail),
        };
        match self.context.observer.bad_row(issue.clone()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(InputError::BadRow(Box::new(issue))),
        }
    }

    fn header_lines_before(&self) -> u64 {
        if self.part.range.is_first() {
            0
        } else {
            self.header_lines
        }
    }

    #[cold]
    fn misfit(&mut self, position: usize, message: String) -> InputError {
        let line = self.lines_before().map(|lines| lines + self.lines.line_ends());
        let file = self.context.spec.uri_of(self.part.leaf, &self.part.file);
        let mut place = file.unwrap_or_else(|| "inline data".to_string());
        if let Some(line) = line {
            place.push_str(&format!(", line {line}"));
        }
        let index = self
            .arrangement
            .iter()
            .position(|a| matches!(a, Arrangement::Read(i) if *i == position));
        let column = index
            .and_then(|i| self.schema.fields().get(i))
            .map(|field| field.name().clone());
        InputError::InvalidField {
            column: column.unwrap_or_default(),
            message,
            place,
        }
    }

    /// Counts the lines before this part. The parts before it are read by others, so the bytes are gone through again, at the
    /// price of one look for line ends, and only for a message. Nobody fetches a file again for that.
    fn lines_before(&mut self) -> Option<u64> {
        if let Some(before) = self.before {
            return before;
        }
        let before = match (&self.part.range, &self.part.file) {
            (PartRange::Lines { start, .. }, FileId::Local(_)) if *start > 0 => {
                self.count_lines(self.first_offset).ok()
            }
            (range, _) if range.is_first() => Some(0),
            _ => None,
        };
        self.before = Some(before);
        before
    }

    fn count_lines(&self, end: u64) -> Result<u64, InputError> {
        let failed = |e| InputError::io("read", "", e);
        let mut stream = self.context.spec.open(self.part.leaf, &self.part.file, 0)?.take(end);
        let mut buffer = vec![0; limits::READ_BUFFER_BYTES];
        let mut count = 0;
        loop {
            let n = stream.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                return Ok(count);
            }
            count += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64;
        }
    }

    fn finish_batch(&mut self) -> Result<RecordBatch, InputError> {
        let failed = |e: arrow::error::ArrowError| InputError::corrupt("batch", e.to_string());
        let mut read = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            read.push(column.finish().map_err(failed)?);
        }
        let mut arrays = Vec::with_capacity(self.arrangement.len());
        for (arrangement, field) in self.arrangement.iter().zip(self.schema.fields()) {
            arrays.push(match arrangement {
                Arrangement::Read(i) => Arc::clone(&read[*i]),
                Arrangement::Constant(text) => constant_array(field.name(), text.as_deref(), &self.context, self.rows)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(failed)
    }
}

/// Makes a column that is the same text in all rows.
pub(crate) fn constant_array(
    name: &str,
    text: Option<&str>,
    context: &ReadContext,
    rows: usize,
) -> Result<arrow::array::ArrayRef, InputError> {
    let spec = &context.spec;
    let declared = spec.columns.iter().find(|column| column.name == name).cloned();
    let mut column = Column::new(
        &declared.unwrap_or_else(|| ExternColumn::new(name, ExternType::String)),
        rows,
    );
    for _ in 0..rows {
        match text {
            Some(text) => column.push_text(text),
            None => column.push_null(),
        }
    }
    column.finish().map_err(|e| InputError::corrupt("batch", e.to_string()))
}

/// How many rows go by between two looks at how much text a batch holds.
const ROWS_BETWEEN_CHECKS: usize = 64;

impl PartReader for TextReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, InputError> {
        let mut more = true;
        let mut checked = 0;
        while self.rows < self.context.options.batch_rows {
            more = self.step()?;
            if !more {
                break;
            }
            // Long rows are looked at one by one, short ones now and then.
            if self.rows >= checked + ROWS_BETWEEN_CHECKS || self.lines.holds_long_rows() {
                checked = self.rows;
                let bytes: usize = self.columns.iter().map(Column::text_bytes).sum();
                if bytes >= limits::MAX_BATCH_BYTES {
                    break;
                }
            }
        }
        if let Some(told) = &mut self.told_bytes {
            let offset = self.lines.offset();
            self.context.observer.bytes(offset.saturating_sub(*told));
            *told = offset;
        }
        if self.rows == 0 {
            debug_assert!(!more || self.context.options.batch_rows == 0);
            return Ok(None);
        }
        self.finish_batch().map(Some)
    }
}
