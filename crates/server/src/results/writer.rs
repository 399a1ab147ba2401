//! Rows in one of the five formats.
//!
//! ```text
//!  object        [ {"a":1} , {"a":2} ] \n
//!  array         [ [1] , [2] ] \n
//!  objectLines   {"a":1} \n {"a":2} \n \n          nothing at all: \n \n
//!  arrayLines    [1] \n [2] \n \n                  nothing at all: \n \n
//!  csv           1 \n 2 \n \n                      nothing at all: \n
//! ```
//!
//! The last line break of the line formats is how a client tells a complete answer from a cut one.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use serde_json::Value;

use super::cells::{Cells, DictionaryCache, ListStyle, Pen, Target, normalize, shown};
use super::format::{ResultFormat, ResultOptions};
use crate::json::{TimeWriter, push_csv_field, push_string, push_value};

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultColumn {
    /// Name.
    pub name: String,
    /// Native type: `LONG`, `ARRAY<STRING>`, …
    pub native_type: String,
    /// SQL type: `BIGINT`, `ARRAY`, …
    pub sql_type: String,
    /// True for a multi-value string that arrives as a list.
    pub multi_value: bool,
}

/// Frames rows: what stands before, between and after them.
#[derive(Debug)]
pub struct RowWriter {
    options: ResultOptions,
    columns: Vec<ResultColumn>,
    /// `"name":` of every column, a comma before all but the first.
    keys: Vec<Vec<u8>>,
    rows: u64,
}

impl RowWriter {
    /// Makes a writer.
    pub fn new(columns: Vec<ResultColumn>, options: ResultOptions) -> Self {
        let keys = columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let mut key = Vec::new();
                if i > 0 {
                    key.push(b',');
                }
                if options.format.is_object() {
                    push_string(&mut key, &column.name);
                    key.push(b':');
                }
                key
            })
            .collect();
        Self {
            options,
            columns,
            keys,
            rows: 0,
        }
    }

    /// Writes what stands before the first row: brackets and header rows.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        if !self.options.format.is_lines() {
            out.push(b'[');
        }
        if !self.options.header {
            return;
        }
        let (types, sql_types) = (self.options.types_header, self.options.sql_types_header);
        if self.options.format.is_object() {
            let header: Vec<Value> = self
                .columns
                .iter()
                .map(|column| object_header(column, types, sql_types))
                .collect();
            return self.row(out, &header);
        }
        let text = |pick: fn(&ResultColumn) -> &String| -> Vec<Value> {
            self.columns
                .iter()
                .map(|column| Value::from(pick(column).as_str()))
                .collect()
        };
        let names = text(|column| &column.name);
        let native = types.then(|| text(|column| &column.native_type));
        let sql = sql_types.then(|| text(|column| &column.sql_type));
        self.row(out, &names);
        for row in [native, sql].into_iter().flatten() {
            self.row(out, &row);
        }
    }

    /// Writes a row of JSON values.
    pub fn row(&mut self, out: &mut Vec<u8>, values: &[Value]) {
        self.open(out);
        for (i, value) in values.iter().enumerate() {
            if let Some(key) = self.keys.get(i) {
                out.extend_from_slice(key);
            }
            match (self.options.format, value) {
                (ResultFormat::Csv, Value::Null) => {}
                (ResultFormat::Csv, Value::String(text)) => push_csv_field(out, text.as_bytes()),
                (ResultFormat::Csv, other) => {
                    let mut text = Vec::new();
                    push_value(&mut text, other);
                    push_csv_field(out, &text);
                }
                (_, value) => push_value(out, value),
            }
        }
        self.close(out);
    }

    /// Writes what stands after the last row.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        match self.options.format {
            ResultFormat::Object | ResultFormat::Array => out.extend_from_slice(b"]\n"),
            ResultFormat::ObjectLines | ResultFormat::ArrayLines if self.rows == 0 => out.extend_from_slice(b"\n\n"),
            ResultFormat::ObjectLines | ResultFormat::ArrayLines | ResultFormat::Csv => out.push(b'\n'),
        }
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        if self.rows > 0 && !self.options.format.is_lines() {
            out.push(b',');
        }
        self.rows += 1;
        match self.options.format {
            ResultFormat::Object | ResultFormat::ObjectLines => out.push(b'{'),
            ResultFormat::Array | ResultFormat::ArrayLines => out.push(b'['),
            ResultFormat::Csv => {}
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.options.format {
            ResultFormat::Object => b"}",
            ResultFormat::Array => b"]",
            ResultFormat::ObjectLines => b"}\n",
            ResultFormat::ArrayLines => b"]\n",
            ResultFormat::Csv => b"\n",
        });
    }
}

fn object_header(column: &ResultColumn, types: bool, sql_types: bool) -> Value {
    if !types && !sql_types {
        return Value::Null;
    }
    let mut header = serde_json::Map::new();
    if types {
        header.insert("type".to_string(), Value::from(column.native_type.as_str()));
    }
    if sql_types {
        header.insert("sqlType".to_string(), Value::from(column.sql_type.as_str()));
    }
    Value::Object(header)
}

/// Writes Arrow batches as rows.
#[derive(Debug)]
pub struct ResultWriter {
    rows: RowWriter,
    pen: Pen,
    dictionaries: Vec<DictionaryCache>,
}

impl ResultWriter {
    /// Makes a writer.
    pub fn new(columns: Vec<ResultColumn>, options: ResultOptions) -> Self {
        let dictionaries = columns.iter().map(|_| DictionaryCache::default()).collect();
        Self {
            rows: RowWriter::new(columns, options),
            pen: Pen::new(TimeWriter::new(options.zone)),
            dictionaries,
        }
    }

    /// Writes what stands before the first row.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        self.rows.start(out);
    }

    /// Writes the rows of a batch whose columns are those of the result, in order.
    pub fn batch(&mut self, out: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), ArrowError> {
        let target = match self.rows.options.format {
            ResultFormat::Csv => Target::Csv,
            _ => Target::Json,
        };
        let columns = batch.columns().iter().zip(&self.rows.columns);
        let zone = self.rows.options.zone;
        let arrays = columns.map(|(array, column)| {
            let array = normalize(array, &column.native_type)?;
            Ok::<_, ArrowError>(shown(array, &column.sql_type, zone))
        });
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_, _>>()?;
        for (cache, array) in self.dictionaries.iter_mut().zip(&arrays) {
            cache.prepare(array, target);
        }
        let list_style = if self.rows.options.stringify_arrays {
            ListStyle::Text
        } else {
            ListStyle::Json
        };
        let cells: Vec<Cells<'_>> = arrays
            .iter()
            .zip(&self.rows.columns)
            .zip(&self.dictionaries)
            .map(|((array, column), cache)| {
                let style = if column.multi_value {
                    ListStyle::Multi
                } else {
                    list_style
                };
                let cells = Cells::new(array, style, cache.escaped());
                if column.native_type == "ARRAY<COMPLEX<json>>" {
                    cells.of_json()
                } else {
                    cells
                }
            })
            .collect();
        for row in 0..batch.num_rows() {
            self.rows.open(out);
            for (cells, key) in cells.iter().zip(&self.rows.keys) {
                out.extend_from_slice(key);
                cells.push(out, row, &mut self.pen, target);
            }
            self.rows.close(out);
        }
        Ok(())
    }

    /// Writes what stands after the last row.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.rows.end(out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, DictionaryArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
        TimestampMillisecondArray, UInt32Array,
    };
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::json::Zone;

    fn column(name: &str, native: &str, sql: &str) -> ResultColumn {
        ResultColumn {
            name: name.to_string(),
            native_type: native.to_string(),
            sql_type: sql.to_string(),
            multi_value: name == "mv",
        }
    }

    fn list(rows: &[Option<&[Option<&str>]>]) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for row in rows {
            match row {
                Some(items) => {
                    for item in *items {
                        builder.values().append_option(*item);
                    }
                    builder.append(true);
                }
                None => builder.append(false),
            }
        }
        Arc::new(builder.finish())
    }

    fn sample() -> (Vec<ResultColumn>, RecordBatch) {
        let columns = vec![
            column("__time", "LONG", "TIMESTAMP"),
            column("s\"", "STRING", "VARCHAR"),
            column("x", "DOUBLE", "DOUBLE"),
            column("b", "LONG", "BOOLEAN"),
            column("tags", "ARRAY<STRING>", "ARRAY"),
            column("mv", "STRING", "VARCHAR"),
        ];
        let dictionary = DictionaryArray::new(
            UInt32Array::from(vec![Some(1), None, Some(0)]),
            Arc::new(StringArray::from(vec!["a,\"b", "plain"])) as ArrayRef,
        );
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_420_071_000_000),
                Some(0),
                None,
            ])),
            Arc::new(dictionary),
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), Some(1e7)])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            list(&[Some(&[Some("a"), Some("b\"")]), None, Some(&[])]),
            list(&[Some(&[Some("a"), Some("b")]), Some(&[]), Some(&[Some("d")])]),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .zip(&arrays)
            .map(|(column, array)| Field::new(&column.name, array.data_type().clone(), true))
            .collect();
        (
            columns,
            RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap(),
        )
    }

    fn render(options: ResultOptions, rows: bool) -> String {
        let (columns, batch) = sample();
        let mut writer = ResultWriter::new(columns, options);
        let mut out = Vec::new();
        writer.start(&mut out);
        if rows {
            writer.batch(&mut out, &batch).unwrap();
        }
        writer.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn arrays_of_json_hold_json() {
        let array = list(&[Some(&[Some("1"), Some(r#"{"z":true}"#), None]), None]);
        let fields = vec![Field::new("docs", array.data_type().clone(), true)];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![array]).unwrap();
        let columns = vec![column("docs", "ARRAY<COMPLEX<json>>", "ARRAY")];
        let options = ResultOptions {
            format: ResultFormat::Array,
            stringify_arrays: false,
            ..ResultOptions::default()
        };
        let mut out = Vec::new();
        let mut writer = ResultWriter::new(columns, options);
        writer.batch(&mut out, &batch).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().replace('\n', ""),
            r#"[[1,{"z":true},null]],[null]"#
        );
    }

    #[test]
    fn arrays_of_rows() {
        let options = ResultOptions {
            format: ResultFormat::Array,
            ..ResultOptions::default()
        };
        assert_eq!(
            render(options, true),
            concat!(
                "[[\"2015-01-01T00:10:00.000Z\",\"plain\",0.5,true,\"[\\\"a\\\",\\\"b\\\\\\\"\\\"]\",\"[\\\"a\\\",\\\"b\\\"]\"],",
                "[\"1970-01-01T00:00:00.000Z\",null,\"NaN\",false,null,null],",
                "[null,\"a,\\\"b\",1.0E7,null,\"[]\",\"d\"]]\n"
            )
        );
    }

    #[test]
    fn csv_quotes_and_leaves_nulls_empty() {
        let options = ResultOptions {
            format: ResultFormat::Csv,
            header: true,
            zone: Zone::read(Some("Asia/Tokyo")),
            ..ResultOptions::default()
        };
        assert_eq!(
            render(options, true),
            concat!(
                "__time,\"s\"\"\",x,b,tags,mv\n",
                "2015-01-01T09:10:00.000+09:00,plain,0.5,true,\"[\"\"a\"\",\"\"b\\\"\"\"\"]\",\"[\"\"a\"\",\"\"b\"\"]\"\n",
                "1970-01-01T09:00:00.000+09:00,,NaN,false,,\n",
                ",\"a,\"\"b\",1.0E7,,[],d\n\n"
            )
        );
    }

    #[test]
    fn empty_results_end_as_clients_expect() {
        for (format, expected) in [
            (ResultFormat::Object, "[]\n"),
            (ResultFormat::Array, "[]\n"),
            (ResultFormat::ObjectLines, "\n\n"),
            (ResultFormat::ArrayLines, "\n\n"),
            (ResultFormat::Csv, "\n"),
        ] {
            assert_eq!(
                render(
                    ResultOptions {
                        format,
                        ..ResultOptions::default()
                    },
                    false
                ),
                expected
            );
        }
    }

    #[test]
    fn json_arrays_when_asked_for() {
        let options = ResultOptions {
            format: ResultFormat::ArrayLines,
            stringify_arrays: false,
            ..ResultOptions::default()
        };
        assert!(render(options, true).contains(",[\"a\",\"b\\\"\"],"));
    }

    #[test]
    fn whole_numbers_are_exact() {
        let columns = vec![column("l", "LONG", "BIGINT")];
        let array: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 9_007_199_254_740_993]));
        let schema = Arc::new(Schema::new(vec![Field::new("l", array.data_type().clone(), false)]));
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        let mut writer = ResultWriter::new(
            columns,
            ResultOptions {
                format: ResultFormat::ObjectLines,
                ..ResultOptions::default()
            },
        );
        let mut out = Vec::new();
        writer.batch(&mut out, &batch).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"l\":9223372036854775807}\n{\"l\":-9223372036854775808}\n{\"l\":9007199254740993}\n"
        );
    }
}
