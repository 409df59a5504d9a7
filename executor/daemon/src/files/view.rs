//! The root file system of a container whose processes are gone, merged, for reading alone.
//!
//! An overlay is mounted anew from all of its layers, the container's own as the topmost of the read-only ones: nothing
//! can be written through it, and taking it away does not flush a disk, as it would with a writable one. The mount is
//! attached nowhere: nobody sees it, and it is gone with its descriptor, whatever becomes of this process.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::containerd::Mount;
use crate::oci::split_lower;

/// Why it cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    #[error("the root file system is mounted as {0}, which davit does not know")]
    UnknownMount(String),
    #[error(
        "the root file system cannot be mounted: option {option} (an overlay whose layers are named one by one needs Linux 6.8)"
    )]
    Option {
        option: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the root file system cannot be mounted")]
    Mount(#[source] std::io::Error),
}

/// Opens the root directory of what `mounts` (one overlay or one bind mount) would make.
pub(super) fn open(mounts: &[Mount]) -> Result<OwnedFd, ViewError> {
    let [mount] = mounts else {
        return Err(ViewError::UnknownMount(format!("{} mounts", mounts.len())));
    };
    match mount.r#type.as_str() {
        "overlay" => overlay(&mount.options),
        "bind" | "rbind" => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(CWD, Path::new(&mount.source), flags, Mode::empty());
            opened.map_err(|error| ViewError::Mount(error.into()))
        }
        other => Err(ViewError::UnknownMount(format!("type `{other}`"))),
    }
}

fn overlay(options: &[String]) -> Result<OwnedFd, ViewError> {
    let failed = |error: Errno| ViewError::Mount(error.into());
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    let set = |key: &str, value: &str| {
        fsconfig_set_string(&fs, key, value).map_err(|error| ViewError::Option {
            option: format!("{key}={value}"),
            source: error.into(),
        })
    };
    let named = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
    let lower = named("lowerdir=").map(split_lower).unwrap_or_default();
    let layers = named("upperdir=")
        .map(str::to_owned)
        .into_iter()
        .chain(lower);
    for layer in layers {
        set("lowerdir+", &layer)?;
    }
    for option in options {
        match option.split_once('=') {
            // What only a writable overlay has, and the layers.
            Some(("upperdir" | "workdir" | "lowerdir", _)) => {}
            Some((key, value)) => set(key, value)?,
            None if option == "userxattr" => {
                fsconfig_set_flag(&fs, option.as_str()).map_err(failed)?;
            }
            None => {}
        }
    }
    fsconfig_create(&fs).map_err(failed)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}
