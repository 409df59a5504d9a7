//! Runs that want the same are one class: what is found out for one holds for all of them.
//!
//! ```text
//!                 no host has room
//!       open ─────────────────────────► blocked ──┐ a host grew so that one fits:
//!         ▲                                │  ▲   │ it is noted as a hope
//!         └── more than HOPES_MAX hopes ───┘  └───┘
//! ```
//!
//! A run of an open class looks at the whole fleet. One of a blocked class looks at the hopes only, for nothing else
//! has changed since; so a queue of a million runs that fit nowhere costs nothing.
//!
//! Which blocked classes a host gives hope to is a question to a [`RoomTree`] too, turned around: it holds what each
//! blocked class leaves of the largest possible room.

use std::collections::BTreeSet;
use std::sync::Arc;

use slab::Slab;

use crate::amounts::Amounts;
use crate::bounds;
use crate::error::Refused;
use crate::fleet::Fleet;
use crate::map::Map;
use crate::run::{Wants, check_count};
use crate::tree::RoomTree;

#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) wants: Arc<Wants>,
    /// Runs of it, waiting or live.
    runs: usize,
    pub(crate) blocked: bool,
    /// Hosts that grew since it was blocked.
    pub(crate) hopes: Vec<usize>,
}

/// All classes.
#[derive(Debug)]
pub(crate) struct Classes {
    pub(crate) all: Slab<Class>,
    by_wants: Map<Arc<Wants>, usize>,
    /// Blocked classes by index, see above.
    leftover: RoomTree,
    /// Blocked classes with hopes.
    pub(crate) hopeful: BTreeSet<usize>,
}

/// Larger than anything a run may need, so that a blocked class always leaves something.
const LARGEST: Amounts = Amounts::all(bounds::HOST_USED_MAX);

impl Classes {
    pub(crate) fn new() -> Self {
        Self {
            all: Slab::new(),
            by_wants: Map::default(),
            leftover: RoomTree::new(),
            hopeful: BTreeSet::new(),
        }
    }

    /// The class of runs that want this, with one run more.
    pub(crate) fn join(
        &mut self,
        wants: Wants,
        whose: &dyn std::fmt::Display,
    ) -> Result<usize, Refused> {
        if let Some(&at) = self.by_wants.get(&wants) {
            self.all[at].runs += 1;
            return Ok(at);
        }
        check_count(
            whose,
            "classes of runs",
            self.all.len() + 1,
            bounds::CLASSES_MAX,
        )?;
        let wants = Arc::new(wants);
        let at = self.all.insert(Class {
            wants: Arc::clone(&wants),
            runs: 1,
            blocked: false,
            hopes: Vec::new(),
        });
        self.by_wants.insert(wants, at);
        Ok(at)
    }

    /// One run of the class is no more.
    pub(crate) fn leave(&mut self, at: usize) {
        self.all[at].runs -= 1;
        if self.all[at].runs == 0 {
            self.open(at);
            let class = self.all.remove(at);
            self.by_wants.remove(&class.wants);
        }
    }

    /// No host has room for the class.
    pub(crate) fn block(&mut self, at: usize) {
        let class = &mut self.all[at];
        class.blocked = true;
        self.leftover.set(at, LARGEST.minus(class.wants.need));
        self.lose_hope(at);
    }

    /// None of the hopes has room any more.
    pub(crate) fn lose_hope(&mut self, at: usize) {
        self.all[at].hopes.clear();
        self.hopeful.remove(&at);
    }

    /// The whole fleet is to be looked at.
    fn open(&mut self, at: usize) {
        self.all[at].blocked = false;
        self.leftover.set(at, Amounts::ZERO);
        self.lose_hope(at);
    }

    /// Takes note of all hosts that grew. Answers the classes that are open again.
    pub(crate) fn hope(&mut self, fleet: &mut Fleet) -> Vec<usize> {
        let mut opened = Vec::new();
        for grown in fleet.take_grown() {
            let host = &fleet.hosts[grown];
            if !host.is_open() {
                continue;
            }
            // A reservation does not hold against everybody: who may have the room is asked when it is given.
            let wanted = LARGEST.minus(host.free());
            let mut from = 0;
            while let Some(at) = self.leftover.first_from(from, &wanted) {
                from = at + 1;
                let class = &mut self.all[at];
                if !Fleet::allows(&class.wants, host) || class.hopes.contains(&grown) {
                    continue;
                }
                class.hopes.push(grown);
                self.hopeful.insert(at);
                if class.hopes.len() > bounds::HOPES_MAX {
                    self.open(at);
                    opened.push(at);
                }
            }
        }
        opened
    }

    /// A host is no more: nobody hopes for it.
    pub(crate) fn forget_host(&mut self, host: usize) {
        for at in self.hopeful.clone() {
            let hopes = &mut self.all[at].hopes;
            hopes.retain(|hope| *hope != host);
            if hopes.is_empty() {
                self.hopeful.remove(&at);
            }
        }
    }
}
