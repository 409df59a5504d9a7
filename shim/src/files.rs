//! Removing files that may be gone already.

use std::io;
use std::path::Path;

/// Removes a file; fine if there is none. That it stays is told in the log: no caller can do anything about it.
pub(crate) fn remove_if_there(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("cannot remove {}: {error}", path.display());
        }
        _ => {}
    }
}
