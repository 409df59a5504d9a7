//! Where a run's record is, by the run's id.
//!
//! ```text
//!   run id ──► keyed hash ──► one of PARTS small tables ──► slot: 32 bits of the hash, the record's index
//! ```
//!
//! A hash table is gone through from end to end when it grows, and when it is full of gaps that removed entries left.
//! With millions of runs in one table that takes tens of milliseconds, in which nothing is placed; so there are many
//! tables. A slot holds no id: the record does, and is looked at next anyway.

use std::hash::BuildHasher as _;

use davit_types::RunId;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use crate::engine::Record;

/// Tables; a sweep of one takes tens of microseconds with a million runs.
const PARTS: usize = 1 << 8;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    record: u32,
}

impl Slot {
    /// What its table sorts it by: upper and lower bits count there.
    fn spread(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

/// Records by run.
#[derive(Debug)]
pub(crate) struct ByRun {
    parts: Vec<HashTable<Slot>>,
    hasher: RandomState,
}

impl ByRun {
    pub(crate) fn new() -> Self {
        Self {
            parts: vec![HashTable::new(); PARTS],
            hasher: RandomState::default(),
        }
    }

    /// The part that holds a run, and the slot as it is there.
    fn slot(&self, run: RunId, record: usize) -> (usize, Slot) {
        let hash = self.hasher.hash_one(run);
        let part = usize::try_from(hash >> 32).unwrap_or(0) % PARTS;
        let hash = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
        let record = u32::try_from(record).expect("runs are bounded by far less");
        (part, Slot { hash, record })
    }

    /// The record of a run.
    pub(crate) fn get(&self, run: RunId, records: &Slab<Record>) -> Option<usize> {
        let (part, sought) = self.slot(run, 0);
        let is_it =
            |slot: &Slot| slot.hash == sought.hash && records[slot.record as usize].key.run == run;
        let slot = self.parts[part].find(sought.spread(), is_it)?;
        Some(slot.record as usize)
    }

    /// Notes the record of a run that is not known.
    pub(crate) fn insert(&mut self, run: RunId, record: usize) {
        let (part, slot) = self.slot(run, record);
        self.parts[part].insert_unique(slot.spread(), slot, Slot::spread);
    }

    /// Forgets the run with this record.
    pub(crate) fn remove(&mut self, run: RunId, record: usize) {
        let (part, gone) = self.slot(run, record);
        let is_it = |slot: &Slot| slot.record == gone.record;
        if let Ok(slot) = self.parts[part].find_entry(gone.spread(), is_it) {
            slot.remove();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }
}
