//! Published segments: their ids and their payload in the metadata store (Druid's `SegmentId` and `DataSegment`).

use std::fmt;

use henge_time::{Interval, format_millis};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::ShardSpec;

/// Format version of every segment that henge writes (the integer of `version.bin`).
pub const BINARY_VERSION: i32 = 9;

/// Name of a segment. Ordered as Druid orders ids: datasource, interval, version, partition. Printed as
/// `<datasource>_<start>_<end>_<version>[_<partition>]`, the partition omitted where it is 0; never parsed back, because
/// datasources and versions may contain the separator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// Datasource.
    pub datasource: String,
    /// Time chunk.
    pub interval: Interval,
    /// Version; compared as a string.
    pub version: String,
    /// Partition number.
    pub partition: u32,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}_{}_{}_{}",
            self.datasource,
            format_millis(self.interval.start_ms),
            format_millis(self.interval.end_ms),
            self.version
        )?;
        if self.partition != 0 {
            write!(f, "_{}", self.partition)?;
        }
        Ok(())
    }
}

/// A published segment: the payload of `druid_segments`. Two segments are the same where their ids are.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSegment {
    /// Datasource.
    pub datasource: String,
    /// Time chunk.
    pub interval: Interval,
    /// Version, normally the time at which the lock of its task was granted.
    pub version: String,
    /// Where the files are: a map whose `type` selects the deep storage.
    pub load_spec: Value,
    /// Dimension columns in segment order, without `__time`.
    pub dimensions: Vec<String>,
    /// Metric columns.
    pub metrics: Vec<String>,
    /// Names of projections, where there are any.
    pub projections: Option<Vec<String>>,
    /// Place inside the chunk.
    pub shard_spec: ShardSpec,
    /// What compaction would have to know; only written on request.
    pub last_compaction_state: Option<Value>,
    /// Key of a stored indexing state.
    pub indexing_state_fingerprint: Option<String>,
    /// Format version; none for tombstones.
    pub binary_version: Option<i32>,
    /// Bytes of the files as loaded.
    pub size: u64,
    /// Rows, where the writer said.
    pub total_rows: Option<u64>,
}

impl DataSegment {
    /// Gives the tombstone that hides older data of the interval.
    pub fn tombstone(datasource: &str, interval: Interval, version: &str) -> Self {
        DataSegment {
            datasource: datasource.to_string(),
            interval,
            version: version.to_string(),
            load_spec: serde_json::json!({"path": null, "type": "tombstone"}),
            dimensions: Vec::new(),
            metrics: Vec::new(),
            projections: None,
            shard_spec: ShardSpec::TOMBSTONE,
            last_compaction_state: None,
            indexing_state_fingerprint: None,
            binary_version: None,
            size: 1,
            total_rows: Some(0),
        }
    }

    /// Gives the id.
    pub fn id(&self) -> SegmentId {
        SegmentId {
            datasource: self.datasource.clone(),
            interval: self.interval,
            version: self.version.clone(),
            partition: self.shard_spec.partition_num(),
        }
    }

    /// Tells whether the segment holds no rows and only hides older ones.
    pub fn is_tombstone(&self) -> bool {
        self.shard_spec.is_tombstone()
    }
}

impl Serialize for DataSegment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("dataSource", &self.datasource)?;
        map.serialize_entry("interval", &self.interval)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("loadSpec", &self.load_spec)?;
        map.serialize_entry("dimensions", &self.dimensions.join(","))?;
        map.serialize_entry("metrics", &self.metrics.join(","))?;
        if let Some(projections) = &self.projections {
            map.serialize_entry("projections", &projections.join(","))?;
        }
        map.serialize_entry("shardSpec", &self.shard_spec)?;
        if let Some(state) = &self.last_compaction_state {
            map.serialize_entry("lastCompactionState", state)?;
        }
        if let Some(fingerprint) = &self.indexing_state_fingerprint {
            map.serialize_entry("indexingStateFingerprint", fingerprint)?;
        }
        map.serialize_entry("binaryVersion", &self.binary_version)?;
        map.serialize_entry("size", &self.size)?;
        if let Some(rows) = self.total_rows {
            map.serialize_entry("totalRows", &rows)?;
        }
        map.serialize_entry("identifier", &self.id().to_string())?;
        map.end()
    }
}

/// The payload as it is read: unknown members and the written `identifier` are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    data_source: String,
    interval: Interval,
    version: String,
    #[serde(default)]
    load_spec: Value,
    #[serde(default)]
    dimensions: Option<Names>,
    #[serde(default)]
    metrics: Option<Names>,
    #[serde(default)]
    projections: Option<Names>,
    #[serde(default)]
    shard_spec: Option<ShardSpec>,
    #[serde(default)]
    last_compaction_state: Option<Value>,
    #[serde(default)]
    indexing_state_fingerprint: Option<String>,
    #[serde(default)]
    binary_version: Option<i32>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    total_rows: Option<u64>,
}

/// Names as Druid writes them (joined with commas) or as a JSON array; empty ones are dropped.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Joined(String),
    List(Vec<String>),
}

impl Names {
    fn split(self) -> Vec<String> {
        let list = match self {
            Names::Joined(text) => text.split(',').map(str::to_string).collect(),
            Names::List(list) => list,
        };
        list.into_iter().filter(|name| !name.is_empty()).collect()
    }
}

impl<'de> Deserialize<'de> for DataSegment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let payload = Payload::deserialize(deserializer)?;
        Ok(DataSegment {
            datasource: payload.data_source,
            interval: payload.interval,
            version: payload.version,
            load_spec: payload.load_spec,
            dimensions: payload.dimensions.map(Names::split).unwrap_or_default(),
            metrics: payload.metrics.map(Names::split).unwrap_or_default(),
            projections: payload.projections.map(Names::split),
            shard_spec: payload.shard_spec.unwrap_or_default(),
            last_compaction_state: payload.last_compaction_state,
            indexing_state_fingerprint: payload.indexing_state_fingerprint,
            binary_version: payload.binary_version,
            size: payload.size,
            total_rows: payload.total_rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_real_druid_survive_byte_for_byte() {
        let golden = include_str!("../../../tests/golden/metadata/druid_segments.jsonl");
        let mut kinds = std::collections::BTreeSet::new();
        for line in golden.lines() {
            let row: Value = serde_json::from_str(line).expect("a golden row");
            let text = row["PAYLOAD"].to_string();
            let segment: DataSegment = serde_json::from_str(&text).expect(&text);
            assert_eq!(serde_json::to_string(&segment).expect("serialises"), text);
            assert_eq!(row["ID"], segment.id().to_string());
            kinds.insert(segment.shard_spec.type_name());
        }
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            ["numbered", "range", "tombstone"]
        );
    }

    #[test]
    fn reads_what_older_writers_left_out() {
        let text = r#"{"dataSource":"a","interval":"2015-01-01/2015-01-02","version":"v","dimensions":["x","","y"],"surprise":1}"#;
        let segment: DataSegment = serde_json::from_str(text).expect("a bare payload");
        assert_eq!(segment.dimensions, ["x", "y"]);
        assert_eq!((segment.shard_spec.partition_num(), segment.total_rows), (0, None));
        assert!(serde_json::from_str::<DataSegment>(&text.replace('}', r#","size":-1}"#)).is_err());
    }

    #[test]
    fn tombstones_have_druids_shape() {
        let interval = "2015-01-02/2015-01-03".parse().expect("an interval");
        let segment = DataSegment::tombstone("api_tomb", interval, "2026-11-23T03:23:18.099Z");
        let expected = r#"{"dataSource":"api_tomb","interval":"2015-01-02T00:00:00.000Z/2015-01-03T00:00:00.000Z","version":"2026-11-23T03:23:18.099Z","loadSpec":{"path":null,"type":"tombstone"},"dimensions":"","metrics":"","shardSpec":{"type":"tombstone","partitionNum":0,"partitions":0},"binaryVersion":null,"size":1,"totalRows":0,"identifier":"api_tomb_2015-01-02T00:00:00.000Z_2015-01-03T00:00:00.000Z_2026-11-23T03:23:18.099Z"}"#;
        assert_eq!(serde_json::to_string(&segment).expect("serialises"), expected);
    }
}
