//! Records that appear whole or not at all.
//!
//! | kind    | how                                                       | what a power cut may leave       |
//! |---------|-----------------------------------------------------------|----------------------------------|
//! | durable | temporary file, fsync, rename, fsync of the directory     | the former record or this one    |
//! | first   | temporary file, rename, fsync of file and directories     | before the return a torn one     |
//! |         | at once: together they take one commit of a journal       |                                  |
//! | visible | temporary file, rename                                    | a torn one, or none              |

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{FORMAT_VERSION, RunDirError};

/// Largest record written or read, bytes; a spec is bounded far below this.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// Replaces the record at `path`; durable on return.
pub(crate) fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), RunDirError> {
    replace(path, record, true)?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Writes a record where there was none, for a reader to whom a torn one means that this never returned;
/// durable on return, together with the entries of `directories`.
pub(crate) fn write_first<T: Serialize>(
    path: &Path,
    record: &T,
    directories: &[&Path],
) -> Result<(), RunDirError> {
    let file = replace(path, record, false)?;
    std::thread::scope(|scope| {
        let others: Vec<_> = directories
            .iter()
            .map(|directory| scope.spawn(move || sync_dir(directory)))
            .collect();
        let written = file.sync_all().map_err(RunDirError::io("fsync", path));
        let synced = others.into_iter().map(|other| match other.join() {
            Ok(synced) => synced,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        synced.fold(written, Result::and)
    })
}

/// Replaces the record at `path` for every process of this boot; a power cut may lose it.
pub(crate) fn write_visible<T: Serialize>(path: &Path, record: &T) -> Result<(), RunDirError> {
    replace(path, record, false).map(drop)
}

fn replace<T: Serialize>(path: &Path, record: &T, durable: bool) -> Result<File, RunDirError> {
    let temporary = path.with_extension("json.tmp");
    let bytes = serde_json::to_vec_pretty(record).map_err(|source| RunDirError::Malformed {
        path: path.to_owned(),
        source,
    })?;
    check_len(path, bytes.len())?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(RunDirError::io("create", &temporary))?;
    file.write_all(&bytes)
        .map_err(RunDirError::io("write", &temporary))?;
    if durable {
        file.sync_all()
            .map_err(RunDirError::io("fsync", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(RunDirError::io("rename into place", path))?;
    Ok(file)
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), RunDirError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(RunDirError::io("fsync", path))
}

pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RunDirError::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(RunDirError::io("read", path))?;
    check_len(path, bytes.len())?;
    parse_record(path, &bytes).map(Some)
}

fn check_len(path: &Path, len: usize) -> Result<(), RunDirError> {
    if len as u64 <= RECORD_BYTES_MAX {
        return Ok(());
    }
    Err(RunDirError::TooLarge {
        path: path.to_owned(),
        bytes_max: RECORD_BYTES_MAX,
    })
}

fn parse_record<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, RunDirError> {
    #[derive(serde::Deserialize)]
    struct Header {
        version: u32,
    }
    let malformed = |source| RunDirError::Malformed {
        path: path.to_owned(),
        source,
    };
    // The version first: a newer record may not have the fields this code wants.
    let header: Header = serde_json::from_slice(bytes).map_err(malformed)?;
    if header.version > FORMAT_VERSION {
        return Err(RunDirError::TooNew {
            path: path.to_owned(),
            found: header.version,
            readable_max: FORMAT_VERSION,
        });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Record {
        version: u32,
        text: String,
    }

    fn record(text: &str) -> Record {
        Record {
            version: FORMAT_VERSION,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_record_is_replaced_and_absent_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(read_record::<Record>(&path).unwrap(), None);
        write_record(&path, &record("one")).unwrap();
        write_record(&path, &record("two")).unwrap();
        assert_eq!(read_record(&path).unwrap(), Some(record("two")));
        let names: Vec<_> = dir.path().read_dir().unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file stays");
    }

    #[test]
    fn a_first_record_is_there_and_says_which_directory_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spec.json");
        write_first(&path, &record("one"), &[dir.path()]).unwrap();
        assert_eq!(read_record(&path).unwrap(), Some(record("one")));
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        let absent = dir.path().join("absent");
        let error = write_first(&path, &record("two"), &[dir.path(), &absent]).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }

    #[test]
    fn a_crash_at_any_byte_leaves_the_old_record_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_record(&path, &record("old")).unwrap();
        let new = serde_json::to_vec_pretty(&record("new")).unwrap();
        for written in 0..=new.len() {
            fs::write(path.with_extension("json.tmp"), &new[..written]).unwrap();
            assert_eq!(read_record(&path).unwrap(), Some(record("old")));
        }
        // What the crash left behind is in nobody's way.
        write_record(&path, &record("new")).unwrap();
        assert_eq!(read_record(&path).unwrap(), Some(record("new")));
    }

    #[test]
    fn a_failed_write_leaves_the_old_record_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_record(&path, &record("old")).unwrap();
        fs::create_dir(path.with_extension("json.tmp")).unwrap();
        let error = write_record(&path, &record("new")).unwrap_err();
        assert!(error.to_string().contains("state.json.tmp"), "{error}");
        assert_eq!(read_record(&path).unwrap(), Some(record("old")));
    }

    #[test]
    fn a_newer_record_is_refused_even_if_its_fields_are_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        fs::write(&path, br#"{"version": 99, "shape": "unheard of"}"#).unwrap();
        let error = read_record::<Record>(&path).unwrap_err();
        assert!(
            matches!(error, RunDirError::TooNew { found: 99, .. }),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        for bytes in [
            &b""[..],
            b"{",
            b"[]",
            b"{\"version\": 1}",
            b"\xff\xfe",
            b"null",
        ] {
            fs::write(&path, bytes).unwrap();
            let error = read_record::<Record>(&path).unwrap_err();
            assert!(matches!(error, RunDirError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("exit.json"));
        }
    }

    #[test]
    fn an_oversize_record_is_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spec.json");
        let large = record(&"x".repeat(usize::try_from(RECORD_BYTES_MAX).unwrap()));
        let error = write_record(&path, &large).unwrap_err();
        assert!(matches!(error, RunDirError::TooLarge { .. }), "{error}");
        fs::write(&path, serde_json::to_vec(&large).unwrap()).unwrap();
        let error = read_record::<Record>(&path).unwrap_err();
        assert!(matches!(error, RunDirError::TooLarge { .. }), "{error}");
    }
}
