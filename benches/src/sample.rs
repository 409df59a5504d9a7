//! What is measured.

use std::collections::BTreeMap;

/// A measured quantity. Times are from submit to that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// The payload read the clock.
    FirstUserInstruction,
    /// The end is on disk and told to the one who asked. Only davit records ends.
    DurableEnd,
    /// Nothing of the container is left: task, record, snapshot, lease, cgroup, shim.
    Cleaned,
    /// Private memory of the shim of the only container: its program text counts too.
    Memory,
    /// The same while a second container runs: text is shared, as on any host with several runs.
    MemoryBesideAnother,
}

impl Quantity {
    /// All, in the order of reports.
    pub(crate) const ALL: [Self; 5] = [
        Self::FirstUserInstruction,
        Self::DurableEnd,
        Self::Cleaned,
        Self::Memory,
        Self::MemoryBesideAnother,
    ];

    /// Its name in tables, JSON and ratios.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FirstUserInstruction => "first_user_instruction",
            Self::DurableEnd => "durable_end",
            Self::Cleaned => "cleaned",
            Self::Memory => "memory",
            Self::MemoryBesideAnother => "memory_beside_another",
        }
    }

    /// The unit its values are in.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::FirstUserInstruction | Self::DurableEnd | Self::Cleaned => "ms",
            Self::Memory | Self::MemoryBesideAnother => "KiB",
        }
    }
}

/// What one turn of a peer gave.
pub(crate) type Sample = BTreeMap<Quantity, f64>;
