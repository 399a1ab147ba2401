//! Segments as DataFusion tables.
