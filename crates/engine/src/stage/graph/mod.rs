//! The stages of a statement in Druid's terms, as its native query calls for them (spec `msq-engine` section 2.5; Druid's
//! `QueryKit`s). They are what reports show.
//!
//! henge runs DataFusion's physical plan, cut at its exchanges. The two agree in what is done in which order, and differ in where
//! one task ends: what Druid does in two stages may be one task here, and a sort may be a stage of its own. [`placement`] tells
//! which physical stage does the work of which of these, so that counters are shown where Druid shows them.
//!
//! Statements without a native query have no graph; their physical stages are described as they are ([`super::describe`]).

mod aggregators;
pub mod placement;
mod segments;

pub use segments::generator;
use serde_json::{Map, Value, json};

use crate::controller::settings::TaskSettings;
use crate::ingest::{BUCKET_COLUMN, SegmentWork};
use crate::report::{ClusterBy, KeyColumn, Processor, ShuffleSpec, StageDefinition, StageInput};

/// Column of the exchange key that makes equal keys distinct.
pub const BOOST_COLUMN: &str = "__boost";

type Columns = Vec<(String, String)>;

/// Where the rows of the last stage go.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'a> {
    /// Into the report.
    Report,
    /// Into segments.
    Segments {
        /// How they are laid out.
        work: &'a SegmentWork,
        /// True where rows are cut by time chunk.
        bucketed: bool,
    },
}

/// Derives the stages of a statement. `native` is the native query with its column mappings, as EXPLAIN shows it. Gives none where
/// there is no native query, or one that Druid's planner of stages knows and this one does not.
pub fn stages(
    native: &Value,
    destination: Destination,
    settings: &TaskSettings,
    query_id: &str,
) -> Option<Vec<StageDefinition>> {
    let planned = native.as_array().filter(|queries| queries.len() == 1)?.first()?;
    let query = planned.get("query")?.as_object()?;
    let mut graph = Graph {
        query_id,
        workers: settings.workers,
        destination,
        rows_per_segment: settings.rows_per_segment,
        stages: Vec::new(),
    };
    let last = graph.query(query, Last::Result)?;
    if let Destination::Segments { work, .. } = destination {
        let mappings = planned.get("columnMappings").cloned().unwrap_or_else(|| json!([]));
        let detail = generator(work, query, &mappings, graph.stages.get(last as usize), settings);
        graph.stages.last_mut()?.shuffle_check_multiple_values = true;
        graph.push(Stage {
            inputs: vec![StageInput::Stage(last)],
            detail,
            ..Stage::new(Processor::SegmentGenerator)
        });
    }
    Some(graph.stages)
}

/// What follows a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Its rows are the result of the statement.
    Result,
    /// Its rows are read by the query around it.
    Subquery,
}

struct Graph<'a> {
    query_id: &'a str,
    workers: u32,
    destination: Destination<'a>,
    rows_per_segment: u64,
    stages: Vec<StageDefinition>,
}

/// A stage before it has a number.
struct Stage {
    inputs: Vec<StageInput>,
    broadcast: Vec<u32>,
    processor: Processor,
    detail: Value,
    columns: Columns,
    shuffle: Option<ShuffleSpec>,
    workers: Option<u32>,
}

impl Stage {
    fn new(processor: Processor) -> Self {
        Self {
            inputs: Vec::new(),
            broadcast: Vec::new(),
            processor,
            detail: Value::Null,
            columns: Vec::new(),
            shuffle: None,
            workers: None,
        }
    }
}

/// The data source of a query as its stage reads it.
struct Source {
    inputs: Vec<StageInput>,
    broadcast: Vec<u32>,
    data_source: Value,
}

impl Graph<'_> {
    fn push(&mut self, stage: Stage) -> u32 {
        let number = u32::try_from(self.stages.len()).unwrap_or(u32::MAX);
        let key = stage.shuffle.as_ref().and_then(key_of);
        let signature = signature(key.map_or(&[], |key| &key.columns), stage.columns);
        self.stages.push(StageDefinition {
            number,
            id: format!("{}_{number}", self.query_id),
            inputs: stage.inputs,
            broadcast: stage.broadcast,
            processor: stage.processor,
            processor_detail: stage.detail,
            signature,
            shuffle: stage.shuffle,
            max_worker_count: stage.workers.unwrap_or(self.workers),
            shuffle_check_multiple_values: false,
        });
        number
    }

    /// Adds the stages of a query and gives the last one's number.
    fn query(&mut self, query: &Map<String, Value>, last: Last) -> Option<u32> {
        match query.get("queryType")?.as_str()? {
            "scan" => self.scan(query, last),
            "groupBy" => self.group_by(query, last),
            _ => None,
        }
    }

    /// Shuffles rows as what follows the query wants them. `key` has no time chunk yet; without `boost`, equal keys stay together.
    fn result_shuffle(&self, last: Last, mut key: Vec<KeyColumn>, boost: bool) -> ShuffleSpec {
        let mut bucket_by_count = 0;
        if last == Last::Result && self.is_bucketed() {
            key.insert(0, ascending(BUCKET_COLUMN));
            bucket_by_count = 1;
        }
        if boost {
            key.push(ascending(BOOST_COLUMN));
        }
        if key.is_empty() {
            return ShuffleSpec::Mix;
        }
        let key = ClusterBy {
            columns: key,
            bucket_by_count,
        };
        match (last, self.destination) {
            (Last::Subquery, _) => self.max_count(key, false, None),
            (Last::Result, Destination::Report) => one_partition(key, false, None),
            (Last::Result, Destination::Segments { .. }) => ShuffleSpec::TargetSize {
                key,
                target_rows: self.rows_per_segment,
                aggregate: false,
            },
        }
    }

    fn max_count(&self, key: ClusterBy, aggregate: bool, limit_hint: Option<u64>) -> ShuffleSpec {
        ShuffleSpec::MaxCount {
            key,
            partitions: self.workers as usize,
            aggregate,
            limit_hint,
        }
    }

    fn is_bucketed(&self) -> bool {
        matches!(self.destination, Destination::Segments { bucketed: true, .. })
    }

    /// Scan: one stage, and one that takes the rows of a LIMIT.
    fn scan(&mut self, query: &Map<String, Value>, last: Last) -> Option<u32> {
        let names = texts(query.get("columns")?)?;
        let types = texts(query.get("columnTypes")?)?;
        let mut columns: Columns = Vec::with_capacity(names.len());
        for (name, kind) in names.into_iter().zip(types) {
            if !columns.iter().any(|(known, _)| *known == name) {
                columns.push((name, kind));
            }
        }
        let mut order = Vec::new();
        for key in query.get("orderBy").and_then(Value::as_array).into_iter().flatten() {
            order.push(KeyColumn {
                name: key.get("columnName")?.as_str()?.to_string(),
                descending: key.get("order").and_then(Value::as_str) == Some("descending"),
            });
        }
        let limit = Limit::of(query, "offset", "limit");
        let source = self.source(query)?;
        let detail = with_source(query, source.data_source);
        let shuffle = match &limit {
            None => self.result_shuffle(last, order.clone(), true),
            Some(_) if order.is_empty() => ShuffleSpec::Mix,
            Some(limit) => one_partition(boosted(&order), false, limit.rows_needed()),
        };
        // Rows of a mix are boosted too, though nothing is cut by it.
        let first_key = match &shuffle {
            ShuffleSpec::Mix => vec![ascending(BOOST_COLUMN)],
            _ => Vec::new(),
        };
        let number = self.push(Stage {
            inputs: source.inputs,
            broadcast: source.broadcast,
            detail,
            columns: signature(&first_key, columns.clone()),
            shuffle: Some(shuffle),
            ..Stage::new(Processor::Scan)
        });
        Some(match limit {
            None => number,
            Some(limit) => {
                let shuffle = self.result_shuffle(last, order, true);
                self.limit(number, &limit, columns, Some(shuffle))
            }
        })
    }

    fn limit(&mut self, input: u32, limit: &Limit, columns: Columns, shuffle: Option<ShuffleSpec>) -> u32 {
        self.push(Stage {
            inputs: vec![StageInput::Stage(input)],
            detail: limit.detail(),
            columns,
            shuffle,
            workers: Some(1),
            ..Stage::new(Processor::Limit)
        })
    }

    /// Grouping: before the exchange, after it, and a stage that takes the rows of a LIMIT.
    fn group_by(&mut self, query: &Map<String, Value>, last: Last) -> Option<u32> {
        if query.contains_key("subtotalsSpec") {
            return None;
        }
        let mut dimensions: Columns = Vec::new();
        for dimension in query.get("dimensions")?.as_array()? {
            let text = |member: &str| Some(dimension.get(member)?.as_str()?.to_string());
            dimensions.push((text("outputName")?, text("outputType")?));
        }
        let finalize = query.get("context").and_then(|context| context.get("finalize")) != Some(&Value::Bool(false));
        let (mut before, mut after) = (dimensions.clone(), dimensions.clone());
        let list = |member: &str| query.get(member).and_then(Value::as_array).into_iter().flatten();
        for aggregation in list("aggregations") {
            let (name, types) = aggregators::types(aggregation)?;
            before.push((name.clone(), types.intermediate.clone()));
            let finished = if finalize { types.finished } else { types.intermediate };
            after.push((name, finished));
        }
        for post in list("postAggregations") {
            after.push(aggregators::post_aggregation(post, &after)?);
        }
        let keys: Vec<KeyColumn> = dimensions.iter().map(|(name, _)| ascending(name)).collect();
        let limit_spec = query.get("limitSpec").and_then(Value::as_object);
        let limit = limit_spec.and_then(|spec| Limit::of(spec, "offset", "limit"));
        let order = limit_spec.map(order_of).unwrap_or_default();
        let by_keys = order.is_empty() || order == keys;
        let bucketed = last == Last::Result && self.is_bucketed();
        let source = self.source(query)?;
        let detail = with_source(query, source.data_source);
        let key = ClusterBy {
            columns: keys.clone(),
            bucket_by_count: 0,
        };
        // The rows are in the order of the keys already: what follows takes them as they are.
        let keeps = by_keys && !bucketed && !keys.is_empty();
        let first = match (keys.is_empty(), keeps, last, self.destination) {
            (true, ..) => ShuffleSpec::Mix,
            (_, true, _, _) if limit.is_some() => one_partition(key, true, None),
            (_, true, Last::Result, Destination::Report) => one_partition(key, true, None),
            (_, true, Last::Result, Destination::Segments { .. }) => ShuffleSpec::TargetSize {
                key,
                target_rows: self.rows_per_segment,
                aggregate: true,
            },
            _ => self.max_count(key, true, None),
        };
        let number = self.push(Stage {
            inputs: source.inputs,
            broadcast: source.broadcast,
            detail: detail.clone(),
            columns: before,
            shuffle: Some(first),
            ..Stage::new(Processor::GroupByPreShuffle)
        });
        let result_key = if order.is_empty() { keys.clone() } else { order };
        let second = match &limit {
            _ if keeps => None,
            _ if keys.is_empty() && !bucketed => Some(ShuffleSpec::Mix),
            None => Some(self.result_shuffle(last, result_key.clone(), true)),
            Some(limit) => Some(one_partition(boosted(&result_key), false, limit.rows_needed())),
        };
        let number = self.push(Stage {
            inputs: vec![StageInput::Stage(number)],
            detail,
            columns: after.clone(),
            shuffle: second,
            ..Stage::new(Processor::GroupByPostShuffle)
        });
        Some(match limit {
            None => number,
            Some(limit) => {
                let shuffle = self.result_shuffle(last, result_key, !keeps);
                self.limit(number, &limit, after, Some(shuffle))
            }
        })
    }

    /// Turns a query's data source into inputs; those that are queries themselves become stages first.
    fn source(&mut self, query: &Map<String, Value>) -> Option<Source> {
        let source = query.get("dataSource")?;
        let one = |input, data_source| Source {
            inputs: vec![input],
            broadcast: Vec::new(),
            data_source,
        };
        Some(match source.get("type")?.as_str()? {
            "table" => one(table(source, query)?, input_number(0)),
            // Queries over these keep them, though they are inputs, too.
            "external" => one(
                StageInput::External {
                    source: source.get("inputSource")?.clone(),
                    format: source.get("inputFormat")?.clone(),
                    signature: source.get("signature")?.clone(),
                },
                source.clone(),
            ),
            "inline" => one(
                StageInput::Inline {
                    datasource: source.clone(),
                },
                source.clone(),
            ),
            "query" => {
                let stage = self.query(source.get("query")?.as_object()?, Last::Subquery)?;
                one(StageInput::Stage(stage), input_number(0))
            }
            "union" => {
                let tables = source.get("dataSources")?.as_array()?;
                let inputs: Vec<StageInput> = tables
                    .iter()
                    .map(|source| table(source, query))
                    .collect::<Option<_>>()?;
                let numbers: Vec<Value> = (0..inputs.len()).map(input_number).collect();
                Source {
                    inputs,
                    broadcast: Vec::new(),
                    data_source: json!({"type": "union", "dataSources": numbers}),
                }
            }
            _ => return None,
        })
    }
}

/// OFFSET and LIMIT of a query.
struct Limit {
    offset: u64,
    limit: Option<u64>,
}

impl Limit {
    fn of(members: &Map<String, Value>, offset: &str, limit: &str) -> Option<Self> {
        let number = |name: &str| members.get(name).and_then(Value::as_u64);
        let found = Self {
            offset: number(offset).unwrap_or(0),
            limit: number(limit),
        };
        (found.offset > 0 || found.limit.is_some()).then_some(found)
    }

    fn rows_needed(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset))
    }

    fn detail(&self) -> Value {
        let mut members = Map::new();
        if self.offset > 0 {
            members.insert("offset".to_string(), json!(self.offset));
        }
        if let Some(limit) = self.limit {
            members.insert("limit".to_string(), json!(limit));
        }
        Value::Object(members)
    }
}

fn table(source: &Value, query: &Map<String, Value>) -> Option<StageInput> {
    let name = source.get("name")?.as_str()?.to_string();
    let intervals = query.get("intervals").and_then(|intervals| intervals.get("intervals"));
    let intervals = intervals.and_then(Value::as_array).into_iter().flatten();
    Some(StageInput::Table {
        datasource: name,
        intervals: intervals
            .filter_map(|interval| interval.as_str()?.parse().ok())
            .collect(),
    })
}

fn input_number(number: usize) -> Value {
    json!({"type": "inputNumber", "inputNumber": number})
}

fn with_source(query: &Map<String, Value>, source: Value) -> Value {
    let mut query = query.clone();
    query.insert("dataSource".to_string(), source);
    Value::Object(query)
}

fn texts(list: &Value) -> Option<Vec<String>> {
    list.as_array()?
        .iter()
        .map(|text| text.as_str().map(str::to_string))
        .collect()
}

fn order_of(limit_spec: &Map<String, Value>) -> Vec<KeyColumn> {
    let columns = limit_spec.get("columns").and_then(Value::as_array);
    let columns = columns.into_iter().flatten();
    columns
        .filter_map(|column| {
            Some(KeyColumn {
                name: column.get("dimension")?.as_str()?.to_string(),
                descending: column.get("direction").and_then(Value::as_str) == Some("descending"),
            })
        })
        .collect()
}

fn ascending(name: &str) -> KeyColumn {
    KeyColumn {
        name: name.to_string(),
        descending: false,
    }
}

fn boosted(order: &[KeyColumn]) -> ClusterBy {
    ClusterBy {
        columns: order.iter().cloned().chain([ascending(BOOST_COLUMN)]).collect(),
        bucket_by_count: 0,
    }
}

fn one_partition(key: ClusterBy, aggregate: bool, limit_hint: Option<u64>) -> ShuffleSpec {
    ShuffleSpec::MaxCount {
        key,
        partitions: 1,
        aggregate,
        limit_hint,
    }
}

fn key_of(shuffle: &ShuffleSpec) -> Option<&ClusterBy> {
    match shuffle {
        ShuffleSpec::Mix => None,
        ShuffleSpec::Hash { key, .. } | ShuffleSpec::MaxCount { key, .. } | ShuffleSpec::TargetSize { key, .. } => {
            Some(key)
        }
    }
}

/// Puts the columns of a key in front.
fn signature(key: &[KeyColumn], columns: Columns) -> Columns {
    let mut signature: Columns = Vec::with_capacity(key.len() + columns.len());
    for column in key {
        let known = columns.iter().find(|(name, _)| *name == column.name);
        let kind = known.map_or("LONG", |(_, kind)| kind);
        signature.push((column.name.clone(), kind.to_string()));
    }
    for column in columns {
        if !signature.iter().any(|(name, _)| *name == column.0) {
            signature.push(column);
        }
    }
    signature
}

#[cfg(test)]
mod tests;
