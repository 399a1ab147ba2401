//! Decoded columns within a number of bytes: least recently used goes first, and nobody decodes what somebody else is
//! decoding.
//!
//! Arrays that were dropped here may live on in running queries, whose memory their own pools count. A column that is larger
//! than the whole budget is decoded and not kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use parking_lot::{Condvar, Mutex};

type Key = (Arc<str>, Arc<str>);

/// What the cache holds and how it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Bytes of the columns held.
    pub bytes: usize,
    /// Bytes that may be held.
    pub budget_bytes: usize,
    /// Columns held.
    pub columns: usize,
    /// Reads that found their column.
    pub hits: u64,
    /// Reads that had to decode.
    pub misses: u64,
    /// Columns dropped to make room.
    pub evictions: u64,
}

/// The cache. All methods may be called from any thread and block no longer than a decode of the same column takes.
#[derive(Debug, Default)]
pub(crate) struct ColumnCache {
    state: Mutex<State>,
    decoded: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Last use of each held column; ticks are unique.
    by_use: BTreeMap<u64, Key>,
    tick: u64,
    stats: CacheStats,
}

#[derive(Debug)]
enum Entry {
    /// Somebody decodes it; the number tells one decode from the next.
    Decoding(u64),
    Held {
        array: ArrayRef,
        bytes: usize,
        tick: u64,
    },
}

impl ColumnCache {
    pub fn new(budget_bytes: usize) -> Self {
        let cache = ColumnCache::default();
        cache.state.lock().stats.budget_bytes = budget_bytes;
        cache
    }

    /// Gives the column, decoding it where it is not held. Where the decode of another fails, this one decodes itself.
    pub fn get<E>(
        &self,
        segment: &str,
        column: &str,
        decode: impl FnOnce() -> Result<ArrayRef, E>,
    ) -> Result<ArrayRef, E> {
        let key: Key = (segment.into(), column.into());
        let mut state = self.state.lock();
        loop {
            match state.entries.get(&key) {
                Some(Entry::Held { .. }) => {
                    state.stats.hits += 1;
                    if let Some(array) = state.touch(&key) {
                        return Ok(array);
                    }
                }
                Some(Entry::Decoding(_)) => self.decoded.wait(&mut state),
                None => break,
            }
        }
        state.tick += 1;
        state.stats.misses += 1;
        let ticket = state.tick;
        state.entries.insert(key.clone(), Entry::Decoding(ticket));
        drop(state);

        // Also where the decode panics, those who wait must not wait for ever.
        let mut claim = Claim {
            cache: self,
            key,
            ticket,
            array: None,
        };
        let array = decode()?;
        claim.array = Some(Arc::clone(&array));
        Ok(array)
    }

    /// Changes the budget and drops what no longer fits.
    pub fn set_budget(&self, budget_bytes: usize) {
        let mut state = self.state.lock();
        state.stats.budget_bytes = budget_bytes;
        state.shrink();
    }

    pub fn stats(&self) -> CacheStats {
        self.state.lock().stats
    }

    /// Drops the columns of segments that are not wanted any more; a decode under way is not kept when it is done.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        let unwanted: Vec<Key> = state.entries.keys().filter(|key| !wanted(&key.0)).cloned().collect();
        for key in unwanted {
            state.remove(&key);
        }
        drop(state);
        self.decoded.notify_all();
    }
}

impl State {
    fn touch(&mut self, key: &Key) -> Option<ArrayRef> {
        self.tick += 1;
        let now = self.tick;
        let Some(Entry::Held { array, tick, .. }) = self.entries.get_mut(key) else {
            return None;
        };
        self.by_use.remove(tick);
        *tick = now;
        self.by_use.insert(now, key.clone());
        Some(Arc::clone(array))
    }

    fn hold(&mut self, key: Key, array: ArrayRef) {
        let bytes = array.get_array_memory_size();
        if bytes > self.stats.budget_bytes {
            self.entries.remove(&key);
            return;
        }
        self.tick += 1;
        let tick = self.tick;
        self.by_use.insert(tick, key.clone());
        self.entries.insert(key, Entry::Held { array, bytes, tick });
        self.stats.bytes += bytes;
        self.stats.columns += 1;
        self.shrink();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Entry::Held { bytes, tick, .. }) = self.entries.remove(key) {
            self.by_use.remove(&tick);
            self.stats.bytes -= bytes;
            self.stats.columns -= 1;
        }
    }

    fn shrink(&mut self) {
        while self.stats.bytes > self.stats.budget_bytes {
            let Some((_, key)) = self.by_use.pop_first() else {
                return;
            };
            self.remove(&key);
            self.stats.evictions += 1;
        }
    }
}

/// The right to decode one column; dropped, it hands over the result or the right.
struct Claim<'a> {
    cache: &'a ColumnCache,
    key: Key,
    ticket: u64,
    array: Option<ArrayRef>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state.lock();
        // The segment may have been removed meanwhile, and somebody else may be decoding it again.
        if matches!(state.entries.get(&self.key), Some(Entry::Decoding(ticket)) if *ticket == self.ticket) {
            match self.array.take() {
                Some(array) => state.hold(self.key.clone(), array),
                None => {
                    state.entries.remove(&self.key);
                }
            }
        }
        drop(state);
        self.cache.decoded.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use proptest::prelude::*;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn array(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from(vec![7; rows]))
    }

    fn read(cache: &ColumnCache, segment: &str, column: &str, rows: usize) -> bool {
        let mut decoded = false;
        let result: Result<_, Infallible> = cache.get(segment, column, || {
            decoded = true;
            Ok(array(rows))
        });
        assert_eq!(result.map(|a| a.len()), Ok(rows));
        decoded
    }

    #[test]
    fn holds_what_fits_and_drops_the_least_recently_used() {
        let one = array(1000).get_array_memory_size();
        let cache = ColumnCache::new(2 * one);
        assert!(read(&cache, "s", "a", 1000) && read(&cache, "s", "b", 1000));
        assert!(!read(&cache, "s", "a", 1000));
        assert!(read(&cache, "s", "c", 1000));
        assert!(!read(&cache, "s", "a", 1000) && read(&cache, "s", "b", 1000));
        assert!(
            read(&cache, "s", "huge", 5000),
            "larger than everything: given, not kept"
        );
        let stats = cache.stats();
        assert_eq!((stats.bytes, stats.columns, stats.evictions), (2 * one, 2, 2));
        cache.set_budget(one);
        assert_eq!(cache.stats().columns, 1);
        cache.retain(|segment| segment != "s");
        assert_eq!((cache.stats().bytes, cache.stats().columns), (0, 0));
    }

    #[test]
    fn a_column_is_decoded_once_however_many_ask() {
        let cache = ColumnCache::new(1 << 20);
        let decodes = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let result: Result<_, Infallible> = cache.get("s", "c", || {
                        decodes.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        Ok(array(10))
                    });
                    assert!(result.is_ok());
                });
            }
        });
        assert_eq!(decodes.load(Ordering::SeqCst), 1);
        assert_eq!((cache.stats().hits, cache.stats().misses), (7, 1));
    }

    #[test]
    fn a_failed_or_panicked_decode_lets_the_next_one_try() {
        let cache = ColumnCache::new(1 << 20);
        assert_eq!(
            cache.get("s", "c", || Err::<ArrayRef, _>("broken")).err(),
            Some("broken")
        );
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cache.get("s", "c", || -> Result<ArrayRef, Infallible> {
                panic!("a decoder's bug")
            })
        }));
        assert!(panicked.is_err());
        assert!(read(&cache, "s", "c", 5));
    }

    #[test]
    fn a_segment_removed_during_its_decode_is_not_kept() {
        let cache = ColumnCache::new(1 << 20);
        let result: Result<_, Infallible> = cache.get("s", "c", || {
            cache.retain(|_| false);
            Ok(array(5))
        });
        assert!(result.is_ok());
        assert_eq!(cache.stats().columns, 0);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_recent_uses(reads in prop::collection::vec((0usize..6, 1usize..5), 1..60)) {
            let sizes: Vec<usize> = (1..6).map(|n| array(n * 100).get_array_memory_size()).collect();
            let budget = sizes[4] * 2;
            let cache = ColumnCache::new(budget);
            let mut recent: Vec<(usize, usize)> = Vec::new();
            for (column, _) in reads {
                let rows = (column % 5 + 1) * 100;
                let held = recent.iter().position(|(c, _)| *c == column);
                prop_assert_eq!(read(&cache, "s", &column.to_string(), rows), held.is_none());
                let entry = held.map_or((column, sizes[column % 5]), |at| recent.remove(at));
                recent.push(entry);
                while recent.iter().map(|(_, bytes)| bytes).sum::<usize>() > budget {
                    recent.remove(0);
                }
                prop_assert_eq!(cache.stats().bytes, recent.iter().map(|(_, bytes)| bytes).sum::<usize>());
            }
        }
    }
}
