//! Whether shims can be pre-started on this host, or why the plain way is taken.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use tokio::net::UnixStream;

use super::SHIM_BINARY;
use crate::containerd::{Containerd, ContainerdError};
use crate::settings::Settings;

/// First containerd that reaches a shim by an address it is given.
const FIRST: (u32, u32) = (2, 1);
/// Last containerd known to take the address from the runtime options: deprecated since 2.3 in favour of fields of the
/// create request that the client library lacks, and still read by 2.4 (`plugins/services/tasks/local.go`).
const LAST: (u32, u32) = (2, 4);
/// The runtime name that stands for [`SHIM_BINARY`].
const RUNTIME: &str = crate::containerd::DAVIT_RUNTIME;

/// Why containerd executes the shims.
#[derive(Debug, thiserror::Error)]
pub(super) enum Plain {
    /// The operator wants it so.
    #[error("containerd.prestarted_shims is off")]
    Off,
    /// Another shim than davit's.
    #[error("runtime {0} is not davit's own")]
    OtherRuntime(String),
    /// containerd cannot be given an address.
    #[error("containerd {0} cannot be given a shim's address: 2.1 to 2.4 can")]
    Version(String),
    /// Nothing to start.
    #[error(
        "{SHIM_BINARY} is neither beside davit's own binary nor on PATH nor in additional_binary_paths"
    )]
    NoBinary,
    /// What a shim mounts here, containerd could not see.
    #[error("containerd lives in other mounts than davit")]
    OtherMounts,
    /// Whether it does cannot be told.
    #[error("cannot find out in which mounts containerd lives")]
    UnknownMounts(#[source] io::Error),
    /// The record that containers must name cannot be made.
    #[error(transparent)]
    Sandbox(#[from] ContainerdError),
    /// The shims have no place.
    #[error("cannot create cgroup {}", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Plain {
    /// Whether nothing is wrong: the operator or containerd's version will have it so.
    pub(super) const fn is_as_wished(&self) -> bool {
        matches!(self, Self::Off | Self::OtherRuntime(_) | Self::Version(_))
    }
}

/// The binary to start, if shims are to be pre-started. Makes the sandbox record they are made under.
pub(super) async fn decide(
    settings: &Settings,
    containerd: &Containerd,
    binary: Option<&Path>,
) -> Result<PathBuf, Plain> {
    if !settings.containerd.prestarted_shims {
        return Err(Plain::Off);
    }
    // containerd executes what the name stands for to clear up after a shim: it must be the same program.
    if settings.containerd.runtime != RUNTIME {
        return Err(Plain::OtherRuntime(settings.containerd.runtime.clone()));
    }
    let version = containerd.version();
    if !takes_addresses(containerd.major_minor()) {
        return Err(Plain::Version(version.to_owned()));
    }
    let binary = binary.ok_or(Plain::NoBinary)?;
    if !shares_mounts(containerd.socket())
        .await
        .map_err(Plain::UnknownMounts)?
    {
        return Err(Plain::OtherMounts);
    }
    containerd.sandbox_create().await?;
    Ok(binary.to_owned())
}

fn takes_addresses(version: Option<(u32, u32)>) -> bool {
    version.is_some_and(|version| (FIRST..=LAST).contains(&version))
}

/// Whether what is mounted here is mounted for whoever listens on `socket`.
async fn shares_mounts(socket: &Path) -> io::Result<bool> {
    let peer = UnixStream::connect(socket).await?.peer_cred()?;
    let pid = peer
        .pid()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::other("the kernel does not tell its pid"))?;
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
    Ok(theirs == std::fs::read_link("/proc/self/ns/mnt")?)
}

/// Where the shim is: beside this program, as both are installed together, else where containerd may look.
pub(super) fn find_binary(additional: &[PathBuf]) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(additional.iter().cloned())
        // What a relative directory holds depends on where the executor was started.
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(SHIM_BINARY))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_known_to_take_an_address_are_given_one() {
        for fine in [(2, 1), (2, 2), (2, 4)] {
            assert!(takes_addresses(Some(fine)), "{fine:?}");
        }
        for other in [None, Some((1, 7)), Some((2, 0)), Some((2, 5)), Some((3, 0))] {
            assert!(!takes_addresses(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn this_process_shares_its_own_mounts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(shares_mounts(&path).await.unwrap());
        assert!(shares_mounts(&dir.path().join("none")).await.is_err());
    }
}
