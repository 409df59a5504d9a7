//! Reading and writing one cgroupfs file relative to an open directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::CgroupError;

/// Largest file read, bytes; `cgroup.procs` of 300,000 processes.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// An open cgroup directory and its path, for messages.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(crate) fn open(path: PathBuf) -> Result<Self, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(CgroupError::io("open", &path))?;
        Ok(Self { fd, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn file(&self, name: &str) -> Result<File, CgroupError> {
        openat(
            &self.fd,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(File::from)
        .map_err(|error| CgroupError::io("open", &self.path.join(name))(error))
    }

    pub(crate) fn read(&self, name: &str) -> Result<String, CgroupError> {
        read_text(&self.file(name)?).map_err(|e| CgroupError::io("read", &self.path.join(name))(e))
    }

    /// Reads a file that not every kernel or cgroup has.
    pub(crate) fn read_optional(&self, name: &str) -> Result<Option<String>, CgroupError> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            // Reading memory.peak or io.stat may also be refused where the controller is off.
            Err(CgroupError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        openat(
            &self.fd,
            name,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(io::Error::from)
        .and_then(|fd| File::from(fd).write_all(value.as_bytes()))
        .map_err(|source| CgroupError::Write {
            path: self.path.join(name),
            value: value.to_owned(),
            source,
        })
    }

    pub(crate) fn malformed(&self, name: &str, problem: impl Into<String>) -> CgroupError {
        CgroupError::Malformed {
            path: self.path.join(name),
            problem: problem.into(),
        }
    }
}

/// The rest of `file`, at most [`FILE_BYTES_MAX`] bytes.
pub(crate) fn read_text(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
