//! The query context: typed reading with Druid's messages, forbidden keys, checks at submit.

use serde_json::{Map, Value};

use crate::{EngineKind, SqlError};

/// Keys that only planning may write.
const FORBIDDEN: [&str; 3] = [
    "sqlInsertSegmentGranularity",
    "sqlReplaceTimeChunks",
    "timestampResultField",
];

/// Keys that only planning a task may write.
const TASK_FORBIDDEN: [&str; 3] = ["__timeColumn", "__exportFileFormat", "isReindex"];

/// Integer keys that interactive queries read.
const QUERY_INTEGERS: [&str; 5] = [
    "maxSubqueryRows",
    "inSubQueryThreshold",
    "uncoveredIntervalsLimit",
    "sqlPlannerBloat",
    "maxNumericInFilters",
];

/// Boolean keys that interactive queries read.
const QUERY_BOOLEANS: [&str; 7] = [
    "finalize",
    "secondaryPartitionPruning",
    "useApproximateTopN",
    "useApproximateCountDistinct",
    "forceExpressionVirtualColumns",
    "useGroupingSetForExactDistinct",
    "useNativeQueryExplain",
];

/// Boolean keys whose wrong type Druid tells as a failure of its own.
const QUERY_SWITCHES: [&str; 4] = [
    "sqlStringifyArrays",
    "sqlReverseLookup",
    "sqlPullUpLookup",
    "sqlUseBoundAndSelectors",
];

/// Text keys that interactive queries read.
const QUERY_TEXTS: [&str; 3] = ["lane", "plannerStrategy", "queryId"];

/// Integer keys that planning reads for a task, so that a wrong type is told at submit.
const TASK_INTEGERS: [&str; 10] = [
    "maxNumTasks",
    "rowsPerSegment",
    "rowsPerPage",
    "maxRowsInMemory",
    "rowsInMemory",
    "maxNumSegments",
    "maxInputFilesPerWorker",
    "maxPartitions",
    "maxThreads",
    "targetPartitionsPerWorker",
];

const LONG: &str = "in long format";
const INTEGER: &str = "in integer format";

/// The context of one query: the request's object with the statement's SETs on top.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryContext {
    values: Map<String, Value>,
}

impl From<Map<String, Value>> for QueryContext {
    fn from(values: Map<String, Value>) -> Self {
        QueryContext { values }
    }
}

impl QueryContext {
    /// Gives the raw object.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Gives a raw value; JSON null counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Sets a value, as SET does.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        self.values.insert(key.into(), value);
    }

    /// Reads text; numbers and booleans are words too.
    pub fn string(&self, key: &str) -> Result<Option<String>, SqlError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(bad_class(key, "a String", other)),
        }
    }

    /// Reads a whole number.
    pub fn long(&self, key: &str) -> Result<Option<i64>, SqlError> {
        self.whole(key, LONG)
    }

    /// Reads a whole number of 32 bits.
    pub fn int(&self, key: &str) -> Result<Option<i32>, SqlError> {
        match self.whole(key, INTEGER)? {
            None => Ok(None),
            Some(long) => i32::try_from(long)
                .map(Some)
                .map_err(|_| bad(key, INTEGER, &self.values[key])),
        }
    }

    fn whole(&self, key: &str, wanted: &str) -> Result<Option<i64>, SqlError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let read = match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|double| double as i64)),
            Value::String(text) => text.trim().parse::<i64>().ok().or_else(|| {
                text.trim()
                    .parse::<f64>()
                    .ok()
                    .filter(|d| d.fract() == 0.0)
                    .map(|d| d as i64)
            }),
            _ if wanted == LONG => return Err(bad_class(key, "a Long", value)),
            _ => return Err(bad_class(key, "an Integer", value)),
        };
        read.map(Some).ok_or_else(|| bad(key, wanted, value))
    }

    /// Reads a floating point number.
    pub fn double(&self, key: &str) -> Result<Option<f64>, SqlError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let read = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        read.map(Some).ok_or_else(|| bad(key, "in double format", value))
    }

    /// Reads a boolean; foreign text is false, as `Boolean.parseBoolean` has it.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, SqlError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) => Ok(Some(text.eq_ignore_ascii_case("true"))),
            Some(other) => Err(bad_class(key, "a Boolean", other)),
        }
    }

    /// Reads a word of an enumeration, ignoring case; `words` and `class` are Druid's for the message.
    pub fn word(&self, key: &str, words: &[&'static str], class: &str) -> Result<Option<&'static str>, SqlError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let text = shown(value);
        match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
            Some(word) => Ok(Some(word)),
            None => Err(SqlError::bad_context(format!(
                "Expected key [{key}] to be referring to one of the values [{}] of enum [{class}], but got [{text}]",
                words.join(",")
            ))),
        }
    }

    /// Judges what only a statement that groups or aggregates reads; `grouped` is told of one that groups by more than a floored
    /// time.
    pub(crate) fn check_grouping(&self, grouped: bool) -> Result<(), SqlError> {
        self.int("priority")?;
        self.boolean("useResultLevelCache")?;
        if !grouped {
            self.boolean("skipEmptyBuckets")?;
        }
        self.check_vectorize(grouped)
    }

    fn check_vectorize(&self, grouped: bool) -> Result<(), SqlError> {
        const KEY: &str = "vectorize";
        match self.get(KEY) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(_)) => {
                let Err(error) = self.word(KEY, &["FALSE", "TRUE", "FORCE"], "Vectorize") else {
                    return Ok(());
                };
                if !grouped {
                    return Err(error);
                }
                // A grouping reads it in the process that holds the rows.
                Err(SqlError::runtime(
                    "java.lang.RuntimeException",
                    format!(
                        "java.util.concurrent.ExecutionException: BadQueryContextException{{msg={}, code=Query context parse failed, class=org.apache.druid.query.BadQueryContextException, host=null}}",
                        error.message
                    ),
                ))
            }
            Some(other) if grouped => Err(bad_class(KEY, "a Boolean", other)),
            Some(other) => Err(bad_class(KEY, "of type [Vectorize]", other)),
        }
    }

    /// Reads a list: a JSON array, JSON text of one, or words separated by commas.
    pub fn list(&self, key: &str) -> Result<Vec<String>, SqlError> {
        let words = |items: &[Value]| items.iter().map(shown).collect();
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(words(items)),
            Some(Value::String(text)) => Ok(match serde_json::from_str::<Vec<Value>>(text) {
                Ok(items) => words(&items),
                Err(_) => text
                    .split(',')
                    .map(|word| word.trim().to_string())
                    .filter(|word| !word.is_empty())
                    .collect(),
            }),
            Some(other) => Err(bad(key, "a List", other)),
        }
    }

    /// Gives the time zone of `sqlTimeZone`; an unknown one is UTC, as in Druid.
    pub fn time_zone(&self) -> crate::functions::Zone {
        let name = self.get("sqlTimeZone").map(shown).unwrap_or_default();
        crate::functions::Zone::parse(&name).unwrap_or_default()
    }

    /// Gives the instant of `sqlCurrentTimestamp` (ISO-8601 text or milliseconds), which replaces the clock.
    pub fn current_timestamp(&self) -> Option<i64> {
        match self.get("sqlCurrentTimestamp")? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => henge_time::parse_millis(text).ok().or_else(|| text.parse().ok()),
            _ => None,
        }
    }

    /// Gives the id that the client chose.
    pub fn query_id(&self) -> Option<String> {
        self.get("sqlQueryId").map(shown)
    }

    /// Refuses keys that only the engine may write, and wrong types of keys that planning reads.
    pub fn check(&self, engine: EngineKind) -> Result<(), SqlError> {
        let of_tasks: &[&str] = match engine {
            EngineKind::Task => &TASK_FORBIDDEN,
            EngineKind::Native => &[],
        };
        if let Some(key) = FORBIDDEN
            .iter()
            .chain(of_tasks)
            .find(|key| self.values.contains_key(**key))
        {
            return Err(SqlError::input(format!(
                "Query context parameter [{key}] is not allowed"
            )));
        }
        if let Some(timeout) = self.long("timeout")?
            && timeout < 0
        {
            return Err(SqlError::bad_context(format!(
                "Timeout [timeout] must be a non negative value, but was {timeout}"
            )));
        }
        if let Err(error) = self.long("sqlOuterLimit") {
            return Err(SqlError::general(
                crate::Persona::Admin,
                crate::Category::Uncategorized,
                error.message.clone(),
            ));
        }
        if let Some(algorithm) = self.get("sqlJoinAlgorithm").map(shown)
            && !["broadcast", "sortMerge"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&algorithm))
        {
            return Err(SqlError::bad_context(format!(
                "Expected key [sqlJoinAlgorithm] to be one of [broadcast, sortMerge], but got [{algorithm}]"
            )));
        }
        match engine {
            EngineKind::Task => self.check_task(),
            EngineKind::Native => self.check_query(),
        }
    }

    fn check_query(&self) -> Result<(), SqlError> {
        for key in QUERY_INTEGERS {
            self.int(key)?;
        }
        for key in QUERY_BOOLEANS {
            self.boolean(key)?;
        }
        for key in QUERY_TEXTS {
            self.string(key)?;
        }
        for key in QUERY_SWITCHES {
            if self.boolean(key).is_err() {
                let class = self.get(key).map(java_class).unwrap_or_default();
                return Err(SqlError::runtime(
                    "org.apache.druid.java.util.common.ISE",
                    format!("Unknown type [class {class}]"),
                )
                .hint(Some(format!("{key} is true or false"))));
            }
        }
        self.check_subquery_bytes()?;
        self.long("maxScatterGatherBytes")?;
        self.long("maxQueuedBytes")?;
        if self.long("sqlOuterLimit")?.is_some_and(|rows| rows < 0) {
            return Err(SqlError::general(
                crate::Persona::Admin,
                crate::Category::Uncategorized,
                "limit == null || limit >= 0",
            )
            .hint(Some("sqlOuterLimit counts rows".into())));
        }
        let algorithm = self.get("sqlJoinAlgorithm").map(shown);
        if algorithm.is_some_and(|algorithm| algorithm.eq_ignore_ascii_case("sortMerge")) {
            return Err(SqlError::invalid(
                "Join algorithm [sortMerge] is not supported by engine [native]",
            ));
        }
        match self.get("sqlCurrentTimestamp") {
            Some(Value::String(text)) if self.current_timestamp().is_none() => Err(SqlError::legacy(
                crate::Persona::Operator,
                crate::Category::RuntimeFailure,
                "Unknown exception",
                "java.lang.IllegalArgumentException",
                format!("Invalid format: \"{text}\""),
            )),
            _ => Ok(()),
        }
    }

    fn check_subquery_bytes(&self) -> Result<(), SqlError> {
        let Some(text) = self.get("maxSubqueryBytes").map(shown) else {
            return Ok(());
        };
        let is_word = ["auto", "disabled"].iter().any(|word| word.eq_ignore_ascii_case(&text));
        if is_word || text.parse::<i64>().is_ok() {
            return Ok(());
        }
        Err(SqlError::input(format!(
            "Unable to parse the provided maxSubqueryLimit [{text}] to a valid number. Valid values for the maxSubqueryLimits can be 'auto', 'disabled' or a positive integer representing bytes to reserve."
        )))
    }

    fn check_task(&self) -> Result<(), SqlError> {
        for key in TASK_INTEGERS {
            self.int(key)?;
        }
        if let Some(tasks) = self.int("maxNumTasks")?
            && tasks < 2
        {
            return Err(SqlError::input(format!(
                "MSQ context maxNumTasks [{tasks}] cannot be less than 2, since at least 1 controller and 1 worker is necessary"
            )));
        }
        self.word("taskAssignment", &["MAX", "AUTO"], "WorkerAssignmentStrategy")?;
        self.word(
            "selectDestination",
            &["TASKREPORT", "EXPORT", "DURABLESTORAGE"],
            "MSQSelectDestination",
        )?;
        self.word(
            "taskLockType",
            &["EXCLUSIVE", "SHARED", "REPLACE", "APPEND"],
            "TaskLockType",
        )?;
        self.word("executionMode", &["SYNC", "ASYNC"], "ExecutionMode")?;
        self.check_index_spec()
    }

    fn check_index_spec(&self) -> Result<(), SqlError> {
        let Some(value) = self.get("indexSpec") else {
            return Ok(());
        };
        let parsed = match value {
            Value::String(text) => serde_json::from_str::<Value>(text).ok(),
            other => Some(other.clone()),
        };
        let valid = parsed.as_ref().and_then(Value::as_object).is_some_and(|spec| {
            spec.get("bitmap")
                .is_none_or(|bitmap| bitmap.is_object() || bitmap.is_null())
        });
        if valid {
            return Ok(());
        }
        Err(bad("indexSpec", "an indexSpec", value))
    }
}

/// Words a value as Druid's messages do: text bare, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Words a value of a wrong type: Druid tells its class.
fn bad_class(key: &str, wanted: &str, value: &Value) -> SqlError {
    SqlError::bad_context(format!(
        "Expected key [{key}] to be {wanted}, but got [{}]",
        java_class(value)
    ))
}

/// Gives the Java class that a JSON value is read as.
fn java_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "java.lang.Boolean",
        Value::Number(number) => match number.as_i64() {
            Some(long) if i32::try_from(long).is_ok() => "java.lang.Integer",
            Some(_) => "java.lang.Long",
            None if number.is_f64() => "java.lang.Double",
            None => "java.math.BigInteger",
        },
        Value::String(_) => "java.lang.String",
        Value::Array(_) => "java.util.ArrayList",
        Value::Object(_) => "java.util.LinkedHashMap",
    }
}

fn bad(key: &str, wanted: &str, value: &Value) -> SqlError {
    SqlError::bad_context(format!(
        "Expected key [{key}] to be {wanted}, but got [{}]",
        shown(value)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(json: &str) -> QueryContext {
        let values: Map<String, Value> = serde_json::from_str(json).expect("an object");
        values.into()
    }

    #[test]
    fn wrong_types_are_told_in_druids_words() {
        for (json, message) in [
            (
                r#"{"maxNumTasks":"two"}"#,
                "Expected key [maxNumTasks] to be in integer format, but got [two]",
            ),
            (
                r#"{"timeout":"abc"}"#,
                "Expected key [timeout] to be in long format, but got [abc]",
            ),
            (
                r#"{"timeout":-5}"#,
                "Timeout [timeout] must be a non negative value, but was -5",
            ),
            (
                r#"{"taskAssignment":"some"}"#,
                "Expected key [taskAssignment] to be referring to one of the values [MAX,AUTO] of enum [WorkerAssignmentStrategy], but got [some]",
            ),
            (
                r#"{"indexSpec":"{\"bitmap\":5}"}"#,
                r#"Expected key [indexSpec] to be an indexSpec, but got [{"bitmap":5}]"#,
            ),
        ] {
            let error = context(json).check(EngineKind::Task).expect_err(json);
            assert_eq!((error.message.as_str(), error.is_legacy()), (message, true));
        }
        let error = context(r#"{"sqlReplaceTimeChunks":"all"}"#)
            .check(EngineKind::Native)
            .expect_err("forbidden");
        assert_eq!(
            error.message,
            "Query context parameter [sqlReplaceTimeChunks] is not allowed"
        );
        assert!(
            context(r#"{"whatever":[1],"maxNumTasks":"3"}"#)
                .check(EngineKind::Task)
                .is_ok()
        );
    }
}
