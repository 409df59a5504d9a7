//! The JSON records of a run directory. All times are nanoseconds: `boot` ones on CLOCK_BOOTTIME
//! (meters and deadlines; meaningless across a reboot, hence the boot id), `unix` ones for people.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use davit_types::{
    EndReason, ExitStatus, Extracted, RunKey, RunSpec, RunStatus, SecurityProfile, StopSignal,
    Usage,
};
use serde::{Deserialize, Serialize};

use crate::{SlotId, Traffic};

/// The format this code writes.
pub const FORMAT_VERSION: u32 = 1;

/// Pauses recorded per run; a run paused this often refuses to be paused again.
pub const PAUSES_MAX: usize = 1_000;

/// One instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// CLOCK_BOOTTIME, nanoseconds.
    pub boot_ns: u64,
    /// CLOCK_REALTIME, nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Stamp {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let nanoseconds = |clock| {
            let time = clock_gettime(clock);
            // Both clocks are past their zero and before the year 2554.
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
                + u64::try_from(time.tv_nsec).unwrap_or(0)
        };
        Self {
            boot_ns: nanoseconds(ClockId::Boottime),
            unix_ns: nanoseconds(ClockId::Realtime),
        }
    }
}

/// `spec.json`: what the executor accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// When it was accepted.
    pub accepted: Stamp,
    /// The run as accepted.
    pub spec: RunSpec,
    /// What a scheduler wants of it beside; absent for a run that was submitted on the host itself. As
    /// durable as the rest, and kept when a launch is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Scheduled>,
}

/// What makes a run a scheduler's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The boot in which it was accepted: in another one it is never begun, because the scheduler may have given
    /// it away.
    pub boot_id: String,
    /// Set for a run that must end with its host's connection: so long without one, milliseconds on
    /// CLOCK_BOOTTIME, and its host ends it.
    pub stop_after_ms: Option<u64>,
    /// It came with secrets. They are nowhere on disk: until its container is made, an executor that did not hear
    /// them waits for the scheduler.
    pub has_secrets: bool,
    /// The files it comes with, which are fetched from the scheduler for as long as its container is not made.
    #[serde(default)]
    pub files: Option<ScheduledFiles>,
}

/// A tar stream that a scheduler has for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledFiles {
    /// How long.
    pub bytes: u64,
    /// Of all of it, in hexadecimal digits.
    pub sha256: String,
}

/// `fenced.json`: the host ends a run because it had no scheduler for too long; written before the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// When it was decided.
    pub at: Stamp,
    /// How long there had been no scheduler, milliseconds on CLOCK_BOOTTIME.
    pub silent_ms: u64,
}

/// `settled.json`: the scheduler has stored the run's end, or wants nothing of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// When the host heard so.
    pub at: Stamp,
}

/// `launch.json`: what the executor resolved, for the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// The boot it was launched in: whoever finds this record in another one knows that the job may have
    /// run, and that it is gone. Empty in records of old.
    #[serde(default)]
    pub boot_id: String,
    /// Manifest digest the tag resolved to, `sha256:…`.
    pub image_digest: String,
    /// Cgroup of the run, from the root of the cgroup v2 file system, e.g. `/davit/<key>`.
    pub cgroup: String,
    /// Absolute path of the OCI runtime.
    pub runtime_binary: PathBuf,
    /// Time the job may run, paused time not counted, milliseconds.
    pub timeout_ms: u64,
    /// Time it may stay paused at a stretch, milliseconds.
    pub max_pause_ms: u64,
    /// Log bytes kept.
    pub log_bytes_max: u64,
    /// The image's own stop signal; SIGTERM when it names none.
    pub stop_signal: StopSignal,
    /// The warm slot this execution was given: its container, task, snapshot and cgroup bear this name.
    /// Absent when they were made for it and bear the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// What its job is locked in with, for people. Absent in records of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityProfile>,
    /// Its working directory, which relative paths of what is collected begin at. Absent in records of old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Its link to the outside, of a run with a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkRecord>,
    /// Its input stays open for consoles.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// It has a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
}

/// A container's link to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The host's end: the kernel counts there what goes over it.
    pub interface: String,
    /// The container's address.
    pub ipv4: Ipv4Addr,
    /// Its other one; absent on a host without a way out for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

/// Why somebody asked for the kill; recorded before the kill is sent, so that a 137 is never misread
/// (invariant 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillReason {
    /// The deadline passed.
    TimedOut,
    /// It stayed paused longer than allowed.
    PausedTooLong,
    /// A user stopped or cancelled it.
    Canceled,
}

/// One time the job was frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When `cgroup.events` said frozen.
    pub begin: Stamp,
    /// When it was thawed; absent while it is paused.
    pub end: Option<Stamp>,
}

/// `state.json`: what the shim knows, rewritten at every change. Not durable: a power cut that loses it
/// ends the run as well, and that it may have run is told by `launch.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// `/proc/sys/kernel/random/boot_id` of the boot all `boot_ns` belong to.
    pub boot_id: String,
    /// The shim's process.
    pub shim_pid: u32,
    /// The job's first process, in the host's pid namespace.
    pub init_pid: u32,
    /// When the container was created.
    pub created: Stamp,
    /// When the job was let go.
    pub started: Option<Stamp>,
    /// Time it may run, milliseconds, extensions included.
    pub timeout_ms: u64,
    /// When the kill is due while it is not paused, CLOCK_BOOTTIME.
    pub deadline_boot_ns: Option<u64>,
    /// All pauses so far, at most [`PAUSES_MAX`].
    pub pauses: Vec<Pause>,
    /// Set before any kill is sent.
    pub kill: Option<KillReason>,
    /// What had gone over its link when the job was let go; absent without a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_before: Option<Traffic>,
}

impl StateRecord {
    /// Whether the last pause is still on.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pauses.last().is_some_and(|pause| pause.end.is_none())
    }
}

/// What the log holds and what the cap kept out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTotals {
    /// Records written.
    pub records: u64,
    /// Bytes of job output written.
    pub bytes: u64,
    /// Bytes of job output beyond the cap, read and dropped.
    pub dropped_bytes: u64,
}

/// `exit.json`: what the kernel said, before anybody else was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// The boot it happened in.
    pub boot_id: String,
    /// From wait(2).
    pub status: ExitStatus,
    /// Derived by the shim from status, kill reason and cgroup events.
    pub end_reason: EndReason,
    /// When the job was let go; absent when it never was.
    pub started: Option<Stamp>,
    /// When its first process ended.
    pub ended: Stamp,
    /// All pauses, each closed.
    pub pauses: Vec<Pause>,
    /// The time it was allowed, milliseconds, extensions included.
    pub timeout_ms: u64,
    /// From the cgroup, after it was empty and before it was removed.
    pub usage: Usage,
    /// What was logged.
    pub log: LogTotals,
}

/// When a run passed each step of its start. Absent is what it did not reach, and what it reached
/// under an executor that was replaced since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Its specification was durable.
    pub accepted: Option<Stamp>,
    /// Its owner began with it.
    pub begun: Option<Stamp>,
    /// Its image was here.
    pub pulled: Option<Stamp>,
    /// Its root file system and spec were made; where a warm slot took it, the slot was chosen.
    pub prepared: Option<Stamp>,
    /// Its task existed; where a warm slot took it, the slot was its own.
    pub created: Option<Stamp>,
    /// The job was let go.
    pub started: Option<Stamp>,
    /// A warm slot took it.
    pub warm: bool,
}

/// `end.json`: the executor's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub key: RunKey,
    /// One of the three terminal statuses.
    pub status: RunStatus,
    /// Absent when no exit was recorded: never invented.
    pub exit_code: Option<u8>,
    /// Why it ended.
    pub end_reason: EndReason,
    /// A sentence for people.
    pub message: String,
    /// When the job began, if it did.
    pub started: Option<Stamp>,
    /// When the job ended, or the run was given up.
    pub ended: Stamp,
    /// What it used; zero when it never started, absent figures when it was lost.
    pub usage: Usage,
    /// What was logged.
    pub log: LogTotals,
    /// How its start went.
    #[serde(default)]
    pub timings: Timings,
    /// What was collected, in the order asked for; empty if nothing was asked for, or the job never began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<Extracted>,
}
