//! The encodings that columns are made of, one a file.

pub(crate) mod bitmap;
pub(crate) mod block_store;
pub(crate) mod blocks;
pub mod compression;
pub(crate) mod concise;
pub(crate) mod dictionary;
pub(crate) mod doubles;
pub(crate) mod fixed_indexed;
pub(crate) mod front_coded;
pub(crate) mod generic_indexed;
pub(crate) mod int_arrays;
pub(crate) mod ints;
pub(crate) mod json_text;
pub(crate) mod longs;
pub(crate) mod lz4;
pub(crate) mod lz4_thorough;
pub(crate) mod lzf;
pub(crate) mod multi_ints;
pub(crate) mod roaring_writer;
pub(crate) mod smile;
pub(crate) mod smile_writer;
