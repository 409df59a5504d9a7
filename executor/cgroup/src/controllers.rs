//! The controllers davit knows, and sets of them.

use std::fmt;

/// A cgroup v2 controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    /// CPU bandwidth and weight.
    Cpu,
    /// CPU and memory node affinity.
    Cpuset,
    /// Block device bandwidth.
    Io,
    /// Memory and swap.
    Memory,
    /// Number of processes and threads.
    Pids,
}

impl Controller {
    /// All of them, in the order they are printed.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Io, Self::Memory, Self::Pids];

    /// The kernel's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of controllers. Prints as the kernel does: `cpu io memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controllers(u8);

impl Controllers {
    /// None.
    pub const NONE: Self = Self(0);

    /// What a run's limits need: cpu, io, memory, pids.
    pub const FOR_RUNS: Self = Self(
        Controller::Cpu.bit()
            | Controller::Io.bit()
            | Controller::Memory.bit()
            | Controller::Pids.bit(),
    );

    /// Reads `cgroup.controllers` or `cgroup.subtree_control`; unknown names are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace()
            .filter_map(|word| Controller::ALL.into_iter().find(|c| c.as_str() == word))
            .collect()
    }

    /// Whether `controller` is in it.
    #[must_use]
    pub const fn contains(self, controller: Controller) -> bool {
        self.0 & controller.bit() != 0
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The controllers, in the order of [`Controller::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL
            .into_iter()
            .filter(move |c| self.contains(*c))
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<I: IntoIterator<Item = Controller>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, c| bits | c.bit()))
    }
}

impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Controller::as_str).collect();
        f.pad(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints_the_kernels_words() {
        let all = Controllers::parse("cpuset cpu io memory hugetlb pids rdma misc\n");
        assert_eq!(all.to_string(), "cpu cpuset io memory pids");
        assert_eq!(Controllers::parse("\n"), Controllers::NONE);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = Controllers::FOR_RUNS.without(Controllers::parse("cpu pids"));
        assert_eq!(missing.to_string(), "io memory");
    }

    proptest! {
        #[test]
        fn text_round_trips(bits in 0u8..32) {
            prop_assert_eq!(Controllers::parse(&Controllers(bits).to_string()), Controllers(bits));
        }

        #[test]
        fn any_text_is_harmless(text: String) {
            prop_assert!(Controllers::parse(&text).iter().count() <= Controller::ALL.len());
        }
    }
}
