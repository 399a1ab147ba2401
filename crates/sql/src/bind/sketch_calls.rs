//! What functions of sketches say to arguments that are no sketches, or sketches of another kind. Druid finds out while it plans,
//! or from the class of the object that it meets; here the types of the arguments tell.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use henge_sketches::{ComplexType, hll, quantiles, theta, tuple};

use super::aggregate::AGGREGATE;
use super::{Binder, Typed};
use crate::functions::ScalarDef;
use crate::{Category, Persona, SqlError, SqlType};

/// The class that functions of tuple sketches expect.
pub(super) const TUPLE_SKETCH: &str = "org.apache.datasketches.tuple.arrayofdoubles.ArrayOfDoublesSketch";
const THETA_SKETCH: &str = "org.apache.druid.query.aggregation.datasketches.theta.SketchHolder";
const QUANTILES_SKETCH: &str = "org.apache.datasketches.quantiles.DoublesSketch";

/// A family of functions: what they take.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    /// Estimates of rows as well as of aggregates.
    HllOfRows,
    ThetaOfRows,
    /// Of aggregates only.
    Hll,
    Quantiles,
    TupleSums,
    /// Set operations, of aggregates only.
    ThetaSets,
    TupleSets,
}

impl Family {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "HLL_SKETCH_ESTIMATE" | "HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS" => Self::HllOfRows,
            "THETA_SKETCH_ESTIMATE" | "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS" => Self::ThetaOfRows,
            "HLL_SKETCH_TO_STRING" | "HLL_SKETCH_UNION" => Self::Hll,
            "DS_GET_QUANTILE" | "DS_GET_QUANTILES" | "DS_RANK" | "DS_CDF" | "DS_HISTOGRAM" | "DS_QUANTILE_SUMMARY" => {
                Self::Quantiles
            }
            "DS_TUPLE_DOUBLES_METRICS_SUM_ESTIMATE" => Self::TupleSums,
            "THETA_SKETCH_UNION" | "THETA_SKETCH_INTERSECT" | "THETA_SKETCH_NOT" => Self::ThetaSets,
            "DS_TUPLE_DOUBLES_UNION" | "DS_TUPLE_DOUBLES_INTERSECT" | "DS_TUPLE_DOUBLES_NOT" => Self::TupleSets,
            _ => return None,
        })
    }

    fn is_sets(self) -> bool {
        matches!(self, Self::ThetaSets | Self::TupleSets)
    }

    /// Tells whether values of a type are its sketches. What has no name of its own may be one, and so may NULL.
    fn takes(self, ty: &SqlType) -> bool {
        let SqlType::Complex(name) = ty else {
            return matches!(ty, SqlType::Other | SqlType::Null);
        };
        let expected = match self {
            Self::HllOfRows | Self::Hll => ComplexType::Hll,
            Self::ThetaOfRows | Self::ThetaSets => ComplexType::Theta,
            Self::Quantiles => ComplexType::QuantilesDoubles,
            Self::TupleSums | Self::TupleSets => ComplexType::TupleDoubles,
        };
        ComplexType::from_name(name) == Some(expected)
    }

    /// Makes the error of an object of another class.
    fn wrong(self, ty: &SqlType) -> SqlError {
        match self {
            Self::HllOfRows | Self::Hll => SqlError::runtime(
                "org.apache.druid.java.util.common.ISE",
                format!(
                    "Object is not of a type[class {}] that can be deserialized to sketch.",
                    class_of(ty)
                ),
            ),
            Self::ThetaOfRows | Self::ThetaSets => no_cast(ty, THETA_SKETCH),
            Self::Quantiles => no_cast(ty, QUANTILES_SKETCH),
            Self::TupleSums | Self::TupleSets => no_cast(ty, TUPLE_SKETCH),
        }
    }
}

impl Binder<'_> {
    /// Refuses arguments of a function of sketches that are none of its sketches.
    pub(super) fn check_sketch_call(
        &self,
        def: &ScalarDef,
        args: &[Typed],
        whole: &ast::Expr,
        wrong: &dyn Fn() -> SqlError,
    ) -> Result<(), SqlError> {
        let Some(family) = Family::of(def.name) else {
            return match def.name {
                "BLOOM_FILTER_TEST" if !(args[1].ty.is_text() || args[1].ty == SqlType::Null) => Err(wrong()),
                _ => Ok(()),
            };
        };
        self.check_settings(def, args, whole, wrong)?;
        let counted = if family.is_sets() || def.name == "HLL_SKETCH_UNION" {
            args
        } else {
            args.get(..1).unwrap_or_default()
        };
        let sized = match family {
            // A number in front is the size, of tuple sketches the one at the end.
            Family::ThetaSets => counted.split_first(),
            Family::TupleSets => counted.split_last(),
            _ => None,
        };
        let size = sized.filter(|(size, _)| size.ty.is_numeric() && matches!(size.expr, Expr::Literal(..)));
        let sketches = size.map_or(counted, |(_, rest)| rest);
        let stray = sketches.iter().find(|arg| !family.takes(&arg.ty));
        let beside = |arg: &&Typed| !arg.expr.column_refs().is_empty() && !is_aggregated(&arg.expr);
        let mixed = sketches.iter().any(|arg| is_aggregated(&arg.expr)) && sketches.iter().any(|arg| beside(&arg));
        if mixed {
            // A column beside aggregates is refused for not being grouped.
            return Ok(());
        }
        if let Some(stray) = stray
            && !sketches.iter().any(|arg| is_aggregated(&arg.expr))
            && !sketches
                .iter()
                .any(|arg| family.takes(&arg.ty) && arg.ty != SqlType::Null)
        {
            return of_rows(family, def.name, stray).map_or(Ok(()), Err);
        }
        if let Some((size, rest)) = size {
            self.check_size(family, def.name, size, rest)?;
        }
        stray.map_or(Ok(()), |stray| Err(family.wrong(&stray.ty)))
    }

    /// Checks what stands behind the sketch.
    fn check_settings(
        &self,
        def: &ScalarDef,
        args: &[Typed],
        whole: &ast::Expr,
        wrong: &dyn Fn() -> SqlError,
    ) -> Result<(), SqlError> {
        let written = |at: usize| match whole {
            ast::Expr::Function(function) => super::gathered::written(function, at).and_then(|expr| self.place(expr)),
            _ => None,
        };
        let null = |at: usize| SqlError::invalid_at("Illegal use of 'NULL'", written(at));
        for (at, arg) in args.iter().enumerate().skip(1) {
            let is_null = arg.ty == SqlType::Null;
            match def.name {
                "HLL_SKETCH_ESTIMATE" if !matches!(arg.ty, SqlType::Boolean | SqlType::Null) => return Err(wrong()),
                "HLL_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS" if !(arg.ty.is_integer() || is_null) => return Err(wrong()),
                "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS" | "DS_GET_QUANTILE" | "DS_RANK" if is_null => {
                    return Err(null(at));
                }
                "THETA_SKETCH_ESTIMATE_WITH_ERROR_BOUNDS" if !arg.ty.is_integer() => return Err(wrong()),
                "DS_GET_QUANTILE" | "DS_RANK" if !arg.ty.is_numeric() && !arg.ty.is_text() => return Err(wrong()),
                // Words are read as numbers where there is a sketch to ask.
                "DS_GET_QUANTILE" | "DS_RANK" if arg.ty.is_text() && !Family::Quantiles.takes(&args[0].ty) => {
                    return Err(wrong());
                }
                "DS_GET_QUANTILES" | "DS_CDF" | "DS_HISTOGRAM" => {
                    let constant = arg.expr.column_refs().is_empty();
                    if !constant {
                        let message = format!("Argument to function '{}' must be a literal", def.name);
                        return Err(SqlError::invalid_at(message, written(at)));
                    }
                    let of_sketch = Family::Quantiles.takes(&args[0].ty);
                    if !(arg.ty.is_numeric() || of_sketch && (is_null || arg.ty.is_text())) {
                        return Err(wrong());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks the size that a set operation is given.
    fn check_size(&self, family: Family, name: &str, size: &Typed, rest: &[Typed]) -> Result<(), SqlError> {
        let number = match super::literal::constant(&size.expr) {
            Some(datafusion::common::ScalarValue::Int64(Some(value))) => i64::from(value as i32),
            Some(datafusion::common::ScalarValue::Float64(Some(value))) => i64::from(value as i64 as i32),
            _ => return Ok(()),
        };
        if number <= 0 || number.count_ones() != 1 {
            return Err(SqlError::general(
                Persona::Admin,
                Category::Uncategorized,
                format!(
                    "The value of the int argument \"size\" must be a positive integer-power of 2 and greater than 0: {number}"
                ),
            ));
        }
        if family == Family::TupleSets && rest.len() < 2 {
            return Err(SqlError::general(
                Persona::Admin,
                Category::Uncategorized,
                format!("Illegal number of fields[{}], must be > 1", rest.len()),
            ));
        }
        // A difference makes no sketch of that size before it has met its operands.
        let late = name == "THETA_SKETCH_NOT" && rest.iter().any(|arg| !family.takes(&arg.ty));
        if late {
            return Ok(());
        }
        super::sketches::nominal_entries(number).map(|_| ())
    }
}

/// Makes the error of a function over rows that hold no sketches; `None` where only the rows can tell.
fn of_rows(family: Family, name: &str, stray: &Typed) -> Option<SqlError> {
    let literal = stray.expr.column_refs().is_empty();
    Some(match family {
        Family::ThetaSets | Family::TupleSets => SqlError::unplannable(format!(
            "{name} can only be used on aggregates. It cannot be used directly on a column or on a scalar expression."
        )),
        Family::Hll | Family::Quantiles | Family::TupleSums => SqlError::general(
            Persona::Operator,
            Category::Unsupported,
            "Unhandled Query Planning Failure, see broker logs for details",
        )
        .hint(Some(format!("{name} takes what an aggregate gives, such as a sketch"))),
        // Text may be a sketch in base64.
        Family::HllOfRows if stray.ty.is_text() => return None,
        Family::HllOfRows if literal => SqlError::general(
            Persona::Admin,
            Category::Uncategorized,
            family.wrong(&stray.ty).message.clone(),
        ),
        Family::HllOfRows if stray.ty == SqlType::Float => family.wrong(&SqlType::Double),
        Family::HllOfRows => family.wrong(&stray.ty),
        Family::ThetaOfRows if literal => SqlError::general(
            Persona::Admin,
            Category::Uncategorized,
            "requires a ThetaSketch as the argument",
        ),
        Family::ThetaOfRows => SqlError::runtime(
            "org.apache.druid.java.util.common.IAE",
            "requires a ThetaSketch as the argument",
        ),
    })
}

fn is_aggregated(expr: &Expr) -> bool {
    let is_placeholder = |e: &Expr| matches!(e, Expr::Column(column) if column.relation.as_ref().is_some_and(|r| r.table() == AGGREGATE));
    expr.exists(|e| Ok(is_placeholder(e))).unwrap_or(false)
}

/// Gives the class of the objects that Druid has of a type.
fn class_of(ty: &SqlType) -> &'static str {
    match ty {
        SqlType::Complex(name) => match name.as_str() {
            hll::NAME => "org.apache.druid.query.aggregation.datasketches.hll.HllSketchHolder",
            theta::NAME => THETA_SKETCH,
            quantiles::NAME => "org.apache.datasketches.quantiles.DirectCompactDoublesSketch",
            tuple::NAME => "org.apache.datasketches.tuple.arrayofdoubles.DirectArrayOfDoublesCompactSketch",
            _ => "java.lang.Object",
        },
        SqlType::Array(_) => "[Ljava.lang.Object;",
        SqlType::MultiVarchar => "java.util.Arrays$ArrayList",
        SqlType::Float => "java.lang.Float",
        ty if ty.is_text() => "java.lang.String",
        ty if ty.is_fraction() => "java.lang.Double",
        _ => "java.lang.Long",
    }
}

/// Makes Java's error of a value of a type where an object of a class is expected.
pub(super) fn no_cast(ty: &SqlType, target: &str) -> SqlError {
    let class = class_of(ty);
    let at_home = |class: &str| class.starts_with("java.") || class.starts_with('[');
    let modules = match at_home(class) {
        true => format!(
            "{class} is in module java.base of loader 'bootstrap'; {target} is in unnamed module of loader 'app'"
        ),
        false => format!("{class} and {target} are in unnamed module of loader 'app'"),
    };
    SqlError::runtime(
        "java.lang.ClassCastException",
        format!("class {class} cannot be cast to class {target} ({modules})"),
    )
}
