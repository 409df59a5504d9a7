//! What a run takes from a host and what a host has: four numbers that are only ever compared together.
//!
//! Invariant: sums never overflow. A host tells at most [`crate::bounds::HOST_AMOUNT_MAX`] of anything, at most
//! twice that is ever reserved on it, and so many hosts fit into 64 bits.

use std::fmt;

use davit_types::{Bytes, Resources};

/// One of the four things a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Thousandths of a CPU.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Bytes of disk.
    Disk,
}

impl Dimension {
    /// All four, in the order in which ties are told.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::Disk];

    /// The word for people and scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// So much of each of the four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

/// A host's load is told in so many parts of its scarcest dimension.
const LOAD_PARTS: u64 = 1 << 20;

impl Amounts {
    /// Nothing of anything.
    pub const ZERO: Self = Self::all(0);

    /// What a run with these limits and so much disk takes.
    #[must_use]
    pub fn of(resources: &Resources, disk: Bytes) -> Self {
        Self {
            cpu_millis: u64::from(resources.cpu_millis),
            memory_bytes: resources.memory_bytes_max.0,
            pids: u64::from(resources.pids_max),
            disk_bytes: disk.0,
        }
    }

    /// `n` of each.
    pub(crate) const fn all(n: u64) -> Self {
        Self {
            cpu_millis: n,
            memory_bytes: n,
            pids: n,
            disk_bytes: n,
        }
    }

    /// The numbers in the order of [`Dimension::ALL`].
    pub(crate) const fn to_array(self) -> [u64; 4] {
        [
            self.cpu_millis,
            self.memory_bytes,
            self.pids,
            self.disk_bytes,
        ]
    }

    pub(crate) const fn from_array([cpu_millis, memory_bytes, pids, disk_bytes]: [u64; 4]) -> Self {
        Self {
            cpu_millis,
            memory_bytes,
            pids,
            disk_bytes,
        }
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let (a, b) = (self.to_array(), other.to_array());
        Self::from_array([
            with(a[0], b[0]),
            with(a[1], b[1]),
            with(a[2], b[2]),
            with(a[3], b[3]),
        ])
    }

    /// Whether `room` has enough of all four.
    #[must_use]
    pub const fn within(&self, room: &Self) -> bool {
        self.cpu_millis <= room.cpu_millis
            && self.memory_bytes <= room.memory_bytes
            && self.pids <= room.pids
            && self.disk_bytes <= room.disk_bytes
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    /// What is left of `self` without `other`; nothing where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    /// The larger of both, each dimension for itself.
    pub(crate) fn upper(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    /// The smaller of both, each dimension for itself.
    pub(crate) fn lower(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    /// How full a host of `capacity` is with `self` used: its fullest dimension, in parts of 2^20.
    pub(crate) fn load_of(&self, capacity: &Self) -> u32 {
        let used = self.to_array().into_iter().zip(capacity.to_array());
        let parts = used.map(|(used, all)| match used.checked_mul(LOAD_PARTS) {
            Some(parts) => u128::from(parts / all.max(1)),
            None => u128::from(used) * u128::from(LOAD_PARTS) / u128::from(all.max(1)),
        });
        u32::try_from(parts.max().unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// How far `room` is from holding `self`, as the share of `capacity` that is missing most.
    pub(crate) fn lack(&self, room: &Self, capacity: &Self) -> u32 {
        self.minus(*room).load_of(capacity)
    }

    /// The dimension of which `room` lacks most, seen against `capacity`; none when `self` fits.
    pub(crate) fn scarcest(&self, room: &Self, capacity: &Self) -> Option<Dimension> {
        let (lack, all) = (self.minus(*room).to_array(), capacity.to_array());
        let mut worst: Option<(Dimension, u64, u64)> = None;
        for (at, dimension) in Dimension::ALL.into_iter().enumerate() {
            let (lack, all) = (lack[at], all[at].max(1));
            let worse = match worst {
                None => lack > 0,
                Some((_, worst, of)) => {
                    u128::from(lack) * u128::from(of) > u128::from(worst) * u128::from(all)
                }
            };
            if worse {
                worst = Some((dimension, lack, all));
            }
        }
        worst.map(|(dimension, ..)| dimension)
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} CPU millis, {} memory, {} pids, {} disk",
            self.cpu_millis,
            Bytes(self.memory_bytes),
            self.pids,
            Bytes(self.disk_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dimension_too_small_is_enough_not_to_fit() {
        let need = Amounts::all(5);
        for at in 0..4 {
            let mut room = [5; 4];
            assert!(need.within(&Amounts::from_array(room)));
            room[at] = 4;
            let room = Amounts::from_array(room);
            assert!(!need.within(&room));
            assert_eq!(
                need.scarcest(&room, &Amounts::all(10)),
                Some(Dimension::ALL[at])
            );
        }
    }

    #[test]
    fn the_scarcest_is_seen_against_capacity() {
        let need = Amounts::from_array([100, 10, 0, 0]);
        let capacity = Amounts::from_array([1_000, 20, 1, 1]);
        assert_eq!(
            need.scarcest(&Amounts::ZERO, &capacity),
            Some(Dimension::Memory)
        );
    }
}
