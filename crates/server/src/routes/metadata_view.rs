//! Segments and datasources as the Coordinator shows them.

use std::collections::BTreeMap;

use henge_metadata::{DatasourceSnapshot, MetadataSnapshot, PublishedSegment};
use henge_time::{Interval, format_millis};
use serde_json::{Map, Value, json};

/// Words a segment's payload with its id.
pub fn segment(published: &PublishedSegment) -> Value {
    serde_json::to_value(&*published.segment).unwrap_or(Value::Null)
}

/// Words a segment with the servers that have it: this one.
pub fn with_servers(published: &PublishedSegment, server: &str) -> Value {
    json!({"metadata": segment(published), "servers": [server]})
}

/// Words what a datasource amounts to.
pub fn summary(datasource: &DatasourceSnapshot) -> Value {
    let size: u64 = datasource.segments.iter().map(|published| published.segment.size).sum();
    let count = datasource.segments.len();
    let start = datasource
        .segments
        .iter()
        .map(|published| published.segment.interval.start_ms)
        .min();
    let end = datasource
        .segments
        .iter()
        .map(|published| published.segment.interval.end_ms)
        .max();
    json!({
        "tiers": {"_default_tier": {"size": size, "replicatedSize": size, "segmentCount": count}},
        "segments": {
            "maxTime": end.map(format_millis),
            "size": size,
            "minTime": start.map(format_millis),
            "count": count,
            "replicatedSize": size,
        },
    })
}

/// Gathers a datasource's segments by time chunk, the latest first.
pub fn by_interval(datasource: &DatasourceSnapshot) -> Vec<(Interval, Vec<&PublishedSegment>)> {
    let mut chunks: BTreeMap<(i64, i64), (Interval, Vec<&PublishedSegment>)> = BTreeMap::new();
    for published in &datasource.segments {
        let interval = published.segment.interval;
        chunks
            .entry((interval.start_ms, interval.end_ms))
            .or_insert_with(|| (interval, Vec::new()))
            .1
            .push(published);
    }
    chunks.into_values().rev().collect()
}

/// Words size and count of segments.
pub fn size_and_count(segments: &[&PublishedSegment]) -> Value {
    json!({
        "size": segments.iter().map(|published| published.segment.size).sum::<u64>(),
        "count": segments.len(),
    })
}

/// Words chunks of one datasource in the three ways of the API.
pub fn chunks(chunks: &[(Interval, Vec<&PublishedSegment>)], simple: bool, server: &str) -> Value {
    let mut answer = Map::new();
    for (interval, segments) in chunks {
        let value = if simple {
            size_and_count(segments)
        } else {
            let members: Map<String, Value> = segments
                .iter()
                .map(|published| (published.id.to_string(), with_servers(published, server)))
                .collect();
            Value::Object(members)
        };
        answer.insert(interval.to_string(), value);
    }
    Value::Object(answer)
}

/// Gives the bytes of all published segments.
pub fn total_size(snapshot: &MetadataSnapshot) -> u64 {
    snapshot
        .datasources()
        .flat_map(|(_, datasource)| &datasource.segments)
        .map(|published| published.segment.size)
        .sum()
}
