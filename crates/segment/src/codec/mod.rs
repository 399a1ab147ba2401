//! The encodings that columns are made of, one a file.

pub mod compression;
