//! Prints rows: as an aligned table, CSV, TSV or JSON. Tables look at the first rows for their widths and then stream.

use std::io::{BufWriter, Write};

use futures::StreamExt as _;
use serde_json::Value;

use super::Format;
use super::client::QueryResponse;
use crate::failure::Failure;

/// Rows that decide the widths of a table's columns.
const WIDTH_ROWS: usize = 1000;

/// Widest cell of a table, in characters; longer values are cut with an ellipsis.
const MAX_CELL_CHARS: usize = 80;

/// Longest line that is accepted from a server.
const MAX_LINE_BYTES: usize = 256 << 20;

/// A printer of one result.
pub struct Output<W: Write> {
    format: Format,
    out: BufWriter<W>,
    names: Vec<String>,
    right: Vec<bool>,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    rows: u64,
    gap: bool,
}

impl<W: Write> Output<W> {
    /// Makes a printer.
    pub fn new(format: Format, out: W) -> Self {
        Self {
            format,
            out: BufWriter::with_capacity(1 << 16, out),
            names: Vec::new(),
            right: Vec::new(),
            waiting: Vec::new(),
            widths: None,
            rows: 0,
            gap: false,
        }
    }

    /// Leaves an empty line before a table, because another one stands above it.
    pub fn leave_gap(&mut self, gap: bool) {
        self.gap = gap;
    }

    /// Tells whether there was a result, be it without rows.
    pub fn has_columns(&self) -> bool {
        !self.names.is_empty()
    }

    /// Prints an interactive answer and gives the number of rows.
    pub async fn stream(&mut self, response: QueryResponse) -> Result<u64, Failure> {
        let mut chunks = response.body.bytes_stream();
        let mut pending: Vec<u8> = Vec::new();
        let mut headers: Vec<Vec<Value>> = Vec::new();
        let mut complete = false;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|error| Failure::new(format!("the answer broke off after {} rows: {error}", self.rows)))?;
            pending.extend_from_slice(&chunk);
            if pending.len() > MAX_LINE_BYTES {
                return Err(Failure::new(format!("one row is longer than {MAX_LINE_BYTES} bytes")));
            }
            let Some(last) = pending.iter().rposition(|b| *b == b'\n') else {
                continue;
            };
            for line in pending[..last].split(|b| *b == b'\n') {
                if line.is_empty() {
                    complete = true;
                    continue;
                }
                let row: Vec<Value> = serde_json::from_slice(line).map_err(|error| {
                    Failure::new(format!("row {} of the answer is no JSON array: {error}", self.rows + 1))
                })?;
                if headers.len() < 3 {
                    headers.push(row);
                    if headers.len() == 3 {
                        let text =
                            |row: &Vec<Value>| row.iter().map(|v| v.as_str().unwrap_or_default().to_string()).collect();
                        self.begin(text(&headers[0]), text(&headers[2]))?;
                    }
                } else {
                    self.row(row)?;
                }
            }
            complete |= pending.ends_with(b"\n\n");
            pending.drain(..=last);
        }
        if !complete {
            return Err(Failure::new(format!("the server broke off after {} rows", self.rows))
                .remedy("its log says why; run it with HENGE_LOG=info"));
        }
        self.finish()
    }

    /// Prints the results of a task's report.
    pub fn report_results(&mut self, results: &Value) -> Result<(), Failure> {
        let texts = |value: Option<&Value>, member: Option<&str>| -> Vec<String> {
            let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let text = |v: &Value| {
                member
                    .map_or(Some(v), |m| v.get(m))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_string()
            };
            list.iter().map(text).collect()
        };
        let types = texts(results.get("sqlTypeNames"), None);
        self.begin(texts(results.get("signature"), Some("name")), types.clone())?;
        for row in results
            .get("results")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let cells = row.as_array().cloned().unwrap_or_default();
            let cells = cells.into_iter().enumerate().map(|(at, value)| {
                match (types.get(at).map(String::as_str), value.as_i64()) {
                    // Reports hold times as milliseconds; people read times.
                    (Some("TIMESTAMP"), Some(millis)) => Value::String(henge_time::format_millis(millis)),
                    (Some("DATE"), Some(days)) => Value::String(
                        henge_time::format_millis(days.saturating_mul(86_400_000))
                            .chars()
                            .take(10)
                            .collect(),
                    ),
                    _ => value,
                }
            });
            self.row(cells.collect())?;
        }
        Ok(())
    }

    /// Ends the result and gives the number of rows.
    pub fn finish(&mut self) -> Result<u64, Failure> {
        self.flush_waiting()?;
        if self.format == Format::Json && !self.names.is_empty() {
            writeln!(self.out, "{}", if self.rows == 0 { "[]" } else { "]" })?;
        }
        self.out.flush()?;
        Ok(self.rows)
    }

    fn begin(&mut self, names: Vec<String>, types: Vec<String>) -> Result<(), Failure> {
        let number = |t: &String| {
            matches!(
                t.as_str(),
                "BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT" | "DOUBLE" | "FLOAT" | "REAL" | "DECIMAL"
            )
        };
        self.right = types.iter().map(number).collect();
        self.names = names;
        match self.format {
            Format::Csv => write_csv(&mut self.out, &self.names)?,
            Format::Tsv => writeln!(self.out, "{}", self.names.join("\t"))?,
            Format::Table if self.gap => writeln!(self.out)?,
            Format::Table | Format::Jsonl | Format::Json => {}
        }
        Ok(())
    }

    fn row(&mut self, row: Vec<Value>) -> Result<(), Failure> {
        let first = self.rows == 0;
        self.rows += 1;
        match self.format {
            Format::Table => {
                let cells: Vec<String> = row.iter().map(table_cell).collect();
                match &self.widths {
                    Some(widths) => write_table_row(&mut self.out, &cells, widths, &self.right)?,
                    None => {
                        self.waiting.push(cells);
                        if self.waiting.len() >= WIDTH_ROWS {
                            self.flush_waiting()?;
                        }
                    }
                }
            }
            Format::Csv => write_csv(&mut self.out, &row.iter().map(plain).collect::<Vec<_>>())?,
            Format::Tsv => {
                let cells: Vec<String> = row.iter().map(|v| plain(v).replace(['\t', '\n', '\r'], " ")).collect();
                writeln!(self.out, "{}", cells.join("\t"))?;
            }
            Format::Jsonl | Format::Json => {
                let object: serde_json::Map<String, Value> = self.names.iter().cloned().zip(row).collect();
                if self.format == Format::Json {
                    self.out.write_all(if first { b"[" } else { b",\n" })?;
                }
                serde_json::to_writer(&mut self.out, &object).map_err(|error| Failure::new(error.to_string()))?;
                if self.format == Format::Jsonl {
                    self.out.write_all(b"\n")?;
                }
            }
        }
        Ok(())
    }

    fn flush_waiting(&mut self) -> Result<(), Failure> {
        if self.format != Format::Table || self.widths.is_some() || self.names.is_empty() {
            return Ok(());
        }
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.chars().count()).collect();
        for row in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        write_table_row(&mut self.out, &self.names, &widths, &self.right)?;
        let line: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        writeln!(self.out, "{}", line.join("──"))?;
        for row in std::mem::take(&mut self.waiting) {
            write_table_row(&mut self.out, &row, &widths, &self.right)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn write_table_row(out: &mut impl Write, cells: &[String], widths: &[usize], right: &[bool]) -> std::io::Result<()> {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let pad = " ".repeat(
            widths
                .get(at)
                .copied()
                .unwrap_or(0)
                .saturating_sub(cell.chars().count()),
        );
        if at > 0 {
            line.push_str("  ");
        }
        if right.get(at) == Some(&true) {
            line.push_str(&pad);
            line.push_str(cell);
        } else {
            line.push_str(cell);
            line.push_str(&pad);
        }
    }
    writeln!(out, "{}", line.trim_end())
}

fn write_csv(out: &mut impl Write, cells: &[String]) -> std::io::Result<()> {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if cell.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "null".to_string(),
        other => plain(other).replace(['\n', '\r', '\t'], " "),
    };
    if text.chars().count() <= MAX_CELL_CHARS {
        return text;
    }
    let mut cut: String = text.chars().take(MAX_CELL_CHARS - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(format: Format) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::new(format, &mut bytes);
        let results = json!({"signature": [{"name": "t", "type": "LONG"}, {"name": "s", "type": "STRING"}, {"name": "n", "type": "LONG"}],
            "sqlTypeNames": ["TIMESTAMP", "VARCHAR", "BIGINT"],
            "results": [[0, "a,\"b\"", 1], [1000, null, 1000]]});
        output.report_results(&results).expect("valid");
        assert_eq!(output.finish().expect("writable"), 2);
        drop(output);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn an_empty_line_parts_tables() {
        let mut bytes = Vec::new();
        let mut output = Output::new(Format::Table, &mut bytes);
        assert!(!output.has_columns());
        output.leave_gap(true);
        output
            .report_results(&json!({"signature": [{"name": "n"}], "sqlTypeNames": ["BIGINT"], "results": [[1]]}))
            .expect("valid");
        output.finish().expect("writable");
        assert!(output.has_columns());
        drop(output);
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), "\nn\n─\n1\n");
    }

    #[test]
    fn formats() {
        assert_eq!(
            print(Format::Table),
            "t                         s         n\n─────────────────────────────────────\n\
             1970-01-01T00:00:00.000Z  a,\"b\"     1\n1970-01-01T00:00:01.000Z  null   1000\n"
        );
        assert_eq!(
            print(Format::Csv),
            "t,s,n\n1970-01-01T00:00:00.000Z,\"a,\"\"b\"\"\",1\n1970-01-01T00:00:01.000Z,,1000\n"
        );
        assert_eq!(
            print(Format::Tsv),
            "t\ts\tn\n1970-01-01T00:00:00.000Z\ta,\"b\"\t1\n1970-01-01T00:00:01.000Z\t\t1000\n"
        );
        let lines = print(Format::Jsonl);
        assert_eq!(
            lines.lines().next(),
            Some("{\"t\":\"1970-01-01T00:00:00.000Z\",\"s\":\"a,\\\"b\\\"\",\"n\":1}")
        );
        let all: Value = serde_json::from_str(&print(Format::Json)).expect("one document");
        assert_eq!(all.as_array().map(Vec::len), Some(2));
    }
}
