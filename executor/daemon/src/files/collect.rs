//! What was asked for of an ended run's files, kept in its run directory: `files/0.tar`, `files/1.tar`…
//!
//! The job is hostile. A path is looked up inside its root file system (RESOLVE_IN_ROOT): whatever its links say, they
//! lead to the container's own files. What is kept has a bound, and so has the time for it. A crash in the middle leaves
//! nothing that counts: it is collected again, from the same root file system.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit_types::{Bytes, ExtractKind, ExtractPath, ExtractStatus, Extracted};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use tokio::sync::watch;

use super::hashed::Hashed;
use super::pack::{PackError, Packed, pack, pack_file};
use super::sink::Sink;
use super::view;
use crate::containerd::Mount;
use crate::oci::hidden_by;
use crate::runs::sentence;

/// Longest collecting may take, seconds; what is not collected by then is an error.
const COLLECT_SECONDS_MAX: u64 = 900;
/// Times a path is looked up again because something was renamed meanwhile, anywhere on the host.
const LOOKUPS_MAX: u32 = 32;

/// What to collect, and how.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) extracts: Vec<ExtractPath>,
    /// What relative paths begin at.
    pub(crate) workdir: String,
    /// The container's root file system.
    pub(crate) mounts: Vec<Mount>,
    /// Where it is kept; what is there is replaced.
    pub(crate) keep_in: PathBuf,
    /// Bytes kept in all.
    pub(crate) bytes_max: Bytes,
    /// How far it has come, for those who read along.
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far collecting has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Which of them is being collected.
    pub(crate) at: usize,
    /// What that is, once it is found.
    pub(crate) kind: Option<ExtractKind>,
    /// Bytes of its archive that can be read.
    pub(crate) bytes: u64,
}

/// Ends collecting early. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Halt {
    canceled: Arc<watch::Sender<bool>>,
    until: Instant,
}

impl Halt {
    pub(crate) fn new() -> Self {
        Self {
            canceled: Arc::default(),
            until: Instant::now() + Duration::from_secs(COLLECT_SECONDS_MAX),
        }
    }

    pub(crate) fn cancel(&self) {
        self.canceled.send_replace(true);
    }

    /// Returns once it is canceled.
    pub(crate) async fn canceled(&self) {
        // An error means that the sender is gone, which it is not: it is our own.
        drop(
            self.canceled
                .subscribe()
                .wait_for(|canceled| *canceled)
                .await,
        );
    }

    /// Why it has to end.
    pub(crate) fn reason(&self) -> Option<String> {
        if *self.canceled.borrow() {
            return Some("the run was canceled while its files were collected".to_owned());
        }
        (Instant::now() >= self.until)
            .then(|| format!("collecting took more than {COLLECT_SECONDS_MAX} s"))
    }
}

/// Why one of them is not kept.
enum Failed {
    Missing(String),
    Error(String),
}

impl From<String> for Failed {
    fn from(problem: String) -> Self {
        Self::Error(problem)
    }
}

/// What was kept.
struct Kept {
    kind: ExtractKind,
    bytes: u64,
    sha256: String,
    packed: Packed,
}

/// All of `extracts` as errors, for one reason.
pub(crate) fn none(extracts: &[ExtractPath], problem: &str) -> Vec<Extracted> {
    let failed = |path| record(path, Err(Failed::Error(problem.to_owned())));
    extracts.iter().map(failed).collect()
}

/// Collects; durable on return. Blocking.
pub(crate) fn collect(order: &Order, halt: &Halt) -> Vec<Extracted> {
    match prepare(order).and_then(|root| {
        let collected = each(order, &root, halt);
        let durable = sync_dir(&order.keep_in);
        durable.map(|()| collected).map_err(|error| {
            let place = order.keep_in.display();
            format!("what was collected cannot be kept in {place}: {error}")
        })
    }) {
        Ok(collected) => collected,
        Err(problem) => none(&order.extracts, &problem),
    }
}

fn prepare(order: &Order) -> Result<OwnedFd, String> {
    let place = &order.keep_in;
    let failed = |error: io::Error| format!("cannot make {}: {error}", place.display());
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(place)
        .map_err(failed)?;
    view::open(&order.mounts).map_err(|error| sentence(&error))
}

fn each(order: &Order, root: &OwnedFd, halt: &Halt) -> Vec<Extracted> {
    let mut left = order.bytes_max.0;
    let mut collected = Vec::with_capacity(order.extracts.len());
    for (at, path) in order.extracts.iter().enumerate() {
        let file = kept_path(&order.keep_in, at);
        order.progress.send_replace(Progress {
            at,
            ..Progress::default()
        });
        let kept = one(order, root, &path.from, &file, left, halt);
        match &kept {
            // On disk it is the archive that counts, but for a few blocks it is the same.
            Ok(kept) => left = left.saturating_sub(kept.bytes),
            // Half of it is nothing.
            Err(_) => drop(fs::remove_file(&file)),
        }
        collected.push(record(path, kept));
    }
    collected
}

/// Where the `at`th of the collected is kept.
pub(crate) fn kept_path(keep_in: &Path, at: usize) -> PathBuf {
    keep_in.join(format!("{at}.tar"))
}

fn one(
    order: &Order,
    root: &OwnedFd,
    from: &str,
    file: &Path,
    left: u64,
    halt: &Halt,
) -> Result<Kept, Failed> {
    let path = match from.strip_prefix('/') {
        Some(_) => from.to_owned(),
        None => format!("{}/{from}", order.workdir.trim_end_matches('/')),
    };
    if let Some(place) = first_name(&path).and_then(hidden_by) {
        return Err(Failed::Missing(in_memory(&path, place)));
    }
    let (found, stat) = find(root, &path)?;
    if let Some(place) = real_path(root, &found)
        .as_deref()
        .and_then(first_name)
        .and_then(hidden_by)
    {
        return Err(Failed::Missing(in_memory(&path, place)));
    }
    let created = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let created = created.map_err(|error| format!("cannot create {}: {error}", file.display()))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let kind = match is_dir {
        true => ExtractKind::Directory,
        false => ExtractKind::File,
    };
    order
        .progress
        .send_modify(|progress| progress.kind = Some(kind));
    let left = (left, order.bytes_max);
    let mut sink = Sink::new(created, is_dir, left, halt, &order.progress);
    let packed = if is_dir {
        pack_dir(&found, &mut sink)
    } else {
        pack_one(root, &path, &stat, &mut sink)
    };
    let (packed, of_file) =
        packed.map_err(|error| sink.problem().unwrap_or_else(|| sentence(&error)))?;
    let written = sink.finish();
    let written = written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let (bytes, digest) = match of_file {
        Some(digest) => (u64::try_from(stat.st_size).unwrap_or(0), Some(digest)),
        None => (written.bytes, written.digest),
    };
    Ok(Kept {
        kind,
        bytes,
        sha256: digest.unwrap_or_default(),
        packed,
    })
}

fn pack_dir(found: &OwnedFd, sink: &mut Sink<'_>) -> Result<(Packed, Option<String>), PackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(found, ".", flags, Mode::empty()).map_err(opening)?;
    Ok((pack(dir, sink)?, None))
}

fn pack_one(
    root: &OwnedFd,
    path: &str,
    stat: &Stat,
    sink: &mut Sink<'_>,
) -> Result<(Packed, Option<String>), PackError> {
    // Not waiting, should it be a FIFO; but nobody is left to make it one.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = open_in_root(root, path, flags).map_err(opening)?;
    let mut source = Hashed::new(File::from(opened));
    let name = path.rsplit('/').find(|name| !name.is_empty());
    let name = name.unwrap_or("file").as_bytes();
    let packed = pack_file(&mut source, name, stat, sink)?;
    Ok((packed, Some(source.digest())))
}

fn opening(error: Errno) -> PackError {
    PackError::Read {
        operation: "open",
        path: ".".to_owned(),
        source: error.into(),
    }
}

/// The file or directory that `path` is, in the container's terms.
fn find(root: &OwnedFd, path: &str) -> Result<(OwnedFd, Stat), Failed> {
    let found = match open_in_root(root, path, OFlags::PATH | OFlags::CLOEXEC) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(Failed::Missing(format!(
                "{path} was not there when the job had ended (nor is anything of /tmp and /dev/shm, which are memory)"
            )));
        }
        Err(error) => return Err(Failed::Error(format!("cannot open {path}: {error}"))),
    };
    let stat = fstat(&found).map_err(|error| format!("cannot look at {path}: {error}"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory | FileType::RegularFile => Ok((found, stat)),
        other => Err(Failed::Error(format!(
            "{path} is neither a file nor a directory ({other:?})"
        ))),
    }
}

fn open_in_root(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 1..LOOKUPS_MAX {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// Where `found` is below `root`.
fn real_path(root: &OwnedFd, found: &OwnedFd) -> Option<String> {
    let path = |fd: &OwnedFd| {
        let number = std::os::fd::AsRawFd::as_raw_fd(fd);
        fs::read_link(format!("/proc/self/fd/{number}")).ok()
    };
    let (root, found) = (path(root)?, path(found)?);
    let below = found.strip_prefix(root).ok()?;
    below.to_str().map(|below| format!("/{below}"))
}

/// The first name of an absolute path that has no `..` in it.
fn first_name(path: &str) -> Option<&str> {
    let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let first = names.next()?;
    (first != ".." && !names.any(|name| name == "..")).then_some(first)
}

fn in_memory(path: &str, place: &str) -> String {
    format!(
        "{path} is in {place}, which is the container's own and gone with it: let the job write to another directory"
    )
}

fn record(path: &ExtractPath, kept: Result<Kept, Failed>) -> Extracted {
    let mut record = Extracted {
        from: path.from.clone(),
        to: path.to.clone(),
        status: ExtractStatus::Ok,
        kind: None,
        bytes: 0,
        sha256: None,
        message: None,
    };
    match kept {
        Ok(kept) => {
            record.kind = Some(kept.kind);
            record.bytes = kept.bytes;
            record.sha256 = Some(kept.sha256);
            record.message = kept.packed.sentence();
        }
        Err(Failed::Missing(message)) => {
            record.status = ExtractStatus::Missing;
            record.message = Some(message);
        }
        Err(Failed::Error(message)) => {
            record.status = ExtractStatus::Error;
            record.message = Some(message);
        }
    }
    record
}

/// Makes the names in `dir`, and its own, durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
