//! COALESCE of a number or an instant and a literal, the form that most statements use: what is missing is filled in one go.
//!
//! DataFusion words COALESCE as a CASE, which computes each of its arguments for the rows that come to it alone. A literal costs
//! nothing and cannot fail, so there is nothing to save. The call is named as DataFusion's, and means the same.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Makes the call for `COALESCE(value, literal)`, where both are of one of the types that it fills.
pub(crate) fn or_literal(value: Expr, literal: ScalarValue) -> Option<Expr> {
    static UDF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(OrLiteral {
            signature: Signature::any(2, Volatility::Immutable),
        }))
    });
    let fills = matches!(
        literal,
        ScalarValue::Int64(Some(_)) | ScalarValue::Float64(Some(_)) | ScalarValue::TimestampMillisecond(Some(_), None)
    );
    fills.then(|| {
        let args = vec![value, Expr::Literal(literal, None)];
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&UDF), args))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrLiteral {
    signature: Signature,
}

impl ScalarUDFImpl for OrLiteral {
    fn name(&self) -> &str {
        "coalesce"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [ty, _] => Ok(ty.clone()),
            _ => internal_err!("coalesce takes a value and a literal"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field, _] => Ok(Arc::new(field.as_ref().clone().with_nullable(false))),
            _ => internal_err!("coalesce takes a value and a literal"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, ColumnarValue::Scalar(literal)] = args.args.as_slice() else {
            return internal_err!("coalesce takes a value and a literal");
        };
        match value {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(ColumnarValue::Scalar(literal.clone())),
            ColumnarValue::Scalar(value) => Ok(ColumnarValue::Scalar(value.clone())),
            ColumnarValue::Array(array) if array.null_count() == 0 => Ok(ColumnarValue::Array(Arc::clone(array))),
            ColumnarValue::Array(array) => filled(array, literal).map(ColumnarValue::Array),
        }
    }
}

fn filled(array: &ArrayRef, literal: &ScalarValue) -> Result<ArrayRef> {
    Ok(match (array.data_type(), literal) {
        (DataType::Int64, ScalarValue::Int64(Some(n))) => Arc::new(primitives(array.as_primitive::<Int64Type>(), *n)),
        (DataType::Float64, ScalarValue::Float64(Some(x))) => {
            Arc::new(primitives(array.as_primitive::<Float64Type>(), *x))
        }
        (DataType::Timestamp(TimeUnit::Millisecond, None), ScalarValue::TimestampMillisecond(Some(t), None)) => {
            Arc::new(primitives(array.as_primitive::<TimestampMillisecondType>(), *t))
        }
        (ty, literal) => {
            let literal = literal.cast_to(ty)?.to_scalar()?;
            zip(&is_not_null(array)?, array, &literal)?
        }
    })
}

fn primitives<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, literal: T::Native) -> PrimitiveArray<T> {
    let Some(nulls) = array.nulls() else {
        return array.clone();
    };
    let values = array.values().iter().zip(nulls.iter());
    PrimitiveArray::new(
        values
            .map(|(value, known)| if known { *value } else { literal })
            .collect(),
        None,
    )
}
