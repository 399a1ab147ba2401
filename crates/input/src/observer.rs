//! Who is told what a reader does.

use std::ops::ControlFlow;

use crate::error::ParseIssue;

/// Is told what a reader does, while it does it. Called from the thread that reads.
pub trait ReadObserver: Send + Sync {
    /// So many bytes more were taken from the file, as stored (compressed).
    fn bytes(&self, n: u64);
    /// So many rows more went into a batch.
    fn rows(&self, n: u64);
    /// One file is read. A file that is split counts once, with the part that holds its first byte.
    fn file_done(&self);
    /// A row could not be parsed. `Break` ends the reader with [`InputError::BadRow`](crate::InputError::BadRow),
    /// `Continue` leaves the row out.
    fn bad_row(&self, issue: ParseIssue) -> ControlFlow<()>;
}

/// Counts nothing and gives up at the first bad row, as Druid does with `maxParseExceptions` 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl ReadObserver for Strict {
    fn bytes(&self, _n: u64) {}
    fn rows(&self, _n: u64) {}
    fn file_done(&self) {}
    fn bad_row(&self, _issue: ParseIssue) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
