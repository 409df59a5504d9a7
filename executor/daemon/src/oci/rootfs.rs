//! Reading a file of an image before it is mounted: straight from the layers of its snapshot.
//!
//! The layers are hostile: a symlink may point anywhere, a file may be a device. So each part of a
//! path is opened by itself, never following a link (`openat2` with RESOLVE_BENEATH, NO_SYMLINKS,
//! NO_MAGICLINKS), and links are resolved here, against the merged tree, as the container will see
//! it. Merging follows the kernel's overlay rules: upper layers first, a 0/0 character device hides
//! what is below, an opaque directory hides the lower ones of its name.

mod walk;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fgetxattr, fstat, openat2, readlinkat,
};

use crate::containerd::Mount;

pub(crate) use self::walk::Step;

/// Symlinks followed for one path (the kernel's own bound is 40).
const LINKS_MAX: usize = 16;
/// Parts of one path, links included.
const PARTS_MAX: usize = 256;

/// Why a file of the image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Mounts other than one overlay or one bind.
    #[error("the snapshot is mounted as {0}, which davit does not know")]
    UnknownMount(String),
    /// A layer or a part of the path cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// Within the image, or the layer's directory.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Links in circles, or a path of absurd depth.
    #[error("{0} leads through too many links")]
    TooManyLinks(String),
    /// Neither a directory nor a link to one.
    #[error("{0} is, or leads through, something that is no directory")]
    NotADirectory(String),
    /// Not an ordinary file.
    #[error("{0} is no ordinary file")]
    NotAFile(String),
    /// Beyond the bound.
    #[error("{path} has more than {bytes_max} bytes")]
    TooLarge {
        /// Within the image.
        path: String,
        /// The bound.
        bytes_max: usize,
    },
}

/// The layers of a root file system, top first.
#[derive(Debug)]
pub(crate) struct Layers {
    roots: Vec<OwnedFd>,
}

/// What a name is in the merged directory.
enum Entry {
    Absent,
    Directory(Vec<OwnedFd>),
    Link(String),
    File(OwnedFd),
}

impl Layers {
    /// Opens the directories that `mounts` (one overlay or one bind mount) are made of.
    pub(crate) fn open(mounts: &[Mount]) -> Result<Self, RootfsError> {
        let [mount] = mounts else {
            return Err(RootfsError::UnknownMount(format!(
                "{} mounts",
                mounts.len()
            )));
        };
        let directories: Vec<String> = match mount.r#type.as_str() {
            "overlay" => overlay_directories(&mount.options),
            "bind" | "rbind" => vec![mount.source.clone()],
            other => return Err(RootfsError::UnknownMount(format!("type `{other}`"))),
        };
        if directories.is_empty() {
            return Err(RootfsError::UnknownMount(
                "an overlay without layers".to_owned(),
            ));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let roots = directories
            .iter()
            .map(|path| {
                rustix::fs::openat(CWD, Path::new(path), flags, Mode::empty())
                    .map_err(|error| open_failed(path, error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { roots })
    }

    /// The bytes of the file at `path` (relative to the root); `None` if there is none.
    pub(super) fn read(
        &self,
        path: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, RootfsError> {
        let Some(file) = self.find(path)? else {
            return Ok(None);
        };
        let failed = |source| RootfsError::Open {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .take(bytes_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() > bytes_max {
            return Err(RootfsError::TooLarge {
                path: path.to_owned(),
                bytes_max,
            });
        }
        Ok(Some(bytes))
    }

    /// Walks `path` through the merged tree.
    fn find(&self, path: &str) -> Result<Option<OwnedFd>, RootfsError> {
        let mut todo: Vec<String> = parts(path).rev().collect();
        // The directories passed through, for `..`; the root is not in it.
        let mut passed: Vec<Vec<OwnedFd>> = Vec::new();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = todo.pop() {
            steps += 1;
            if steps > PARTS_MAX {
                return Err(RootfsError::TooManyLinks(path.to_owned()));
            }
            if part == ".." {
                passed.pop();
                continue;
            }
            let here = passed.last().unwrap_or(&self.roots);
            match look_up(here, &part)? {
                Entry::Absent => return Ok(None),
                Entry::Directory(merged) => passed.push(merged),
                Entry::File(file) if todo.is_empty() => return open_file(path, file),
                // A file in the middle of a path.
                Entry::File(_) => return Ok(None),
                Entry::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(RootfsError::TooManyLinks(path.to_owned()));
                    }
                    if target.starts_with('/') {
                        passed.clear();
                    }
                    todo.extend(parts(&target).rev());
                }
            }
        }
        Err(RootfsError::NotAFile(path.to_owned()))
    }
}

/// The parts of a path without empty ones and `.`; what is above the root is dropped while walking.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
}

/// Finds `name` in the merged directory `here` (its layers, top first).
fn look_up(here: &[OwnedFd], name: &str) -> Result<Entry, RootfsError> {
    let mut merged = Vec::new();
    for layer in here {
        let Some(found) = open_part(layer.as_fd(), name)? else {
            continue;
        };
        let stat = fstat(&found).map_err(|error| open_failed(name, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            // Hidden, with all below it.
            FileType::CharacterDevice if stat.st_rdev == 0 => break,
            FileType::Directory => {
                let opaque = is_opaque(layer.as_fd(), name);
                merged.push(found);
                if opaque {
                    break;
                }
            }
            // Anything else below a directory is hidden by it.
            _ if !merged.is_empty() => break,
            FileType::Symlink => {
                let target =
                    readlinkat(&found, "", Vec::new()).map_err(|error| open_failed(name, error))?;
                return Ok(Entry::Link(target.to_string_lossy().into_owned()));
            }
            _ => return Ok(Entry::File(found)),
        }
    }
    Ok(if merged.is_empty() {
        Entry::Absent
    } else {
        Entry::Directory(merged)
    })
}

/// Opens one name without following anything; `None` if it is not in this layer.
fn open_part(layer: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>, RootfsError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    // With O_PATH and O_NOFOLLOW a link at the end is opened itself (openat2(2)).
    match openat2(layer, name, flags, Mode::empty(), resolve) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(open_failed(name, error)),
    }
}

/// Whether the directory hides those of its name in lower layers.
fn is_opaque(layer: BorrowedFd<'_>, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let Ok(directory) = openat2(layer, name, flags, Mode::empty(), resolve) else {
        return false;
    };
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .into_iter()
        .any(|attribute| {
            let mut value = [0u8; 8];
            matches!(fgetxattr(&directory, attribute, &mut value[..]), Ok(1)) && value[0] == b'y'
        })
}

/// Reopens an O_PATH handle for reading, if it is an ordinary file (a FIFO would block us).
fn open_file(path: &str, handle: OwnedFd) -> Result<Option<OwnedFd>, RootfsError> {
    let stat = fstat(&handle).map_err(|error| open_failed(path, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(RootfsError::NotAFile(path.to_owned()));
    }
    // The handle names the very inode that was checked.
    let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
    let reopened = format!("/proc/self/fd/{number}");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(reopened, flags, Mode::empty())
        .map(Some)
        .map_err(|error| open_failed(path, error))
}

fn open_failed(path: &str, error: rustix::io::Errno) -> RootfsError {
    RootfsError::Open {
        path: path.to_owned(),
        source: error.into(),
    }
}

/// The directories of an overlay mount, top first: the upper one, then the lower ones in order.
fn overlay_directories(options: &[String]) -> Vec<String> {
    let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
    let upper = option("upperdir=").map(str::to_owned);
    let lower = option("lowerdir=").map(split_lower).unwrap_or_default();
    upper.into_iter().chain(lower).collect()
}

/// Splits at colons; `\:` is a colon in a name, `\\` a backslash.
pub(crate) fn split_lower(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut letters = list.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => names.push(String::new()),
            '\\' => names.last_mut().map_or((), |n| n.extend(letters.next())),
            _ => names.last_mut().map_or((), |n| n.push(letter)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
