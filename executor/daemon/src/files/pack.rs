//! A tree of files as a tar stream.
//!
//! Nothing is followed and nothing but regular files is opened: each name is looked at first, in the directory that is
//! held open. What is neither file, directory nor symbolic link is left out, and counted.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use tar::EntryType;

use super::member::{DEPTH_MAX, PATH_BYTES_MAX, printable};
use super::write::{self, Told, WriteError};

/// Bytes read of a file at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// What was packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Members.
    pub files: u64,
    /// Sockets, FIFOs and devices, which are not.
    pub left_out: u64,
    /// The first of those.
    pub left_out_first: Option<String>,
}

impl Packed {
    /// A sentence about what was left out, if anything was.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let first = self.left_out_first.as_ref()?;
        Some(format!(
            "{} of its files, sockets, FIFOs or devices, were left out; the first is {first}",
            self.left_out
        ))
    }
}

/// Why a tree was not packed whole.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something in it cannot be read.
    #[error("cannot {operation} {path}")]
    Read {
        /// What was tried.
        operation: &'static str,
        /// Within the tree.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is too deep.
    #[error(
        "{path} is deeper than {DEPTH_MAX} directories, or its path longer than {PATH_BYTES_MAX} bytes"
    )]
    TooDeep {
        /// Within the tree.
        path: String,
    },
    /// The stream cannot be written on.
    #[error("the archive cannot be written")]
    Sink(#[source] io::Error),
}

/// Writes all that is below `dir` to `out`, as a whole archive.
///
/// # Errors
/// [`PackError`]; `out` has a part of an archive then.
pub fn pack(dir: OwnedFd, out: &mut dyn Write) -> Result<Packed, PackError> {
    let mut packer = Packer::new(out);
    packer.tree(dir)?;
    packer.finish()
}

/// Writes the one file that `file` is to `out`, under `name`.
pub(super) fn pack_file(
    source: &mut dyn Read,
    name: &[u8],
    stat: &Stat,
    out: &mut dyn Write,
) -> Result<Packed, PackError> {
    let mut packer = Packer::new(out);
    packer.path = name.to_vec();
    packer.regular(source, stat)?;
    packer.finish()
}

struct Packer<'a> {
    out: &'a mut dyn Write,
    packed: Packed,
    path: Vec<u8>,
    buffer: Vec<u8>,
}

/// A directory on the way down.
struct Level {
    dir: Dir,
    /// Bytes of its path.
    path_bytes: usize,
}

impl<'a> Packer<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            packed: Packed::default(),
            path: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    fn finish(self) -> Result<Packed, PackError> {
        write::finish(self.out).map_err(PackError::Sink)?;
        Ok(self.packed)
    }

    fn tree(&mut self, dir: OwnedFd) -> Result<(), PackError> {
        let root = Dir::new(dir).map_err(|error| self.failed("list", error))?;
        let mut levels = vec![Level {
            dir: root,
            path_bytes: 0,
        }];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path_bytes);
            let Some(entry) = level.dir.read() else {
                levels.pop();
                continue;
            };
            let entry = entry.map_err(|error| self.failed("list", error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let fd = level.dir.fd().map_err(|error| self.failed("list", error))?;
            let below = self.entry(fd, name)?;
            if let Some(below) = below {
                if levels.len() >= DEPTH_MAX || self.path.len() > PATH_BYTES_MAX {
                    let path = printable(&self.path);
                    return Err(PackError::TooDeep { path });
                }
                levels.push(Level {
                    dir: below,
                    path_bytes: self.path.len(),
                });
            }
        }
        Ok(())
    }

    /// Writes what `name` in `dir` is; a directory is opened, for what is in it.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<Dir>, PackError> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.failed("look at", error))?;
        let open = |flags| {
            openat(
                dir,
                name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                // Should it be a FIFO by now, nobody is waited for.
                let opened = open(OFlags::RDONLY | OFlags::NONBLOCK);
                let mut file = File::from(opened.map_err(|error| self.failed("open", error))?);
                self.regular(&mut file, &stat)?;
            }
            FileType::Directory => {
                self.path.push(b'/');
                let told = self.member(EntryType::Directory, &stat, &[]);
                self.path.pop();
                told?;
                let opened = open(OFlags::RDONLY | OFlags::DIRECTORY);
                let opened = opened.and_then(Dir::new);
                return opened.map(Some).map_err(|error| self.failed("open", error));
            }
            FileType::Symlink => {
                let target: CString = readlinkat(dir, name, Vec::new())
                    .map_err(|error| self.failed("read the link", error))?;
                self.member(EntryType::Symlink, &stat, target.to_bytes())?;
            }
            _ => {
                self.packed.left_out += 1;
                let first = || printable(&self.path);
                self.packed.left_out_first.get_or_insert_with(first);
            }
        }
        Ok(None)
    }

    fn regular(&mut self, source: &mut dyn Read, stat: &Stat) -> Result<(), PackError> {
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let told = Told {
            bytes,
            ..told(&self.path, EntryType::Regular, stat)
        };
        let written = write::file(self.out, told, source, &mut self.buffer);
        self.packed.files += 1;
        written.map_err(|error| match error {
            WriteError::Sink(source) => PackError::Sink(source),
            WriteError::Source(source) => PackError::Read {
                operation: "read",
                path: printable(&self.path),
                source,
            },
        })
    }

    fn member(&mut self, kind: EntryType, stat: &Stat, target: &[u8]) -> Result<(), PackError> {
        let told = Told {
            target,
            ..told(&self.path, kind, stat)
        };
        self.packed.files += 1;
        write::member(self.out, told).map_err(PackError::Sink)
    }

    fn failed(&self, operation: &'static str, error: rustix::io::Errno) -> PackError {
        PackError::Read {
            operation,
            path: match self.path.as_slice() {
                b"" => ".".to_owned(),
                path => printable(path),
            },
            source: error.into(),
        }
    }
}

fn told<'a>(path: &'a [u8], kind: EntryType, stat: &Stat) -> Told<'a> {
    Told {
        path,
        kind,
        mode: stat.st_mode & 0o1777,
        mtime: stat.st_mtime,
        bytes: 0,
        target: &[],
    }
}
