//! A tar stream into a directory, and into nothing else.
//!
//! Each parent is opened from the directory with `openat2` (RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS), each name is
//! made anew in it: what stands in its place is removed, never written through. So a link that the archive itself
//! brought, or that stood there before, leads nobody out.
//!
//! Directories get their modes and times at the end: what is made in them would change the times, and a mode may
//! forbid it.

mod error;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use self::error::{failed, led_out, make_failed, refused, too_much};
use super::archive::{self, Head, Kind};
use super::member::MemberPath;

pub use self::error::UnpackError;

/// Bytes of the paths of all directories of one archive, which are remembered until its end.
const DIRECTORY_PATH_BYTES_MAX: usize = 64 << 20;
/// Bytes written of a file at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// Mode of a directory that the archive does not tell of.
const DIRECTORY_MODE: u32 = 0o755;

/// How much is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of all files together, and what the bound is called.
    pub bytes_max: (u64, &'static str),
    /// Members, and what the bound is called.
    pub files_max: (u64, &'static str),
}

impl Bounds {
    /// No bound but the disk: for what this host packed itself, within bounds.
    pub const NONE: Self = Self {
        bytes_max: (u64::MAX, ""),
        files_max: (u64::MAX, ""),
    };
}

/// What is unpacked into.
#[derive(Debug)]
pub struct Target {
    /// The directory.
    pub dir: OwnedFd,
    /// Whose everything shall be; absent: the caller's.
    pub owner: Option<(u32, u32)>,
    /// How much is taken.
    pub bounds: Bounds,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Members.
    pub files: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Unpacks `stream`. What is after the archive's end is left unread.
///
/// # Errors
/// [`UnpackError`]; a part of the archive is there then.
pub fn unpack(stream: impl Read, target: &Target) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker {
        target,
        parent: None,
        directories: Vec::new(),
        directory_path_bytes: 0,
        done: Unpacked::default(),
        buffer: vec![0; BUFFER_BYTES],
    };
    archive::each(stream, |head, bytes| unpacker.member(head, bytes))?;
    unpacker.finish()
}

struct Unpacker<'a> {
    target: &'a Target,
    /// The parent of the last member, by its path: most members are beside each other.
    parent: Option<(Vec<u8>, OwnedFd)>,
    directories: Vec<Head>,
    directory_path_bytes: usize,
    done: Unpacked,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn member(&mut self, head: Head, bytes: &mut dyn Read) -> Result<(), UnpackError> {
        self.count(&head)?;
        // The directory itself stays as it is.
        if head.path.is_root() {
            return match head.kind {
                Kind::Directory => Ok(()),
                _ => Err(refused(&head.path, "has no name")),
            };
        }
        let parent = self.open_parent(&head.path)?;
        let made = match &head.kind {
            Kind::File { bytes: told } => self.file(parent.as_fd(), &head, *told, bytes),
            Kind::Directory => self.directory(parent.as_fd(), &head),
            Kind::Symlink { target } => self.symlink(parent.as_fd(), &head, target),
            Kind::HardLink { to } => self.hard_link(parent.as_fd(), &head, to),
        };
        self.parent = Some((head.path.split().0.to_vec(), parent));
        made?;
        if head.kind == Kind::Directory {
            self.remember(head)?;
        }
        Ok(())
    }

    fn count(&mut self, head: &Head) -> Result<(), UnpackError> {
        let bounds = &self.target.bounds;
        let (files_max, name) = bounds.files_max;
        self.done.files += 1;
        if self.done.files > files_max {
            return Err(too_much(name, files_max, "files"));
        }
        if let Kind::File { bytes } = head.kind {
            let (bytes_max, name) = bounds.bytes_max;
            self.done.bytes = self.done.bytes.saturating_add(bytes);
            if self.done.bytes > bytes_max {
                return Err(too_much(name, bytes_max, "bytes"));
            }
        }
        Ok(())
    }

    /// The directory that `path` is in; made, with those above it, if the archive has not told of it.
    fn open_parent(&mut self, path: &MemberPath) -> Result<OwnedFd, UnpackError> {
        let (parent, _) = path.split();
        if let Some((known, fd)) = self.parent.take()
            && known == parent
        {
            return Ok(fd);
        }
        let root = self.target.dir.as_fd();
        match open_beneath(root, parent) {
            Err(Errno::NOENT) => {
                let mut here = open_beneath(root, b"").map_err(failed("open", path))?;
                for name in parent.split(|byte| *byte == b'/') {
                    match mkdirat(&here, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
                        Ok(()) => self.own(here.as_fd(), name).map_err(failed("own", path))?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(failed("make the directory of", path)(error)),
                    }
                    here =
                        open_beneath(here.as_fd(), name).map_err(|error| led_out(path, error))?;
                }
                Ok(here)
            }
            opened => opened.map_err(|error| led_out(path, error)),
        }
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        head: &Head,
        told: u64,
        bytes: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let (_, name) = head.path.split();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let made = make_way(parent, &head.path, create)?;
        let mut file = File::from(made);
        let mut left = told;
        while left > 0 {
            let part = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let read = bytes
                .read(&mut self.buffer[..part])
                .map_err(UnpackError::Archive)?;
            if read == 0 {
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "it ends within a file");
                return Err(UnpackError::Archive(cut));
            }
            let written = file.write_all(&self.buffer[..read]);
            written.map_err(|source| make_failed("write", &head.path, source))?;
            left -= read as u64;
        }
        if let Some((uid, gid)) = self.target.owner {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(failed("own", &head.path))?;
        }
        fchmod(&file, Mode::from_raw_mode(head.mode & 0o777))
            .map_err(failed("set the mode of", &head.path))?;
        futimens(&file, &times(head)).map_err(failed("set the time of", &head.path))
    }

    fn directory(&self, parent: BorrowedFd<'_>, head: &Head) -> Result<(), UnpackError> {
        let (_, name) = head.path.split();
        let make = || mkdirat(parent, name, Mode::from_raw_mode(0o700));
        match make() {
            Err(Errno::EXIST) if is_dir(parent, name) => return Ok(()),
            Err(Errno::EXIST) => make_way(parent, &head.path, make)?,
            made => made.map_err(failed("make", &head.path))?,
        }
        self.own(parent, name).map_err(failed("own", &head.path))
    }

    fn symlink(
        &self,
        parent: BorrowedFd<'_>,
        head: &Head,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let (_, name) = head.path.split();
        make_way(parent, &head.path, || symlinkat(target, parent, name))?;
        self.own(parent, name).map_err(failed("own", &head.path))?;
        utimensat(parent, name, &times(head), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", &head.path))
    }

    fn hard_link(
        &self,
        parent: BorrowedFd<'_>,
        head: &Head,
        to: &MemberPath,
    ) -> Result<(), UnpackError> {
        let (_, name) = head.path.split();
        let (to_parent, to_name) = to.split();
        if to.is_root() {
            return Err(refused(&head.path, "is a hard link to a directory"));
        }
        let from = open_beneath(self.target.dir.as_fd(), to_parent);
        let absent = || {
            let problem = format!("is a hard link to `{to}`, which is not before it");
            refused(&head.path, problem)
        };
        let from = match from {
            Err(Errno::NOENT) => return Err(absent()),
            opened => opened.map_err(|error| led_out(&head.path, error))?,
        };
        // The name itself, should it be a symbolic link.
        let link = || linkat(&from, to_name, parent, name, AtFlags::empty());
        match make_way(parent, &head.path, link) {
            Err(UnpackError::Make { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(absent())
            }
            made => made,
        }
    }

    /// Gives `name` to whom everything shall belong.
    fn own(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let Some((uid, gid)) = self.target.owner else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn remember(&mut self, head: Head) -> Result<(), UnpackError> {
        self.directory_path_bytes += head.path.as_bytes().len();
        if self.directory_path_bytes > DIRECTORY_PATH_BYTES_MAX {
            let problem = "is one directory too many: their paths are longer than 64 MiB together";
            return Err(refused(&head.path, problem));
        }
        self.directories.push(head);
        Ok(())
    }

    fn finish(self) -> Result<Unpacked, UnpackError> {
        let root = self.target.dir.as_fd();
        // Those below first: the times of a directory are nobody's to change afterwards.
        for head in self.directories.iter().rev() {
            let opened = match open_beneath(root, head.path.as_bytes()) {
                // A later member took its place.
                Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => continue,
                opened => opened.map_err(failed("open", &head.path))?,
            };
            fchmod(&opened, Mode::from_raw_mode(head.mode))
                .map_err(failed("set the mode of", &head.path))?;
            futimens(&opened, &times(head)).map_err(failed("set the time of", &head.path))?;
        }
        Ok(self.done)
    }
}

/// Opens the directory `path` below `root`, following nothing; `root` itself if it is empty.
fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// Does `make`, having removed what stands in its place, unless that is a directory.
fn make_way<T>(
    parent: BorrowedFd<'_>,
    path: &MemberPath,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, UnpackError> {
    let (_, name) = path.split();
    match make() {
        Err(Errno::EXIST) if is_dir(parent, name) => {
            Err(refused(path, "is where a directory is already"))
        }
        Err(Errno::EXIST) => {
            unlinkat(parent, name, AtFlags::empty()).map_err(failed("replace", path))?;
            make().map_err(failed("make", path))
        }
        made => made.map_err(failed("make", path)),
    }
}

fn is_dir(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn times(head: &Head) -> Timestamps {
    let time = Timespec {
        tv_sec: head.mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

#[cfg(test)]
mod tests;
