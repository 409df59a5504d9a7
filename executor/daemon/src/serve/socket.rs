//! The socket of the local API: 0600 in a directory of 0700, or for a group too; a stale one replaced.

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

/// Binds `path` for root and `group`, unless somebody answers there.
pub(super) async fn bind(path: &Path, group: Option<u32>) -> Result<Bound, ServeError> {
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
    let restrict = |path: &Path, mode| {
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    restrict(path, mode).map_err(ServeError::path("restrict", path))?;
    // A directory that davit made lets nobody through; one of another mode is as somebody wanted it.
    if group.is_some()
        && let Some(dir) = path.parent()
        && mode_of(dir).is_some_and(|mode| matches!(mode, 0o700 | 0o710))
    {
        restrict(dir, 0o710).map_err(ServeError::path("open to the group", dir))?;
    }
    Ok(Bound { listener, name })
}

fn mode_of(path: &Path) -> Option<u32> {
    let meta = fs::metadata(path).ok()?;
    Some(meta.permissions().mode() & 0o7777)
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
        mode_of(path).unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_roots_alone_and_its_name_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("davit/executor.sock");
        let bound = bind(&path, None).await.unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let second = bind(&path, None).await.unwrap_err();
        assert!(matches!(second, ServeError::SocketTaken { .. }));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("executor.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(bind(&path, None).await.is_ok());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind(&path, None).await,
            Err(ServeError::Path { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_group_comes_through_the_directory_to_the_socket_and_to_nothing_else() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("davit/executor.sock");
        let parent = path.parent().unwrap();
        let group = fs::metadata(dir.path()).unwrap().gid();
        drop(bind(&path, Some(group)).await.unwrap());
        assert_eq!(mode(parent), 0o710);
        let bound = bind(&path, Some(group)).await.unwrap();
        assert_eq!((mode(&path), mode(parent)), (0o660, 0o710));
        assert_eq!(fs::metadata(&path).unwrap().gid(), group);
        drop(bound);
        // The operator's own directory is left as it is.
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        let bound = bind(&path, Some(group)).await.unwrap();
        assert_eq!(mode(parent), 0o755);
        drop(bound);
        // And without a group the socket is closed again.
        let _bound = bind(&path, None).await.unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
