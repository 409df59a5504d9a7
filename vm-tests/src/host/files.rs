//! Reading small files with errors that name them.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// The whole text of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The last `bytes_max` bytes of a file, or a note why not: for failure reports.
pub(crate) fn tail(path: &Path, bytes_max: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(bytes_max)..]).into_owned()
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}
