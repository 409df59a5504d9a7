//! Allocations of executor and shims, counted by a library that is preloaded into both (`benches/allocations`).
//!
//! ```text
//!  counted/davit                      a copy, so that it finds ─┐
//!  counted/containerd-shim-davit-v1   a script beside it  ◄─────┘ that preloads, and executes the shim
//!  counted/files/<program>            where they count
//! ```
//!
//! The executor starts the shim in an environment of its own making, hence the script.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

const LIBRARY: &str = "libdavit_count_allocations.so";
const EXECUTOR: &str = "davit";
const SHIM: &str = "containerd-shim-davit-v1";

/// What a program allocated so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocated {
    /// How often.
    pub(crate) allocations: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

impl Allocated {
    /// What came after `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations.saturating_sub(earlier.allocations),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// Programs of a davit whose allocations are counted.
pub(crate) struct Counted {
    directory: PathBuf,
    library: PathBuf,
}

impl Counted {
    /// Lays them out below `scratch`.
    pub(crate) fn prepare(scratch: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find davit-bench's own binary")?;
        let library = own.with_file_name(LIBRARY);
        ensure!(
            library.is_file(),
            "{} is missing: cargo build -p davit-benches makes it",
            library.display()
        );
        let counted = Self {
            directory: scratch.join("counted"),
            library,
        };
        let files = counted.files();
        fs::create_dir_all(&files).with_context(|| format!("make {}", files.display()))?;
        let executor = counted.directory.join(EXECUTOR);
        let found = on_path(EXECUTOR)?;
        fs::copy(&found, &executor).with_context(|| format!("copy {}", found.display()))?;
        let script = counted.directory.join(SHIM);
        let text = format!(
            "#!/bin/sh\nLD_PRELOAD='{}' COUNT_ALLOCATIONS_IN='{}' exec '{}' \"$@\"\n",
            counted.library.display(),
            files.display(),
            on_path(SHIM)?.display()
        );
        fs::write(&script, text).with_context(|| format!("write {}", script.display()))?;
        fs::set_permissions(&script, Permissions::from_mode(0o700))
            .with_context(|| format!("make {} executable", script.display()))?;
        Ok(counted)
    }

    /// The executor, to be given its arguments.
    pub(crate) fn executor(&self) -> Command {
        let mut command = Command::new(self.directory.join(EXECUTOR));
        command
            .env("LD_PRELOAD", &self.library)
            .env("COUNT_ALLOCATIONS_IN", self.files());
        command
    }

    fn files(&self) -> PathBuf {
        self.directory.join("files")
    }

    /// What the executor allocated so far.
    pub(crate) fn of_executor(&self) -> anyhow::Result<Allocated> {
        self.read(EXECUTOR)
    }

    /// What all shims allocated so far, and the process they are forked from.
    pub(crate) fn of_shims(&self) -> anyhow::Result<Allocated> {
        self.read(SHIM)
    }

    fn read(&self, program: &str) -> anyhow::Result<Allocated> {
        let file = self.files().join(program);
        let bytes = fs::read(&file).with_context(|| format!("read what {program} counted"))?;
        let number = |at: usize| -> anyhow::Result<u64> {
            let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            let word = word.with_context(|| format!("{} is too short", file.display()))?;
            Ok(u64::from_ne_bytes(word))
        };
        let allocated = Allocated {
            allocations: number(0)?,
            bytes: number(8)?,
        };
        ensure!(
            allocated.allocations > 0,
            "{program} allocated nothing: it is not dynamically linked with glibc"
        );
        Ok(allocated)
    }
}

fn on_path(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let mut found = std::env::split_paths(&path).map(|directory| directory.join(program));
    found
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not on PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(contents: &[u64]) -> (tempfile::TempDir, Counted) {
        let directory = tempfile::tempdir().unwrap();
        let counted = Counted {
            directory: directory.path().to_owned(),
            library: PathBuf::new(),
        };
        fs::create_dir(counted.files()).unwrap();
        let bytes: Vec<u8> = contents
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        fs::write(counted.files().join(EXECUTOR), bytes).unwrap();
        (directory, counted)
    }

    #[test]
    fn what_was_counted_is_read() {
        let (_directory, counted) = counted(&[7, 900]);
        let now = counted.of_executor().unwrap();
        let earlier = Allocated {
            allocations: 5,
            bytes: 100,
        };
        assert_eq!(
            now.since(earlier),
            Allocated {
                allocations: 2,
                bytes: 800
            }
        );
    }

    #[test]
    fn a_program_that_was_not_counted_is_an_error() {
        let said = |counted: &Counted| counted.of_executor().unwrap_err().to_string();
        assert!(said(&counted(&[7]).1).contains("too short"));
        assert!(said(&counted(&[0, 0]).1).contains("allocated nothing"));
        let (_directory, counted) = counted(&[1, 1]);
        assert!(counted.of_shims().is_err());
    }
}
