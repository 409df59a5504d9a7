//! Who this host is to the scheduler: a file of mode 0600, written by `davit executor register`.
//!
//! ```text
//!  {host_id}                          chosen, durable: a registration cut off is taken up with the same id
//!  {host_id, region, client_secret}   registered
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Largest file read, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it is something else.
    #[error("{} is no identity of a host", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Others can read the secret.
    #[error("{} can be read by others than its owner (mode {mode:o}): chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is none, or it is not registered.
    #[error("{} holds no registered identity: run `davit executor register`", path.display())]
    Unregistered {
        /// Where it was looked for.
        path: PathBuf,
    },
}

/// A host's identity; the secret does not print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) host_id: Uuid,
    /// The server it was registered at, or is to be.
    pub(super) server: String,
    pub(super) registered: Option<Registered>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registered {
    pub(super) region: String,
    pub(super) client_secret: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("host_id", &self.host_id)
            .field("server", &self.server)
            .field("is_registered", &self.registered.is_some())
            .finish()
    }
}

impl Identity {
    /// What `path` holds; `None` if there is no such file. Blocking.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, IdentityError> {
        let failed = |operation| {
            let path = path.to_owned();
            move |source| IdentityError::File {
                operation,
                path,
                source,
            }
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open")(error)),
        };
        let mode = file
            .metadata()
            .map_err(failed("stat"))?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(IdentityError::Open { path, mode });
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(failed("read"))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| IdentityError::Content {
                path: path.to_owned(),
                source,
            })
    }

    /// Replaces `path`; durable on return. Blocking.
    pub(super) fn write(&self, path: &Path) -> Result<(), IdentityError> {
        let failed = |operation| {
            let path = path.to_owned();
            move |source| IdentityError::File {
                operation,
                path,
                source,
            }
        };
        let bytes = serde_json::to_vec_pretty(self).map_err(|source| IdentityError::Content {
            path: path.to_owned(),
            source,
        })?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
        let temporary = path.with_extension("tmp");
        // Never written into a file that was there: its mode may be another.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("clear the way to")(error));
            }
            _ => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed("create"))?;
        file.write_all(&bytes).map_err(failed("write"))?;
        file.sync_all().map_err(failed("fsync"))?;
        fs::rename(&temporary, path).map_err(failed("replace"))?;
        let dir = File::open(dir).and_then(|dir| dir.sync_all());
        dir.map_err(failed("fsync the directory of"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_for_its_owner_alone_and_prints_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/host.json");
        assert_eq!(Identity::read(&path).unwrap(), None);
        let identity = Identity {
            host_id: Uuid::from_u128(7),
            server: "https://x".into(),
            registered: Some(Registered {
                region: "here".into(),
                client_secret: "hush".into(),
            }),
        };
        identity.write(&path).unwrap();
        identity.write(&path).unwrap();
        assert_eq!(Identity::read(&path).unwrap(), Some(identity.clone()));
        assert!(!format!("{identity:?}").contains("hush"));
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::read(&path).unwrap_err();
        assert!(
            matches!(error, IdentityError::Open { mode: 0o640, .. }),
            "{error}"
        );
    }
}
