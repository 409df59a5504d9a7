//! What a batch costs: its time, and whose CPU time goes into it.
//!
//! ```text
//!  machine (/proc/stat, all but idle) = containerd + davit's executor + all the rest:
//!                                       shims, OCI runtime, jobs, the load generator, the kernel's own threads
//! ```
//!
//! Invariant: CPU time spans the same two instants as `took`, so at full load machine / runs = CPUs / rate.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Batch;
use crate::process;
use crate::quiet;

/// The unit of CPU time in /proc on every architecture Linux has.
const TICK_MS: u64 = 10;

/// The processes that are looked at apart, where there are such.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Daemons {
    pub(super) containerd: Option<u32>,
    pub(super) executor: Option<u32>,
}

/// CPU time, of all CPUs together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) machine: Duration,
    pub(super) containerd: Option<Duration>,
    pub(super) executor: Option<Duration>,
}

/// Readings at one instant, in ticks.
#[derive(Clone, Copy, Debug)]
struct Readings {
    machine: u64,
    containerd: Option<u64>,
    executor: Option<u64>,
}

/// Measures from its making on.
pub(super) struct Meter {
    begun: Instant,
    daemons: Daemons,
    before: Readings,
}

impl Meter {
    /// Begins.
    pub(super) fn begin(daemons: Daemons) -> anyhow::Result<Self> {
        let before = read(daemons)?;
        Ok(Self {
            begun: Instant::now(),
            daemons,
            before,
        })
    }

    /// When it began.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends, `runs` having been run and cleaned up.
    pub(super) fn end(self, runs: usize) -> anyhow::Result<Batch> {
        let took = self.begun.elapsed();
        let after = read(self.daemons)?;
        let since = |after: u64, before: u64| {
            Duration::from_millis(after.saturating_sub(before).saturating_mul(TICK_MS))
        };
        let both = |after: Option<u64>, before: Option<u64>| Some(since(after?, before?));
        let cpu = Cpu {
            machine: since(after.machine, self.before.machine),
            containerd: both(after.containerd, self.before.containerd),
            executor: both(after.executor, self.before.executor),
        };
        Ok(Batch { runs, took, cpu })
    }
}

fn read(daemons: Daemons) -> anyhow::Result<Readings> {
    let of = |pid| process::cpu_ticks(pid).with_context(|| format!("there is no process {pid}"));
    Ok(Readings {
        machine: quiet::busy_ticks().context("/proc/stat is not understood")?,
        containerd: daemons.containerd.map(of).transpose()?,
        executor: daemons.executor.map(of).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_between_its_instants_and_of_whom_there_is() {
        let me = Daemons {
            containerd: None,
            executor: Some(std::process::id()),
        };
        let meter = Meter::begin(me).unwrap();
        // As long as it takes on a busy machine.
        let enough = read(me).unwrap().executor.unwrap() + 10;
        while read(me).unwrap().executor.unwrap() < enough {}
        let batch = meter.end(3).unwrap();
        assert_eq!(batch.runs, 3);
        let used = batch.cpu.executor.unwrap();
        assert!(
            used >= Duration::from_millis(100) && used <= batch.cpu.machine,
            "{batch:?}"
        );
        assert!(batch.cpu.containerd.is_none());
    }
}
