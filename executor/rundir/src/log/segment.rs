//! Segment files: names, headers, making and opening them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::LogError;
use super::frame::{u32_at, u64_at};

/// A segment is closed and the next begun when it would grow beyond this, bytes.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"davitlog";
const VERSION: u32 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Seeds the checksum of every frame.
    pub(super) salt: u32,
    /// Id of its first record.
    pub(super) first_id: u64,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_id.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for a header that a crash tore: all zero.
    pub(super) fn decode(
        bytes: &[u8; HEADER_BYTES],
        path: &Path,
    ) -> Result<Option<Self>, LogError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if bytes[..8] != *MAGIC {
            return Err(LogError::corrupt(path, 0, "no davit log segment"));
        }
        // The version before the checksum: a newer header may be checked in another way.
        let found = u32_at(bytes, 8);
        if found > VERSION {
            return Err(LogError::TooNew {
                path: path.to_owned(),
                found,
                readable_max: VERSION,
            });
        }
        if u32_at(bytes, 28) != crc32fast::hash(&bytes[..28]) {
            return Err(LogError::corrupt(path, 0, "header checksum does not match"));
        }
        Ok(Some(Self {
            salt: u32_at(bytes, 12),
            first_id: u64_at(bytes, 16),
        }))
    }
}

/// Path of segment `index` in run directory `dir`.
pub(super) fn path(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("log.{index:03}"))
}

/// Indexes of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<u32>, LogError> {
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(LogError::io("list", dir))? {
        let name = entry.map_err(LogError::io("list", dir))?.file_name();
        let index = name.to_str().and_then(|name| name.strip_prefix("log."));
        found.extend(index.and_then(|digits| digits.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a new segment that holds just its header.
pub(super) fn create(path: &Path, header: Header) -> Result<File, LogError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => LogError::Exists(path.to_owned()),
            _ => LogError::io("create", path)(error),
        })?;
    if let Err(error) = file.write_all_at(&header.encode(), 0) {
        // So that the next try can make it; if it stays, that try says so.
        std::fs::remove_file(path).map_err(LogError::io("remove", path))?;
        return Err(LogError::io("write", path)(error));
    }
    Ok(file)
}

/// Opens a segment for reading; `None` while it, or its header, is not there.
pub(super) fn open(path: &Path) -> Result<Option<(File, Header)>, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("open", path)(error)),
    };
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Header::decode(&bytes, path)?.map(|header| (file, header))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}
