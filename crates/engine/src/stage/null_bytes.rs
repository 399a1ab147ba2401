//! U+0000 in texts: Druid's row frames cannot hold it, so a query fails on it where rows are staged, or takes it out
//! (`removeNullBytes`).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::physical_plan::ExecutionPlan;
use henge_input::InputSource;

use crate::fault::Fault;
use crate::stage::extern_scan::ExternScanExec;

/// Looks at the texts of a batch. `source` names what a fault blames; `row` is how many rows came before; faults count them from 1.
pub fn check(batch: RecordBatch, remove: bool, source: impl Fn() -> String, row: u64) -> Result<RecordBatch, Fault> {
    if !batch.columns().iter().any(has_null_byte) {
        return Ok(batch);
    }
    if !remove {
        return match first_of(&batch, &source(), row) {
            Some(fault) => Err(fault),
            // Only bytes that no row shows.
            None => Ok(batch),
        };
    }
    let columns = batch.columns().iter().map(without_null_bytes).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn text_bytes(texts: &StringArray) -> &[u8] {
    let offsets = texts.value_offsets();
    let (start, end) = (offsets[0] as usize, offsets[texts.len()] as usize);
    &texts.value_data()[start..end]
}

fn has_null_byte(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Utf8 => text_bytes(column.as_string()).contains(&0),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let offsets = list.value_offsets();
            let (start, end) = (offsets[0] as usize, offsets[list.len()] as usize);
            has_null_byte(&list.values().slice(start, end - start))
        }
        _ => false,
    }
}

fn without_null_bytes(column: &ArrayRef) -> ArrayRef {
    if !has_null_byte(column) {
        return column.clone();
    }
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>().iter();
            Arc::new(
                texts
                    .map(|text| text.map(|text| text.replace('\0', "")))
                    .collect::<StringArray>(),
            )
        }
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let values = without_null_bytes(list.values());
            Arc::new(ListArray::new(
                field.clone(),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            ))
        }
        _ => column.clone(),
    }
}

/// Makes the fault of the first text that has one.
fn first_of(batch: &RecordBatch, source: &str, before: u64) -> Option<Fault> {
    for row in 0..batch.num_rows() {
        for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
            if let Some((text, at)) = text_in(column, row) {
                let row = before + row as u64 + 1;
                return Some(Fault::invalid_null_byte(source, row, field.name(), &text, at));
            }
        }
    }
    None
}

fn text_in(column: &ArrayRef, row: usize) -> Option<(String, usize)> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => {
            let text = column.as_string::<i32>().value(row);
            text.find('\0').map(|at| (text.to_string(), at))
        }
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(row);
            (0..values.len()).find_map(|index| text_in(&values, index))
        }
        _ => None,
    }
}

/// Names what a plan reads, as Druid does: data in the statement by itself, other sources by their JSON.
pub fn source_of(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut nodes = vec![plan];
    while let Some(node) = nodes.pop() {
        if let Some(scan) = (node.as_ref() as &dyn std::any::Any).downcast_ref::<ExternScanExec>() {
            let spec = scan.spec();
            return match &spec.source {
                InputSource::Inline(data) => format!("external[InlineInputSource{{data='{data}'}}]"),
                _ => format!("external[{}]", spec.raw.0),
            };
        }
        nodes.extend(node.children());
    }
    "stage".to_string()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::fault::FaultCode;

    fn batch() -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("ab"), None, Some("c\0d")]));
        let list: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", DataType::Utf8, true)),
            OffsetBuffer::from_lengths([0, 1, 2]),
            Arc::new(StringArray::from(vec!["x", "\0", "y"])),
            None,
        ));
        let schema = Schema::new(vec![
            Field::new("s", texts.data_type().clone(), true),
            Field::new("l", list.data_type().clone(), true),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![texts, list]).expect("two columns of three rows")
    }

    #[test]
    fn the_first_one_is_named() {
        let fault = check(batch(), false, || "stage".to_string(), 10).expect_err("there are two");
        assert_eq!(fault.code, FaultCode::InvalidNullByte);
        assert_eq!(
            (
                &fault.fields["rowNumber"],
                &fault.fields["column"],
                &fault.fields["position"]
            ),
            (&13.into(), &"s".into(), &1.into())
        );
        let clean = batch().slice(0, 2);
        assert_eq!(check(clean.clone(), false, String::new, 0).expect("none there"), clean);
    }

    #[test]
    fn they_are_taken_out_on_request() {
        let cleaned = check(batch(), true, String::new, 0).expect("taken out");
        assert_eq!(cleaned.column(0).as_string::<i32>().value(2), "cd");
        let list = cleaned.column(1).as_list::<i32>().value(2);
        assert_eq!(list.as_string::<i32>().value(0), "");
        assert!(cleaned.column(0).is_null(1));
    }
}
