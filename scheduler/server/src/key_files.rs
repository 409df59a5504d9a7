//! Numbered key files in a directory of one's own.
//!
//! ```text
//!  <directory>, 0700 ── 1.<kind>  2.<kind>  3.<kind>, 0600: the greatest number is the newest key
//! ```
//!
//! A key is added beside the others and never changed; several replicas are given the same files. A file
//! that others may read is refused: whoever could read it may have.
//!
//! Absent on purpose: watching for new files (a rotation ends with a restart), and deleting: only the operator
//! knows what an old key still opens.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Keys of one kind in a directory.
const KEYS_MAX: usize = 64;
/// A key file.
const FILE_BYTES_MAX: usize = 4 * 1024;

/// A key as its file holds it.
pub(crate) struct KeyFile {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// What is wrong with a directory of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} has mode {mode:o}; a key is nobody else's: {wanted:o} is wanted", path.display())]
    Open {
        /// Which file or directory.
        path: PathBuf,
        /// What its mode is.
        mode: u32,
        /// What it should be.
        wanted: u32,
    },
    /// A file that holds no key of its kind.
    #[error("{} is not {wanted}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// More keys than there is a use for.
    #[error("{} holds more than {max} keys", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io {
        operation,
        path,
        source,
    }
}

fn closed(path: &Path, mode: u32, wanted: u32) -> Result<(), KeyFileError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(KeyFileError::Open {
        path: path.to_owned(),
        mode: mode & 0o7777,
        wanted,
    })
}

/// Keys of a kind by number; makes the directory.
pub(crate) fn read(directory: &Path, kind: &str) -> Result<Vec<KeyFile>, KeyFileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io("make", directory))?;
    let metadata = fs::metadata(directory).map_err(io("look at", directory))?;
    closed(directory, metadata.permissions().mode(), 0o700)?;
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(io("list", directory))? {
        let entry = entry.map_err(io("list", directory))?;
        let name = entry.file_name();
        let Some((stem, found)) = name.to_str().and_then(|name| name.split_once('.')) else {
            continue;
        };
        match stem.parse::<u32>() {
            Ok(number) if found == kind && number.to_string() == stem => numbers.push(number),
            _ => {}
        }
    }
    if numbers.len() > KEYS_MAX {
        return Err(KeyFileError::TooMany {
            path: directory.to_owned(),
            max: KEYS_MAX,
        });
    }
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|number| read_one(number, directory.join(format!("{number}.{kind}"))))
        .collect()
}

fn read_one(number: u32, path: PathBuf) -> Result<KeyFile, KeyFileError> {
    let file = File::open(&path).map_err(io("open", &path))?;
    let metadata = file.metadata().map_err(io("look at", &path))?;
    closed(&path, metadata.permissions().mode(), 0o600)?;
    // With its full size from the beginning: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read", &path))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::Content {
            path,
            wanted: "a key file of at most 4 KiB",
        });
    }
    Ok(KeyFile {
        number,
        path,
        bytes,
    })
}

/// Adds a key, whole and durable or not at all; one of that number that is there already stays.
pub(crate) fn add(
    directory: &Path,
    kind: &str,
    number: u32,
    bytes: &[u8],
) -> Result<(), KeyFileError> {
    let path = directory.join(format!("{number}.{kind}"));
    let draft = directory.join(format!(".{number}.{kind}.{}", std::process::id()));
    let written = write(&draft, bytes).and_then(|()| match fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    written.and(removed).map_err(io("write", &path))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io("sync", directory))
}

fn write(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn keys_come_back_by_number() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        assert!(read(&keys, "kek").expect("an empty one").is_empty());
        for number in [10, 9, 1] {
            add(&keys, "kek", number, &[7, 8]).expect("added");
        }
        add(&keys, "pem", 11, b"other").expect("added");
        add(&keys, "kek", 9, b"later").expect("the first one stays");
        let found = read(&keys, "kek").expect("readable");
        let numbers: Vec<u32> = found.iter().map(|key| key.number).collect();
        assert_eq!(numbers, [1, 9, 10]);
        assert!(found.iter().all(|key| *key.bytes == [7, 8]));
        assert_eq!(
            fs::read_dir(&keys).expect("listed").count(),
            4,
            "no draft stays"
        );
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        read(&keys, "kek").expect("an empty one");
        add(&keys, "kek", 1, b"key").expect("added");
        let file = keys.join("1.kek");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("chmod");
        let refused = |path: &Path| matches!(read(&keys, "kek"), Err(KeyFileError::Open { path: p, .. }) if p == path);
        assert!(refused(&file));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("chmod");
        fs::set_permissions(&keys, Permissions::from_mode(0o750)).expect("chmod");
        assert!(refused(&keys));
    }
}
