//! The socket of the local API: 0600 in a directory of 0700, a stale one replaced.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

/// A bound socket; its name goes when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    pub(super) name: Name,
}

/// The socket's name in the file system.
#[derive(Debug)]
pub(super) struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "removing the socket");
        }
    }
}

/// Binds `path`, unless somebody answers there.
pub(super) async fn bind(path: &Path) -> Result<Bound, ServeError> {
    if let Some(dir) = path.parent() {
        make_dir(dir).map_err(ServeError::path("create", dir))?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ServeError::path("look at", path)(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, "it is no socket");
            return Err(ServeError::path("replace", path)(error));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(ServeError::SocketTaken {
                socket: path.to_owned(),
            });
        }
        // Left by an executor that was killed.
        Ok(_) => {
            fs::remove_file(path).map_err(ServeError::path("remove the stale socket", path))?
        }
    }
    let listener = UnixListener::bind(path).map_err(ServeError::path("bind", path))?;
    let name = Name(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(ServeError::path("restrict", path))?;
    Ok(Bound { listener, name })
}

/// Makes `dir` and what is missing above it, for root only; one that exists is left as it is.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_roots_alone_and_its_name_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("davit/executor.sock");
        let bound = bind(&path).await.unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let second = bind(&path).await.unwrap_err();
        assert!(matches!(second, ServeError::SocketTaken { .. }));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("executor.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(bind(&path).await.is_ok());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path).await, Err(ServeError::Path { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
