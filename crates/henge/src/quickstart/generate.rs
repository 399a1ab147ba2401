//! Makes the quickstart's data with `tpchgen`: orders as gzip JSON lines, lineitem as Parquet.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{LineItem, LineItemGenerator, OrderGenerator};

use crate::failure::Failure;

/// Name of the file of orders.
pub const ORDERS_FILE: &str = "orders.json.gz";

/// Name of the file of order lines.
pub const LINEITEM_FILE: &str = "lineitem.parquet";

/// Rows of one batch handed to the Parquet writer.
const BATCH_ROWS: usize = 16_384;

/// A file that was made, or was there already.
pub struct Made {
    /// Its name.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// Makes both files in a folder, replacing what is there.
pub fn generate(folder: &Path, scale: f64) -> Result<Vec<Made>, Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::new(format!("cannot make folder [{}]: {error}", folder.display())))?;
    let orders = write_file(folder, ORDERS_FILE, |path| write_orders(path, scale))?;
    let lines = write_file(folder, LINEITEM_FILE, |path| write_lineitem(path, scale))?;
    Ok(vec![orders, lines])
}

/// Writes beside the target and renames, so that an interrupted run leaves no half file.
fn write_file(
    folder: &Path,
    name: &'static str,
    write: impl FnOnce(&Path) -> Result<u64, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<Made, Failure> {
    let target: PathBuf = folder.join(name);
    let partial = folder.join(format!("{name}.partial"));
    let fail = |error: String| Failure::new(format!("cannot write [{}]: {error}", target.display()));
    let rows = write(&partial).map_err(|error| fail(error.to_string()))?;
    std::fs::rename(&partial, &target).map_err(|error| fail(error.to_string()))?;
    let bytes = std::fs::metadata(&target)
        .map_err(|error| fail(error.to_string()))?
        .len();
    Ok(Made { name, rows, bytes })
}

fn write_orders(path: &Path, scale: f64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let file = BufWriter::with_capacity(1 << 16, File::create(path)?);
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut rows = 0;
    for order in OrderGenerator::new(scale, 1, 1).iter() {
        // No value of TPC-H needs escaping in JSON.
        writeln!(
            out,
            "{{\"o_orderkey\":{},\"o_custkey\":{},\"o_orderstatus\":\"{}\",\"o_totalprice\":{},\"o_orderdate\":\"{}\",\"o_orderpriority\":\"{}\"}}",
            order.o_orderkey,
            order.o_custkey,
            order.o_orderstatus,
            order.o_totalprice,
            order.o_orderdate,
            order.o_orderpriority
        )?;
        rows += 1;
    }
    out.finish()?.flush()?;
    Ok(rows)
}

fn write_lineitem(path: &Path, scale: f64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let mut columns = Columns::default();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(200_000))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, columns.schema(), Some(properties))?;
    let mut rows = 0;
    for line in LineItemGenerator::new(scale, 1, 1).iter() {
        columns.append(&line);
        rows += 1;
        if columns.rows == BATCH_ROWS {
            writer.write(&columns.finish()?)?;
        }
    }
    if columns.rows > 0 {
        writer.write(&columns.finish()?)?;
    }
    writer.close()?;
    Ok(rows)
}

const LONGS: [&str; 4] = ["l_orderkey", "l_partkey", "l_suppkey", "l_linenumber"];
const DOUBLES: [&str; 4] = ["l_quantity", "l_extendedprice", "l_discount", "l_tax"];
const STRINGS: [&str; 6] = [
    "l_returnflag",
    "l_linestatus",
    "l_shipdate",
    "l_shipinstruct",
    "l_shipmode",
    "l_comment",
];

#[derive(Default)]
struct Columns {
    longs: [Int64Builder; 4],
    doubles: [Float64Builder; 4],
    strings: [StringBuilder; 6],
    rows: usize,
}

impl Columns {
    fn schema(&self) -> Arc<Schema> {
        let fields = |names: &'static [&str], data_type: DataType| {
            names
                .iter()
                .map(move |name| Field::new(*name, data_type.clone(), false))
                .collect::<Vec<_>>()
        };
        let mut all = fields(&LONGS, DataType::Int64);
        all.extend(fields(&DOUBLES, DataType::Float64));
        all.extend(fields(&STRINGS, DataType::Utf8));
        Arc::new(Schema::new(all))
    }

    fn append(&mut self, line: &LineItem<'_>) {
        let longs = [
            line.l_orderkey,
            line.l_partkey,
            line.l_suppkey,
            i64::from(line.l_linenumber),
        ];
        for (builder, value) in self.longs.iter_mut().zip(longs) {
            builder.append_value(value);
        }
        let cents = |value: tpchgen::decimal::TPCHDecimal| value.into_inner() as f64 / 100.0;
        let doubles = [
            line.l_quantity as f64,
            cents(line.l_extendedprice),
            cents(line.l_discount),
            cents(line.l_tax),
        ];
        for (builder, value) in self.doubles.iter_mut().zip(doubles) {
            builder.append_value(value);
        }
        let date = line.l_shipdate.to_string();
        let strings = [
            line.l_returnflag,
            line.l_linestatus,
            date.as_str(),
            line.l_shipinstruct,
            line.l_shipmode,
            line.l_comment,
        ];
        for (builder, value) in self.strings.iter_mut().zip(strings) {
            builder.append_value(value);
        }
        self.rows += 1;
    }

    fn finish(&mut self) -> Result<RecordBatch, arrow::error::ArrowError> {
        self.rows = 0;
        let mut arrays: Vec<ArrayRef> = Vec::new();
        arrays.extend(self.longs.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        arrays.extend(self.doubles.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        arrays.extend(self.strings.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        RecordBatch::try_new(self.schema(), arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_both_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = generate(folder.path(), 0.001).expect("writable");
        let rows: Vec<u64> = made.iter().map(|m| m.rows).collect();
        assert_eq!(rows, [1500, 6005]);
        assert!(folder.path().join(LINEITEM_FILE).exists() && folder.path().join(ORDERS_FILE).exists());
    }
}
