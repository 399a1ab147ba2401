//! Statements against a tiny in-memory catalog: recorded answers, recorded errors, EXPLAIN, text fixtures, and soups of
//! tokens that must never panic.

mod catalog;
mod errors;
mod explain;
mod functions;
mod robust;
mod run;
mod slt;
