//! What was collected from a run, put where the one who asked for it wants it.
//!
//! | what it was | TO | becomes |
//! |---|---|---|
//! | a file | a directory, or ends in `/` | a file in it, of the same name |
//! | a file | anything else | that file; one that is there is replaced, whole or not at all |
//! | a directory | a directory | what was in it is put in there, over files of the same names |
//! | a directory | not there | that directory |
//! | a directory | a file | an error |
//!
//! Directories that TO is in are made. Everything belongs to the caller.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use davit_types::ExtractKind;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::archive::{self, ArchiveError, Head, Kind};
use super::hashed::Hashed;
use super::unpack::{Bounds, Target, UnpackError, unpack};

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The place cannot be made.
    #[error("cannot {operation} {}", path.display())]
    Place {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be unpacked.
    #[error("cannot unpack into {}", path.display())]
    Unpack {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: UnpackError,
    },
    /// It is not what was kept.
    #[error("what arrived in {} is not what was collected: its SHA-256 is {arrived}, not {wanted}", path.display())]
    Differs {
        /// Where.
        path: PathBuf,
        /// Of what arrived.
        arrived: String,
        /// Of what was collected.
        wanted: String,
    },
}

impl From<ArchiveError> for ReceiveError {
    fn from(error: ArchiveError) -> Self {
        Self::Unpack {
            path: PathBuf::new(),
            source: error.into(),
        }
    }
}

/// Puts what `stream` brings, a whole archive of what was `kind` and called `from`, at `to`. Returns where it is. `sha256`
/// is asked for at the end of the stream: it may be told there.
///
/// # Errors
/// [`ReceiveError`]; of a directory a part may be there then.
pub fn receive(
    mut stream: impl Read,
    kind: ExtractKind,
    from: &str,
    to: &Path,
    sha256: impl Fn() -> String,
) -> Result<PathBuf, ReceiveError> {
    let (path, arrived) = match kind {
        ExtractKind::Directory => (to.to_owned(), directory(&mut stream, to)?),
        ExtractKind::File => file(&mut stream, from, to, &sha256)?,
    };
    let wanted = sha256();
    if arrived == wanted {
        return Ok(path);
    }
    Err(ReceiveError::Differs {
        path,
        arrived,
        wanted,
    })
}

fn directory(stream: &mut impl Read, to: &Path) -> Result<String, ReceiveError> {
    let place = |operation| {
        move |source: io::Error| ReceiveError::Place {
            operation,
            path: to.to_owned(),
            source,
        }
    };
    fs::create_dir_all(to).map_err(place("make the directory"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The caller's own path: its links are followed.
    let dir = openat(CWD, to, flags, Mode::empty());
    let target = Target {
        dir: dir.map_err(|error| place("open")(error.into()))?,
        owner: None,
        bounds: Bounds::NONE,
    };
    let mut hashed = Hashed::new(stream);
    let unpacked = unpack(&mut hashed, &target).and_then(|_| {
        // The zeros at its end are of it too.
        Ok(io::copy(&mut hashed, &mut io::sink())?)
    });
    unpacked.map_err(|source| ReceiveError::Unpack {
        path: to.to_owned(),
        source,
    })?;
    Ok(hashed.digest())
}

fn file(
    stream: &mut impl Read,
    from: &str,
    to: &Path,
    wanted: &impl Fn() -> String,
) -> Result<(PathBuf, String), ReceiveError> {
    let into_dir = to.is_dir() || to.as_os_str().as_encoded_bytes().ends_with(b"/");
    let path = match Path::new(from).file_name() {
        Some(name) if into_dir => to.join(name),
        _ => to.to_owned(),
    };
    let place = |operation| {
        let path = path.clone();
        move |source: io::Error| ReceiveError::Place {
            operation,
            path,
            source,
        }
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(place("make the directory of"))?;
    // Beside it, so that it can take its place in one step.
    let unfinished = parent.join(format!(".davit-{}", uuid::Uuid::new_v4().simple()));
    let mut made = Unfinished {
        path: unfinished,
        digest: String::new(),
        done: false,
    };
    archive::each(&mut *stream, |head, bytes| made.member(&head, bytes))
        .and_then(|()| io::copy(stream, &mut io::sink()).map_err(place("read")))
        .map_err(|error| match error {
            ReceiveError::Unpack { source, .. } => ReceiveError::Unpack {
                path: path.clone(),
                source,
            },
            other => other,
        })?;
    let arrived = std::mem::take(&mut made.digest);
    if made.done && arrived == wanted() {
        fs::rename(&made.path, &path).map_err(place("make"))?;
    }
    Ok((path, arrived))
}

/// A file that is not in its place yet; removed if it never is.
struct Unfinished {
    path: PathBuf,
    digest: String,
    done: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed by now, or never made.
        drop(fs::remove_file(&self.path));
    }
}

impl Unfinished {
    fn member(&mut self, head: &Head, bytes: &mut dyn Read) -> Result<(), ReceiveError> {
        let Kind::File { bytes: told } = head.kind else {
            return Err(self.not_alone());
        };
        if self.done {
            return Err(self.not_alone());
        }
        let writing = |source| ReceiveError::Place {
            operation: "write",
            path: self.path.clone(),
            source,
        };
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(writing)?;
        let mut hashed = Hashed::new(bytes);
        let copied = io::copy(&mut hashed, &mut file);
        self.digest = hashed.digest();
        let finish = || -> io::Result<()> {
            if copied? != told {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.flush()?;
            file.set_permissions(fs::Permissions::from_mode(head.mode & 0o777))?;
            let seconds = Duration::from_secs(u64::try_from(head.mtime).unwrap_or(0));
            file.set_modified(SystemTime::UNIX_EPOCH + seconds)
        };
        finish().map_err(|source| ReceiveError::Place {
            operation: "write",
            path: self.path.clone(),
            source,
        })?;
        self.done = true;
        Ok(())
    }

    fn not_alone(&self) -> ReceiveError {
        let source = UnpackError::Refused {
            member: "?".to_owned(),
            problem: "is not the one file that was collected".to_owned(),
        };
        ReceiveError::Unpack {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
