//! Limits of this crate, each with its counterpart in Druid.

/// Segments that stay open (mapped); the least recently used one is closed beyond it. The kernel allows a process 65530 maps
/// by default and a segment takes a few. Druid bounds the local cache by bytes (`druid.segmentCache.locations`).
pub const MAX_OPEN_SEGMENTS: usize = 8_192;

/// Folders below the root that are looked at for orphans: datasource, interval, version, partition, unique level, `index`.
pub(crate) const MAX_LAYOUT_DEPTH: usize = 6;
