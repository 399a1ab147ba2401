//! `LOOKUP`: the one function whose calls carry data, so every lookup is a UDF of its own.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::args::strings;
use crate::Lookup;

/// Makes the call; arguments are the value, the lookup's name and the replacement of what it has not.
pub(crate) fn lookup_call(name: &str, lookup: Arc<Lookup>, args: Vec<Expr>) -> Expr {
    let udf = ScalarUDF::new_from_impl(LookupUdf {
        name: name.to_string(),
        lookup,
        signature: Signature::variadic_any(Volatility::Immutable),
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args))
}

#[derive(Debug)]
struct LookupUdf {
    name: String,
    lookup: Arc<Lookup>,
    signature: Signature,
}

impl PartialEq for LookupUdf {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.lookup, &other.lookup)
    }
}

impl Eq for LookupUdf {}

impl Hash for LookupUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl LookupUdf {
    fn mapped(&self, keys: &ArrayRef, missing: Option<&str>) -> Result<ArrayRef> {
        if let Some(dictionary) = keys.as_any_dictionary_opt() {
            let mapped = self.mapped(dictionary.values(), missing)?;
            let taken = take(&mapped, dictionary.keys(), None)?;
            // NULL is not in the dictionary.
            return match missing {
                Some(missing) if keys.null_count() > 0 => {
                    let text = taken.as_string::<i32>();
                    Ok(Arc::new(
                        text.iter().map(|v| v.or(Some(missing))).collect::<StringArray>(),
                    ))
                }
                _ => Ok(taken),
            };
        }
        let keys = strings(keys)?;
        let of = |key: Option<&'_ str>| key.and_then(|key| self.lookup.get(key)).or(missing);
        Ok(Arc::new(keys.iter().map(of).collect::<StringArray>()))
    }
}

impl ScalarUDFImpl for LookupUdf {
    fn name(&self) -> &str {
        "lookup"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match arg_types.first() {
            Some(DataType::List(_)) => DataType::new_list(DataType::Utf8, true),
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let missing = match args.args.get(2) {
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(text))) => text.clone(),
            _ => None,
        };
        let missing = missing.as_deref();
        match &args.args[0] {
            ColumnarValue::Scalar(value) => {
                let mapped = self.mapped(&value.to_array_of_size(1)?, missing)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&mapped, 0)?))
            }
            ColumnarValue::Array(array) => match array.as_list_opt::<i32>() {
                None => Ok(ColumnarValue::Array(self.mapped(array, missing)?)),
                Some(list) => {
                    let values = self.mapped(list.values(), missing)?;
                    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
                    let list = ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned())?;
                    Ok(ColumnarValue::Array(Arc::new(list)))
                }
            },
        }
    }
}
