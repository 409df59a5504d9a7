//! What is done for crun without a command: letting a container go, and forgetting it.
//!
//! A process less to execute each, and nothing is left out: a container of davit's has no hooks, and its cgroup is
//! the shim's.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::{Runtime, RuntimeError};

impl Runtime {
    /// Lets a created container of crun's go as `crun start` does: its init waits at a FIFO. False if there is
    /// none, so that the command may say why.
    pub(crate) fn open_gate(&self, id: &str) -> Result<bool, RuntimeError> {
        let path = self.state_dir(id)?.join("exec.fifo");
        let failed = |operation| {
            let path = path.clone();
            move |errno: Errno| RuntimeError::State {
                operation,
                path,
                source: errno.into(),
            }
        };
        // Without a reader (ENXIO) the init is gone, and nobody waits.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let gate = match open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            gate => gate.map_err(failed("open"))?,
        };
        rustix::io::write(&gate, &[0]).map_err(failed("write"))?;
        // To crun a container is a created one as long as there is a gate.
        rustix::fs::unlink(&path).map_err(failed("remove"))?;
        Ok(true)
    }

    /// Has crun keep `config` of a created container instead of its copy of the one it was given. It reads that copy only
    /// to do more to the container than davit asks of it.
    pub(crate) fn replace_kept_config(&self, id: &str, config: &[u8]) -> Result<(), RuntimeError> {
        let path = self.state_dir(id)?.join("config.json");
        match fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened.and_then(|mut file| file.write_all(config)),
        }
        .map_err(|source| RuntimeError::State {
            operation: "replace",
            path,
            source,
        })
    }

    /// Removes what crun keeps of container `id`, which has no process any more. Fine if that is gone.
    pub(crate) fn forget(&self, id: &str) -> Result<(), RuntimeError> {
        let path = self.state_dir(id)?;
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RuntimeError::State {
                operation: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Where crun keeps what it knows of a container.
    fn state_dir(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        // Never above or beside: what is below is removed.
        if matches!(id, "" | "." | "..") || id.contains('/') {
            return Err(RuntimeError::State {
                operation: "find the state of a container below",
                path: self.root.clone(),
                source: io::Error::new(io::ErrorKind::InvalidInput, format!("id `{id}`")),
            });
        }
        Ok(self.root.join(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_opened_once_and_only_for_somebody_who_waits() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new("/x/crun".into(), dir.path().into(), false, dir.path());
        assert!(!runtime.open_gate("a").unwrap(), "there is none");
        let gate = dir.path().join("a/exec.fifo");
        fs::create_dir(gate.parent().unwrap()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &gate,
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        let nobody = runtime.open_gate("a").unwrap_err();
        assert!(crate::error::chain(&nobody).contains("No such device"));
        let reader = open(&gate, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert!(runtime.open_gate("a").unwrap());
        let mut byte = [1];
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(1));
        assert!(!gate.exists());
    }

    #[test]
    fn state_is_forgotten_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        let runtime = Runtime::new("/x/crun".into(), root.clone(), false, dir.path());
        runtime.forget("a").unwrap();
        runtime.forget("a").unwrap();
        assert!(!root.join("a").exists());
        for id in ["", ".", "..", "../root"] {
            assert!(runtime.forget(id).is_err(), "{id}");
        }
        assert!(root.exists());
    }
}
