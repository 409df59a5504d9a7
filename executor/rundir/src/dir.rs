//! One run directory: its paths and its records.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use davit_types::RunKey;

use crate::atomic::{read_record, sync_dir, write_first, write_record, write_visible};
use crate::{
    EndRecord, ExitRecord, FencedRecord, LaunchRecord, RunDirError, SettledRecord, SpecRecord,
    StateRecord,
};

/// A handle on `<runs>/<key>`; cheap to clone, holds no file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    key: RunKey,
}

impl RunDir {
    /// Makes the directory of a new execution below `runs` and accepts it: on return `spec` is
    /// durable.
    ///
    /// # Errors
    /// [`RunDirError::Exists`] if this execution was accepted before; then nothing is touched.
    pub fn create(runs: &Path, record: &SpecRecord) -> Result<Self, RunDirError> {
        let dir = Self::at(runs, record.spec.key());
        match fs::DirBuilder::new().mode(0o700).create(&dir.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RunDirError::Exists(dir.path));
            }
            Err(error) => return Err(RunDirError::io("create", &dir.path)(error)),
        }
        // A directory without a spec, or with a torn one, was never accepted; `reap` sweeps it.
        write_first(&dir.path.join("spec.json"), record, &[&dir.path, runs])?;
        Ok(dir)
    }

    /// The directory of `key` below `runs`, whether it exists or not.
    #[must_use]
    pub fn at(runs: &Path, key: RunKey) -> Self {
        Self {
            path: runs.join(key.to_string()),
            key,
        }
    }

    /// The directory at `path`, whose last part must be a run key.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        let key = path.file_name()?.to_str()?.parse().ok()?;
        Some(Self {
            path: path.to_owned(),
            key,
        })
    }

    /// All run directories below `runs`, oldest run first. Other names are ignored.
    ///
    /// # Errors
    /// When `runs` cannot be read.
    pub fn list(runs: &Path) -> Result<Vec<Self>, RunDirError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(runs).map_err(RunDirError::io("list", runs))? {
            let entry = entry.map_err(RunDirError::io("list", runs))?;
            found.extend(Self::from_path(&entry.path()));
        }
        found.sort_by_key(|dir| dir.key);
        Ok(found)
    }

    /// Which execution this is.
    #[must_use]
    pub const fn key(&self) -> RunKey {
        self.key
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shim's control socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.path.join("shim.sock")
    }

    /// Where what was collected of its files is kept, if anything was.
    #[must_use]
    pub fn files_path(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The socket on which the executor gives its shim the values of its secrets.
    #[must_use]
    pub fn give_path(&self) -> PathBuf {
        self.path.join(crate::secrets::SOCKET)
    }

    /// Whether this execution was never accepted: a crash came before its spec was there, or a power
    /// cut before it was durable.
    #[must_use]
    pub fn is_unaccepted(&self) -> bool {
        let nothing_else = !self.path.join("launch.json").exists();
        nothing_else
            && matches!(
                self.read_spec(),
                Ok(None) | Err(RunDirError::Malformed { .. })
            )
    }

    /// Removes everything but the spec and a decision to end the run, so that a launch can be made anew. Only for an execution that
    /// was never let go, and whose shim is gone.
    ///
    /// # Errors
    /// When the directory cannot be listed or something in it cannot be removed.
    pub fn reset(&self) -> Result<(), RunDirError> {
        let path = &self.path;
        for entry in fs::read_dir(path).map_err(RunDirError::io("list", path))? {
            let entry = entry.map_err(RunDirError::io("list", path))?;
            let name = entry.file_name();
            if name != "spec.json" && name != "fenced.json" {
                let at = entry.path();
                fs::remove_file(&at).map_err(RunDirError::io("remove", &at))?;
            }
        }
        sync_dir(path)
    }

    /// Reads `spec.json`; `None` if it is not there yet.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or of a newer format.
    pub fn read_spec(&self) -> Result<Option<SpecRecord>, RunDirError> {
        read_record(&self.path.join("spec.json"))
    }

    /// As [`Self::write_end`], for a verdict that follows from `exit.json`, which is durable: only visible
    /// on return.
    ///
    /// # Errors
    /// When it cannot be written; then the former record stands.
    pub fn write_end_that_follows(&self, record: &EndRecord) -> Result<(), RunDirError> {
        write_visible(&self.path.join("end.json"), record)
    }

    /// Writes `launch.json` of a launch that has none yet; durable on return. One that a power cut left
    /// torn tells that the launch had begun.
    ///
    /// # Errors
    /// When it cannot be written; then nothing may be told of it.
    pub fn write_launch(&self, record: &LaunchRecord) -> Result<(), RunDirError> {
        write_first(&self.path.join("launch.json"), record, &[&self.path])
    }

    /// Reads `launch.json`; `None` if it is not there yet.
    ///
    /// # Errors
    /// When it cannot be read, is malformed, or of a newer format.
    pub fn read_launch(&self) -> Result<Option<LaunchRecord>, RunDirError> {
        read_record(&self.path.join("launch.json"))
    }

    /// Removes the directory and all in it; fine if it is gone.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> Result<(), RunDirError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RunDirError::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

macro_rules! records {
    ($($file:literal $record:ident $read:ident $write:ident $how:ident $promise:literal;)*) => {
        impl RunDir {
            $(
                #[doc = concat!("Reads `", $file, "`; `None` if it is not there yet.")]
                ///
                /// # Errors
                /// When it cannot be read, is malformed, or of a newer format.
                pub fn $read(&self) -> Result<Option<$record>, RunDirError> {
                    read_record(&self.path.join($file))
                }

                #[doc = concat!("Replaces `", $file, "`; ", $promise, " on return.")]
                ///
                /// # Errors
                /// When it cannot be written; then the former record stands.
                pub fn $write(&self, record: &$record) -> Result<(), RunDirError> {
                    $how(&self.path.join($file), record)
                }
            )*
        }
    };
}

records! {
    "state.json" StateRecord read_state write_state write_visible "visible";
    "exit.json" ExitRecord read_exit write_exit write_record "durable";
    "end.json" EndRecord read_end write_end write_record "durable";
    "fenced.json" FencedRecord read_fenced write_fenced write_record "durable";
    "settled.json" SettledRecord read_settled write_settled write_record "durable";
}
