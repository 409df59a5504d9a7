//! Where secrets are while a container is made, and its files afterwards: a tmpfs of the container's own.
//!
//! ```text
//!  <bundle>/secrets/            tmpfs, sized to what is in it, never swapped (Linux 6.4)
//!    files/NAME    0400, the job's user    ── bound read-only to /run/secrets in the container: stays with it
//!    config.json   0600, root              ── bound over <bundle>/config.json while the runtime creates
//! ```
//!
//! Once the container is made both mounts are taken away and the configuration is deleted: what is left of the tmpfs is
//! what the container sees of it, and goes with the container.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use davit_rundir::Secrets;
use davit_types::IdRange;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use serde_json::Value;
use zeroize::Zeroizing;

use super::config::{self, NoPlace};
use crate::error::chain;
use crate::files::remove_if_there;
use crate::mounts::{MountError, unmount_all};

/// What the tmpfs may hold beside the files and the configuration, bytes.
const SPARE_BYTES: usize = 64 * 1024;
/// What a file takes at least, bytes.
const PAGE_BYTES: usize = 4096;
/// Inodes beside the files': two directories, the configuration, and some to spare.
const SPARE_INODES: usize = 8;

/// Why secrets could not be put where the job is to find them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Config(#[from] NoPlace),
    #[error("config.json is not valid")]
    Malformed(#[source] serde_json::Error),
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The place of one container; taken away when dropped.
pub(crate) struct Place {
    bundle: PathBuf,
    /// What containerd wrote.
    plain: Vec<u8>,
}

impl Place {
    /// Puts `secrets` below `bundle`, for a container whose user namespace, if any, has `ids`.
    pub(crate) fn make(
        bundle: &Path,
        secrets: &Secrets,
        ids: Option<IdRange>,
    ) -> Result<Self, PlaceError> {
        let path = bundle.join("config.json");
        let plain = fs::read(&path).map_err(failed("read", &path))?;
        let mut config: Value = serde_json::from_slice(&plain).map_err(PlaceError::Malformed)?;
        let (dir, files) = (dir_of(bundle), dir_of(bundle).join("files"));
        let user = config::job_user(&config)?;
        config::complete(&mut config, secrets, &files)?;
        let whole = serde_json::to_vec(&config).map_err(PlaceError::Malformed)?;
        let whole = Zeroizing::new(whole);

        // Dropped on the way out, it takes away what was made by then.
        let place = Self {
            bundle: bundle.to_owned(),
            plain,
        };
        mount_tmpfs(&dir, secrets, whole.len())?;
        make_files(&files, secrets, user, ids)?;
        let completed = dir.join("config.json");
        write_new(&completed, &whole, 0o600)?;
        rustix::mount::mount_bind(&completed, &path)
            .map_err(|errno| failed("bind a mount to", &path)(errno.into()))?;
        Ok(place)
    }

    /// The configuration without secrets.
    pub(crate) fn plain_config(&self) -> &[u8] {
        &self.plain
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.bundle) {
            log::error!("secrets of a container: {}", chain(&error));
        }
    }
}

/// Takes away what is on the host for a container in `bundle`; fine if nothing is.
pub(crate) fn remove(bundle: &Path) -> Result<(), MountError> {
    let dir = dir_of(bundle);
    if !dir.exists() {
        return Ok(());
    }
    let uncovered = unmount_all(&bundle.join("config.json"));
    // The container has a mount of the same tmpfs.
    remove_if_there(&dir.join("config.json"));
    uncovered.and(unmount_all(&dir))?;
    // One that is not empty is not ours: it stays.
    let _absent = fs::remove_dir(&dir);
    Ok(())
}

fn dir_of(bundle: &Path) -> PathBuf {
    bundle.join("secrets")
}

fn mount_tmpfs(dir: &Path, secrets: &Secrets, config_bytes: usize) -> Result<(), PlaceError> {
    fs::create_dir(dir).map_err(failed("create", dir))?;
    let sizes = secrets.files.iter().map(|file| file.value.len());
    let bytes: usize = sizes
        .chain([config_bytes, SPARE_BYTES])
        .map(|bytes| bytes.next_multiple_of(PAGE_BYTES))
        .sum();
    let inodes = secrets.files.len() + SPARE_INODES;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = |more: &str| {
        // The root of the container's user namespace passes through.
        let data = format!("size={bytes},nr_inodes={inodes},mode=711{more}\0");
        let data = std::ffi::CString::from_vec_with_nul(data.into_bytes());
        let data = data.expect("numbers have no NUL");
        rustix::mount::mount("secrets", dir, "tmpfs", flags, Some(data.as_c_str()))
    };
    let mounted = match mount(",noswap") {
        // Before Linux 6.4, or without swap in the kernel.
        Err(Errno::INVAL) => mount(""),
        mounted => mounted,
    };
    mounted.map_err(|errno| failed("mount a tmpfs on", dir)(errno.into()))
}

fn make_files(
    dir: &Path,
    secrets: &Secrets,
    (uid, gid): (u32, u32),
    ids: Option<IdRange>,
) -> Result<(), PlaceError> {
    let first = ids.map_or(0, |ids| ids.first);
    let own = |path: &Path, uid, gid| {
        chown(path, Some(first + uid), Some(first + gid))
            .map_err(failed("change the owner of", path))
    };
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(failed("create", dir))?;
    for file in &secrets.files {
        let path = dir.join(&file.name);
        write_new(&path, &file.value, 0o400)?;
        own(&path, uid, gid)?;
    }
    own(dir, 0, 0)?;
    fs::set_permissions(dir, Permissions::from_mode(0o555)).map_err(failed("open", dir))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PlaceError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed("write", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |source| PlaceError::Io {
        operation,
        path,
        source,
    }
}
