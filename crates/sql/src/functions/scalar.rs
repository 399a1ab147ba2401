//! A scalar function of the table as DataFusion's UDF: dictionaries and multi-value lists are taken apart here, so that a
//! kernel sees plain columns only.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AnyDictionaryArray, Array, ArrayRef, AsArray, ListArray, UInt32Array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, UInt32Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::args::{Args, check_bytes};
use crate::SqlType;
use crate::limits::MAX_BATCH_BYTES;

/// What a parameter takes; the binder casts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    /// Anything, as it is.
    Any,
    /// A number; text is read as one.
    Num,
    /// A whole number.
    Int,
    /// A fraction.
    Double,
    /// Text; numbers are worded.
    Str,
    /// A point in time.
    Time,
    /// An array, or a multi-value string.
    Arr,
    /// The same; a number is a list of one.
    List,
    /// An array.
    Array,
    /// A multi-value string, as the list of its values.
    Values,
    /// An array to look for, or one value.
    Items,
    /// Text, and nothing that would have to be worded first.
    Text,
    /// Anything, as JSON text.
    Json,
    /// JSON, as a value or as its text.
    JsonText,
    /// Text or a number, as it is.
    Scalar,
}

impl Param {
    /// Gives the family that messages and ROUTINES name.
    pub fn family(self) -> &'static str {
        match self {
            Param::Any | Param::Json | Param::JsonText | Param::Scalar => "<ANY>",
            Param::Num | Param::Double => "<NUMERIC>",
            Param::Int => "<INTEGER>",
            Param::Str | Param::Text => "<CHARACTER>",
            Param::Time => "<TIMESTAMP>",
            Param::Arr | Param::List | Param::Array | Param::Values | Param::Items => "<ARRAY>",
        }
    }

    /// Tells whether the parameter takes a multi-value string as one list, and not value by value.
    pub fn takes_lists(self) -> bool {
        use Param::{Arr, Array, Items, Json, List, Values};
        matches!(self, Arr | List | Array | Values | Items | Json)
    }
}

/// Computes a batch.
pub(crate) type Kernel = fn(&Args<'_>) -> Result<ArrayRef>;

/// A scalar function.
pub(crate) struct ScalarDef {
    /// Upper case SQL name.
    pub name: &'static str,
    /// Other SQL names.
    pub aliases: &'static [&'static str],
    /// Name in Druid's native expressions.
    pub native: &'static str,
    /// Parameters; the last repeats where `variadic`.
    pub params: &'static [Param],
    /// Fewest arguments.
    pub min: usize,
    /// Whether the last parameter repeats.
    pub variadic: bool,
    /// Where the query's time zone goes if the caller gives none; missing arguments before it are NULL.
    pub zone_at: Option<usize>,
    /// Result type.
    pub returns: fn(&[SqlType]) -> SqlType,
    /// Implementation.
    pub kernel: Kernel,
}

impl ScalarDef {
    /// Starts a definition with one name, fixed parameters and no extras.
    pub const fn new(
        name: &'static str,
        native: &'static str,
        params: &'static [Param],
        returns: fn(&[SqlType]) -> SqlType,
        kernel: Kernel,
    ) -> Self {
        ScalarDef {
            name,
            aliases: &[],
            native,
            params,
            min: params.len(),
            variadic: false,
            zone_at: None,
            returns,
            kernel,
        }
    }

    /// Adds other names.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Makes the parameters behind the first `min` optional.
    pub const fn min(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    /// Lets the last parameter repeat.
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Fills in the query's time zone.
    pub const fn zone(mut self, at: usize) -> Self {
        self.zone_at = Some(at);
        self
    }

    /// Words the form as messages and ROUTINES do: `'F(<NUMERIC>, [<INTEGER>])'`.
    pub fn form(&self) -> String {
        if let Some(listed) = super::signatures(self.name) {
            return listed.to_string();
        }
        let mut text = format!("'{}(", self.name);
        for (i, param) in self.params.iter().enumerate() {
            let optional = i >= self.min;
            match (i, optional) {
                (0, false) => text.push_str(param.family()),
                (0, true) => text.push_str(&format!("[{}", param.family())),
                (_, false) => text.push_str(&format!(", {}", param.family())),
                (_, true) => text.push_str(&format!(", [{}", param.family())),
            }
        }
        text.push_str(&"]".repeat(self.params.len().saturating_sub(self.min)));
        if self.variadic {
            text.push_str(", ...");
        }
        text.push_str(")'");
        text
    }

    /// Gives the parameter of an argument.
    pub fn param(&self, index: usize) -> Param {
        self.params
            .get(index)
            .or(self.params.last())
            .copied()
            .unwrap_or(Param::Any)
    }
}

impl std::fmt::Debug for ScalarDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What a UDF does with multi-value strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// There are none.
    None,
    /// The function is applied to every value; several lists come from one column and are walked in step.
    Paired,
    /// The function is applied to every combination of values of several lists.
    Crossed,
}

/// The UDF around a [`ScalarDef`].
#[derive(Debug)]
pub(crate) struct DruidScalar {
    def: &'static ScalarDef,
    lists: Lists,
    name: String,
    signature: Signature,
}

impl PartialEq for DruidScalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for DruidScalar {}

impl Hash for DruidScalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl DruidScalar {
    /// Makes the UDF.
    pub fn udf(def: &'static ScalarDef, lists: Lists) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(DruidScalar {
            def,
            lists,
            name: match lists {
                Lists::None => def.native.to_string(),
                Lists::Paired => format!("map_{}", def.native),
                Lists::Crossed => format!("cross_{}", def.native),
            },
            signature: Signature::variadic_any(Volatility::Immutable),
        }))
    }

    fn plain(&self, args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
        let result = (self.def.kernel)(&Args::new(args, rows))?;
        if let DataType::List(_) = result.data_type() {
            check_bytes(result.to_data().get_slice_memory_size()?)?;
        }
        Ok(result)
    }

    /// Evaluates once for each distinct value where the only column is a dictionary.
    fn by_dictionary(&self, args: &[ColumnarValue]) -> Result<Option<ArrayRef>> {
        let mut columns = args.iter().enumerate().filter_map(|(i, arg)| match arg {
            ColumnarValue::Array(array) => Some((i, array)),
            ColumnarValue::Scalar(_) => None,
        });
        let (Some((at, array)), None) = (columns.next(), columns.next()) else {
            return Ok(None);
        };
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return Ok(None);
        };
        let values = dictionary.values();
        // A slice of a large dictionary is cheaper to unpack than to evaluate whole.
        if values.len() > array.len().saturating_mul(2) + 16 {
            return Ok(None);
        }
        let mut replaced = args.to_vec();
        replaced[at] = ColumnarValue::Array(Arc::clone(values));
        let evaluated = self.plain(&replaced, values.len())?;
        check_taken(&evaluated, dictionary)?;
        let result = take(&evaluated, dictionary.keys(), None)?;
        if array.null_count() == 0 {
            return Ok(Some(result));
        }
        // A null key is not in the dictionary; functions such as COALESCE give NULL a meaning of its own.
        let mut null = args.to_vec();
        null[at] = ColumnarValue::Array(new_null_array(values.data_type(), 1));
        let of_null = self.plain(&null, 1)?;
        if of_null.is_null(0) {
            return Ok(Some(result));
        }
        let from_null = arrow::compute::is_null(array)?;
        let scalar = arrow::array::Scalar::new(of_null);
        Ok(Some(arrow::compute::kernels::zip::zip(&from_null, &scalar, &result)?))
    }

    /// Applies the kernel to every value of the lists and puts the results back into lists of the same lengths.
    fn by_value(&self, args: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
        let arrays: Vec<ArrayRef> = args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?;
        let is_list: Vec<bool> = arrays
            .iter()
            .enumerate()
            .map(|(i, array)| !self.def.param(i).takes_lists() && matches!(array.data_type(), DataType::List(_)))
            .collect();
        // One NULL stands for a NULL or empty row.
        let mut offsets: Vec<i32> = Vec::with_capacity(rows + 1);
        offsets.push(0);
        let mut row_of: Vec<u32> = Vec::new();
        let mut element_of: Vec<Vec<Option<u32>>> = vec![Vec::new(); arrays.len()];
        for row in 0..rows {
            let spans: Vec<(usize, usize)> = arrays
                .iter()
                .zip(&is_list)
                .map(|(array, list)| {
                    if !list || array.is_null(row) {
                        return (0, 0);
                    }
                    let lists = array.as_list::<i32>();
                    let offsets = lists.value_offsets();
                    (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize)
                })
                .collect();
            let lengths: Vec<usize> = spans
                .iter()
                .zip(&is_list)
                .filter(|(_, list)| **list)
                .map(|((_, length), _)| *length)
                .collect();
            let count = match self.lists {
                Lists::Crossed => lengths
                    .iter()
                    .try_fold(1usize, |all, length| all.checked_mul((*length).max(1)))
                    .filter(|count| *count <= crate::limits::MAX_COMBINATIONS)
                    .ok_or_else(|| too_many_combinations(&lengths))?,
                _ => lengths.iter().copied().max().unwrap_or(0).max(1),
            };
            for n in 0..count {
                row_of.push(row as u32);
                // The last list varies fastest.
                let mut rest = n;
                for (i, (start, length)) in spans.iter().enumerate().rev() {
                    if is_list[i] {
                        let at = match self.lists {
                            Lists::Crossed => {
                                let at = rest % (*length).max(1);
                                rest /= (*length).max(1);
                                at
                            }
                            _ if *length == 1 => 0,
                            _ => n,
                        };
                        element_of[i].push((at < *length).then_some((start + at) as u32));
                    }
                }
            }
            offsets.push(row_of.len() as i32);
        }
        let rows_index = UInt32Array::from(row_of);
        let mut flat = Vec::with_capacity(arrays.len());
        for (i, array) in arrays.iter().enumerate() {
            let column = if is_list[i] {
                let index: arrow::array::PrimitiveArray<UInt32Type> = element_of[i].iter().copied().collect();
                take(array.as_list::<i32>().values(), &index, None)?
            } else {
                take(array, &rows_index, None)?
            };
            flat.push(ColumnarValue::Array(unpack(column)?));
        }
        let values = self.plain(&flat, rows_index.len())?;
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(Arc::new(ListArray::try_new(
            field,
            OffsetBuffer::new(offsets.into()),
            values,
            None,
        )?))
    }
}

pub(super) fn too_many_combinations(lengths: &[usize]) -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::External(Box::new(crate::SqlError::general(
        crate::Persona::User,
        crate::Category::RuntimeFailure,
        format!(
            "Multi-value strings of {lengths:?} values in one row have more combinations than the limit of {}; use MV_FILTER_ONLY to narrow them",
            crate::limits::MAX_COMBINATIONS
        ),
    )))
}

/// Unpacks a dictionary or a view into the plain column that kernels know.
fn unpack(array: ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, value) => Ok(arrow::compute::cast(&array, value)?),
        DataType::Utf8View | DataType::LargeUtf8 => Ok(arrow::compute::cast(&array, &DataType::Utf8)?),
        _ => Ok(array),
    }
}

/// Longest name of a call that is written out.
const MAX_CALL_NAME: usize = 512;

/// Names a call by its arguments. Every step of planning names every part of an expression, so that names which hold all of it
/// would take the cube of its depth: beyond some length a fingerprint stands for the arguments.
fn call_name(name: &str, args: &[Expr]) -> String {
    let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
    let args = args.join(",");
    if args.len() <= MAX_CALL_NAME {
        return format!("{name}({args})");
    }
    let (mut first, mut second) = (DefaultHasher::new(), DefaultHasher::new());
    first.write(args.as_bytes());
    second.write_u8(1);
    second.write(args.as_bytes());
    format!("{name}(#{:016x}{:016x})", first.finish(), second.finish())
}

impl ScalarUDFImpl for DruidScalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(call_name(&self.name, args))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let types: Vec<SqlType> = arg_types
            .iter()
            .enumerate()
            .map(|(i, data_type)| match data_type {
                DataType::List(item) if self.lists != Lists::None && !self.def.param(i).takes_lists() => {
                    SqlType::from_arrow(item.data_type())
                }
                other => SqlType::from_arrow(other),
            })
            .collect();
        let result = (self.def.returns)(&types).arrow();
        Ok(if self.lists != Lists::None {
            DataType::new_list(result, true)
        } else {
            result
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        if self.lists != Lists::None {
            return Ok(ColumnarValue::Array(self.by_value(&args.args, rows)?));
        }
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if scalar {
            let result = self.plain(&args.args, 1)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        if let Some(result) = self.by_dictionary(&args.args)? {
            return Ok(ColumnarValue::Array(result));
        }
        let plain: Vec<ColumnarValue> = args
            .args
            .into_iter()
            .map(|arg| match arg {
                ColumnarValue::Array(array) => unpack(array).map(ColumnarValue::Array),
                scalar => Ok(scalar),
            })
            .collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(self.plain(&plain, rows)?))
    }
}

/// Fails where the values of a dictionary's keys, written out, are more than memory is good for.
fn check_taken(values: &ArrayRef, dictionary: &dyn AnyDictionaryArray) -> Result<()> {
    let bytes = values.to_data().get_slice_memory_size()?;
    // Seldom more: no value is longer than all of them.
    if bytes.saturating_mul(dictionary.len()) <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let (offsets, bytes_each) = match values.data_type() {
        DataType::Utf8 => (values.as_string::<i32>().value_offsets(), 1),
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let elements = lists.value_offsets().last().map_or(0, |last| *last as usize);
            (lists.value_offsets(), bytes.div_ceil(elements.max(1)))
        }
        _ => return Ok(()),
    };
    let length = |key: usize| (offsets[key + 1] - offsets[key]) as usize;
    let taken: usize = dictionary.normalized_keys().into_iter().map(length).sum();
    check_bytes(taken.saturating_mul(bytes_each))
}

/// Result types that many functions share.
pub(crate) mod returns {
    use crate::SqlType;

    pub fn varchar(_: &[SqlType]) -> SqlType {
        SqlType::Varchar
    }
    pub fn bigint(_: &[SqlType]) -> SqlType {
        SqlType::BigInt
    }
    pub fn integer(_: &[SqlType]) -> SqlType {
        SqlType::Integer
    }
    pub fn double(_: &[SqlType]) -> SqlType {
        SqlType::Double
    }
    pub fn boolean(_: &[SqlType]) -> SqlType {
        SqlType::Boolean
    }
    pub fn timestamp(_: &[SqlType]) -> SqlType {
        SqlType::Timestamp
    }
    /// The first argument's type.
    pub fn first(types: &[SqlType]) -> SqlType {
        match types.first() {
            Some(SqlType::Null) | None => SqlType::Double,
            Some(other) => other.clone(),
        }
    }
    /// The first argument's type where it is text: a literal stays CHAR.
    pub fn text(types: &[SqlType]) -> SqlType {
        match types.first() {
            Some(SqlType::Char(length)) => SqlType::Char(*length),
            _ => SqlType::Varchar,
        }
    }
    pub fn text_array(_: &[SqlType]) -> SqlType {
        SqlType::Array(Box::new(SqlType::Varchar))
    }
    pub fn multi(_: &[SqlType]) -> SqlType {
        SqlType::MultiVarchar
    }
    pub fn json(_: &[SqlType]) -> SqlType {
        SqlType::Complex("json".into())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::call_name;

    #[test]
    fn long_calls_are_named_short_and_apart() {
        assert_eq!(call_name("upper", &[col("a")]), "upper(a)");
        let long = |text: &str| call_name("concat", &[col("a"), lit(format!("{}{text}", "x".repeat(600)))]);
        assert!(long("1").len() < 60);
        assert_ne!(long("1"), long("2"));
        assert_eq!(long("1"), long("1"));
    }
}
