//! What is published, as one immutable value: readers never wait and never see half a publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{DataSegment, Timeline};

/// A published (used) segment, as `sys.segments` lists it.
#[derive(Debug, Clone)]
pub struct PublishedSegment {
    /// The id as text.
    pub id: Arc<str>,
    /// The payload.
    pub segment: Arc<DataSegment>,
    /// True where newer segments hide all of it.
    pub overshadowed: bool,
}

/// The published segments of one datasource.
#[derive(Debug, Default)]
pub struct DatasourceSnapshot {
    /// Which of them are visible where.
    pub timeline: Timeline,
    /// All of them, ordered by id.
    pub segments: Vec<PublishedSegment>,
}

impl DatasourceSnapshot {
    pub(crate) fn build(mut segments: Vec<Arc<DataSegment>>) -> Self {
        segments.sort_by_cached_key(|s| s.id());
        let timeline = Timeline::build(segments.iter().cloned());
        let overshadowed: std::collections::HashSet<*const DataSegment> =
            timeline.overshadowed().iter().map(Arc::as_ptr).collect();
        let segments = segments
            .into_iter()
            .map(|segment| PublishedSegment {
                id: segment.id().to_string().into(),
                overshadowed: overshadowed.contains(&Arc::as_ptr(&segment)),
                segment,
            })
            .collect();
        DatasourceSnapshot { timeline, segments }
    }
}

/// All published segments at one moment. A snapshot taken after a publish returned holds what it published.
#[derive(Debug, Default)]
pub struct MetadataSnapshot {
    pub(crate) datasources: BTreeMap<String, Arc<DatasourceSnapshot>>,
    pub(crate) sequence: u64,
}

impl MetadataSnapshot {
    /// Gives a datasource, if it has a used segment. A tombstone counts: Druid lists such a datasource too.
    pub fn datasource(&self, name: &str) -> Option<&Arc<DatasourceSnapshot>> {
        self.datasources.get(name)
    }

    /// Gives all datasources by name.
    pub fn datasources(&self) -> impl Iterator<Item = (&str, &Arc<DatasourceSnapshot>)> {
        self.datasources
            .iter()
            .map(|(name, datasource)| (name.as_str(), datasource))
    }

    /// Gives a number that grows with every change; equal numbers of one store mean equal contents.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Gives the same with one datasource changed; one without segments is left out.
    pub(crate) fn with(&self, name: &str, segments: Vec<Arc<DataSegment>>) -> Self {
        let mut datasources = self.datasources.clone();
        if segments.is_empty() {
            datasources.remove(name);
        } else {
            datasources.insert(name.to_string(), Arc::new(DatasourceSnapshot::build(segments)));
        }
        MetadataSnapshot {
            datasources,
            sequence: self.sequence + 1,
        }
    }
}
