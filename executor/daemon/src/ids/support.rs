//! Whether this host can give each container a user namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::containerd::{Containerd, ContainerdError};
use crate::settings::{Settings, UserNamespaceMode};
use crate::shims::SHIM_BINARY;

/// First kernel that maps the ids of whatever a container is made of, tmpfs being the last.
const KERNEL: (u32, u32) = (6, 3);
const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";
/// The snapshotter whose root file systems can be mapped.
const SNAPSHOTTER: &str = "overlayfs";
/// Longest time that the shim may take to try, milliseconds.
const TRY_MS_MAX: u64 = 10_000;
/// Characters of what it says that are repeated.
const SAID_CHARS_MAX: usize = 500;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsupported {
    #[error("user_namespaces.mode is off")]
    Off,
    #[error("kernel {0} cannot map the ids of every mount: 6.3 can")]
    Kernel(String),
    #[error("snapshotter {0} has no root file systems whose ids can be mapped: {SNAPSHOTTER} has")]
    Snapshotter(String),
    #[error("the runtime {0} is not davit's own")]
    OtherRuntime(String),
    #[error("{SHIM_BINARY} is not found, and nobody else can try")]
    NoShim,
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("cannot have {} try", binary.display())]
    Execute {
        binary: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{SHIM_BINARY} did not find out within {TRY_MS_MAX} ms")]
    TooSlow,
    #[error("{0}")]
    Tried(String),
}

/// Checks what is known first, and has the shim try it then.
pub(super) async fn check(
    settings: &Settings,
    containerd: &Containerd,
    shim: Option<&Path>,
) -> Result<(), Unsupported> {
    if settings.user_namespaces.mode == UserNamespaceMode::Off {
        return Err(Unsupported::Off);
    }
    let release = std::fs::read_to_string(KERNEL_RELEASE).unwrap_or_default();
    let release = release.trim();
    if kernel(release).is_some_and(|found| found < KERNEL) {
        return Err(Unsupported::Kernel(release.to_owned()));
    }
    let snapshotter = &settings.containerd.snapshotter;
    if snapshotter != SNAPSHOTTER {
        return Err(Unsupported::Snapshotter(snapshotter.clone()));
    }
    if settings.containerd.runtime != crate::containerd::DAVIT_RUNTIME {
        let runtime = settings.containerd.runtime.clone();
        return Err(Unsupported::OtherRuntime(runtime));
    }
    let binary = shim.ok_or(Unsupported::NoShim)?;
    containerd.known()?;
    let layers = containerd.snapshotter_root().await?;
    has_tried(binary, &layers).await
}

async fn has_tried(binary: &Path, layers: &Path) -> Result<(), Unsupported> {
    let mut command = Command::new(binary);
    command
        .arg("-layers")
        .arg(layers)
        .arg("check-ids")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_millis(TRY_MS_MAX), command.output());
    let output = output.await.map_err(|_elapsed| Unsupported::TooSlow)?;
    let output = output.map_err(|source| Unsupported::Execute {
        binary: binary.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Unsupported::Tried(match said.trim() {
        "" => format!("{}: {}", binary.display(), output.status),
        said => said.chars().take(SAID_CHARS_MAX).collect(),
    }))
}

/// The first two numbers of a kernel's release; `None` if it has none, and is given the benefit of the doubt.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_by_their_first_two_numbers() {
        assert_eq!(kernel("6.18.2-amd64"), Some((6, 18)));
        assert!(kernel("6.1.0-32-amd64").unwrap() < KERNEL);
        assert!(kernel("6.12.57+deb13-amd64").unwrap() >= KERNEL);
        assert_eq!(kernel("unknown"), None);
    }

    #[tokio::test]
    async fn what_the_shim_says_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let layers = dir.path();
        assert!(has_tried(Path::new("/bin/true"), layers).await.is_ok());
        let failed = has_tried(Path::new("/bin/false"), layers).await;
        let said = failed.unwrap_err().to_string();
        assert!(said.contains("/bin/false"), "{said}");
        let wrong = has_tried(Path::new("/bin/ls"), layers).await;
        let said = wrong.unwrap_err().to_string();
        assert!(said.contains("option"), "{said}");
        let none = has_tried(&layers.join("none"), layers).await;
        assert!(matches!(none, Err(Unsupported::Execute { .. })));
    }
}
