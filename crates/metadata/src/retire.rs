//! The end of a segment's life: unused, then killed.
//!
//! Killing is the caller's order of work: list with [`MetadataStore::unused_segments`], remove the files of those that share
//! none, then [`MetadataStore::delete_unused`]. A crash between the two leaves rows without files, which the next kill
//! removes; the other order would leave files that nobody knows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use henge_time::Interval;
use serde_json::Value;
use sqlx::{Connection, Row};

use crate::error::Action;
use crate::limits::MAX_ROWS_PER_STATEMENT;
use crate::publish::mark_unused;
use crate::store::{Inner, MetadataStore, now, read_segment};
use crate::{DataSegment, MetadataError};

/// Which segments of a datasource.
#[derive(Debug, Clone)]
pub enum SegmentSelection {
    /// All.
    All,
    /// Those that lie wholly inside one of the intervals.
    Within(Vec<Interval>),
    /// Those of them that have one of the versions.
    VersionsWithin(Vec<Interval>, Vec<String>),
    /// Those with one of the ids.
    Ids(HashSet<String>),
}

impl SegmentSelection {
    fn keeps(&self, segment: &DataSegment) -> bool {
        let within = |intervals: &[Interval]| intervals.iter().any(|interval| interval.contains(&segment.interval));
        match self {
            SegmentSelection::All => true,
            SegmentSelection::Within(intervals) => within(intervals),
            SegmentSelection::VersionsWithin(intervals, versions) => {
                versions.contains(&segment.version) && within(intervals)
            }
            SegmentSelection::Ids(ids) => ids.contains(&segment.id().to_string()),
        }
    }
}

/// A segment that no query reads any more.
#[derive(Debug, Clone)]
pub struct UnusedSegment {
    /// The segment.
    pub segment: DataSegment,
    /// When it became unused, ISO-8601.
    pub used_status_last_updated: String,
    /// True where another row has the same files, which must then stay.
    pub files_shared: bool,
}

impl MetadataStore {
    /// Marks the selected segments unused and gives how many were used. Segments below may come to light.
    pub async fn mark_unused(&self, datasource: &str, selection: SegmentSelection) -> Result<usize, MetadataError> {
        self.retire(datasource.to_string(), move |segments| {
            let mut selected = segments;
            selected.retain(|segment| selection.keeps(segment));
            selected
        })
        .await
    }

    /// Marks the selected unused segments used again and gives how many there were. Those that would be overshadowed stay unused.
    pub async fn mark_used(&self, datasource: &str, selection: SegmentSelection) -> Result<usize, MetadataError> {
        let unused = self.unused_segments(Some(datasource), None).await?;
        let (inner, datasource) = (Arc::clone(&self.inner), datasource.to_string());
        self.detached("mark segments used", async move {
            let action = "mark segments used";
            let mut writer = inner.writer.lock().await;
            let mut used = by_id(inner.used(&datasource));
            let candidates: Vec<Arc<DataSegment>> = unused
                .into_iter()
                .map(|unused| Arc::new(unused.segment))
                .filter(|segment| selection.keeps(segment))
                .collect();
            let all: Vec<Arc<DataSegment>> = used.values().chain(&candidates).cloned().collect();
            let together = crate::Timeline::build(all);
            let hidden: HashSet<String> = together.overshadowed().iter().map(|s| s.id().to_string()).collect();
            let mut transaction = writer.begin().await.action(action)?;
            let mut changed = 0;
            for segment in candidates {
                let id = segment.id().to_string();
                if hidden.contains(&id) {
                    continue;
                }
                let done = sqlx::query(
                    "UPDATE druid_segments SET used = 1, used_status_last_updated = ? WHERE id = ? AND used = 0",
                )
                .bind(now())
                .bind(&id)
                .execute(&mut *transaction)
                .await
                .action(action)?;
                // It may have been killed meanwhile.
                if done.rows_affected() > 0 {
                    changed += 1;
                    used.insert(id, segment);
                }
            }
            transaction.commit().await.action(action)?;
            inner.swap_datasource(&datasource, used.into_values().collect());
            Ok(changed)
        })
        .await
    }

    /// Marks every overshadowed segment unused and gives how many there were (Druid's Coordinator duty).
    pub async fn mark_overshadowed_unused(&self) -> Result<usize, MetadataError> {
        let mut count = 0;
        let snapshot = self.snapshot();
        for (name, datasource) in snapshot.datasources() {
            if datasource.timeline.overshadowed().is_empty() {
                continue;
            }
            let hidden = |segments| crate::Timeline::build(segments).overshadowed().to_vec();
            count += self.retire(name.to_string(), hidden).await?;
        }
        Ok(count)
    }

    async fn retire(
        &self,
        datasource: String,
        select: impl FnOnce(Vec<Arc<DataSegment>>) -> Vec<Arc<DataSegment>> + Send + 'static,
    ) -> Result<usize, MetadataError> {
        let inner = Arc::clone(&self.inner);
        self.detached("mark segments unused", async move {
            let action = "mark segments unused";
            let mut writer = inner.writer.lock().await;
            let mut used: BTreeMap<String, Arc<DataSegment>> = by_id(inner.used(&datasource));
            let selected: Vec<String> = select(used.values().cloned().collect())
                .iter()
                .map(|s| s.id().to_string())
                .collect();
            if selected.is_empty() {
                return Ok(0);
            }
            let mut transaction = writer.begin().await.action(action)?;
            let changed = mark_unused(&mut transaction, &selected, &now()).await?;
            transaction.commit().await.action(action)?;
            selected.iter().for_each(|id| {
                used.remove(id);
            });
            inner.swap_datasource(&datasource, used.into_values().collect());
            Ok(changed)
        })
        .await
    }

    /// Lists unused segments, of one datasource or all, that became unused before a time (ISO-8601) or at any time.
    pub async fn unused_segments(
        &self,
        datasource: Option<&str>,
        updated_before: Option<&str>,
    ) -> Result<Vec<UnusedSegment>, MetadataError> {
        let action = "list unused segments";
        let rows = sqlx::query(
            "SELECT s.id, s.payload, s.used_status_last_updated, \
               s.upgraded_from_segment_id IS NOT NULL AND EXISTS (SELECT 1 FROM druid_segments o WHERE o.id <> s.id \
                 AND (o.id = s.upgraded_from_segment_id OR o.upgraded_from_segment_id = s.upgraded_from_segment_id)) \
               OR EXISTS (SELECT 1 FROM druid_segments o WHERE o.dataSource = s.dataSource AND o.upgraded_from_segment_id = s.id) \
             FROM druid_segments s WHERE s.used = 0 AND (? IS NULL OR s.dataSource = ?) \
               AND (? IS NULL OR s.used_status_last_updated < ?) ORDER BY s.id",
        )
        .bind(datasource)
        .bind(datasource)
        .bind(updated_before)
        .bind(updated_before)
        .fetch_all(&self.inner.readers)
        .await
        .action(action)?;
        rows.iter()
            .map(|row| {
                Ok(UnusedSegment {
                    segment: read_segment(row.try_get(0).action(action)?, row.try_get(1).action(action)?)?,
                    used_status_last_updated: row.try_get(2).action(action)?,
                    files_shared: row.try_get(3).action(action)?,
                })
            })
            .collect()
    }

    /// Deletes the rows of unused segments whose files are gone, and gives how many there were. Used ones stay.
    pub async fn delete_unused(&self, ids: &[String]) -> Result<usize, MetadataError> {
        let (inner, ids) = (Arc::clone(&self.inner), ids.to_vec());
        self.detached("delete unused segments", async move { delete_rows(&inner, &ids).await })
            .await
    }

    /// Gives the load specs of all rows, used and unused: the files that must stay when orphans are collected. Files of
    /// tasks that are still running are named by no row yet, so orphans are collected before tasks start.
    pub async fn load_specs(&self) -> Result<Vec<Value>, MetadataError> {
        let action = "list load specs";
        let rows = sqlx::query("SELECT id, payload FROM druid_segments")
            .fetch_all(&self.inner.readers)
            .await
            .action(action)?;
        rows.iter()
            .map(|row| Ok(read_segment(row.try_get(0).action(action)?, row.try_get(1).action(action)?)?.load_spec))
            .collect()
    }
}

fn by_id(segments: Vec<Arc<DataSegment>>) -> BTreeMap<String, Arc<DataSegment>> {
    segments.into_iter().map(|s| (s.id().to_string(), s)).collect()
}

async fn delete_rows(inner: &Inner, ids: &[String]) -> Result<usize, MetadataError> {
    let action = "delete unused segments";
    let mut writer = inner.writer.lock().await;
    let mut transaction = writer.begin().await.action(action)?;
    let mut deleted = 0;
    for batch in ids.chunks(MAX_ROWS_PER_STATEMENT) {
        let mut query = sqlx::QueryBuilder::new("DELETE FROM druid_segments WHERE used = 0 AND id IN (");
        let mut list = query.separated(", ");
        for id in batch {
            list.push_bind(id);
        }
        query.push(")");
        let done = query.build().execute(&mut *transaction).await.action(action)?;
        deleted += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
    }
    transaction.commit().await.action(action)?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{days, replace, store};

    #[tokio::test]
    async fn what_was_marked_unused_can_be_used_again() {
        let (store, _folder) = store().await;
        let segments = replace(&store, "a", &[days(0, 1), days(3, 4)]).await;
        assert_eq!(store.mark_unused("d", SegmentSelection::All).await.expect("marked"), 2);
        assert!(
            store
                .snapshot()
                .datasource("d")
                .is_none_or(|left| left.segments.is_empty())
        );
        let within = SegmentSelection::VersionsWithin(vec![days(0, 9)], vec!["v2".to_string()]);
        assert_eq!(
            store.mark_used("d", within).await.expect("marked"),
            0,
            "no such version"
        );
        let one = SegmentSelection::Ids([segments[1].id().to_string(), "nope".to_string()].into());
        assert_eq!(store.mark_used("d", one).await.expect("marked"), 1);
        let first_day = || SegmentSelection::Within(vec![days(0, 1)]);
        assert_eq!(store.mark_used("d", first_day()).await.expect("marked"), 1);
        assert_eq!(
            store.mark_used("d", first_day()).await.expect("marked"),
            0,
            "it is used"
        );
        let snapshot = store.snapshot();
        assert_eq!(
            snapshot.datasource("d").map(|datasource| datasource.segments.len()),
            Some(2)
        );
        store.reload().await.expect("read again");
        assert_eq!(
            store
                .snapshot()
                .datasource("d")
                .map(|datasource| datasource.segments.len()),
            Some(2)
        );
    }

    #[tokio::test]
    async fn what_is_overshadowed_stays_unused() {
        let (store, _folder) = store().await;
        replace(&store, "a", &[days(0, 1)]).await;
        replace(&store, "b", &[days(0, 1)]).await;
        assert_eq!(store.mark_overshadowed_unused().await.expect("marked"), 1);
        assert_eq!(store.mark_used("d", SegmentSelection::All).await.expect("marked"), 0);
    }
}
