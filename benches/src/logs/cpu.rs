//! The CPU time of a process that may end while it is watched: read every few milliseconds, the last
//! reading counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::process;

const LOOK_AGAIN_MS: u64 = 5;
/// The unit of `/proc/<pid>/stat` on every architecture Linux has.
const TICK_MS: u64 = 10;

/// Watches one process in the background.
pub(super) struct CpuWatch {
    before_ticks: u64,
    enough: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl CpuWatch {
    /// Counts what process `pid` uses from now on.
    pub(super) fn from_now(pid: u32) -> anyhow::Result<Self> {
        let now = process::cpu_ticks(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self::start(pid, now))
    }

    /// Counts all that process `pid` ever used.
    pub(super) fn from_birth(pid: u32) -> Self {
        Self::start(pid, 0)
    }

    fn start(pid: u32, before_ticks: u64) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let watcher = std::thread::spawn(move || {
            let mut last = before_ticks;
            while let Some(ticks) = process::cpu_ticks(pid) {
                last = ticks;
                if told.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
            }
            last
        });
        Self {
            before_ticks,
            enough,
            watcher,
        }
    }

    /// What it used until now, or until its end.
    pub(super) fn stop(self) -> anyhow::Result<Duration> {
        self.enough.store(true, Ordering::Relaxed);
        let last = self.watcher.join();
        let last = last.map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
        let ticks = last.saturating_sub(self.before_ticks);
        Ok(Duration::from_millis(ticks * TICK_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_time_of_a_process_that_ended_is_not_lost() {
        // About half a second of work.
        let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let mut child = Command::new("sh").args(["-c", work]).spawn().unwrap();
        let watch = CpuWatch::from_birth(child.id());
        child.wait().unwrap();
        let used = watch.stop().unwrap();
        assert!(used >= Duration::from_millis(50), "{used:?}");
    }
}
