//! Memory accounting: the exchange asks before it keeps bytes, and goes to disk when the answer is no.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A share of the process's memory. The engine adapts its pool; implementations are cheap and never block.
pub trait MemoryBudget: Send + Sync {
    /// Takes `bytes` from the share, or says no and takes nothing.
    fn try_grow(&self, bytes: usize) -> bool;
    /// Gives `bytes` back.
    fn shrink(&self, bytes: usize);
    /// Takes `bytes` whether they are there or not: the minimum that progress needs. The default does not account for it
    /// when the share is exhausted.
    fn grow(&self, bytes: usize) -> bool {
        self.try_grow(bytes)
    }
}

/// Says yes to everything.
#[derive(Debug, Default)]
pub struct UnlimitedBudget;

impl MemoryBudget for UnlimitedBudget {
    fn try_grow(&self, _bytes: usize) -> bool {
        true
    }

    fn shrink(&self, _bytes: usize) {}
}

/// A fixed number of bytes.
#[derive(Debug)]
pub struct CappedBudget {
    max: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl CappedBudget {
    /// Makes a share of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    /// Gives the bytes taken now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Gives the most bytes that were ever taken at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl MemoryBudget for CappedBudget {
    fn try_grow(&self, bytes: usize) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.max)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn shrink(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// At most so many bytes of another share, so that one consumer leaves room for the next.
pub struct PartOfBudget {
    whole: Arc<dyn MemoryBudget>,
    part: CappedBudget,
}

impl PartOfBudget {
    /// Takes at most `max` bytes of `whole`.
    pub fn new(whole: Arc<dyn MemoryBudget>, max: usize) -> Self {
        Self {
            whole,
            part: CappedBudget::new(max),
        }
    }
}

impl MemoryBudget for PartOfBudget {
    fn try_grow(&self, bytes: usize) -> bool {
        if !self.part.try_grow(bytes) {
            return false;
        }
        let granted = self.whole.try_grow(bytes);
        if !granted {
            self.part.shrink(bytes);
        }
        granted
    }

    fn shrink(&self, bytes: usize) {
        self.part.shrink(bytes);
        self.whole.shrink(bytes);
    }
}

/// Bytes held of a share; given back when dropped.
pub struct Reservation {
    budget: Arc<dyn MemoryBudget>,
    bytes: usize,
}

impl Reservation {
    /// Holds nothing yet.
    pub fn new(budget: Arc<dyn MemoryBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes more bytes, or says no.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let granted = self.budget.try_grow(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    /// Takes what a step cannot do without, even where the share is exhausted (then it stays unaccounted).
    pub fn grow(&mut self, bytes: usize) {
        if self.budget.grow(bytes) {
            self.bytes += bytes;
        }
    }

    /// Gives some bytes back; never more than are held.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.shrink(bytes);
        self.bytes -= bytes;
    }

    /// Gives everything back.
    pub fn free(&mut self) {
        self.shrink(self.bytes);
    }

    /// Gives the bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.free();
    }
}
