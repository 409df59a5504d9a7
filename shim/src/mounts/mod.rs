//! The root file system: mounting what Create lists on `<bundle>/rootfs`, and taking it away again.
//!
//! Options come as the strings of mount(8). Overlay options of many layers are longer than the page
//! mount(2) takes: then the common directory of the layers becomes the working directory for the length of
//! the call and the layers are named relative to it. The shim has one thread, so nobody else sees that.
//!
//! How a root file system comes to belong to a user namespace is in `mapped`.

mod mapped;
mod options;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use davit_types::IdRange;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

pub(crate) use self::mapped::{UserNamespace, check};
use self::options::Options;

/// Bytes of options mount(2) takes: one page, less the final NUL.
const DATA_BYTES_MAX: usize = 4095;

/// Mounts stacked on one place that are taken away before giving up.
const UNMOUNTS_MAX: usize = 64;

/// Why a root file system could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("cannot mount {source_} ({kind}) on {}", target.display())]
    Mount {
        source_: String,
        kind: String,
        target: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("cannot unmount {}", target.display())]
    Unmount {
        target: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("mount options of {} are {bytes} bytes, more than the kernel takes", target.display())]
    OptionsTooLong { target: PathBuf, bytes: usize },
    #[error("mount target `{0}` leaves the root file system")]
    BadTarget(String),
    #[error("cannot create {}", .0.display())]
    Create(PathBuf, #[source] std::io::Error),
    #[error("cannot make a user namespace of the ids {range}")]
    UserNamespace {
        range: IdRange,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot map the ids of {}", dir.display())]
    Map {
        dir: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("cannot be root of the ids {range} towards file systems")]
    FsUser {
        range: IdRange,
        #[source]
        source: std::io::Error,
    },
    #[error("the root file system at {} is read-only: the kernel's log says why", .0.display())]
    ReadOnly(PathBuf),
    #[error("a run with a user namespace needs an overlay of its own as root file system, not {0}")]
    NotMappable(String),
}

/// Where a bundle's root file system is.
pub(crate) fn rootfs_of(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

/// Mounts all of `mounts` on the root file system of `bundle` (and below it, where a mount names a target), or none.
/// It belongs to the user namespace `ids` then, if one is given.
pub(crate) fn mount_all(
    mounts: &[Mount],
    bundle: &Path,
    ids: Option<&UserNamespace>,
) -> Result<(), MountError> {
    let rootfs = rootfs_of(bundle);
    if !mounts.is_empty() {
        std::fs::create_dir_all(&rootfs)
            .map_err(|source| MountError::Create(rootfs.clone(), source))?;
    }
    for mount in mounts {
        let target = target_of(mount, &rootfs)?;
        let mounted = match ids {
            Some(ids) => mapped::mount_overlay(mount, &target, bundle, ids),
            None => mount_one(mount, &target),
        };
        if let Err(error) = mounted {
            if let Err(undo) = unmount_all(&rootfs) {
                log::warn!("after a failed mount: {undo}");
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Takes away all that is mounted for a container in `bundle`; fine if nothing is.
pub(crate) fn unmount_bundle(bundle: &Path) -> Result<(), MountError> {
    let secrets = crate::secrets::remove_place(bundle);
    secrets
        .and(mapped::remove(bundle))
        .and(unmount_all(&rootfs_of(bundle)))
}

fn target_of(mount: &Mount, rootfs: &Path) -> Result<PathBuf, MountError> {
    let below = Path::new(mount.target.trim_start_matches('/'));
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if !below.components().all(plain) {
        return Err(MountError::BadTarget(mount.target.clone()));
    }
    Ok(rootfs.join(below))
}

fn mount_one(mount: &Mount, target: &Path) -> Result<(), MountError> {
    let options = Options::parse(&mount.options);
    let failed = |source| MountError::Mount {
        source_: mount.source.clone(),
        kind: mount.type_.clone(),
        target: target.to_owned(),
        source,
    };
    if options.bind || mount.type_ == "bind" {
        if options.recursive {
            rustix::mount::mount_bind_recursive(&mount.source, target).map_err(failed)?;
        } else {
            rustix::mount::mount_bind(&mount.source, target).map_err(failed)?;
        }
        // A bind mount takes its flags only in a second step.
        if !options.flags.is_empty() {
            let flags = options.flags | MountFlags::BIND;
            rustix::mount::mount_remount(target, flags, c"").map_err(failed)?;
        }
    } else {
        let (dir, data) = fitting(&options.data, target)?;
        mount_new(mount, target, options.flags, data, dir.as_deref()).map_err(failed)?;
    }
    match options.propagation {
        Some(flags) => rustix::mount::mount_change(target, flags).map_err(failed),
        None => Ok(()),
    }
}

/// Mounts a file system of its own, `data` naming what it is made of relative to `dir`.
fn mount_new(
    mount: &Mount,
    target: &Path,
    flags: MountFlags,
    data: String,
    dir: Option<&Path>,
) -> Result<(), Errno> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    if let Some(dir) = dir {
        rustix::process::chdir(dir)?;
    }
    let (source, kind) = (mount.source.as_str(), mount.type_.as_str());
    let mounted = rustix::mount::mount(source, target, kind, flags, Some(data.as_c_str()));
    if dir.is_some() {
        rustix::process::chdir("/")?;
    }
    mounted
}

/// The options as one string that fits, and the directory they are relative to, if any.
fn fitting(data: &[String], target: &Path) -> Result<(Option<PathBuf>, String), MountError> {
    let whole = data.join(",");
    if whole.len() <= DATA_BYTES_MAX {
        return Ok((None, whole));
    }
    let too_long = |bytes| MountError::OptionsTooLong {
        target: target.to_owned(),
        bytes,
    };
    let layers = data
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="));
    let common = layers.map(common_dir).filter(|dir| dir.len() > 1);
    let Some(common) = common else {
        return Err(too_long(whole.len()));
    };
    let short: Vec<String> = data
        .iter()
        .map(|option| match option.strip_prefix("lowerdir=") {
            Some(layers) => {
                let relative: Vec<&str> = layers
                    .split(':')
                    .map(|layer| &layer[common.len()..])
                    .collect();
                format!("lowerdir={}", relative.join(":"))
            }
            None => option.clone(),
        })
        .collect();
    let short = short.join(",");
    if short.len() > DATA_BYTES_MAX {
        return Err(too_long(short.len()));
    }
    Ok((Some(PathBuf::from(common)), short))
}

/// The longest directory, with its final slash, that all colon-separated paths are strictly below.
fn common_dir(paths: &str) -> &str {
    let mut paths = paths.split(':');
    let first = paths.next().unwrap_or_default();
    let shared = paths.fold(first.len(), |len, path| {
        first
            .bytes()
            .zip(path.bytes())
            .take(len)
            .take_while(|(a, b)| a == b)
            .count()
    });
    first[..shared].rfind('/').map_or("", |at| &first[..=at])
}

/// Unmounts everything stacked on `rootfs`; fine if nothing is.
pub(crate) fn unmount_all(rootfs: &Path) -> Result<(), MountError> {
    for _layer in 0..UNMOUNTS_MAX {
        // Cheaper than to be told by umount(2), which takes the lock of all mounts first.
        if !may_be_mounted(rootfs) {
            return Ok(());
        }
        // Detach: a process that still looks at it must not keep the container from going.
        match rustix::mount::unmount(rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            // Who may not unmount could not mount either.
            Err(Errno::PERM) => return Ok(()),
            Err(source) => {
                return Err(MountError::Unmount {
                    target: rootfs.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Whether something is mounted at `path`; true where the kernel does not say.
fn may_be_mounted(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(status) => {
            let mounted = StatxAttributes::MOUNT_ROOT;
            !status.stx_attributes_mask.contains(mounted) || status.stx_attributes.contains(mounted)
        }
        Err(errno) => errno != Errno::NOENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(may_be_mounted(Path::new("/proc")));
        assert!(!may_be_mounted(dir.path()));
        assert!(!may_be_mounted(&dir.path().join("absent")));
        unmount_all(dir.path()).unwrap();
    }

    #[test]
    fn the_common_directory_ends_at_a_slash() {
        assert_eq!(common_dir("/s/12/fs:/s/1/fs:/s/13/fs"), "/s/");
        assert_eq!(common_dir("/a:/b"), "/");
        assert_eq!(common_dir("/s/1/fs"), "/s/1/");
    }

    #[test]
    fn many_layers_are_named_relative_to_their_directory() {
        let layers: Vec<String> = (0..120)
            .map(|n| {
                format!(
                    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{n}/fs"
                )
            })
            .collect();
        let data = [
            format!("lowerdir={}", layers.join(":")),
            "upperdir=/u".to_owned(),
        ];
        let (dir, text) = fitting(&data, Path::new("/t")).unwrap();
        assert_eq!(
            dir.unwrap(),
            Path::new("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/")
        );
        assert!(text.starts_with("lowerdir=0/fs:1/fs:"), "{text}");
        assert!(text.ends_with(",upperdir=/u"));
        assert!(text.len() <= DATA_BYTES_MAX);
    }

    #[test]
    fn targets_stay_below_the_root() {
        let mount = |target: &str| Mount {
            target: target.to_owned(),
            ..Mount::default()
        };
        assert_eq!(
            target_of(&mount("/a/b"), Path::new("/r")).unwrap(),
            Path::new("/r/a/b")
        );
        assert_eq!(
            target_of(&mount(""), Path::new("/r")).unwrap(),
            Path::new("/r")
        );
        assert!(target_of(&mount("../x"), Path::new("/r")).is_err());
    }
}
