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
    /// What is otherwise in columns of the nested common format.
    pub auto: AutoSpec,
    /// Whether columns of strings get no bitmaps unless asked for.
    pub strings_without_bitmaps: bool,
    /// Druid's JSON of the factory that loads the segment; its usual one if not given.
    pub segment_loader: Option<Value>,
}

/// How columns of the nested common format, "auto" columns, arrays and JSON, are encoded (Druid's `NestedCommonFormatColumnFormatSpec`).
/// What is not given is as in other columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AutoSpec {
    /// The form of dictionaries of strings.
    pub string_encoding: Option<StringEncoding>,
    /// The form of the list of the fields of JSON columns; plain if not given, which is what Druid reads before 35.
    pub field_encoding: StringEncoding,
    /// The compression of dictionary ids.
    pub id_compression: Option<Compression>,
    /// The encoding of longs.
    pub long_encoding: Option<LongEncoding>,
    /// The compression of longs.
    pub long_compression: Option<Compression>,
    /// The compression of doubles.
    pub double_compression: Option<Compression>,
    /// Whether the fields of longs of JSON columns have a bitmap of null only, instead of one for each value (Druid reads that from 35 on).
    pub long_null_index: bool,
    /// Likewise for fields of doubles.
    pub double_null_index: bool,
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
            auto: AutoSpec::default(),
            strings_without_bitmaps: false,
            segment_loader: None,
        }
    }
}

impl IndexSpec {
    /// Reads Druid's JSON of an `indexSpec`; what it does not name, or names as null, is the default of [`IndexSpec::default`].
    ///
    /// Properties that do not change a segment of version 9, and those that henge does not know, are ignored.
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
            read.long_encoding = long_encoding("longEncoding", value)?;
        }
        if let Some(value) = get("stringDictionaryEncoding") {
            read.string_encoding = StringEncoding::from_druid("stringDictionaryEncoding", value)?;
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
            read.auto = AutoSpec::from_druid(auto)?;
        }
        if let Some(strings) = get("stringColumnFormatSpec") {
            let get = |name: &str| strings.get(name).filter(|value| !value.is_null());
            if let Some(value) = get("maxStringLength") {
                return Err(SegmentError::Unsupported {
                    file: "index spec".into(),
                    what: format!("maxStringLength {value} (cut the strings in the query, LEFT(x, {value}))"),
                });
            }
            read.strings_without_bitmaps = match get("indexType").map(|value| (&value["type"], value)) {
                None => false,
                Some((Value::String(kind), _)) if kind == "none" => true,
                Some((Value::String(kind), _)) if kind == DICTIONARY_INDEX => false,
                Some((_, value)) => {
                    let expectation = format!("an object of type {DICTIONARY_INDEX} or none");
                    return Err(wrong("indexType", value, &expectation));
                }
            };
        }
        if let Some(value) = get("segmentLoader") {
            if value.get("type").and_then(Value::as_str).is_none() {
                return Err(wrong(
                    "segmentLoader",
                    value,
                    "an object with a type, such as mMapSegmentFactory",
                ));
            }
            read.segment_loader = Some(value.clone());
        }
        Ok(read)
    }
}

/// The type of indexes that have a bitmap for each value.
const DICTIONARY_INDEX: &str = "dictionaryEncodedValueIndex";
/// The type of indexes that have a bitmap of null only.
const NULL_INDEX: &str = "nullValueIndex";

impl AutoSpec {
    fn from_druid(spec: &Value) -> Result<Self, SegmentError> {
        let get = |name: &str| spec.get(name).filter(|value| !value.is_null());
        let strings = |name: &str| {
            get(name)
                .map(|value| StringEncoding::from_druid(name, value))
                .transpose()
        };
        let compressed = |name: &str| get(name).map(|value| compression(name, value)).transpose();
        let null_index = |name: &str| match get(name).map(|value| (value["type"].as_str(), value)) {
            None | Some((Some(DICTIONARY_INDEX), _)) => Ok(false),
            Some((Some(NULL_INDEX), _)) => Ok(true),
            Some((_, value)) => {
                let expectation = format!("an object of type {DICTIONARY_INDEX} or {NULL_INDEX}");
                Err(wrong(name, value, &expectation))
            }
        };
        let encoding = get("longColumnEncoding").map(|value| long_encoding("longColumnEncoding", value));
        Ok(Self {
            string_encoding: strings("stringDictionaryEncoding")?,
            field_encoding: strings("objectFieldsDictionaryEncoding")?.unwrap_or_default(),
            id_compression: compressed("dictionaryEncodedColumnCompression")?,
            long_encoding: encoding.transpose()?,
            long_compression: compressed("longColumnCompression")?,
            double_compression: compressed("doubleColumnCompression")?,
            long_null_index: null_index("longFieldBitmapIndexType")?,
            double_null_index: null_index("doubleFieldBitmapIndexType")?,
        })
    }

    /// Gives the property of a descriptor that tells what the bytes of the fields do not: which have a bitmap of null only.
    pub(crate) fn described(&self, bitmap: BitmapKind) -> Option<String> {
        if !self.long_null_index && !self.double_null_index {
            return None;
        }
        let index = |is_null| serde_json::json!({"type": if is_null { NULL_INDEX } else { DICTIONARY_INDEX }});
        let spec = serde_json::json!({
            "bitmapEncoding": bitmap,
            "longFieldBitmapIndexType": index(self.long_null_index),
            "doubleFieldBitmapIndexType": index(self.double_null_index),
        });
        Some(format!(r#""columnFormatSpec":{spec}"#))
    }
}

impl IndexSpec {
    /// How ids are compressed in columns of the nested common format.
    pub(crate) fn auto_id_compression(&self) -> Compression {
        self.auto.id_compression.unwrap_or(self.dimension_compression)
    }

    /// How dictionaries of strings are stored in columns of the nested common format.
    pub(crate) fn auto_string_encoding(&self) -> StringEncoding {
        self.auto.string_encoding.unwrap_or(self.string_encoding)
    }

    /// How numbers are encoded in columns of the nested common format.
    pub(crate) fn auto_numbers(&self, is_long: bool) -> Self {
        let own = match is_long {
            true => self.auto.long_compression,
            false => self.auto.double_compression,
        };
        Self {
            metric_compression: own.unwrap_or(self.metric_compression),
            long_encoding: self.auto.long_encoding.unwrap_or(self.long_encoding),
            ..self.clone()
        }
    }
}

impl StringEncoding {
    fn from_druid(property: &str, value: &Value) -> Result<Self, SegmentError> {
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
            _ => Err(wrong(property, value, "an object of type utf8 or frontCoded")),
        }
    }
}

fn long_encoding(property: &str, value: &Value) -> Result<LongEncoding, SegmentError> {
    match value.as_str() {
        Some("longs") => Ok(LongEncoding::Longs),
        Some("auto") => Ok(LongEncoding::Auto),
        _ => Err(wrong(property, value, "longs or auto")),
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
            ..IndexSpec::default()
        };
        assert_eq!(IndexSpec::from_druid(&spec).unwrap(), expected);
        let auto = json!({"autoColumnFormatSpec": {"objectStorageEncoding": "none"}});
        assert_eq!(IndexSpec::from_druid(&auto).unwrap().json_compression, None);
        let auto = json!({
            "autoColumnFormatSpec": {
                "objectFieldsDictionaryEncoding": {"type": "frontCoded"},
                "stringDictionaryEncoding": {"type": "utf8"},
                "dictionaryEncodedColumnCompression": "zstd",
                "longColumnEncoding": "longs",
                "longColumnCompression": "lzf",
                "doubleColumnCompression": "none",
                "longFieldBitmapIndexType": {"type": "nullValueIndex"},
                "doubleFieldBitmapIndexType": {"type": "dictionaryEncodedValueIndex"},
            },
            "stringColumnFormatSpec": {"indexType": {"type": "none"}},
            "segmentLoader": {"type": "mMapSegmentFactory"},
        });
        let read = IndexSpec::from_druid(&auto).unwrap();
        assert!(read.strings_without_bitmaps);
        assert_eq!(read.segment_loader, Some(json!({"type": "mMapSegmentFactory"})));
        let expected = AutoSpec {
            string_encoding: Some(StringEncoding::Utf8),
            field_encoding: StringEncoding::FrontCoded {
                bucket_size: 4,
                version: 1,
            },
            id_compression: Some(Compression::Zstd),
            long_encoding: Some(LongEncoding::Longs),
            long_compression: Some(Compression::Lzf),
            double_compression: Some(Compression::None),
            long_null_index: true,
            double_null_index: false,
        };
        assert_eq!(read.auto, expected);
        assert_eq!(read.auto_numbers(true).metric_compression, Compression::Lzf);
        assert_eq!(read.auto_numbers(false).metric_compression, Compression::None);
        assert_eq!(read.auto_id_compression(), Compression::Zstd);
        assert_eq!(IndexSpec::default().auto.described(BitmapKind::Roaring), None);
        assert_eq!(
            read.auto.described(BitmapKind::Concise).unwrap(),
            r#""columnFormatSpec":{"bitmapEncoding":{"type":"concise"},"longFieldBitmapIndexType":{"type":"nullValueIndex"},"doubleFieldBitmapIndexType":{"type":"dictionaryEncodedValueIndex"}}"#
        );
        for wrong in [
            json!(5),
            json!({"bitmap": {"type": "wah"}}),
            json!({"metricCompression": "gzip"}),
            json!({"longEncoding": 1}),
            json!({"stringDictionaryEncoding": {"type": "frontCoded", "bucketSize": 1000}}),
            json!({"autoColumnFormatSpec": {"longFieldBitmapIndexType": {"type": "none"}}}),
            json!({"autoColumnFormatSpec": {"longColumnEncoding": "delta"}}),
            json!({"stringColumnFormatSpec": {"indexType": "none"}}),
            json!({"stringColumnFormatSpec": {"maxStringLength": 10}}),
            json!({"segmentLoader": "mMap"}),
        ] {
            assert!(IndexSpec::from_druid(&wrong).is_err(), "{wrong}");
        }
    }
}
