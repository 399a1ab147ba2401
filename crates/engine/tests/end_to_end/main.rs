//! Whole statements on a whole engine, in a folder of their own: what a task does is compared with what the same statement
//! answers interactively, with plain Rust over the same rows, or with what must not have changed.

mod fail_points;
mod faults;
mod ingestion;
mod memory;
mod queries;
mod sketches;
mod support;
