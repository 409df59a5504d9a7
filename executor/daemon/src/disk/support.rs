//! Whether this host can hold containers to a disk quota, and what an earlier executor left of them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use davit_quota::{Limits, ProjectId};
use rustix::fs::{CWD, Mode, OFlags};

use super::{FIRST, is_ours};
use crate::containerd::{Containerd, ContainerdError};
use crate::runs::sentence;
use crate::settings::{DiskQuotaMode, Settings};

/// The snapshotter whose layers are directories that can be bounded.
const SNAPSHOTTER: &str = "overlayfs";
/// Where it has its layers, below its root.
const LAYERS: &str = "snapshots";
/// Records of projects looked through at start.
const SWEPT_MAX: u32 = 1_000_000;

/// Why not.
#[derive(Debug, thiserror::Error)]
enum Unsupported {
    #[error("disk_quota.mode is off")]
    Off,
    #[error("snapshotter {0} has no layers that can be bounded: {SNAPSHOTTER} has")]
    Snapshotter(String),
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the file system of {} has no project quotas: it needs ext4 (`tune2fs -O project,quota`, unmounted) or XFS, mounted \
         with prjquota",
        .0.display()
    )]
    NoQuotas(PathBuf),
    #[error("cannot use the project quotas of {}", path.display())]
    Use {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The directory of layers, if what is in it can be bounded; else why not.
pub(super) async fn open(settings: &Settings, containerd: &Containerd) -> Result<OwnedFd, String> {
    check(settings, containerd)
        .await
        .map_err(|why| sentence(&why))
}

async fn check(settings: &Settings, containerd: &Containerd) -> Result<OwnedFd, Unsupported> {
    if settings.disk_quota.mode == DiskQuotaMode::Off {
        return Err(Unsupported::Off);
    }
    let snapshotter = &settings.containerd.snapshotter;
    if snapshotter != SNAPSHOTTER {
        return Err(Unsupported::Snapshotter(snapshotter.clone()));
    }
    containerd.known()?;
    let root = containerd.snapshotter_root().await?;
    quotas_of(&root.join(LAYERS))
}

fn quotas_of(path: &Path) -> Result<OwnedFd, Unsupported> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(CWD, path, flags, Mode::empty());
    let place = place.map_err(|errno| Unsupported::Open {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    if !matches!(davit_quota::is_enforced(&place), Ok(true)) {
        return Err(Unsupported::NoQuotas(path.to_owned()));
    }
    // What every claim needs: attributes, and leave to ask for another's quota (CAP_SYS_ADMIN, no filter in the way).
    davit_quota::project_of(&place)
        .and_then(|_| davit_quota::usage(&place, ProjectId(FIRST)))
        .map_err(|source| Unsupported::Use {
            path: path.to_owned(),
            source,
        })?;
    Ok(place)
}

/// Forgets the limits of projects in which nothing is: those of layers that went while no executor was looking.
pub(super) fn sweep(place: &OwnedFd) {
    let mut from = ProjectId(FIRST);
    let mut swept = 0_u32;
    for _ in 0..SWEPT_MAX {
        let Ok(Some((project, usage))) = davit_quota::next(place, from) else {
            break;
        };
        if !is_ours(project) {
            break;
        }
        if usage.is_empty() && usage.limits != Limits::default() {
            match davit_quota::limit(place, project, Limits::default()) {
                Ok(()) => swept += 1,
                Err(error) => {
                    tracing::warn!(project = project.0, %error, "a disk quota stays behind")
                }
            }
        }
        from = ProjectId(project.0.saturating_add(1));
    }
    if swept > 0 {
        tracing::info!(swept, "disk quotas of layers that are gone were forgotten");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_quotas_is_named_with_what_it_needs() {
        let why = quotas_of(Path::new("/proc")).unwrap_err().to_string();
        assert!(why.contains("/proc") && why.contains("prjquota"), "{why}");
        assert!(matches!(
            quotas_of(Path::new("/nowhere")),
            Err(Unsupported::Open { .. })
        ));
    }
}
