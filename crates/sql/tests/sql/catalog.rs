//! The tables that the recordings were made over, as far as they are small.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, UInt32Type};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use henge_input::{ExternSpec, ReadOptions, SplitLimits, Strict, read_all};
use henge_sql::{Lookup, META_TYPE, SchemaCatalog};

use crate::run::folder;

pub struct Tables;

const NAMES: [&str; 6] = [
    "api_base",
    "henge_one",
    "array-example",
    "mvd-example",
    "inline_data",
    "dict",
];

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

fn millis(text: &str) -> i64 {
    henge_time::parse_millis(text).expect("a time")
}

fn table(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Arc<dyn TableProvider> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch");
    Arc::new(MemTable::try_new(schema, vec![vec![batch]]).expect("a table"))
}

fn lists(rows: &[Option<&[Option<&str>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match row {
            None => builder.append_null(),
            Some(items) => {
                for item in *items {
                    builder.values().append_option(*item);
                }
                builder.append(true);
            }
        }
    }
    Arc::new(builder.finish())
}

fn multi(name: &str) -> Field {
    Field::new(name, DataType::new_list(DataType::Utf8, true), true)
        .with_metadata([(META_TYPE.to_string(), "multi".to_string())].into())
}

/// The ten rows behind the API recordings.
fn api_base() -> Arc<dyn TableProvider> {
    let times = [
        "2015-01-01T00:10:00Z",
        "2015-01-01T01:20:00Z",
        "2015-01-01T02:30:00Z",
        "2015-01-01T03:40:00Z",
        "2015-01-01T04:50:00Z",
        "2015-01-02T00:00:00Z",
        "2015-01-02T05:00:00Z",
        "2015-01-02T06:00:00Z",
        "2015-01-04T12:00:00Z",
        "2015-01-04T13:00:00Z",
    ];
    let tags: [Option<&[Option<&str>]>; 10] = [
        Some(&[Some("a"), Some("b")]),
        Some(&[Some("b")]),
        Some(&[]),
        None,
        Some(&[Some("c")]),
        Some(&[Some("a")]),
        Some(&[Some("a"), Some("c")]),
        Some(&[Some("d")]),
        Some(&[Some("e")]),
        Some(&[Some("e"), Some("a")]),
    ];
    let mut country = StringDictionaryBuilder::<UInt32Type>::new();
    for value in [
        Some("AU"),
        Some("AU"),
        Some("BR"),
        Some("CA"),
        Some("DE"),
        Some("AU"),
        Some("FR"),
        None,
        Some("US"),
        Some("US"),
    ] {
        country.append_option(value);
    }
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    table(
        vec![
            Field::new("__time", time(), false),
            Field::new("country", dictionary, true),
            Field::new("city", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
            multi("mv"),
        ],
        vec![
            Arc::new(TimestampMillisecondArray::from_iter_values(times.map(millis))),
            Arc::new(country.finish()),
            Arc::new(StringArray::from(vec![
                "Perth", "Sydney", "Recife", "Ottawa", "Köln", "Perth", "Paris", "Nowhere", "Austin", "Boston",
            ])),
            Arc::new(Int64Array::from_iter((1..=9).map(Some).chain([None]))),
            Arc::new(Float64Array::from(vec![
                Some(0.5),
                Some(1.5),
                Some(-2.25),
                None,
                Some(10.0),
                Some(0.25),
                Some(3.0),
                Some(4.0),
                Some(5.5),
                Some(6.5),
            ])),
            lists(&tags),
            lists(&tags),
        ],
    )
}

fn array_example() -> Arc<dyn TableProvider> {
    let long = |rows: Vec<Option<Vec<Option<i64>>>>| -> ArrayRef {
        Arc::new(arrow::array::ListArray::from_iter_primitive::<
            arrow::datatypes::Int64Type,
            _,
            _,
        >(rows))
    };
    let double = |rows: Vec<Option<Vec<Option<f64>>>>| -> ArrayRef {
        Arc::new(arrow::array::ListArray::from_iter_primitive::<
            arrow::datatypes::Float64Type,
            _,
            _,
        >(rows))
    };
    let rows: [Option<&[Option<&str>]>; 5] = [
        Some(&[Some("a"), Some("b")]),
        Some(&[None, Some("b")]),
        Some(&[]),
        Some(&[Some("a"), Some("b")]),
        None,
    ];
    table(
        vec![
            Field::new("__time", time(), false),
            Field::new("label", DataType::Utf8, true),
            Field::new("arrayString", DataType::new_list(DataType::Utf8, true), true),
            Field::new("arrayLong", DataType::new_list(DataType::Int64, true), true),
            Field::new("arrayDouble", DataType::new_list(DataType::Float64, true), true),
        ],
        vec![
            Arc::new(TimestampMillisecondArray::from(vec![millis("2023-01-01T00:00:00Z"); 5])),
            Arc::new(StringArray::from(vec!["row1", "row2", "row3", "row4", "row5"])),
            lists(&rows),
            long(vec![
                Some(vec![Some(1), None, Some(3)]),
                None,
                Some(vec![Some(1), Some(2), Some(3)]),
                Some(vec![Some(1), Some(2), Some(3)]),
                Some(vec![]),
            ]),
            double(vec![
                Some(vec![Some(1.1), Some(2.2), None]),
                Some(vec![Some(999.0), None, Some(5.5)]),
                Some(vec![None, Some(2.2), Some(1.1)]),
                Some(vec![]),
                None,
            ]),
        ],
    )
}

fn mvd_example() -> Arc<dyn TableProvider> {
    let rows: [Option<&[Option<&str>]>; 4] = [
        Some(&[Some("t1"), Some("t2"), Some("t3")]),
        Some(&[Some("t3"), Some("t4"), Some("t5")]),
        Some(&[Some("t5"), Some("t6"), Some("t7")]),
        None,
    ];
    table(
        vec![
            Field::new("__time", time(), false),
            Field::new("label", DataType::Utf8, true),
            multi("tags"),
        ],
        vec![
            Arc::new(TimestampMillisecondArray::from_iter_values(
                ["2011-01-12", "2011-01-13", "2011-01-14", "2011-01-14"].map(millis),
            )),
            Arc::new(StringArray::from(vec!["row1", "row2", "row3", "row4"])),
            lists(&rows),
        ],
    )
}

fn inline_data() -> Arc<dyn TableProvider> {
    table(
        vec![
            Field::new("__time", time(), false),
            Field::new("title", DataType::Utf8, true),
            Field::new("string_value", DataType::Utf8, true),
            Field::new("numeric_value", DataType::Int64, true),
        ],
        vec![
            Arc::new(TimestampMillisecondArray::from(vec![millis("2013-10-06T00:00:00Z"); 4])),
            Arc::new(StringArray::from(vec![
                "example_1",
                "example_2",
                "example_3",
                "example_4",
            ])),
            Arc::new(StringArray::from(vec![
                Some("some_value"),
                Some("another_value"),
                Some(""),
                None,
            ])),
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None, None])),
        ],
    )
}

/// The wikipedia sample as Druid's tutorial loads it, where the larger inputs are beside the project.
static WIKIPEDIA: LazyLock<Option<Arc<dyn TableProvider>>> = LazyLock::new(|| {
    let file = folder("../shared/data/wikiticker-2015-09-12-sampled.json.gz")?;
    let text = ["channel", "cityName", "comment", "countryIsoCode", "countryName"];
    let flags = ["isAnonymous", "isMinor", "isNew", "isRobot", "isUnpatrolled"];
    let names = ["namespace", "page", "regionIsoCode", "regionName", "user"];
    let numbers = ["metroCode", "delta", "added", "deleted"];
    let of = |names: &[&str], kind: &str| -> Vec<String> {
        names
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","type":"{kind}"}}"#))
            .collect()
    };
    let mut columns = of(&["time"], "string");
    columns.extend(of(&text, "string"));
    columns.extend(of(&flags, "string"));
    columns.extend(of(&names, "string"));
    columns.extend(of(&numbers, "long"));
    let source = format!(r#"{{"type":"local","files":["{}"]}}"#, file.display());
    let signature = format!("[{}]", columns.join(","));
    let spec = ExternSpec::parse(&source, r#"{"type":"json"}"#, Some(&signature)).expect("a source");
    let splits = spec.splits(&henge_input::SplitLimits::default()).expect("splits");
    let batches = henge_input::read_all(
        &spec,
        &splits,
        &henge_input::ReadOptions::all(&spec),
        Arc::new(henge_input::Strict),
    )
    .expect("rows");
    let mut fields = vec![Arc::new(Field::new("__time", time(), false))];
    fields.extend(spec.arrow_schema().fields()[1..].iter().cloned());
    let schema = Arc::new(Schema::new(fields));
    let batches = batches
        .into_iter()
        .map(|batch| {
            let times = arrow::array::AsArray::as_string::<i32>(batch.column(0));
            let times: TimestampMillisecondArray = times.iter().map(|t| t.map(millis)).collect();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(times)];
            columns.extend(batch.columns()[1..].iter().cloned());
            RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch")
        })
        .collect();
    Some(Arc::new(MemTable::try_new(schema, vec![batches]).expect("a table")))
});

impl SchemaCatalog for Tables {
    fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        match (schema, name) {
            ("druid", "api_base") => Some(api_base()),
            ("druid", "array-example") => Some(array_example()),
            ("druid", "mvd-example") => Some(mvd_example()),
            ("druid", "inline_data") => Some(inline_data()),
            ("druid", "wikipedia") => WIKIPEDIA.clone(),
            ("druid", "henge_one") => Some(table(
                vec![
                    Field::new("__time", time(), false),
                    Field::new("one", DataType::Int64, true),
                ],
                vec![
                    Arc::new(TimestampMillisecondArray::from(vec![0])),
                    Arc::new(Int64Array::from(vec![1])),
                ],
            )),
            ("druid", "api_rollup") => Some(table(
                vec![
                    Field::new("__time", time(), false),
                    Field::new("country", DataType::Utf8, true),
                ],
                vec![
                    Arc::new(TimestampMillisecondArray::from(vec![0])),
                    Arc::new(StringArray::from(vec!["AU"])),
                ],
            )),
            ("lookup", "api_lk") => Some(table(
                vec![
                    Field::new("k", DataType::Utf8, true),
                    Field::new("v", DataType::Utf8, true),
                ],
                vec![
                    Arc::new(StringArray::from(vec!["AU"])),
                    Arc::new(StringArray::from(vec!["Australia"])),
                ],
            )),
            ("INFORMATION_SCHEMA", "TABLES" | "COLUMNS" | "SCHEMATA") | ("sys", "segments") => Some(table(
                vec![Field::new("TABLE_NAME", DataType::Utf8, true)],
                vec![Arc::new(StringArray::from(vec!["api_base"]))],
            )),
            _ => None,
        }
    }

    fn table_names(&self, schema: &str) -> Vec<String> {
        match schema {
            "druid" => NAMES.map(String::from).to_vec(),
            _ => Vec::new(),
        }
    }

    fn lookup(&self, name: &str) -> Option<Arc<Lookup>> {
        let entries = [("US", "United States"), ("FR", "France"), ("DE", "Germany")];
        let entries = entries.map(|(key, value)| (key.to_string(), value.to_string()));
        (name == "henge_country").then(|| Arc::new(Lookup::new(entries, true)))
    }

    /// Reads the data that the statement holds; files of other machines are empty here.
    fn extern_table(&self, spec: ExternSpec) -> Arc<dyn TableProvider> {
        let splits = spec.splits(&SplitLimits::default()).unwrap_or_default();
        let batches = read_all(&spec, &splits, &ReadOptions::all(&spec), Arc::new(Strict)).unwrap_or_default();
        Arc::new(MemTable::try_new(spec.arrow_schema(), vec![batches]).expect("a table"))
    }
}
