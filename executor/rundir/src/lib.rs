//! The on-disk run directory: the only thing executor and shim share besides a socket.
//!
//! ```text
//!  /var/lib/davit/runs/<run-id>.<attempt>/          0700, on a real disk
//!    spec.json    executor   what was accepted; fsynced before anything is created (invariant 2)
//!    launch.json  executor   what the shim needs: cgroup, timeout, log cap, runtime binary
//!    state.json   shim       created / started / pauses / deadline / kill reason, as they happen
//!    log.NNN      shim       framed, checksummed records; a torn tail is cut off cleanly
//!    exit.json    shim       the durable exit record; fsynced before TaskExit is sent
//!    end.json     executor   the verdict told to the world; fsynced before it is told, unless exit.json alone
//!                            leads to the same one
//!    fenced.json  executor   a scheduler's run is to end, its host having had no connection for too long; before the kill
//!    settled.json executor   the scheduler has stored the end of a run of its own: the directory may go
//!    reserve      shim       disk space held until exit.json is written: the end fits on a full disk
//!    shim.sock    shim       control: start, pause, resume, stop, cancel, extend, wait; consoles, see [`ConsoleFrame`]
//!    give.sock    executor   while a container with secrets is made: their values, for its shim; see [`Secrets`]
//! ```
//!
//! Beside it `<state_dir>/slots/<slot-id>/` holds what waits for a run: see [`SlotDir`].
//!
//! Invariants:
//! - one writer a file, named above; readers may come and go at any time, in any process;
//! - a record appears whole or not at all (temporary file, rename); all but `state.json`, and `end.json` where it follows from
//!   `exit.json`, are durable when their write returns (fsync of file and directory). A power cut before `spec.json` or `launch.json` is
//!   durable may leave it torn: nobody was told of it then;
//! - every record carries the version of its format; a reader of version N reads N − 1;
//! - no secret is ever written here.
//!
//! Absent on purpose: async (callers decide where to block), containerd, deleting other people's
//! directories, and any lock: the single-writer rule replaces it.

#![forbid(unsafe_code)]

mod atomic;
mod console;
mod control;
mod dir;
mod error;
pub mod log;
mod phases;
mod records;
mod secrets;
mod slot;
mod traffic;
mod zygote;

pub use console::{
    CONSOLE_DATA_BYTES_MAX, CONSOLE_FRAME_BYTES_MAX, CONSOLE_HEADER_BYTES, CONSOLE_WINDOW_BYTES,
    ConsoleAttach, ConsoleEnded, ConsoleExec, ConsoleFrame, ConsoleFrameError, ConsoleOpen,
    ConsoleReason, ConsoleUser, ConsoleWindow,
};
pub use control::{ControlError, ControlErrorCode, ControlReply, ControlRequest, FRAME_BYTES_MAX};
pub use dir::RunDir;
pub use error::RunDirError;
pub use phases::Phase;
pub use records::{
    EndRecord, ExitRecord, FORMAT_VERSION, FencedRecord, KillReason, LaunchRecord, LogTotals,
    NetworkRecord, PAUSES_MAX, Pause, Scheduled, ScheduledFiles, SettledRecord, SpecRecord, Stamp,
    StateRecord, Timings,
};
pub use secrets::{SECRETS_BYTES_MAX, SecretEnv, SecretFile, Secrets, SecretsError};
pub use slot::{Assignment, Granted, SlotDir, SlotId, SlotRecord, SlotReply, SlotRequest};
pub use traffic::Traffic;
pub use zygote::{
    BUNDLE_LINK_SUFFIX, ZYGOTE_MESSAGE_BYTES_MAX, ZygoteReply, ZygoteRequest, bundle_link,
};
