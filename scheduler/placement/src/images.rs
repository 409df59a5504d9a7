//! Images by number: a run is told with its image's name once, and asked for by number from then on.
//!
//! Invariant: an image is known while a host holds it or a waiting run needs it; which hosts those are is known here
//! and, the other way around, there.

use std::collections::BTreeSet;

use slab::Slab;

use crate::map::Map;
use crate::names::ImageRef;

#[derive(Debug)]
struct Image {
    name: ImageRef,
    holders: BTreeSet<usize>,
    /// Waiting runs that need it.
    runs: usize,
}

/// All images that a host holds or a waiting run needs.
#[derive(Debug, Default)]
pub(crate) struct Images {
    all: Slab<Image>,
    by_name: Map<ImageRef, usize>,
}

impl Images {
    pub(crate) fn lookup(&self, name: &ImageRef) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The hosts that hold it.
    pub(crate) fn holders(&self, at: usize) -> &BTreeSet<usize> {
        &self.all[at].holders
    }

    fn enter(&mut self, name: ImageRef) -> usize {
        if let Some(at) = self.lookup(&name) {
            return at;
        }
        let at = self.all.insert(Image {
            name: name.clone(),
            holders: BTreeSet::new(),
            runs: 0,
        });
        self.by_name.insert(name, at);
        at
    }

    /// The image, with one waiting run more.
    pub(crate) fn join(&mut self, name: ImageRef) -> usize {
        let at = self.enter(name);
        self.all[at].runs += 1;
        at
    }

    /// One run less waits for it.
    pub(crate) fn leave(&mut self, at: usize) {
        self.all[at].runs -= 1;
        self.forget_if_idle(at);
    }

    /// A host holds it now. Answers its number.
    pub(crate) fn pulled(&mut self, name: ImageRef, host: usize) -> usize {
        let at = self.enter(name);
        self.all[at].holders.insert(host);
        at
    }

    /// A host holds it no more.
    pub(crate) fn evicted(&mut self, at: usize, host: usize) {
        self.all[at].holders.remove(&host);
        self.forget_if_idle(at);
    }

    fn forget_if_idle(&mut self, at: usize) {
        let image = &self.all[at];
        if image.runs == 0 && image.holders.is_empty() {
            let image = self.all.remove(at);
            self.by_name.remove(&image.name);
        }
    }
}
