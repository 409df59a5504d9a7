//! Records that appear whole or not at all: temporary file, fsync, rename, fsync of the directory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{FORMAT_VERSION, RunDirError};

/// Largest record read, bytes; a spec is bounded far below this.
const RECORD_BYTES_MAX: u64 = 4 << 20;

pub(crate) fn write_record<T: Serialize>(path: &Path, record: &T) -> Result<(), RunDirError> {
    let temporary = path.with_extension("json.tmp");
    let bytes = serde_json::to_vec_pretty(record).map_err(|source| RunDirError::Malformed {
        path: path.to_owned(),
        source,
    })?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(RunDirError::io("create", &temporary))?;
    file.write_all(&bytes)
        .map_err(RunDirError::io("write", &temporary))?;
    file.sync_all()
        .map_err(RunDirError::io("fsync", &temporary))?;
    fs::rename(&temporary, path).map_err(RunDirError::io("rename into place", path))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
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
    file.take(RECORD_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(RunDirError::io("read", path))?;
    parse_record(path, &bytes).map(Some)
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
