//! Finds, among very many rooms, the next one that is large enough in all four dimensions.
//!
//! ```text
//!              upper bound of all                 a node holds the larger of its children,
//!             /                  \                each dimension for itself: where the bound
//!        bound                    bound           is too small, so is everything below it
//!       /     \                  /     \
//!   room 0   room 1          room 2   room 3
//! ```
//!
//! Invariants: a search is exact (it finds the first room that fits, or there is none); it walks only where the
//! bound allows, so it is a matter of the tree's height unless rooms are plentiful in different dimensions.
//! A closed place is [`Amounts::ZERO`]; every search asks for more than that.

use crate::amounts::Amounts;

/// Rooms by index.
#[derive(Clone, Debug)]
pub(crate) struct RoomTree {
    /// Node 1 is the root, nodes `2n` and `2n + 1` are below node `n`; the second half is the rooms.
    nodes: Vec<Amounts>,
}

impl RoomTree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Amounts::ZERO; 2],
        }
    }

    /// How many rooms there is place for.
    pub(crate) fn places(&self) -> usize {
        self.nodes.len() / 2
    }

    /// The room at `at`; closed if it was never set.
    #[cfg(test)]
    pub(crate) fn room(&self, at: usize) -> Amounts {
        let places = self.places();
        if at < places {
            self.nodes[places + at]
        } else {
            Amounts::ZERO
        }
    }

    /// Sets the room at `at`, making place for it.
    pub(crate) fn set(&mut self, at: usize, room: Amounts) {
        while at >= self.places() {
            self.grow();
        }
        let mut node = self.places() + at;
        self.nodes[node] = room;
        while node > 1 {
            node /= 2;
            let bound = self.nodes[2 * node].upper(self.nodes[2 * node + 1]);
            if self.nodes[node] == bound {
                break;
            }
            self.nodes[node] = bound;
        }
    }

    fn grow(&mut self) {
        let places = self.places();
        let mut nodes = vec![Amounts::ZERO; 4 * places];
        nodes[2 * places..3 * places].copy_from_slice(&self.nodes[places..]);
        for node in (1..2 * places).rev() {
            nodes[node] = nodes[2 * node].upper(nodes[2 * node + 1]);
        }
        self.nodes = nodes;
    }

    /// The first place from `start` on whose room holds `need`, which is more than zero somewhere.
    pub(crate) fn first_from(&self, start: usize, need: &Amounts) -> Option<usize> {
        let places = self.places();
        if start >= places {
            return None;
        }
        let mut node = places + start;
        loop {
            if need.within(&self.nodes[node]) {
                if node >= places {
                    return Some(node - places);
                }
                node *= 2;
                continue;
            }
            // The next subtree to the right: out of every right child, then over.
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts() -> impl Strategy<Value = Amounts> {
        [0u64..4, 0u64..4, 0u64..4, 0u64..4].prop_map(|[a, b, c, d]| Amounts {
            cpu_millis: a,
            memory_bytes: b,
            pids: c,
            disk_bytes: d,
        })
    }

    proptest! {
        #[test]
        fn a_search_is_what_a_scan_finds(
            sets in proptest::collection::vec((0usize..40, amounts()), 0..120),
            need in amounts(), start in 0usize..80,
        ) {
            let need = need.upper(Amounts { cpu_millis: 1, ..Amounts::ZERO });
            let mut tree = RoomTree::new();
            let mut plain = vec![Amounts::ZERO; 64];
            for (at, room) in sets {
                tree.set(at, room);
                plain[at] = room;
            }
            let found = (start..64).find(|at| need.within(&plain[*at]));
            prop_assert_eq!(tree.first_from(start, &need), found);
            for (at, room) in plain.iter().enumerate() {
                prop_assert_eq!(tree.room(at), *room);
            }
        }
    }
}
