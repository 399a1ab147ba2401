//! Sketches in projections: Druid's aggregators that build a sketch of a column's values, or merge sketches that a column holds.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use henge_segment::{ColumnType, ObjectAggregator, ObjectAggregators, SegmentError, ValueType};
use henge_sketches::hll::{Hll, RegisterType};
use henge_sketches::hyper_unique::HyperUnique;
use henge_sketches::kll::{KllDoubles, KllFloats};
use henge_sketches::quantiles::QuantilesDoubles;
use henge_sketches::theta::Theta;
use henge_sketches::variance::Variance;
use henge_sketches::{Complex, ComplexType, Settings, SketchError, StringEncoding, Value};
use serde_json::Value as Json;

/// Makes the aggregators of all sketches that take one column.
#[derive(Debug)]
pub struct Sketches;

/// The objects of all groups of a projection.
#[derive(Debug)]
struct Groups {
    name: String,
    field: String,
    empty: Complex,
    settings: Settings,
    /// Of `HLLSketchBuild`.
    encoding: StringEncoding,
    groups: Vec<Option<Complex>>,
    bytes: usize,
}

impl ObjectAggregators for Sketches {
    fn aggregator(
        &self,
        json: &Json,
        column_type: &dyn Fn(&str) -> Option<ColumnType>,
    ) -> Option<Box<dyn ObjectAggregator>> {
        let field = json.get("fieldName")?.as_str()?.to_owned();
        let kind = json.get("type")?.as_str()?;
        let number = |name: &str, default: u64| match json.get(name).filter(|number| !number.is_null()) {
            None => Some(default),
            Some(number) => number.as_u64(),
        };
        let mut settings = Settings::default();
        let complex = ComplexType::from_name(kind)?;
        let empty = match complex {
            ComplexType::Hll => {
                settings.hll_lg_k = u8::try_from(number("lgK", settings.hll_lg_k.into())?).ok()?;
                if let Some(name) = json.get("tgtHllType").and_then(Json::as_str) {
                    settings.hll_type = RegisterType::from_name(name)?;
                }
                Complex::Hll(Hll::new(settings.hll_lg_k, settings.hll_type).ok()?)
            }
            ComplexType::Theta => {
                settings.theta_size = usize::try_from(number("size", settings.theta_size as u64)?).ok()?;
                Complex::Theta(Theta::new(settings.theta_size).ok()?)
            }
            ComplexType::QuantilesDoubles => {
                let k = u16::try_from(number("k", 128)?).ok()?;
                Complex::QuantilesDoubles(QuantilesDoubles::new(k).ok()?)
            }
            ComplexType::KllDoubles => {
                Complex::KllDoubles(KllDoubles::new(u16::try_from(number("k", 200)?).ok()?).ok()?)
            }
            ComplexType::KllFloats => Complex::KllFloats(KllFloats::new(u16::try_from(number("k", 200)?).ok()?).ok()?),
            // `cardinality` counts several columns.
            ComplexType::HyperUnique if kind == "hyperUnique" => Complex::HyperUnique(HyperUnique::default()),
            ComplexType::Variance => Complex::Variance(Variance::default()),
            _ => return None,
        };
        let takes_texts = matches!(empty, Complex::Hll(_) | Complex::Theta(_) | Complex::HyperUnique(_));
        let is_readable = match column_type(&field)? {
            ColumnType::Scalar(ValueType::String) | ColumnType::MultiString => takes_texts,
            ColumnType::Scalar(_) => true,
            ColumnType::Complex(name) => ComplexType::from_name(&name) == Some(complex),
            ColumnType::Array(_) => false,
        };
        let encoding = match json.get("stringEncoding").and_then(Json::as_str) {
            Some("utf8") => StringEncoding::Utf8,
            _ => StringEncoding::Utf16Le,
        };
        is_readable.then(|| {
            Box::new(Groups {
                name: kind.to_owned(),
                field,
                empty,
                settings,
                encoding,
                groups: Vec::new(),
                bytes: 0,
            }) as Box<dyn ObjectAggregator>
        })
    }
}

impl Groups {
    fn failed(&self, error: &SketchError) -> SegmentError {
        SegmentError::Invalid(format!("aggregator {} of column [{}]: {error}", self.name, self.field))
    }

    /// Adds a value, or the values of a list.
    fn update(&mut self, group: usize, values: &ArrayRef, row: usize) -> Result<(), SketchError> {
        if values.is_null(row) {
            return Ok(());
        }
        if let Some(lists) = values.as_list_opt::<i32>() {
            let list = lists.value(row);
            return (0..list.len()).try_for_each(|element| self.update(group, &list, element));
        }
        let complex = self.groups[group].get_or_insert_with(|| self.empty.clone());
        let value = match values.data_type() {
            DataType::Utf8 => Value::Text(values.as_string::<i32>().value(row)),
            DataType::Int64 => Value::Long(values.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Value::Double(values.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => Value::Float(values.as_primitive::<Float32Type>().value(row)),
            DataType::Binary => {
                let bytes = values.as_binary::<i32>().value(row);
                let other = Complex::parse(complex.kind(), bytes, &self.settings)?;
                return complex.merge(&other, &self.settings);
            }
            other => {
                return Err(SketchError::Invalid(format!(
                    "values of type {other} cannot be aggregated"
                )));
            }
        };
        let number = match value {
            Value::Long(value) => value as f64,
            Value::Float(value) => f64::from(value),
            Value::Double(value) => value,
            Value::Text(_) => f64::NAN,
        };
        match complex {
            Complex::Hll(sketch) => sketch.update(value, self.encoding),
            Complex::Theta(sketch) => sketch.update(value),
            Complex::HyperUnique(collector) => match value {
                Value::Text(text) => collector.update_text(text),
                value => collector.update(value),
            },
            Complex::QuantilesDoubles(sketch) => sketch.update(number),
            Complex::KllDoubles(sketch) => sketch.update(number),
            Complex::KllFloats(sketch) => sketch.update(number as f32),
            Complex::Variance(variance) => variance.update(number),
            _ => {}
        }
        Ok(())
    }
}

impl ObjectAggregator for Groups {
    fn field(&self) -> &str {
        &self.field
    }

    fn column_type(&self) -> ColumnType {
        ColumnType::Complex(self.empty.kind().name().to_owned())
    }

    fn add(&mut self, group: u32, values: &ArrayRef, row: usize) -> Result<(), SegmentError> {
        let group = group as usize;
        if group >= self.groups.len() {
            self.groups.resize(group + 1, None);
        }
        let size = |groups: &[Option<Complex>]| groups[group].as_ref().map_or(0, Complex::size);
        let before = size(&self.groups);
        self.update(group, values, row).map_err(|error| self.failed(&error))?;
        self.bytes = (self.bytes + size(&self.groups)).saturating_sub(before);
        Ok(())
    }

    fn image(&self, group: u32) -> Vec<u8> {
        let complex = self.groups.get(group as usize).and_then(Option::as_ref);
        complex.unwrap_or(&self.empty).to_bytes()
    }

    fn memory_bytes(&self) -> usize {
        self.bytes + self.groups.capacity() * size_of::<Option<Complex>>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{BinaryArray, Float64Array, Int64Array, ListArray, StringArray};
    use datafusion::arrow::datatypes::Int64Type as Long;
    use henge_sketches::Final;
    use serde_json::json;

    use super::*;

    fn make(json: &Json, column_type: ColumnType) -> Option<Box<dyn ObjectAggregator>> {
        Sketches.aggregator(json, &|name| (name == "x").then(|| column_type.clone()))
    }

    /// Aggregates all rows into group 1, and gives what its image and that of an empty group finalise to.
    fn aggregated(json: Json, column_type: ColumnType, values: ArrayRef) -> (Final, Final, Vec<u8>) {
        let mut aggregator = make(&json, column_type).expect("an aggregator");
        for row in 0..values.len() {
            aggregator.add(1, &values, row).expect("added");
        }
        assert!(aggregator.memory_bytes() > 0);
        let ColumnType::Complex(name) = aggregator.column_type() else {
            panic!("objects are of a complex type");
        };
        let kind = ComplexType::from_name(&name).expect("a type");
        let read = |image: &[u8]| {
            Complex::parse(kind, image, &Settings::default())
                .expect("an image")
                .finalise()
        };
        let image = aggregator.image(1);
        (read(&image), read(&aggregator.image(0)), image)
    }

    fn close(found: &Final, expected: f64) {
        assert!(
            matches!(found, Final::Double(found) if (found - expected).abs() < 0.05),
            "{found:?} is not {expected}"
        );
    }

    #[test]
    fn values_become_sketches_and_sketches_merge() {
        let strings = || Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("a")])) as ArrayRef;
        for kind in ["HLLSketchBuild", "thetaSketch", "hyperUnique"] {
            let json = json!({"type": kind, "name": "s", "fieldName": "x"});
            let (two, none, image) = aggregated(json, ColumnType::STRING, strings());
            close(&two, 2.0);
            close(&none, 0.0);
            let merge = match kind {
                "HLLSketchBuild" => "HLLSketchMerge",
                other => other,
            };
            let json = json!({"type": merge, "name": "s", "fieldName": "x"});
            let stored: ArrayRef = Arc::new(BinaryArray::from(vec![Some(image.as_slice()), None, Some(&image)]));
            let (two, _, _) = aggregated(json, ColumnType::Complex(kind.into()), stored);
            close(&two, 2.0);
        }
        let lists = ListArray::from_iter_primitive::<Long, _, _>([Some(vec![Some(1), Some(2)]), Some(vec![Some(2)])]);
        let json = json!({"type": "thetaSketch", "name": "s", "fieldName": "x", "size": 1024});
        close(&aggregated(json, ColumnType::MultiString, Arc::new(lists)).0, 2.0);

        let numbers = || Arc::new(Float64Array::from(vec![Some(1.0), None, Some(4.0)])) as ArrayRef;
        for kind in ["quantilesDoublesSketch", "KllDoublesSketch", "KllFloatsSketch"] {
            let json = json!({"type": kind, "name": "q", "fieldName": "x", "k": 64});
            let (count, none, _) = aggregated(json, ColumnType::DOUBLE, numbers());
            assert_eq!((count, none), (Final::Long(2), Final::Long(0)));
        }
        let json = json!({"type": "variance", "name": "v", "fieldName": "x"});
        close(
            &aggregated(json, ColumnType::LONG, Arc::new(Int64Array::from(vec![1, 4]))).0,
            4.5,
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_aggregator() {
        for (json, column_type) in [
            (
                json!({"type": "HLLSketchBuild", "name": "s", "fieldName": "y"}),
                ColumnType::STRING,
            ),
            (
                json!({"type": "HLLSketchBuild", "name": "s", "fieldName": "x", "lgK": 99}),
                ColumnType::STRING,
            ),
            (
                json!({"type": "HLLSketchBuild", "name": "s", "fieldName": "x", "tgtHllType": "HLL_5"}),
                ColumnType::STRING,
            ),
            (
                json!({"type": "quantilesDoublesSketch", "name": "s", "fieldName": "x"}),
                ColumnType::STRING,
            ),
            (
                json!({"type": "HLLSketchMerge", "name": "s", "fieldName": "x"}),
                ColumnType::Complex("thetaSketch".into()),
            ),
            (
                json!({"type": "cardinality", "name": "s", "fieldName": "x"}),
                ColumnType::STRING,
            ),
            (
                json!({"type": "stringFirst", "name": "s", "fieldName": "x"}),
                ColumnType::STRING,
            ),
        ] {
            assert!(make(&json, column_type).is_none(), "{json}");
        }
    }
}
