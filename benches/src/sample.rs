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
    /// Private memory of all processes that one running container needs beside its own.
    Memory,
    /// The same with each shared page divided by its users.
    MemoryProportional,
}

impl Quantity {
    /// All, in the order of reports.
    pub(crate) const ALL: [Self; 5] = [
        Self::FirstUserInstruction,
        Self::DurableEnd,
        Self::Cleaned,
        Self::Memory,
        Self::MemoryProportional,
    ];

    /// Its name in tables, JSON and ratios.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FirstUserInstruction => "first_user_instruction",
            Self::DurableEnd => "durable_end",
            Self::Cleaned => "cleaned",
            Self::Memory => "memory",
            Self::MemoryProportional => "memory_proportional",
        }
    }

    /// The unit its values are in.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::FirstUserInstruction | Self::DurableEnd | Self::Cleaned => "ms",
            Self::Memory | Self::MemoryProportional => "KiB",
        }
    }
}

/// What one turn of a peer gave.
pub(crate) type Sample = BTreeMap<Quantity, f64>;
