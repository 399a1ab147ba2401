//! What a projection computes, and from which columns.

use std::sync::Arc;

use henge_time::Granularity;
use serde::Deserialize;
use serde_json::Value;

use super::aggregators::Aggregator;
use super::filter::Filter;
use super::objects::{ObjectAggregator, ObjectAggregators};
use crate::container::{OrderBy, Projection};
use crate::{ColumnType, MultiValueHandling, SegmentError, SegmentSchema, TIME_COLUMN};

/// A projection that a table asks for (Druid's `AggregateProjectionSpec`).
#[derive(Debug, Clone)]
pub struct ProjectionSpec {
    projection: Projection,
    /// Druid's names of the types of the grouping columns, where they are given.
    types: Vec<Option<String>>,
    /// Makes the aggregators that this crate does not know.
    objects: Option<Arc<dyn ObjectAggregators>>,
}

/// Compares what is asked for, not who computes it.
impl PartialEq for ProjectionSpec {
    fn eq(&self, other: &Self) -> bool {
        (&self.projection, &self.types) == (&other.projection, &other.types)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    filter: Option<Value>,
    virtual_columns: Option<Vec<Value>>,
    grouping_columns: Option<Vec<Value>>,
    aggregators: Option<Vec<Value>>,
}

impl ProjectionSpec {
    /// Reads Druid's JSON: `{"type":"aggregate","name","virtualColumns","filter","groupingColumns":[{"type","name"}],"aggregators"}`.
    pub fn from_druid(spec: &Value) -> Result<Self, SegmentError> {
        let json: Json = serde_json::from_value(spec.clone())
            .map_err(|e| SegmentError::invalid(format!("a projection must be an object of Druid's form: {e}")))?;
        let name = json.name.unwrap_or_default();
        let wrong = |what: String| SegmentError::invalid(format!("projection[{name}] {what}"));
        if name.is_empty() {
            return Err(SegmentError::invalid("projection name cannot be null or empty"));
        }
        if name.starts_with("__") {
            return Err(SegmentError::invalid(format!(
                "projection cannot use reserved name[{name}], names cannot start with '__'"
            )));
        }
        if name.contains([',', '\n', '\r']) {
            return Err(wrong(
                "has a comma or line break in its name, which a segment cannot hold".into(),
            ));
        }
        if let Some(kind) = json.kind.filter(|kind| kind != "aggregate") {
            return Err(wrong(format!(
                "is of type [{kind}], the only one there is is aggregate"
            )));
        }
        let mut names = Vec::new();
        let mut types = Vec::new();
        for column in json.grouping_columns.unwrap_or_default() {
            let (column, column_type) = match &column {
                Value::String(name) => (Some(name.clone()), None),
                column => (
                    column.get("name").and_then(Value::as_str).map(str::to_owned),
                    column.get("type").and_then(Value::as_str).map(str::to_owned),
                ),
            };
            names.push(column.ok_or_else(|| wrong("has a grouping column without a name".into()))?);
            types.push(column_type);
        }
        let aggregators = json.aggregators.unwrap_or_default();
        if names.is_empty() && aggregators.is_empty() {
            return Err(wrong(
                "groupingColumns and aggregators must not both be null or empty".into(),
            ));
        }
        let mut projection = Projection {
            time_column_name: None,
            filter: json.filter,
            virtual_columns: json.virtual_columns.unwrap_or_default(),
            ordering: names.iter().map(OrderBy::ascending).collect(),
            grouping_columns: names,
            aggregators,
            rows: 0,
            name,
        };
        projection.time_column_name = time_column(&projection, &types);
        Ok(Self {
            projection,
            types,
            objects: None,
        })
    }

    /// Takes aggregators of objects, without which those are refused.
    pub fn with_objects(self, objects: Arc<dyn ObjectAggregators>) -> Self {
        Self {
            objects: Some(objects),
            ..self
        }
    }

    /// Gives the projection's name.
    pub fn name(&self) -> &str {
        &self.projection.name
    }

    /// Gives the granularity of the projection's times where it is coarser than that of segments: rows would lie outside of theirs.
    pub fn coarser_than(&self, segments: &Granularity) -> Option<Granularity> {
        let time = self.projection.time_column_name.as_ref()?;
        let Some(TimeFloor::To(own)) = floor_of(&self.projection, time) else {
            return None;
        };
        let length = |granularity: &Granularity| {
            let bucket = granularity.bucket(0);
            bucket.end_ms - bucket.start_ms
        };
        (length(&own) > length(segments)).then_some(own)
    }

    /// Resolves it against the columns that a segment is to have.
    pub(crate) fn plan(&self, schema: &SegmentSchema) -> Result<Plan, SegmentError> {
        let metrics = schema.metrics.iter().map(|metric| &metric.column);
        let columns: Vec<_> = schema.columns.iter().chain(metrics).collect();
        let column_type = |name: &str| {
            let column = columns.iter().find(|column| column.name == name);
            column.map(|column| column.column_type.clone())
        };
        let name = self.name();
        for (column, wanted) in self.projection.grouping_columns.iter().zip(&self.types) {
            let is_shared = schema.auto.contains(column);
            let found = column_type(column);
            let shared = match &found {
                Some(ColumnType::Array(_) | ColumnType::Complex(_)) => true,
                Some(_) => is_shared,
                None => false,
            };
            if shared {
                return Err(SegmentError::Unsupported {
                    file: format!("projection[{name}]"),
                    what: format!(
                        "grouping by column [{column}], which is an array, JSON or stored as an auto column,"
                    ),
                });
            }
            if let (Some(wanted), Some(found)) = (wanted, found)
                && !wanted.eq_ignore_ascii_case(&found.to_string())
            {
                return Err(SegmentError::invalid(format!(
                    "projection[{name}] contains dimension[{column}] with different type[{}] than type[{found}] in base table",
                    wanted.to_uppercase()
                )));
            }
        }
        let handling = |name: &str| schema.multi_value_handling.get(name).copied().unwrap_or_default();
        let mut plan = Plan::new(&self.projection, column_type, handling)?;
        if let Some(objects) = &self.objects {
            plan.take_objects(objects.as_ref(), &column_type);
        }
        match plan.unsupported.first() {
            Some(aggregator) => Err(SegmentError::Unsupported {
                file: format!("projection[{name}]"),
                what: format!("aggregator {aggregator}"),
            }),
            None => Ok(plan),
        }
    }
}

/// Chooses the column of times: `__time` itself, or the finest time floor in UTC among the grouping columns of longs.
fn time_column(projection: &Projection, types: &[Option<String>]) -> Option<String> {
    let mut finest: Option<(i64, &String)> = None;
    for (name, column_type) in projection.grouping_columns.iter().zip(types) {
        if name == TIME_COLUMN {
            return Some(name.clone());
        }
        let is_long = column_type
            .as_ref()
            .is_none_or(|name| name.eq_ignore_ascii_case("long"));
        match floor_of(projection, name) {
            Some(TimeFloor::Exact) if is_long => return Some(name.clone()),
            Some(TimeFloor::To(granularity)) if is_long => {
                // The length of a bucket tells which is finer, as Druid's comparison of periods does.
                let length = granularity.bucket(0).end_ms - granularity.bucket(0).start_ms;
                if finest.is_none_or(|(shortest, _)| length < shortest) {
                    finest = Some((length, name));
                }
            }
            _ => {}
        }
    }
    finest.map(|(_, name)| name.clone())
}

/// What a virtual column makes of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TimeFloor {
    Exact,
    To(Granularity),
}

/// Finds the virtual column of a name, where it is a time floor in UTC.
fn floor_of(projection: &Projection, name: &str) -> Option<TimeFloor> {
    let column = projection
        .virtual_columns
        .iter()
        .find(|column| column["name"] == name)?;
    if column["type"] != "expression" {
        return None;
    }
    parse_floor(column["expression"].as_str()?)
}

/// Reads `__time` and `timestamp_floor(__time, 'PT1H'[, null[, null or 'UTC']])`; none for other expressions.
fn parse_floor(expression: &str) -> Option<TimeFloor> {
    let is_time = |text: &str| matches!(text.trim(), TIME_COLUMN | "\"__time\"");
    if is_time(expression) {
        return Some(TimeFloor::Exact);
    }
    let arguments = expression
        .trim()
        .strip_prefix("timestamp_floor")?
        .trim_start()
        .strip_prefix('(')?
        .strip_suffix(')')?;
    let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let text = |argument: &&str| Some(argument.strip_prefix('\'')?.strip_suffix('\'')?.to_owned());
    let is_nothing = |argument: Option<&&str>| argument.is_none_or(|argument| matches!(*argument, "null" | "''"));
    if !is_time(arguments.first()?) || arguments.len() > 4 || !is_nothing(arguments.get(2)) {
        return None;
    }
    let is_utc = is_nothing(arguments.get(3)) || matches!(text(arguments.get(3)?)?.as_str(), "UTC" | "Etc/UTC");
    match text(arguments.get(1)?)?.parse().ok()? {
        granularity @ Granularity::Period(_) if is_utc => Some(TimeFloor::To(granularity)),
        _ => None,
    }
}

/// Where the values of a grouping column come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Column(MultiValueHandling),
    Time(TimeFloor),
}

/// A grouping column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub name: String,
    pub column_type: ColumnType,
    pub(super) source: Source,
}

/// A projection resolved against the columns of its table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub projection: Projection,
    pub keys: Vec<Key>,
    pub(super) aggregators: Vec<Aggregator>,
    pub(super) filter: Option<Filter>,
    /// Aggregators of objects, by the names of their columns.
    pub(super) objects: Vec<(String, Box<dyn ObjectAggregator>)>,
    /// Aggregators that cannot be computed here.
    pub unsupported: Vec<Value>,
}

impl Plan {
    /// Resolves a projection; fails where it groups by, or filters, what cannot be computed here.
    pub fn new(
        projection: &Projection,
        column_type: impl Fn(&str) -> Option<ColumnType>,
        handling: impl Fn(&str) -> MultiValueHandling,
    ) -> Result<Self, SegmentError> {
        let unsupported = |what: String| SegmentError::Unsupported {
            file: format!("projection[{}]", projection.name),
            what,
        };
        let key = |name: &String| {
            let (column_type, source) = match (column_type(name), floor_of(projection, name)) {
                _ if name == TIME_COLUMN => (ColumnType::LONG, Source::Time(TimeFloor::Exact)),
                (Some(column_type), _) => (column_type, Source::Column(handling(name))),
                (None, Some(floor)) => (ColumnType::LONG, Source::Time(floor)),
                (None, None) if projection.virtual_columns.iter().any(|column| column["name"] == *name) => {
                    return Err(unsupported(format!(
                        "grouping by virtual column [{name}], which is no time floor in UTC,"
                    )));
                }
                (None, None) => {
                    return Err(SegmentError::invalid(format!(
                        "projection[{}] contains dimension[{name}] that is not present on the base table or a virtual column",
                        projection.name
                    )));
                }
            };
            if let ColumnType::Complex(_) = column_type {
                return Err(unsupported(format!(
                    "grouping by column [{name}] of type {column_type}"
                )));
            }
            Ok(Key {
                name: name.clone(),
                column_type,
                source,
            })
        };
        let keys = projection.grouping_columns.iter().map(key).collect::<Result<_, _>>()?;
        let mut aggregators = Vec::new();
        let mut unknown = Vec::new();
        for json in &projection.aggregators {
            match Aggregator::read(json, &column_type) {
                Some(aggregator) => aggregators.push(aggregator),
                None => unknown.push(json.clone()),
            }
        }
        let filter = match projection.filter.as_ref().filter(|json| !json.is_null()) {
            Some(json) => {
                let filter = Filter::read(json).and_then(|filter| filter.checked(&column_type));
                Some(filter.ok_or_else(|| unsupported(format!("filter {json}")))?)
            }
            None => None,
        };
        Ok(Self {
            projection: projection.clone(),
            keys,
            aggregators,
            filter,
            objects: Vec::new(),
            unsupported: unknown,
        })
    }

    /// Has those aggregators computed by others that cannot be computed here.
    fn take_objects(&mut self, objects: &dyn ObjectAggregators, column_type: &dyn Fn(&str) -> Option<ColumnType>) {
        for json in std::mem::take(&mut self.unsupported) {
            let name = json.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
            match (name, objects.aggregator(&json, column_type)) {
                (Some(name), Some(object)) => self.objects.push((name.to_owned(), object)),
                _ => self.unsupported.push(json),
            }
        }
    }

    /// Lists the aggregators that are computed, by the names of their columns.
    pub fn aggregated(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        let aggregators = self.aggregators.iter();
        let aggregators = aggregators.map(|aggregator| (aggregator.name.as_str(), aggregator.column_type()));
        let objects = self.objects.iter();
        aggregators.chain(objects.map(|(name, object)| (name.as_str(), object.column_type())))
    }

    /// Lists the columns of the table that are read.
    pub fn inputs(&self) -> Vec<String> {
        let mut names: Vec<&str> = Vec::new();
        let filters = self
            .aggregators
            .iter()
            .filter_map(|aggregator| aggregator.filter.as_ref());
        filters
            .chain(&self.filter)
            .for_each(|filter| filter.columns(&mut names));
        names.extend(
            self.aggregators
                .iter()
                .filter_map(|aggregator| aggregator.field.as_deref()),
        );
        let keys = self.keys.iter().filter(|key| matches!(key.source, Source::Column(_)));
        names.extend(keys.map(|key| key.name.as_str()));
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Leaves out aggregators that `keep` does not name.
    pub fn retain(&mut self, keep: impl Fn(&Value) -> bool) {
        let kept: Vec<String> = self
            .projection
            .aggregators
            .iter()
            .filter(|json| keep(json))
            .filter_map(|json| Some(json.get("name")?.as_str()?.to_owned()))
            .collect();
        self.aggregators.retain(|aggregator| kept.contains(&aggregator.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_floors_are_known() {
        for (expression, period) in [
            ("timestamp_floor(__time, 'PT1H', null, null)", "PT1H"),
            ("timestamp_floor(\"__time\",'P1D',null,'UTC')", "P1D"),
            ("timestamp_floor(__time,'PT15M')", "PT15M"),
            ("timestamp_floor(__time, 'P1M', '', '')", "P1M"),
        ] {
            let floor = TimeFloor::To(period.parse().unwrap());
            assert_eq!(parse_floor(expression), Some(floor), "{expression}");
        }
        assert_eq!(parse_floor("__time"), Some(TimeFloor::Exact));
        for other in [
            "timestamp_floor(__time,'P1D',null,'America/Los_Angeles')",
            "timestamp_floor(__time,'P1D','2020-01-01T00:00:00Z','UTC')",
            "timestamp_floor(t,'P1D')",
            "timestamp_floor(__time,'nonsense')",
            "added + 1",
            "timestamp_floor(",
        ] {
            assert_eq!(parse_floor(other), None, "{other}");
        }
    }

    fn spec(json: Value) -> Result<ProjectionSpec, SegmentError> {
        ProjectionSpec::from_druid(&json)
    }

    #[test]
    fn the_finest_time_is_the_time() {
        let floor = |name: &str, period: &str| json!({"type": "expression", "name": name, "expression": format!("timestamp_floor(__time,'{period}')"), "outputType": "LONG"});
        let with = |columns: Value| {
            let spec = spec(json!({
                "name": "p", "groupingColumns": columns, "virtualColumns": [floor("d", "P1D"), floor("h", "PT1H")],
            }));
            spec.unwrap().projection.time_column_name
        };
        assert_eq!(
            with(json!([{"type": "long", "name": "d"}, {"type": "long", "name": "h"}])),
            Some("h".into())
        );
        assert_eq!(with(json!([{"type": "long", "name": "d"}])), Some("d".into()));
        assert_eq!(
            with(json!([{"type": "long", "name": "d"}, {"type": "long", "name": "__time"}])),
            Some("__time".into())
        );
        assert_eq!(with(json!([{"type": "string", "name": "x"}])), None);
    }

    #[test]
    fn refuses_what_druid_refuses() {
        for (json, message) in [
            (json!({"groupingColumns": ["a"]}), "name cannot be null"),
            (json!({"name": "__x", "groupingColumns": ["a"]}), "reserved name"),
            (json!({"name": "p"}), "must not both be null"),
            (json!({"name": "p", "type": "cube", "groupingColumns": ["a"]}), "[cube]"),
            (json!(7), "Druid's form"),
        ] {
            let error = spec(json.clone()).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
        let schema = SegmentSchema::new(vec![crate::ColumnSchema::new("a", ColumnType::STRING)]);
        for (json, message) in [
            (
                json!({"name": "p", "groupingColumns": ["b"]}),
                "not present on the base table",
            ),
            (
                json!({"name": "p", "groupingColumns": [{"type": "long", "name": "a"}]}),
                "different type[LONG]",
            ),
            (
                json!({"name": "p", "aggregators": [{"type": "HLLSketchBuild", "name": "u", "fieldName": "a"}]}),
                "HLLSketchBuild",
            ),
            (
                json!({"name": "p", "groupingColumns": ["a"], "filter": {"type": "spatial"}}),
                "spatial",
            ),
        ] {
            let error = spec(json.clone()).unwrap().plan(&schema).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
