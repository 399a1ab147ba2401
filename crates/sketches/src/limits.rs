//! The named bounds of this crate.

/// Largest log2 of the registers of an HLL sketch (DataSketches `HllUtil.MAX_LOG_K`).
pub const HLL_MAX_LG_K: u8 = 21;
/// Smallest log2 of the registers of an HLL sketch (DataSketches `HllUtil.MIN_LOG_K`).
pub const HLL_MIN_LG_K: u8 = 4;
/// Largest log2 of the nominal entries of theta and tuple sketches (DataSketches `ThetaUtil.MAX_LG_NOM_LONGS`).
pub const THETA_MAX_LG_K: u8 = 26;
/// Smallest log2 of the nominal entries of theta and tuple sketches (DataSketches `ThetaUtil.MIN_LG_NOM_LONGS`).
pub const THETA_MIN_LG_K: u8 = 4;
/// Values of one key of a tuple sketch: the field is one byte.
pub const TUPLE_MAX_VALUES: usize = 255;
/// Largest k of a classic quantiles sketch (DataSketches `ClassicUtil.MAX_K`).
pub const QUANTILES_MAX_K: u16 = 32768;
/// Smallest k of a classic quantiles sketch (DataSketches `ClassicUtil.MIN_K`).
pub const QUANTILES_MIN_K: u16 = 2;
/// Buckets of a histogram that is read or made; Druid has no bound but its heap.
pub const HISTOGRAM_MAX_BUCKETS: usize = 1 << 20;
/// 64-bit words of a bloom filter that is read or made (128 MiB); Druid has no bound but its heap.
pub const BLOOM_MAX_WORDS: usize = 1 << 24;
