//! Warm slots: containers made before anybody asked for them, and the words that give one to a run.
//!
//! ```text
//!  <state_dir>/slots/<slot-id>/        0700; worth nothing after a reboot, hence never fsynced
//!    slot.json   executor   cgroup and runtime of the container being made
//!    slot.sock   shim       one JSON object a line: assign or revoke
//!
//!  executor                                shim                       the container's first process
//!   make the container ───────────────────► runtime create ──────────► waits for its program
//!   launch.json {slot} durable
//!   assign {run_dir, args, env, …} ───────► limits, log, state.json,
//!   ◄───────────────────────────── state    shim.sock in the run directory
//!   start (on shim.sock) ─────────────────► ─────────────────────────► execve
//! ```
//!
//! A slot is given away once, and never taken back: what was assigned is a run like any other, created
//! and not yet let go. Revoking closes the race with an assignment still under way.

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use davit_types::Resources;
use serde::{Deserialize, Serialize};

use crate::atomic::{read_record, write_visible};
use crate::{ControlError, RunDirError, StateRecord};

/// What every slot's name begins with: a run key never does.
const PREFIX: &str = "warm-";
/// Hexadecimal digits after it.
const DIGITS: usize = 32;

/// The name of a slot, `warm-` and 32 hexadecimal digits: of its directory, and of its container, task
/// and snapshot in containerd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotId(String);

/// Text that is no [`SlotId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no slot id: `{PREFIX}` and {DIGITS} hexadecimal digits")]
pub struct NoSlotId(String);

impl SlotId {
    /// A name for `number`, which the caller draws at random.
    #[must_use]
    pub fn from_random(number: u128) -> Self {
        Self(format!("{PREFIX}{number:032x}"))
    }

    /// As in a path or a label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SlotId {
    type Err = NoSlotId;

    fn from_str(text: &str) -> Result<Self, NoSlotId> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == DIGITS && digits.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoSlotId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SlotId {
    type Error = NoSlotId;

    fn try_from(text: String) -> Result<Self, NoSlotId> {
        text.parse()
    }
}

impl From<SlotId> for String {
    fn from(id: SlotId) -> Self {
        id.0
    }
}

/// `slot.json`: what the shim must know to make the container of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// [`crate::FORMAT_VERSION`] of the writer.
    pub version: u32,
    /// Whose.
    pub slot: SlotId,
    /// Cgroup of the container, from the root of the cgroup v2 file system, e.g. `/davit/<slot>`.
    pub cgroup: String,
    /// Absolute path of the OCI runtime; only crun holds a container before its program is known.
    pub runtime_binary: PathBuf,
}

/// Which controllers the limits of an [`Assignment`] are set with. All of them, except on a host whose
/// operator allowed missing ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// `cpu.max` and `cpu.weight`.
    pub cpu: bool,
    /// `memory.max`, `memory.swap.max` and `memory.oom.group`.
    pub memory: bool,
    /// `pids.max`.
    pub pids: bool,
}

/// What turns a slot into a run. The rest of it is in `launch.json` of the run directory, which is
/// durable before this is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The run directory; its `launch.json` names this slot.
    pub run_dir: PathBuf,
    /// Program and arguments, not empty; a program without `/` is looked for in `PATH` of `env`.
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Names of those variables in `env` whose values are taken out of the run's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted_env: Vec<String>,
    /// Host name inside the container.
    pub hostname: String,
    /// Limits of the cgroup.
    pub resources: Resources,
    /// Which of them can be set.
    pub granted: Granted,
}

/// What the executor asks on `slot.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum SlotRequest {
    /// Become this run: answered with [`SlotReply::Assigned`] once `shim.sock` accepts connections.
    Assign(Box<Assignment>),
    /// Take no assignment any more: answered with what it is by then.
    Revoke,
}

/// What the shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SlotReply {
    /// It is a run, in this state.
    Assigned(Box<StateRecord>),
    /// It is no run and never will be.
    Revoked,
    /// Not done; the slot is of no more use.
    Error(ControlError),
}

/// A handle on `<state_dir>/slots/<slot-id>`; cheap to clone, holds no file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDir {
    path: PathBuf,
    slot: SlotId,
}

impl SlotDir {
    /// Makes the directory of a new slot below `slots` with its record.
    ///
    /// # Errors
    /// When it exists or cannot be written.
    pub fn create(slots: &Path, record: &SlotRecord) -> Result<Self, RunDirError> {
        let dir = Self::at(slots, record.slot.clone());
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir.path)
            .map_err(RunDirError::io("create", &dir.path))?;
        write_visible(&dir.path.join("slot.json"), record)?;
        Ok(dir)
    }

    /// The directory of `slot` below `slots`, whether it exists or not.
    #[must_use]
    pub fn at(slots: &Path, slot: SlotId) -> Self {
        Self {
            path: slots.join(slot.as_str()),
            slot,
        }
    }

    /// The directory at `path`, whose last part must be a slot id.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        let slot = path.file_name()?.to_str()?.parse().ok()?;
        Some(Self {
            path: path.to_owned(),
            slot,
        })
    }

    /// All slot directories below `slots`. Other names are ignored.
    ///
    /// # Errors
    /// When `slots` cannot be read.
    pub fn list(slots: &Path) -> Result<Vec<Self>, RunDirError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(slots).map_err(RunDirError::io("list", slots))? {
            let entry = entry.map_err(RunDirError::io("list", slots))?;
            found.extend(Self::from_path(&entry.path()));
        }
        Ok(found)
    }

    /// Its name.
    #[must_use]
    pub const fn slot(&self) -> &SlotId {
        &self.slot
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket its shim takes an assignment on.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.path.join("slot.sock")
    }

    /// Reads `slot.json`; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or of a newer format.
    pub fn read_slot(&self) -> Result<Option<SlotRecord>, RunDirError> {
        read_record(&self.path.join("slot.json"))
    }

    /// Removes the directory and all in it; fine if it is gone.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<(), RunDirError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RunDirError::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FORMAT_VERSION;

    #[test]
    fn a_slot_id_is_no_run_key_and_nothing_else() {
        let id = SlotId::from_random(7);
        assert_eq!(id.as_str(), "warm-00000000000000000000000000000007");
        assert_eq!(id.as_str().parse::<SlotId>().unwrap(), id);
        assert!(id.as_str().parse::<davit_types::RunKey>().is_err());
        for other in [
            "",
            "warm-",
            "warm-7",
            "warm-../00000000000000000000000000000",
        ] {
            assert!(other.parse::<SlotId>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_slot_directory_is_found_again_and_removed_twice() {
        let dir = tempfile::tempdir().unwrap();
        let record = SlotRecord {
            version: FORMAT_VERSION,
            slot: SlotId::from_random(1),
            cgroup: "/davit/warm-1".to_owned(),
            runtime_binary: "/usr/bin/crun".into(),
        };
        let slot = SlotDir::create(dir.path(), &record).unwrap();
        assert_eq!(slot.read_slot().unwrap(), Some(record.clone()));
        assert_eq!(
            SlotDir::list(dir.path()).unwrap(),
            std::slice::from_ref(&slot)
        );
        assert!(SlotDir::create(dir.path(), &record).is_err());
        slot.remove().unwrap();
        slot.remove().unwrap();
        assert_eq!(SlotDir::list(dir.path()).unwrap(), []);
    }

    #[test]
    fn requests_are_flat_json_lines() {
        let line = serde_json::to_string(&SlotRequest::Revoke).unwrap();
        assert_eq!(line, r#"{"do":"revoke"}"#);
    }
}
