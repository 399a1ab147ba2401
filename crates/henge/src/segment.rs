//! `henge segment`: shows what is inside segment files, and checks them.

use std::io::ErrorKind::BrokenPipe;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use henge_segment::{ColumnType, Projection, Segment, SegmentError, TIME_COLUMN, verify};
use serde_json::{Value, json};

use crate::failure::Failure;

#[derive(Args)]
pub struct SegmentArgs {
    #[command(subcommand)]
    command: SegmentCommand,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// JSON.
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum RowFormat {
    /// One JSON object a line.
    Json,
}

/// The segments to look at.
#[derive(Args)]
struct Paths {
    /// Folders of segments, or their index.zip or druid.segment.
    #[arg(required = true)]
    segments: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum SegmentCommand {
    /// Print every row as one JSON object a line.
    #[command(after_help = "Example:\n  henge segment rows henge-data/segments/wiki/2015-…/0/index | head")]
    Rows {
        #[command(flatten)]
        paths: Paths,
        /// Rows are always JSON lines, as Druid's dump-segment prints them.
        #[arg(long, value_enum, default_value = "json")]
        format: RowFormat,
        /// Print the rows of this projection instead.
        #[arg(long, value_name = "NAME")]
        projection: Option<String>,
    },
    /// Print interval, rows, sort order, rollup and aggregators.
    Metadata {
        #[command(flatten)]
        paths: Paths,
        /// As a table, or as JSON with the columns too.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Print of each column type, bytes, encoding, distinct values, nulls, smallest and largest value.
    Columns {
        #[command(flatten)]
        paths: Paths,
        /// As a table, or as JSON.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Read everything, and check the order of rows and dictionaries and every bitmap against the values.
    #[command(after_help = "The exit status is 1 if anything is wrong.")]
    Verify {
        #[command(flatten)]
        paths: Paths,
        /// As text, or as one JSON object a segment.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// Runs the command.
pub fn run(args: SegmentArgs) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut wrong = 0;
    let written = match args.command {
        SegmentCommand::Rows {
            paths,
            format: RowFormat::Json,
            projection,
        } => each(&paths, |segment| match &projection {
            Some(name) => henge_segment::dump::rows(&segment.projection(name)?, &mut out),
            None => henge_segment::dump::rows(segment, &mut out),
        }),
        SegmentCommand::Metadata { paths, format } => each(&paths, |segment| match format {
            Format::Json => henge_segment::dump::metadata(segment, &mut out),
            Format::Text => metadata(segment, &mut out),
        }),
        SegmentCommand::Columns { paths, format } => each(&paths, |segment| columns(segment, format, &mut out)),
        SegmentCommand::Verify { paths, format } => each(&paths, |segment| {
            wrong += verification(segment, format, &mut out)?;
            Ok(())
        }),
    };
    written.and_then(|()| {
        if out.flush().is_err_and(|error| error.kind() != BrokenPipe) {
            return Err(Failure::new("standard output is gone"));
        }
        match wrong {
            0 => Ok(()),
            1 => Err(Failure::new("1 finding")),
            wrong => Err(Failure::new(format!("{wrong} findings"))),
        }
    })
}

/// Shows one segment after the other. A reader that has seen enough (`| head`) is no failure.
fn each(paths: &Paths, mut show: impl FnMut(&Segment) -> Result<(), SegmentError>) -> Result<(), Failure> {
    for path in &paths.segments {
        match show(&open(path)?) {
            Err(SegmentError::Io { source, .. }) if source.kind() == BrokenPipe => return Ok(()),
            shown => shown.map_err(|error| Failure::new(error.to_string()))?,
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Segment, Failure> {
    Segment::open(path).map_err(|error| {
        Failure::new(error.to_string())
            .remedy("give the folder that holds version.bin and meta.smoosh, an index.zip, or a druid.segment")
    })
}

fn metadata(segment: &Segment, out: &mut impl Write) -> Result<(), SegmentError> {
    let metadata = segment.metadata();
    let bytes: u64 = segment.columns().iter().map(|column| column.bytes).sum();
    let ordering = metadata.and_then(|m| m.ordering.as_ref()).map(|ordering| {
        let columns: Vec<String> = ordering
            .iter()
            .map(|by| match by.order.as_str() {
                "ascending" => by.column_name.clone(),
                order => format!("{} {order}", by.column_name),
            })
            .collect();
        columns.join(", ")
    });
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(value) => value.to_string(),
    };
    let mut rows = vec![
        ("segment", segment.path().to_owned()),
        ("interval", segment.interval().to_string()),
        ("rows", segment.rows().to_string()),
        ("columns", segment.columns().len().to_string()),
        ("bytes of columns", bytes.to_string()),
        (
            "sorted by",
            ordering.unwrap_or_else(|| format!("{TIME_COLUMN} (not said)")),
        ),
        (
            "rollup",
            match metadata.and_then(|m| m.rollup) {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => "-".to_owned(),
            },
        ),
        (
            "query granularity",
            shown(metadata.and_then(|m| m.query_granularity.as_ref())),
        ),
    ];
    for aggregator in metadata.and_then(|m| m.aggregators.as_ref()).into_iter().flatten() {
        rows.push(("aggregator", aggregator.to_string()));
    }
    for projection in segment.projections() {
        rows.push(("projection", described(projection)));
    }
    for (name, value) in rows {
        writeln!(out, "{name:<18} {value}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// Says in a line what a projection holds.
fn described(projection: &Projection) -> String {
    let joined = |names: &[String]| match names {
        [] => "-".to_owned(),
        names => names.join(", "),
    };
    let mut line = format!(
        "{}: {} rows, by {}, with {}",
        projection.name,
        projection.rows,
        joined(&projection.grouping_columns),
        joined(&projection.aggregator_names())
    );
    if let Some(time) = &projection.time_column_name {
        line.push_str(&format!(", time {time}"));
    }
    if let Some(filter) = projection.filter.as_ref().filter(|filter| !filter.is_null()) {
        line.push_str(&format!(", where {filter}"));
    }
    line
}

/// Prints the columns of a segment, then those of its projections.
fn columns(segment: &Segment, format: Format, out: &mut impl Write) -> Result<(), SegmentError> {
    let tables = segment.projections().map(|projection| {
        let table = segment.projection(&projection.name)?;
        Ok((projection.name.as_str(), table))
    });
    let tables = tables.collect::<Result<Vec<_>, SegmentError>>()?;
    if format == Format::Json {
        let projections = tables
            .iter()
            .map(|(name, table)| json!({"name": name, "rows": table.rows(), "columns": column_rows(table)}));
        let described = json!({
            "segment": segment.path(),
            "rows": segment.rows(),
            "columns": column_rows(segment),
            "projections": projections.collect::<Vec<_>>(),
        });
        writeln!(out, "{described}")?;
        return Ok(());
    }
    column_table(segment, segment.path(), out)?;
    for (name, table) in &tables {
        column_table(table, &format!("projection {name}"), out)?;
    }
    Ok(())
}

/// Describes the columns of a segment or projection.
fn column_rows(segment: &Segment) -> Vec<Value> {
    let mut rows = Vec::new();
    for column in segment.columns() {
        // A column that cannot be read says so in its encoding.
        let nulls = null_count(segment, &column.name).ok();
        let range = segment.range(&column.name).ok().flatten();
        let role = match () {
            () if column.name == TIME_COLUMN => "time",
            () if column.is_metric => "metric",
            () => "dimension",
        };
        let multi = column.column_type == ColumnType::MultiString;
        rows.push(json!({
            "name": column.name,
            "type": column.column_type.to_string(),
            "hasMultipleValues": multi,
            "role": role,
            "bytes": column.bytes,
            "cardinality": column.cardinality,
            "nulls": nulls,
            "min": range.as_ref().map(|range| &range.0),
            "max": range.as_ref().map(|range| &range.1),
            "bitmaps": column.has_bitmap_index,
            "encoding": column.encoding,
        }));
    }
    rows
}

fn column_table(segment: &Segment, title: &str, out: &mut impl Write) -> Result<(), SegmentError> {
    let rows = column_rows(segment);
    let heads = [
        "name",
        "type",
        "role",
        "bytes",
        "cardinality",
        "nulls",
        "min",
        "max",
        "bitmaps",
        "encoding",
    ];
    let mut table = vec![heads.map(str::to_owned)];
    for row in &rows {
        table.push(heads.map(|head| match &row[head] {
            Value::Null => "-".to_owned(),
            Value::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
            Value::String(text) if head == "type" && row["hasMultipleValues"] == true => format!("{text}, multi-value"),
            Value::String(text) if matches!(head, "min" | "max") => cell(text),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }));
    }
    let widths: [usize; 10] =
        std::array::from_fn(|i| table.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    writeln!(out, "{title}: {} rows", segment.rows())?;
    for row in table {
        let mut line = String::new();
        for (i, (text, width)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width - text.chars().count());
            // Numbers stand to the right.
            let right = (3..=5).contains(&i);
            let (before, behind) = if right {
                (padding.as_str(), "")
            } else {
                ("", padding.as_str())
            };
            line.push_str(&format!("{before}{text}{behind}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    Ok(())
}

/// Gives the beginning of a value, without line breaks.
fn cell(text: &str) -> String {
    const SHOWN_CHARS: usize = 24;
    let short: String = text.chars().take(SHOWN_CHARS).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", short.escape_debug())
}

fn null_count(segment: &Segment, column: &str) -> Result<u64, SegmentError> {
    match segment.null_bitmap(column)? {
        Some(nulls) => Ok(nulls.len()),
        None => {
            let rows = segment.read(column, henge_segment::RowSelection::All)?;
            Ok(rows.logical_null_count() as u64)
        }
    }
}

/// Prints what is wrong with a segment and counts it.
fn verification(segment: &Segment, format: Format, out: &mut impl Write) -> Result<usize, SegmentError> {
    let verification = verify(segment);
    let (rows, columns) = (verification.rows, verification.columns);
    let findings = verification.findings;
    if format == Format::Json {
        let found: Vec<Value> = findings
            .iter()
            .map(|finding| json!({"projection": finding.projection, "column": finding.column, "what": finding.what}))
            .collect();
        let described = json!({"segment": segment.path(), "rows": rows, "columns": columns, "findings": found});
        writeln!(out, "{described}")?;
    } else {
        let verdict = if findings.is_empty() { "sound" } else { "not sound" };
        writeln!(out, "{}: {verdict}, {rows} rows, {columns} columns", segment.path())?;
        for finding in &findings {
            writeln!(out, "  {finding}")?;
        }
    }
    Ok(findings.len())
}
