//! What a run directory and the shim behind it say of a run.
//!
//! A power cut may leave what was not durable yet torn: `spec.json` before a run is accepted,
//! `launch.json` before a shim hears of it, `state.json` at any time, `end.json` while `exit.json` says the
//! same. Each of them is then read as what it would have meant, and never keeps a run from its verdict.

use std::sync::Arc;

use davit_rundir::{
    ControlRequest, EndRecord, ExitRecord, LaunchRecord, RunDir, RunDirError, SlotDir, SpecRecord,
    StateRecord,
};

use super::error::sentence;
use super::host::Host;
use super::offload::offload;
use super::recovery::{Evidence, Launched, LostHow};
use super::shim::{self, ShimState};
use crate::containerd::ContainerName;
use crate::warm;

/// A run as it was found.
pub(super) struct Found {
    pub(super) dir: RunDir,
    pub(super) spec: Arc<SpecRecord>,
    pub(super) launch: Option<LaunchRecord>,
    pub(super) exit: Option<ExitRecord>,
    pub(super) end: Option<EndRecord>,
    pub(super) evidence: Evidence,
}

impl Found {
    pub(super) fn container(&self) -> ContainerName {
        ContainerName::of_launch(self.dir.key(), self.launch.as_ref())
    }
}

/// Looks into `dir`; `None` if its run was never accepted.
pub(super) async fn into(host: &Arc<Host>, dir: &RunDir) -> Result<Option<Found>, RunDirError> {
    let (at, boot_id) = (dir.clone(), host.boot_id.clone());
    let Some(mut found) = offload(move || read(at, &boot_id)).await? else {
        return Ok(None);
    };
    if found.evidence.ended || found.evidence.exited {
        return Ok(Some(found));
    }
    match shim::ask(&dir.socket_path(), ControlRequest::State).await {
        Ok(ShimState::Live(state)) => found.lives(*state),
        Ok(ShimState::Exited(_)) => {}
        Err(error) if error.is_of_the_living() => found.evidence.shim_alive = true,
        Err(_) => found.settle_assignment(host).await,
    }
    // It may have ended while it was asked.
    let at = dir.clone();
    if let Some(exit) = offload(move || at.read_exit()).await? {
        found.exited(exit);
    }
    Ok(Some(found))
}

impl Found {
    fn lives(&mut self, state: StateRecord) {
        self.evidence.shim_alive = true;
        self.evidence.state = Some(state);
    }

    fn exited(&mut self, exit: ExitRecord) {
        self.evidence.exited = true;
        self.evidence.began = exit.started.is_some();
        self.exit = Some(exit);
    }

    /// An executor may have died with an assignment on its way: afterwards the slot is this run, or never
    /// will be any.
    async fn settle_assignment(&mut self, host: &Arc<Host>) {
        let Some(slot) = self.launch.as_ref().and_then(|launch| launch.slot.clone()) else {
            return;
        };
        if self.evidence.launched == Launched::BeforeReboot {
            return;
        }
        let socket = SlotDir::at(&host.slots_dir, slot).socket_path();
        match warm::revoke(&socket).await {
            Ok(Some(state)) => self.lives(*state),
            Ok(None) => {}
            // Nobody is left to take an assignment.
            Err(error) => {
                let problem = sentence(&error);
                tracing::debug!(key = %self.dir.key(), problem, "a slot was not revoked");
            }
        }
    }
}

fn read(dir: RunDir, boot_id: &str) -> Result<Option<Found>, RunDirError> {
    let (launch, launched) = launched(dir.read_launch(), boot_id)?;
    let spec = match dir.read_spec() {
        Ok(spec) => spec,
        Err(error @ RunDirError::Malformed { .. }) if launched == Launched::Never => {
            tracing::warn!(problem = sentence(&error), "a run was never accepted");
            None
        }
        Err(error) => return Err(error),
    };
    let Some(spec) = spec else {
        return Ok(None);
    };
    let exit = dir.read_exit()?;
    let end = torn_is_absent(dir.read_end(), exit.is_some())?;
    let state = torn_is_absent(dir.read_state(), launched == Launched::BeforeReboot)?;
    let mut found = Found {
        launch,
        exit: None,
        evidence: Evidence {
            never_again: never_again(&spec, dir.read_fenced()?.is_some(), boot_id),
            settled: dir.read_settled()?.is_some(),
            ended: end.is_some(),
            state,
            launched,
            ..Evidence::default()
        },
        end,
        spec: Arc::new(spec),
        dir,
    };
    if let Some(exit) = exit {
        found.exited(exit);
    }
    Ok(Some(found))
}

/// Why a run that has not begun must not begin any more: its scheduler may have given it to another host.
fn never_again(spec: &SpecRecord, fenced: bool, boot_id: &str) -> Option<LostHow> {
    let scheduled = spec.scheduled.as_ref()?;
    if fenced {
        return Some(LostHow::Fenced);
    }
    (scheduled.boot_id != boot_id).then_some(LostHow::RebootedBefore)
}

fn launched(
    read: Result<Option<LaunchRecord>, RunDirError>,
    boot_id: &str,
) -> Result<(Option<LaunchRecord>, Launched), RunDirError> {
    let launched = match read {
        // Within a boot it appears whole: it was cut off, maybe after the shim had heard of it.
        Err(RunDirError::Malformed { .. }) => return Ok((None, Launched::BeforeReboot)),
        Err(error) => return Err(error),
        Ok(launch) => launch,
    };
    let boot = match &launched {
        None => Launched::Never,
        Some(launch) if launch.boot_id.is_empty() || launch.boot_id == boot_id => Launched::Here,
        Some(_) => Launched::BeforeReboot,
    };
    Ok((launched, boot))
}

/// A record that need not be whole if `excused`.
fn torn_is_absent<T>(
    read: Result<Option<T>, RunDirError>,
    excused: bool,
) -> Result<Option<T>, RunDirError> {
    match read {
        Err(RunDirError::Malformed { .. }) if excused => Ok(None),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::recovery::decide;
    use crate::runs::samples::{exit_record, launch_record, spec, state_record};
    use davit_lifecycle::Event;
    use davit_rundir::{FORMAT_VERSION, Stamp};

    fn accepted(runs: &std::path::Path) -> RunDir {
        let record = SpecRecord {
            version: FORMAT_VERSION,
            accepted: Stamp::now(),
            spec: spec(),
            scheduled: None,
        };
        RunDir::create(runs, &record).unwrap()
    }

    fn decision(dir: &RunDir, boot_id: &str) -> Option<Event> {
        let found = read(dir.clone(), boot_id).unwrap()?;
        Some(decide(&found.evidence, boot_id).event)
    }

    #[test]
    fn whatever_a_power_cut_tears_the_run_gets_a_verdict_and_never_a_second_launch() {
        let tear = |dir: &RunDir, file: &str, torn: &[u8]| {
            std::fs::write(dir.path().join(file), torn).unwrap();
        };
        for torn in [&b""[..], b"\0\0\0\0", b"{\"version\": 1, \"ke"] {
            let runs = tempfile::tempdir().unwrap();
            let dir = accepted(runs.path());
            let key = dir.key();
            dir.write_launch(&launch_record(key)).unwrap();
            tear(&dir, "state.json", torn);
            assert_eq!(decision(&dir, "after"), Some(Event::ShimLost), "state");
            tear(&dir, "launch.json", torn);
            assert_eq!(decision(&dir, "after"), Some(Event::ShimLost), "launch");
            dir.write_state(&state_record(key)).unwrap();
            dir.write_exit(&exit_record(key)).unwrap();
            tear(&dir, "end.json", torn);
            assert_eq!(decision(&dir, "after"), Some(Event::Exited), "end");

            let runs = tempfile::tempdir().unwrap();
            let dir = accepted(runs.path());
            assert_eq!(decision(&dir, "after"), Some(Event::Begin));
            tear(&dir, "spec.json", torn);
            assert_eq!(decision(&dir, "after"), None, "spec");
        }
    }

    #[test]
    fn a_torn_state_of_this_boot_is_no_excuse() {
        let runs = tempfile::tempdir().unwrap();
        let dir = accepted(runs.path());
        dir.write_launch(&launch_record(dir.key())).unwrap();
        std::fs::write(dir.path().join("state.json"), "{").unwrap();
        assert!(read(dir.clone(), "boot").is_err());
        std::fs::remove_file(dir.path().join("state.json")).unwrap();
        assert_eq!(decision(&dir, "boot"), Some(Event::Begin));
    }
}
