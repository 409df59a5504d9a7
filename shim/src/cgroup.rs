//! The container's cgroup as the shim uses it: davit-cgroup's handle, plus waiting on the event loop and
//! signalling many processes without hitting a stranger.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use davit_cgroup::{Cgroup, CgroupError, CgroupPath, Events, Hierarchy, MemoryEvents, Watch};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::{self, StableFd};

/// Where cgroup v2 is mounted on every host davit supports.
const ROOT: &str = "/sys/fs/cgroup";

/// Tries to remove a cgroup that was emptied, and the pause between two, milliseconds: the kernel lets go of it
/// some time after its last process was reaped.
const REMOVE_TRIES_MAX: u32 = 50;
const REMOVE_RETRY_MS: u64 = 10;

/// Times the list of processes is read again while signalling, so that forks are met too.
const SIGNAL_ROUNDS_MAX: usize = 4;

/// The cgroup of one container, held open.
#[derive(Debug)]
pub(crate) struct ContainerCgroup(Cgroup);

impl ContainerCgroup {
    /// Makes the cgroup of a run; it must not exist yet.
    pub(crate) fn create(path: &str) -> Result<Self, CgroupError> {
        Cgroup::create(&Hierarchy::at(Path::new(ROOT))?, &path.parse()?).map(Self)
    }

    /// An existing cgroup.
    pub(crate) fn open(path: &str) -> Result<Self, CgroupError> {
        Cgroup::open(&Hierarchy::at(Path::new(ROOT))?, &path.parse()?).map(Self)
    }

    /// The cgroup a process is in; `None` if the process or the cgroup is gone, or if the shim itself is in it or
    /// below it (the root, say): nobody may kill or freeze that for a container's sake.
    pub(crate) fn of_process(pid: i32) -> Option<Self> {
        let path = path_of(&pid.to_string())?;
        if holds(path.as_str(), path_of("self")?.as_str()) {
            log::warn!("the container has no cgroup of its own");
            return None;
        }
        let hierarchy = Hierarchy::at(Path::new(ROOT)).ok()?;
        Cgroup::open(&hierarchy, &path).ok().map(Self)
    }

    /// What davit-cgroup offers.
    pub(crate) fn inner(&self) -> &Cgroup {
        &self.0
    }

    /// Kills every process in it and below, frozen ones too. Gone already is fine.
    pub(crate) fn kill(&self) -> Result<(), CgroupError> {
        match self.0.kill() {
            Err(error) if error.is_gone() => Ok(()),
            result => result,
        }
    }

    /// Removes it and all below; fine if it is gone. What keeps it is told in the log.
    pub(crate) async fn remove(&self) {
        for _try in 0..REMOVE_TRIES_MAX {
            match self.0.try_remove() {
                Ok(true) => return,
                Ok(false) => tokio::time::sleep(Duration::from_millis(REMOVE_RETRY_MS)).await,
                Err(error) => return log::warn!("{}", crate::error::chain(&error)),
            }
        }
        log::warn!("cgroup {} is still occupied", self.0.path().display());
    }

    /// Waits until `cgroup.events` satisfies `wanted`; false if it does not within `bound`. A cgroup that is
    /// gone is neither populated nor frozen.
    pub(crate) async fn wait_for(&self, bound: Duration, wanted: impl Fn(Events) -> bool) -> bool {
        let waiting = async {
            let mut watch = match self.events() {
                Ok(watch) => watch,
                Err(error) => return gone(&error) && wanted(Events::default()),
            };
            loop {
                match watch.read() {
                    Ok(events) if wanted(events) => return true,
                    Ok(_) => watch.changed().await,
                    Err(error) => return gone(&error) && wanted(Events::default()),
                }
            }
        };
        tokio::time::timeout(bound, waiting).await.unwrap_or(false)
    }

    /// `cgroup.events`, to be read and waited for in turn.
    pub(crate) fn events(&self) -> Result<AsyncWatch<Watch<Events>>, CgroupError> {
        self.0.events_fd().map(AsyncWatch::new)
    }

    /// `memory.events`; `None` where there is no memory controller.
    pub(crate) fn memory_events(
        &self,
    ) -> Result<Option<AsyncWatch<Watch<MemoryEvents>>>, CgroupError> {
        Ok(self.0.memory_events_fd()?.map(AsyncWatch::new))
    }

    /// Signals every process in it. A process is signalled through a pidfd that was open before the process
    /// was seen in the cgroup (again), so no outsider that got a reused pid is ever hit.
    pub(crate) fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        let mut done = HashSet::new();
        for _round in 0..SIGNAL_ROUNDS_MAX {
            let opened: Vec<(u32, OwnedFd)> = self
                .0
                .procs()?
                .into_iter()
                .filter(|pid| !done.contains(pid))
                .filter_map(|pid| {
                    let raw = Pid::from_raw(pid.cast_signed())?;
                    Some((pid, pidfd_open(raw, PidfdFlags::empty()).ok()?))
                })
                .collect();
            if opened.is_empty() {
                break;
            }
            let still = self.0.procs()?;
            for (pid, pidfd) in opened {
                done.insert(pid);
                if still.contains(&pid)
                    && let Err(error) = sys::pidfd_signal(&pidfd, signal)
                {
                    log::debug!("signal {signal} to {pid}: {error}");
                }
            }
        }
        Ok(())
    }
}

/// The cgroup v2 path of `/proc/<process>`.
fn path_of(process: &str) -> Option<CgroupPath> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let relative = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    relative.parse().ok()
}

/// Whether `inner` is `outer` or below it.
fn holds(outer: &str, inner: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn gone(error: &CgroupError) -> bool {
    if !error.is_gone() {
        log::warn!("{}", crate::error::chain(error));
    }
    error.is_gone()
}

/// A watched cgroup file on the event loop.
pub(crate) struct AsyncWatch<W: StableFd> {
    /// `Err` if the loop cannot poll it: then changes are never announced, only read.
    polled: Result<AsyncFd<W>, W>,
}

impl<W: StableFd> AsyncWatch<W> {
    fn new(watch: W) -> Self {
        let polled = sys::register(watch, Interest::PRIORITY).map_err(|error| error.into_parts().0);
        Self { polled }
    }

    fn file(&mut self) -> &mut W {
        match &mut self.polled {
            Ok(polled) => polled.get_mut(),
            Err(plain) => plain,
        }
    }

    /// Waits for a change since the last read; for ever if none can be announced. Cancel-safe.
    pub(crate) async fn changed(&self) {
        let Ok(polled) = &self.polled else {
            return std::future::pending().await;
        };
        match polled.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_loop_gone) => std::future::pending().await,
        }
    }
}

impl AsyncWatch<Watch<Events>> {
    /// The present values.
    pub(crate) fn read(&mut self) -> Result<Events, CgroupError> {
        self.file().read()
    }
}

impl AsyncWatch<Watch<MemoryEvents>> {
    /// The present values.
    pub(crate) fn read(&mut self) -> Result<MemoryEvents, CgroupError> {
        self.file().read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_holds_itself_and_what_is_below() {
        for (outer, inner, expected) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(holds(outer, inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn our_own_cgroup_is_never_a_containers() {
        let own = std::process::id().cast_signed();
        assert!(ContainerCgroup::of_process(own).is_none());
    }
}
