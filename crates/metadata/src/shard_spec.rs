//! Shard specs: which part of a time chunk a segment holds (Druid's `ShardSpec` and its subtypes).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One bound of a range, one value a dimension, nulls first. `None` in place of the tuple is unbounded.
pub type RangeBound = Option<Vec<Option<String>>>;

/// Place of a segment inside its time chunk. The serialised form is Druid's, field order included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ShardSpec {
    /// Druid's `NumberedShardSpec`: any row may be anywhere. Appended segments have `partition_num >= partitions`.
    Numbered {
        /// Number of this partition.
        partition_num: u32,
        /// Number of core partitions; 0 where the chunk was made by appends.
        partitions: u32,
    },
    /// Druid's `DimensionRangeShardSpec`: rows between two tuples.
    Range {
        /// Dimensions of the tuples.
        dimensions: Vec<String>,
        /// Definitions of dimensions that are expressions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        virtual_columns: Option<Value>,
        /// Inclusive lower bound.
        start: RangeBound,
        /// Exclusive upper bound.
        end: RangeBound,
        /// Number of this partition.
        partition_num: u32,
        /// Number of core partitions; −1 where an old writer did not say.
        #[serde(default = "unknown_core")]
        num_core_partitions: i32,
    },
    /// Druid's `SingleDimensionShardSpec`, the older form of a range over one dimension.
    Single {
        /// Dimension of the bounds.
        dimension: String,
        /// Inclusive lower bound.
        start: Option<String>,
        /// Exclusive upper bound.
        end: Option<String>,
        /// Number of this partition.
        partition_num: u32,
        /// Number of core partitions; −1 where an old writer did not say.
        #[serde(default = "unknown_core")]
        num_core_partitions: i32,
    },
    /// Druid's `HashBasedNumberedShardSpec`.
    Hashed {
        /// Number of this partition.
        partition_num: u32,
        /// Number of core partitions.
        partitions: u32,
        /// Bucket of the hash; the partition number where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bucket_id: Option<u32>,
        /// Number of buckets of the hash; the core count where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        num_buckets: Option<u32>,
        /// Hashed dimensions; empty means all.
        #[serde(default)]
        partition_dimensions: Vec<String>,
        /// Name of the hash function.
        #[serde(default)]
        partition_function: Option<String>,
    },
    /// Druid's `NoneShardSpec`: the only segment of its chunk.
    None,
    /// Druid's `LinearShardSpec`: visible on its own.
    Linear {
        /// Number of this partition.
        partition_num: u32,
    },
    /// Druid's `NumberedOverwriteShardSpec`: replaces a range of root partitions of the same version.
    NumberedOverwrite {
        /// Number of this partition, 32768 or more.
        partition_id: u32,
        /// First root partition that is replaced.
        start_root_partition_id: u32,
        /// Root partition behind the last one that is replaced.
        end_root_partition_id: u32,
        /// Generation; the higher one wins.
        minor_version: u16,
        /// Number of segments that become visible together.
        atomic_update_group_size: u16,
    },
    /// Druid's `TombstoneShardSpec`: holds nothing, hides what is older.
    Tombstone {
        /// Always 0.
        #[serde(default)]
        partition_num: u32,
        /// 0; older writers say 1.
        #[serde(default)]
        partitions: u32,
    },
}

fn unknown_core() -> i32 {
    -1
}

impl Default for ShardSpec {
    /// Gives what an absent shard spec is read as.
    fn default() -> Self {
        ShardSpec::Numbered {
            partition_num: 0,
            partitions: 1,
        }
    }
}

impl ShardSpec {
    /// The tombstone that current versions of Druid write.
    pub const TOMBSTONE: ShardSpec = ShardSpec::Tombstone {
        partition_num: 0,
        partitions: 0,
    };

    /// Gives the name of the type as Druid writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            ShardSpec::Numbered { .. } => "numbered",
            ShardSpec::Range { .. } => "range",
            ShardSpec::Single { .. } => "single",
            ShardSpec::Hashed { .. } => "hashed",
            ShardSpec::None => "none",
            ShardSpec::Linear { .. } => "linear",
            ShardSpec::NumberedOverwrite { .. } => "numbered_overwrite",
            ShardSpec::Tombstone { .. } => "tombstone",
        }
    }

    /// Gives the partition number, which is part of the segment's id.
    pub fn partition_num(&self) -> u32 {
        match self {
            ShardSpec::Numbered { partition_num, .. }
            | ShardSpec::Range { partition_num, .. }
            | ShardSpec::Single { partition_num, .. }
            | ShardSpec::Hashed { partition_num, .. }
            | ShardSpec::Linear { partition_num }
            | ShardSpec::Tombstone { partition_num, .. } => *partition_num,
            ShardSpec::None => 0,
            ShardSpec::NumberedOverwrite { partition_id, .. } => *partition_id,
        }
    }

    /// Gives the number of core partitions, or `None` where it is unknown and the chunk cannot be appended to.
    pub fn core_partitions(&self) -> Option<u32> {
        match self {
            ShardSpec::Numbered { partitions, .. }
            | ShardSpec::Hashed { partitions, .. }
            | ShardSpec::Tombstone { partitions, .. } => Some(*partitions),
            ShardSpec::Range {
                num_core_partitions, ..
            }
            | ShardSpec::Single {
                num_core_partitions, ..
            } => u32::try_from(*num_core_partitions).ok(),
            ShardSpec::Linear { .. } => Some(0),
            ShardSpec::None | ShardSpec::NumberedOverwrite { .. } => None,
        }
    }

    /// Tells whether the segment holds nothing and only hides.
    pub fn is_tombstone(&self) -> bool {
        matches!(self, ShardSpec::Tombstone { .. })
    }

    /// Gives the same place with another core count; specs without one are returned as they are.
    pub fn with_core_partitions(mut self, count: u32) -> Self {
        match &mut self {
            ShardSpec::Numbered { partitions, .. } | ShardSpec::Hashed { partitions, .. } => *partitions = count,
            ShardSpec::Range {
                num_core_partitions, ..
            }
            | ShardSpec::Single {
                num_core_partitions, ..
            } => {
                *num_core_partitions = i32::try_from(count).unwrap_or(i32::MAX);
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_a_round_trip_byte_for_byte() {
        for text in [
            r#"{"type":"numbered","partitionNum":3,"partitions":0}"#,
            r#"{"type":"range","dimensions":["country","city"],"start":null,"end":["fr",null],"partitionNum":0,"numCorePartitions":2}"#,
            r#"{"type":"single","dimension":"d","start":null,"end":"x","partitionNum":0,"numCorePartitions":1}"#,
            r#"{"type":"hashed","partitionNum":1,"partitions":2,"bucketId":1,"numBuckets":2,"partitionDimensions":["a"],"partitionFunction":"murmur3_32_abs"}"#,
            r#"{"type":"none"}"#,
            r#"{"type":"linear","partitionNum":7}"#,
            r#"{"type":"numbered_overwrite","partitionId":32768,"startRootPartitionId":0,"endRootPartitionId":2,"minorVersion":1,"atomicUpdateGroupSize":1}"#,
            r#"{"type":"tombstone","partitionNum":0,"partitions":0}"#,
        ] {
            let spec: ShardSpec = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&spec).expect("serialises"), text);
        }
    }

    #[test]
    fn absent_core_counts_are_unknown() {
        let old: ShardSpec =
            serde_json::from_str(r#"{"type":"range","dimensions":["a"],"start":null,"end":null,"partitionNum":4}"#)
                .expect("an old range");
        assert_eq!((old.core_partitions(), old.partition_num()), (None, 4));
        assert_eq!(old.with_core_partitions(5).core_partitions(), Some(5));
        let tombstone: ShardSpec =
            serde_json::from_str(r#"{"type":"tombstone","partitionNum":0,"partitions":1}"#).expect("an old tombstone");
        assert_eq!((tombstone.core_partitions(), tombstone.is_tombstone()), (Some(1), true));
        assert!(serde_json::from_str::<ShardSpec>(r#"{"type":"bucket_hash"}"#).is_err());
    }
}
