//! Aggregates that keep values: ARRAY_AGG, ARRAY_CONCAT_AGG, and the lists behind STRING_AGG and LISTAGG.
//!
//! As in Druid a distinct list is sorted, NULL first, and a list may not grow beyond a number of bytes: the last argument,
//! counted as Druid's type strategies count (a byte for NULL or not, a length before text and arrays).

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;

use crate::{SqlError, SqlType};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Every value, NULL too.
    Values,
    /// Every value once.
    DistinctValues,
    /// The elements of arrays.
    Elements,
    /// The elements of arrays, once.
    DistinctElements,
    /// Text that is not NULL; the values of multi-value strings.
    Texts,
    /// The same, once.
    DistinctTexts,
    /// The same, once and the greatest first.
    DistinctTextsDown,
}

const KINDS: [Kind; 7] = [
    Kind::Values,
    Kind::DistinctValues,
    Kind::Elements,
    Kind::DistinctElements,
    Kind::Texts,
    Kind::DistinctTexts,
    Kind::DistinctTextsDown,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Values => "collect",
            Kind::DistinctValues => "collect_distinct",
            Kind::Elements => "collect_elements",
            Kind::DistinctElements => "collect_distinct_elements",
            Kind::Texts => "collect_texts",
            Kind::DistinctTexts => "collect_distinct_texts",
            Kind::DistinctTextsDown => "collect_distinct_texts_down",
        }
    }

    fn is_distinct(self) -> bool {
        !matches!(self, Kind::Values | Kind::Elements | Kind::Texts)
    }

    fn is_text(self) -> bool {
        matches!(self, Kind::Texts | Kind::DistinctTexts | Kind::DistinctTextsDown)
    }

    /// Gives the type of an element for an argument's type.
    fn element(self, argument: &DataType) -> DataType {
        match argument {
            DataType::List(item) if !matches!(self, Kind::Values | Kind::DistinctValues) => item.data_type().clone(),
            other => other.clone(),
        }
    }
}

static UDAFS: LazyLock<Vec<Arc<AggregateUDF>>> = LazyLock::new(|| {
    KINDS
        .into_iter()
        .map(|kind| {
            Arc::new(AggregateUDF::new_from_impl(Collect {
                kind,
                signature: Signature::any(2, Volatility::Immutable),
            }))
        })
        .collect()
});

/// Gives the aggregate; arguments are the value and the most bytes.
pub(crate) fn udaf(kind: Kind) -> Arc<AggregateUDF> {
    Arc::clone(&UDAFS[kind as usize])
}

/// Lists the aggregates, for session states and codecs.
pub(crate) fn udafs() -> Vec<Arc<AggregateUDF>> {
    UDAFS.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Collect {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let argument = arg_types.first().cloned().unwrap_or(DataType::Utf8);
        Ok(DataType::new_list(self.kind.element(&argument), true))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let data_type = args.return_field.data_type().clone();
        Ok(vec![Arc::new(Field::new(
            format_state_name(args.name, self.name()),
            data_type,
            true,
        ))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let most = match args
            .exprs
            .get(1)
            .and_then(|expr| expr.downcast_ref::<Literal>())
            .map(Literal::value)
        {
            Some(ScalarValue::Int64(Some(most))) => *most,
            _ => crate::limits::AGGREGATE_BYTES,
        };
        let element = match args.return_field.data_type() {
            DataType::List(item) => item.data_type().clone(),
            other => other.clone(),
        };
        Ok(Box::new(Collector {
            kind: self.kind,
            most,
            element,
            parts: Vec::new(),
            rows: 0,
            compacted: 0,
            bytes: LIST_BYTES,
            seen: 0,
        }))
    }
}

/// A byte for NULL or not, and the number of elements.
const LIST_BYTES: i64 = 5;
/// A distinct list is made distinct again when this many values came in on top.
const COMPACT_AFTER_ROWS: usize = 1024;

#[derive(Debug)]
struct Collector {
    kind: Kind,
    most: i64,
    element: DataType,
    parts: Vec<ArrayRef>,
    rows: usize,
    /// Values that are known to be distinct; the others stand behind them.
    compacted: usize,
    bytes: i64,
    /// Rows that made a list of nothing a list.
    seen: usize,
}

impl Collector {
    fn push(&mut self, values: ArrayRef) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        if !self.kind.is_distinct() {
            self.count(&values)?;
        }
        self.rows += values.len();
        self.parts.push(values);
        if self.kind.is_distinct() && self.rows > self.compacted * 2 + COMPACT_AFTER_ROWS {
            self.compact()?;
        }
        Ok(())
    }

    fn count(&mut self, values: &ArrayRef) -> Result<()> {
        for row in 0..values.len() {
            self.bytes += bytes_of(values, row);
            if self.bytes > self.most {
                let native = SqlType::Array(Box::new(SqlType::from_arrow(&self.element))).native();
                return Err(datafusion::common::DataFusionError::External(Box::new(
                    SqlError::runtime(
                        "org.apache.druid.java.util.common.ISE",
                        format!(
                            "Exceeded memory usage when aggregating type [{native}], size [{}] is larger than max [{}]",
                            self.bytes, self.most
                        ),
                    )
                    .hint(Some("the last argument of the aggregate is its limit in bytes".into())),
                )));
            }
        }
        Ok(())
    }

    fn all(&self) -> Result<ArrayRef> {
        if self.parts.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.element));
        }
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }

    /// Sorts and drops repetitions.
    fn compact(&mut self) -> Result<()> {
        let all = self.all()?;
        if all.is_empty() {
            return Ok(());
        }
        let options = arrow::compute::SortOptions {
            descending: self.kind == Kind::DistinctTextsDown,
            nulls_first: self.kind != Kind::DistinctTextsDown,
        };
        let converter = RowConverter::new(vec![SortField::new_with_options(all.data_type().clone(), options)])?;
        let encoded = converter.convert_columns(&[Arc::clone(&all)])?;
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.sort_unstable_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)));
        order.dedup_by(|a, b| encoded.row(*a as usize) == encoded.row(*b as usize));
        let distinct = take(&all, &UInt32Array::from(order), None)?;
        self.bytes = LIST_BYTES;
        self.count(&distinct)?;
        (self.rows, self.compacted) = (distinct.len(), distinct.len());
        self.parts = vec![distinct];
        Ok(())
    }

    /// Gives the rows that count, and the values that they hold.
    fn incoming(&self, array: &ArrayRef) -> Result<(usize, ArrayRef)> {
        let array = match array.data_type() {
            DataType::Dictionary(_, value) => arrow::compute::cast(array, value)?,
            _ => Arc::clone(array),
        };
        let (seen, flat) = match (self.kind, array.as_list_opt::<i32>()) {
            (Kind::Values | Kind::DistinctValues, _) | (_, None) => (array.len(), array),
            (_, Some(list)) => (list.len() - list.null_count(), flat_values(list)?),
        };
        if self.kind.is_text() && flat.null_count() > 0 {
            let texts = arrow::compute::filter(&flat, &arrow::compute::is_not_null(&flat)?)?;
            return Ok((seen, texts));
        }
        Ok((seen, flat))
    }

    /// Forgets the values that came first, which a window leaves behind.
    fn drop_first(&mut self, mut count: usize) {
        let mut kept = Vec::with_capacity(self.parts.len());
        for part in std::mem::take(&mut self.parts) {
            let gone = count.min(part.len());
            count -= gone;
            self.rows -= gone;
            self.bytes -= (0..gone).map(|row| bytes_of(&part, row)).sum::<i64>();
            if gone < part.len() {
                kept.push(part.slice(gone, part.len() - gone));
            }
        }
        self.parts = kept;
    }

    fn list(&mut self) -> Result<ScalarValue> {
        if self.kind.is_distinct() {
            self.compact()?;
        }
        if self.seen == 0 {
            return ScalarValue::try_from(&DataType::new_list(self.element.clone(), true));
        }
        let values = self.all()?;
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(
            field, offsets, values, None,
        )?)))
    }
}

impl Accumulator for Collector {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (seen, values) = self.incoming(&values[0])?;
        self.seen += seen;
        self.push(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (seen, values) = self.incoming(&values[0])?;
        self.seen = self.seen.saturating_sub(seen);
        self.drop_first(values.len());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        !self.kind.is_distinct()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let list = states[0].as_list::<i32>();
        self.seen += list.len() - list.null_count();
        self.push(flat_values(list)?)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.list()
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self
                .parts
                .iter()
                .map(|part| part.get_array_memory_size())
                .sum::<usize>()
    }
}

/// Gives the elements of all rows that are not NULL.
fn flat_values(list: &ListArray) -> Result<ArrayRef> {
    let offsets = list.value_offsets();
    let (first, last) = (offsets[0] as usize, offsets[list.len()] as usize);
    if list.null_count() == 0 {
        return Ok(list.values().slice(first, last - first));
    }
    let index: UInt32Array = (0..list.len())
        .filter(|row| list.is_valid(*row))
        .flat_map(|row| offsets[row] as u32..offsets[row + 1] as u32)
        .collect::<Vec<u32>>()
        .into();
    Ok(take(list.values(), &index, None)?)
}

/// Counts a value's bytes as Druid's nullable type strategies do.
fn bytes_of(values: &ArrayRef, row: usize) -> i64 {
    if values.is_null(row) {
        return 1;
    }
    1 + match values.data_type() {
        DataType::Utf8 => 4 + i64::from(values.as_string::<i32>().value_length(row)),
        DataType::Float32 => 4,
        DataType::List(_) => {
            let items = values.as_list::<i32>().value(row);
            4 + (0..items.len()).map(|i| bytes_of(&items, i)).sum::<i64>()
        }
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    fn collector(kind: Kind, most: i64) -> Collector {
        Collector {
            kind,
            most,
            element: DataType::Utf8,
            parts: Vec::new(),
            rows: 0,
            compacted: 0,
            bytes: LIST_BYTES,
            seen: 0,
        }
    }

    fn texts(items: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(items.to_vec()))
    }

    fn shown(state: &mut Collector) -> Vec<Option<String>> {
        let ScalarValue::List(list) = state.evaluate().expect("a list") else {
            panic!("a list")
        };
        let items = list.value(0);
        items
            .as_string::<i32>()
            .iter()
            .map(|item| item.map(String::from))
            .collect()
    }

    #[test]
    fn distinct_lists_are_sorted() {
        let mut state = collector(Kind::DistinctValues, 1024);
        for batch in [texts(&[Some("b"), None]), texts(&[Some("a"), Some("b")])] {
            state.update_batch(&[batch]).expect("in the limit");
        }
        assert_eq!(shown(&mut state), [None, Some("a".to_string()), Some("b".to_string())]);
        let mut down = collector(Kind::DistinctTextsDown, 1024);
        down.update_batch(&[texts(&[Some("b"), None, Some("c")])])
            .expect("in the limit");
        assert_eq!(shown(&mut down), [Some("c".to_string()), Some("b".to_string())]);
    }

    #[test]
    fn the_limit_counts_as_druid_does() {
        let mut state = collector(Kind::Values, 16);
        let error = state
            .update_batch(&[texts(&[Some("Talk:Oswald Tilghman")])])
            .expect_err("too long");
        assert!(
            error.to_string().contains("size [30] is larger than max [16]"),
            "{error}"
        );
    }

    #[test]
    fn nothing_gives_null() {
        assert!(collector(Kind::Texts, 16).evaluate().expect("NULL").is_null());
    }
}
