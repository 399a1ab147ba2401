//! Looks at the beginning of external data: which columns there are, and which of them hold several values in a row.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};

use crate::error::{InputError, ParseIssue};
use crate::file::FileInfo;
use crate::json::raw::{Kind, RawJson};
use crate::json::scan::sound_value;
use crate::limits;
use crate::observer::ReadObserver;
use crate::reader::{ReadOptions, read_split};
use crate::spec::{
    DelimitedFormat, ExternColumn, ExternSpec, ExternType, FlattenField, FlattenSpec, InputFormat, InputSource,
    PathStep,
};
use crate::split::whole;
use crate::{number, parquet_file};

/// Skips what it cannot read: a sample is a guess.
struct Lenient;

impl ReadObserver for Lenient {
    fn bytes(&self, _n: u64) {}
    fn rows(&self, _n: u64) {}
    fn file_done(&self) {}
    fn bad_row(&self, _issue: ParseIssue) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Finds columns and types by looking at the first rows of the first files, or at the footer of the first Parquet file. The
/// columns of `spec` are not looked at. Numbers are LONG or DOUBLE, lists of scalars ARRAY, objects `COMPLEX<json>`,
/// everything else STRING; fields of CSV and TSV are STRING as in Druid, unless the format tries to read numbers.
pub fn sample_schema(spec: &ExternSpec) -> Result<Vec<ExternColumn>, InputError> {
    let files = first_files(spec)?;
    let columns = match &spec.format {
        InputFormat::Parquet(_) => match files.first() {
            Some(file) => parquet_file::sample(spec, file.leaf, &file.id)?,
            None => Vec::new(),
        },
        InputFormat::Lines => vec![ExternColumn::new("line", ExternType::String)],
        InputFormat::Json(_) => sample_json(spec, &files)?,
        InputFormat::Csv(format) | InputFormat::Tsv(format) => sample_delimited(spec, format, &files)?,
    };
    Ok(columns)
}

impl ExternSpec {
    /// Finds out which STRING columns hold several values in a row within the sample, and makes them multi-value. A web server that
    /// does not give its sample in [`limits::HTTP_SAMPLE_SECONDS`] is taken for one without such columns: statements are planned at
    /// once, however slow their sources are.
    pub fn mark_multi_values(&mut self) -> Result<(), InputError> {
        let mut probe = self.clone();
        probe.columns.retain(|column| column.column_type == ExternType::String);
        probe.columns.iter_mut().for_each(|column| column.multi_value = true);
        for batch in sample_in_time(&probe, Duration::from_secs(limits::HTTP_SAMPLE_SECONDS))? {
            for (column, array) in probe.columns.iter().zip(batch.columns()) {
                let Some(lists) = array.as_list_opt::<i32>() else {
                    continue;
                };
                if (0..lists.len()).any(|row| lists.value_length(row) > 1) {
                    let marked = self.columns.iter_mut().find(|other| other.name == column.name);
                    marked.into_iter().for_each(|marked| marked.multi_value = true);
                }
            }
        }
        Ok(())
    }
}

/// Reads a sample, of web servers only what comes in time.
fn sample_in_time(spec: &ExternSpec, patience: Duration) -> Result<Vec<RecordBatch>, InputError> {
    let is_remote = |source: &InputSource| matches!(source, InputSource::Http(_));
    if !spec.source.leaves().iter().any(is_remote) {
        return sample_batches(spec, &first_files(spec)?);
    }
    let (to, sampled) = mpsc::sync_channel(1);
    let remote = spec.clone();
    std::thread::Builder::new()
        .name("sample".to_string())
        .spawn(move || {
            let sample = first_files(&remote).and_then(|files| sample_batches(&remote, &files));
            // Nobody waits any more for one that is late.
            let _ = to.send(sample);
        })
        .map_err(|e| InputError::io("start a thread to sample", "an http source".to_string(), e))?;
    sampled.recv_timeout(patience).unwrap_or_else(|_| {
        tracing::warn!("an http source gave no sample within {patience:?}: its columns are taken to be single-value");
        Ok(Vec::new())
    })
}

fn first_files(spec: &ExternSpec) -> Result<Vec<FileInfo>, InputError> {
    let mut files = Vec::new();
    for leaf in 0..spec.source.leaves().len() {
        spec.list(leaf, &mut files)?;
        if !files.is_empty() {
            break;
        }
    }
    files.truncate(3);
    Ok(files)
}

/// Reads the first rows of the first files, all columns.
fn sample_batches(spec: &ExternSpec, files: &[FileInfo]) -> Result<Vec<RecordBatch>, InputError> {
    let mut options = ReadOptions::all(spec);
    options.batch_rows = limits::SAMPLE_ROWS;
    let mut batches = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    for file in files {
        for batch in read_split(spec, &whole(file), &options, Arc::new(Lenient))? {
            let batch = batch?;
            rows += batch.num_rows();
            bytes += batch.get_array_memory_size();
            batches.push(batch);
            if rows >= limits::SAMPLE_ROWS || bytes >= limits::SAMPLE_BYTES {
                return Ok(batches);
            }
        }
    }
    Ok(batches)
}

/// What the values of a column had in common so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Nothing,
    Long,
    Double,
    Text,
    Lists(Items),
    Nested,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Items {
    Nothing,
    Long,
    Double,
    Text,
}

impl Items {
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (one, other) if one == other => one,
            (Self::Long, Self::Double) | (Self::Double, Self::Long) => Self::Double,
            _ => Self::Text,
        }
    }

    fn scalar(self) -> Guess {
        match self {
            Self::Nothing => Guess::Nothing,
            Self::Long => Guess::Long,
            Self::Double => Guess::Double,
            Self::Text => Guess::Text,
        }
    }
}

impl Guess {
    fn of(value: RawJson<'_>) -> Self {
        match value.kind {
            Kind::Null => Self::Nothing,
            Kind::Number if number::exact_long(value.raw.as_bytes()).is_some() => Self::Long,
            Kind::Number => Self::Double,
            Kind::True | Kind::False | Kind::Text | Kind::EscapedText => Self::Text,
            Kind::Object => Self::Nested,
            Kind::Array => {
                let mut items = Items::Nothing;
                for item in value.items() {
                    let Some(item) = Self::of(item).items() else {
                        return Self::Nested;
                    };
                    items = items.join(item);
                }
                Self::Lists(items)
            }
        }
    }

    /// Gives the scalar that this is, if it is one.
    fn items(self) -> Option<Items> {
        match self {
            Self::Nothing => Some(Items::Nothing),
            Self::Long => Some(Items::Long),
            Self::Double => Some(Items::Double),
            Self::Text => Some(Items::Text),
            Self::Lists(_) | Self::Nested => None,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nested, _) | (_, Self::Nested) => Self::Nested,
            (Self::Lists(a), Self::Lists(b)) => Self::Lists(a.join(b)),
            (Self::Lists(items), other) | (other, Self::Lists(items)) => match other.items() {
                Some(scalar) => Self::Lists(items.join(scalar)),
                None => Self::Nested,
            },
            (a, b) => match (a.items(), b.items()) {
                (Some(a), Some(b)) => a.join(b).scalar(),
                _ => Self::Nested,
            },
        }
    }

    fn column_type(self) -> ExternType {
        match self {
            Self::Long => ExternType::Long,
            Self::Double => ExternType::Double,
            Self::Nothing | Self::Text => ExternType::String,
            Self::Lists(items) => ExternType::Array(Box::new(items.scalar().column_type())),
            Self::Nested => ExternType::Complex("json".to_string()),
        }
    }
}

/// Adds a value to the guess of a column, which may be new.
fn note(guesses: &mut Vec<(String, Guess)>, hint: usize, name: &str, guess: Guess) {
    // Records have their fields in the same order nearly always.
    let place = match guesses.get(hint) {
        Some((other, _)) if other == name => Some(hint),
        _ => guesses.iter().position(|(other, _)| other == name),
    };
    match place {
        Some(place) => guesses[place].1 = guesses[place].1.join(guess),
        None if guesses.len() < limits::MAX_SAMPLED_COLUMNS => guesses.push((name.to_string(), guess)),
        None => {}
    }
}

fn sample_json(spec: &ExternSpec, files: &[FileInfo]) -> Result<Vec<ExternColumn>, InputError> {
    let InputFormat::Json(format) = &spec.format else {
        return Ok(Vec::new());
    };
    let record = |name: &str, path: Vec<PathStep>| FlattenField {
        name: name.to_string(),
        path,
    };
    // The whole record as one column, and one column for each path.
    let flatten = format.flatten.clone();
    let discovers = flatten.as_ref().is_none_or(|flatten| flatten.discover);
    let paths = flatten.map_or_else(Vec::new, |flatten| flatten.fields);
    let mut fields = vec![record("", Vec::new())];
    fields.extend(paths.iter().filter(|field| !field.name.is_empty()).cloned());
    let mut probe = spec.clone();
    let json = || ExternType::Complex("json".to_string());
    probe.columns = fields
        .iter()
        .map(|field| ExternColumn::new(&field.name, json()))
        .collect();
    let mut probe_format = format.clone();
    probe_format.flatten = Some(FlattenSpec {
        discover: false,
        fields,
    });
    probe.format = InputFormat::Json(probe_format);

    let mut guesses: Vec<(String, Guess)> = Vec::new();
    let mut name = String::new();
    for batch in sample_batches(&probe, files)? {
        for (column, array) in probe.columns.iter().zip(batch.columns()).skip(1) {
            for text in array.as_string::<i32>().iter() {
                let guess = text
                    .and_then(|text| sound_value(text, 0))
                    .map_or(Guess::Nothing, |(value, _)| Guess::of(value));
                note(&mut guesses, 0, &column.name, guess);
            }
        }
        for text in batch
            .column(0)
            .as_string::<i32>()
            .iter()
            .flatten()
            .filter(|_| discovers)
        {
            let Some((value, _)) = sound_value(text, 0) else {
                continue;
            };
            for (i, (key, value)) in value.fields().enumerate() {
                let guess = Guess::of(value);
                name.clear();
                key.write_java(&mut name);
                // A path wins over a field of the same name.
                if !paths.iter().any(|field| field.name == name) {
                    note(&mut guesses, i, &name, guess);
                }
            }
        }
    }
    Ok(guesses
        .into_iter()
        .map(|(name, guess)| ExternColumn::new(name, guess.column_type()))
        .collect())
}

fn sample_delimited(
    spec: &ExternSpec,
    format: &DelimitedFormat,
    files: &[FileInfo],
) -> Result<Vec<ExternColumn>, InputError> {
    let mut names = format.columns.clone();
    if format.find_columns_from_header {
        names = match files.first() {
            Some(file) => crate::text::header_names(spec, format, file)?,
            None => Vec::new(),
        };
    }
    names.truncate(limits::MAX_SAMPLED_COLUMNS);
    let mut probe = spec.clone();
    probe.columns = names
        .into_iter()
        .map(|name| ExternColumn::new(name, ExternType::String))
        .collect();
    if !format.try_parse_numbers {
        return Ok(probe.columns);
    }
    let mut guesses = vec![Guess::Nothing; probe.columns.len()];
    for batch in sample_batches(&probe, files)? {
        for (guess, array) in guesses.iter_mut().zip(batch.columns()) {
            for text in array.as_string::<i32>().iter().flatten() {
                let value = match number::exact_long(text.as_bytes()) {
                    Some(_) => Guess::Long,
                    None if number::plain_double(text).is_some() => Guess::Double,
                    None => Guess::Text,
                };
                *guess = guess.join(value);
            }
        }
    }
    for (column, guess) in probe.columns.iter_mut().zip(guesses) {
        column.column_type = guess.column_type();
    }
    Ok(probe.columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_web_server_gives_no_sample() {
        // It takes connections, and says nothing.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port is known");
        let source = format!(r#"{{"type":"http","uris":["http://{address}/rows.json"]}}"#);
        let spec = ExternSpec::parse(&source, r#"{"type":"json"}"#, Some(r#"[{"name":"a","type":"string"}]"#))
            .expect("a specification");
        let sample = sample_in_time(&spec, Duration::from_millis(50)).expect("being late is no error");
        assert!(sample.is_empty());
        drop(listener);
    }
}
