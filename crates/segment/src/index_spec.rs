//! How columns are to be encoded, and how Druid's `indexSpec` says so.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SegmentError;
use crate::codec::compression::Compression;
use crate::codec::front_coded;

/// How bitmaps are stored (Druid's `BitmapSerdeFactory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BitmapKind {
    /// Roaring bitmaps in the portable format.
    #[default]
    Roaring,
    /// Concise bitmaps of older clusters.
    Concise,
}

/// How columns of longs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LongEncoding {
    /// Eight bytes a value, compressed in blocks.
    Longs,
    /// Eight bytes, differences from the smallest value, or numbers of a table: whichever is smallest.
    #[default]
    Auto,
}

/// How dictionaries of strings are stored (Druid's `StringEncodingStrategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StringEncoding {
    /// Every value whole; what every Druid reads.
    #[default]
    Utf8,
    /// Values share the beginning of the one before them; read by Druid 25 (version 0) or 26 (version 1) and later.
    FrontCoded {
        /// Values that share, a power of two from 1 to 128.
        bucket_size: u8,
        /// 0 or 1.
        version: u8,
    },
    /// Front-coded (buckets of 4, version 1) where that is smaller.
    Smallest,
}

/// How columns are encoded (Druid's `IndexSpec`). The default is Druid's but for longs, which Druid stores in eight bytes unless told
/// otherwise: every Druid reads the smaller encodings, so they are chosen where they save anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSpec {
    /// The form of bitmaps.
    pub bitmap: BitmapKind,
    /// The compression of dictionary ids.
    pub dimension_compression: Compression,
    /// The compression of numbers.
    pub metric_compression: Compression,
    /// The encoding of longs.
    pub long_encoding: LongEncoding,
    /// The form of dictionaries of strings.
    pub string_encoding: StringEncoding,
    /// The compression of objects other than JSON; none keeps them as they are.
    pub complex_compression: Option<Compression>,
    /// The compression of whole JSON values; none leaves them out, so that readers put them together from their fields (Druid's
    /// `objectStorageEncoding: none`, which Druid reads from 35 on).
    pub json_compression: Option<Compression>,
}

impl Default for IndexSpec {
    fn default() -> Self {
        Self {
            bitmap: BitmapKind::Roaring,
            dimension_compression: Compression::Lz4,
            metric_compression: Compression::Lz4,
            long_encoding: LongEncoding::Auto,
            string_encoding: StringEncoding::Utf8,
            complex_compression: None,
            json_compression: Some(Compression::Lz4),
        }
    }
}

impl IndexSpec {
    /// Reads Druid's JSON of an `indexSpec`; what it does not name, or names as null, is the default of [`IndexSpec::default`].
    ///
    /// Of `autoColumnFormatSpec` the storage of whole JSON values is read. Properties that do not change a segment of version 9 are ignored.
    pub fn from_druid(spec: &Value) -> Result<Self, SegmentError> {
        let Some(spec) = spec.as_object() else {
            return Err(wrong("indexSpec", spec, "an object"));
        };
        let get = |name: &str| spec.get(name).filter(|value| !value.is_null());
        let mut read = Self::default();
        if let Some(value) = get("bitmap") {
            read.bitmap = match value.get("type").and_then(Value::as_str) {
                Some("roaring") => BitmapKind::Roaring,
                Some("concise") => BitmapKind::Concise,
                _ => return Err(wrong("bitmap", value, "an object of type roaring or concise")),
            };
        }
        if let Some(value) = get("dimensionCompression") {
            read.dimension_compression = compression("dimensionCompression", value)?;
        }
        if let Some(value) = get("metricCompression") {
            read.metric_compression = compression("metricCompression", value)?;
        }
        if let Some(value) = get("longEncoding") {
            read.long_encoding = match value.as_str() {
                Some("longs") => LongEncoding::Longs,
                Some("auto") => LongEncoding::Auto,
                _ => return Err(wrong("longEncoding", value, "longs or auto")),
            };
        }
        if let Some(value) = get("stringDictionaryEncoding") {
            read.string_encoding = StringEncoding::from_druid(value)?;
        }
        if let Some(value) = get("complexMetricCompression") {
            read.complex_compression = match compression("complexMetricCompression", value)? {
                Compression::None => None,
                compression => Some(compression),
            };
        }
        if let Some(value) = get("jsonCompression") {
            read.json_compression = Some(compression("jsonCompression", value)?);
        }
        if let Some(auto) = get("autoColumnFormatSpec") {
            let get = |name: &str| auto.get(name).filter(|value| !value.is_null());
            if let Some(value) = get("objectStorageCompression") {
                read.json_compression = Some(compression("objectStorageCompression", value)?);
            }
            match get("objectStorageEncoding").map(|value| (value.as_str(), value)) {
                None | Some((Some("smile"), _)) => {}
                Some((Some("none"), _)) => read.json_compression = None,
                Some((_, value)) => return Err(wrong("objectStorageEncoding", value, "smile or none")),
            }
        }
        Ok(read)
    }
}

impl StringEncoding {
    fn from_druid(value: &Value) -> Result<Self, SegmentError> {
        let number = |name: &str, default: u8| match value.get(name).filter(|number| !number.is_null()) {
            None => Ok(default),
            Some(number) => number
                .as_u64()
                .and_then(|number| u8::try_from(number).ok())
                .ok_or_else(|| wrong(name, number, "a number")),
        };
        match value.get("type").and_then(Value::as_str) {
            Some("utf8") => Ok(Self::Utf8),
            Some("frontCoded") => Ok(Self::FrontCoded {
                bucket_size: number("bucketSize", front_coded::DEFAULT_BUCKET)?,
                version: number("formatVersion", 1)?,
            }),
            _ => Err(wrong(
                "stringDictionaryEncoding",
                value,
                "an object of type utf8 or frontCoded",
            )),
        }
    }
}

fn compression(property: &str, value: &Value) -> Result<Compression, SegmentError> {
    serde_json::from_value(value.clone()).map_err(|_| wrong(property, value, "lz4, zstd, uncompressed, none or lzf"))
}

fn wrong(property: &str, value: &Value, expectation: &str) -> SegmentError {
    SegmentError::invalid(format!(
        "[{property}] of an index spec must be {expectation}, found {value}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_druid_writes() {
        assert_eq!(IndexSpec::from_druid(&json!({})).unwrap(), IndexSpec::default());
        let spec = json!({
            "bitmap": {"type": "concise"},
            "dimensionCompression": "zstd",
            "metricCompression": "none",
            "longEncoding": "longs",
            "stringDictionaryEncoding": {"type": "frontCoded", "bucketSize": 16, "formatVersion": 0},
            "complexMetricCompression": "lz4",
            "jsonCompression": "uncompressed",
            "segmentLoader": null,
        });
        let expected = IndexSpec {
            bitmap: BitmapKind::Concise,
            dimension_compression: Compression::Zstd,
            metric_compression: Compression::None,
            long_encoding: LongEncoding::Longs,
            string_encoding: StringEncoding::FrontCoded {
                bucket_size: 16,
                version: 0,
            },
            complex_compression: Some(Compression::Lz4),
            json_compression: Some(Compression::Uncompressed),
        };
        assert_eq!(IndexSpec::from_druid(&spec).unwrap(), expected);
        let auto = json!({"autoColumnFormatSpec": {"objectStorageEncoding": "none"}});
        assert_eq!(IndexSpec::from_druid(&auto).unwrap().json_compression, None);
        for wrong in [
            json!(5),
            json!({"bitmap": {"type": "wah"}}),
            json!({"metricCompression": "gzip"}),
            json!({"longEncoding": 1}),
            json!({"stringDictionaryEncoding": {"type": "frontCoded", "bucketSize": 1000}}),
        ] {
            assert!(IndexSpec::from_druid(&wrong).is_err(), "{wrong}");
        }
    }
}
