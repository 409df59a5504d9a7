//! An overlay that a user namespace sees as its own: on disk its files belong to the ids that the image names (0 is
//! root), in the container to the same ids, and to the host to those of the namespace.
//!
//! ```text
//!  <snapshots>/    ──clone, ids mapped, read-only──► <bundle>/layers ─┐
//!  <snapshots>/7/  ──clone, ids mapped─────────────► <bundle>/own    ─┴─overlay─► <bundle>/rootfs
//! ```
//!
//! Nothing is chowned, whatever the number of layers and files, and nothing of the mapping is left on disk: a range of
//! ids that is given to another run owns nothing of the last one's.
//!
//! What the overlay itself does (copying a file up, say) it does as whoever mounted it: that has to be somebody whom the
//! mapping knows, or the kernel refuses it (EOVERFLOW). So the shim is root of the namespace for the length of mount(2).
//!
//! Invariants:
//! - both clones are mounted for as long as mount(2) takes (before Linux 6.15 an overlay takes no layer from a mount
//!   that is nowhere attached), and taken away by `delete` if the shim dies in between;
//! - layers are mounted read-only: who removes a bundle, with whatever is mounted in it, removes no image.

use std::os::fd::OwnedFd;
use std::path::Path;

use containerd_shim_protos::api::Mount;
use davit_types::IdRange;
use rustix::fs::{CWD, StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::options::Options;
use super::{DATA_BYTES_MAX, MountError, common_dir, mount_new, unmount_all};
use crate::sys;

/// Where the clones are mounted, below the bundle.
const LAYERS: &str = "layers";
const OWN: &str = "own";

/// A user namespace, to map mounts with.
pub(crate) struct UserNamespace {
    range: IdRange,
    fd: OwnedFd,
}

impl UserNamespace {
    /// One that has the ids of `range`.
    pub(crate) fn of(range: IdRange) -> Result<Self, MountError> {
        let map = format!("0 {} {}", range.first, range.count);
        let made = sys::user_namespace(&map);
        made.map(|fd| Self { range, fd })
            .map_err(|source| MountError::UserNamespace { range, source })
    }
}

/// Whether user namespaces can be had, and the ids of what is mounted at `dir` be mapped.
pub(crate) fn check(dir: &Path) -> Result<(), MountError> {
    let any = IdRange {
        first: 1 << 16,
        count: 1 << 16,
    };
    clone_of(dir, &UserNamespace::of(any)?, true).map(drop)
}

/// Mounts an overlay on `target`, below `bundle`, that belongs to the user namespace `ids`.
pub(super) fn mount_overlay(
    mount: &Mount,
    target: &Path,
    bundle: &Path,
    ids: &UserNamespace,
) -> Result<(), MountError> {
    let options = Options::parse(&mount.options);
    if mount.type_ != "overlay" || options.bind || options.propagation.is_some() {
        let what = format!("a mount of type {}", mount.type_);
        return Err(MountError::NotMappable(what));
    }
    let layers = Layers::of(&options.data)?;
    let _clones = Clones::mount(&layers, bundle, ids)?;
    let data = layers.by_way_of_clones(&options.data).join(",");
    if data.len() > DATA_BYTES_MAX {
        return Err(MountError::OptionsTooLong {
            target: target.to_owned(),
            bytes: data.len(),
        });
    }
    let mounted = sys::with_fs_user(ids.range.first, || {
        mount_new(mount, target, options.flags, data, Some(bundle))
    });
    let range = ids.range;
    let mounted = mounted.map_err(|source| MountError::FsUser { range, source })?;
    mounted.map_err(|source| MountError::Mount {
        source_: mount.source.clone(),
        kind: mount.type_.clone(),
        target: target.to_owned(),
        source,
    })?;
    // An overlay that cannot work in its directories is mounted all the same, for reading.
    let read_only =
        statvfs(target).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    if read_only && !options.flags.contains(MountFlags::RDONLY) {
        return Err(MountError::ReadOnly(target.to_owned()));
    }
    Ok(())
}

/// The directories of an overlay, as its options name them.
#[derive(Debug, PartialEq, Eq)]
struct Layers<'a> {
    /// What all layers are in, with its final slash.
    below: &'a str,
    /// What the overlay's own two directories are in.
    own: &'a Path,
}

impl<'a> Layers<'a> {
    fn of(data: &'a [String]) -> Result<Self, MountError> {
        let named = |key: &str| data.iter().find_map(|option| option.strip_prefix(key));
        let (lower, upper, work) = (named("lowerdir="), named("upperdir="), named("workdir="));
        let parent = |path: Option<&'a str>| path.and_then(|path| Path::new(path).parent());
        let own = parent(upper).filter(|own| parent(work) == Some(own));
        match (lower.map(common_dir).filter(|below| !below.is_empty()), own) {
            (Some(below), Some(own)) => Ok(Self { below, own }),
            _ => Err(MountError::NotMappable(format!(
                "an overlay of {}",
                data.join(",")
            ))),
        }
    }

    /// The options, with directories relative to the bundle.
    fn by_way_of_clones(&self, data: &[String]) -> Vec<String> {
        let layer = |path: &str| format!("{LAYERS}/{}", &path[self.below.len()..]);
        let own = |path: &str| {
            let name = Path::new(path).file_name().unwrap_or_default();
            format!("{OWN}/{}", name.display())
        };
        let renamed = data.iter().map(|option| match option.split_once('=') {
            Some(("lowerdir", paths)) => {
                let paths: Vec<String> = paths.split(':').map(layer).collect();
                format!("lowerdir={}", paths.join(":"))
            }
            Some((key @ ("upperdir" | "workdir"), path)) => format!("{key}={}", own(path)),
            _ => option.clone(),
        });
        renamed.collect()
    }
}

/// The mounted clones; taken away when dropped.
struct Clones<'a> {
    bundle: &'a Path,
}

impl<'a> Clones<'a> {
    fn mount(
        layers: &Layers<'_>,
        bundle: &'a Path,
        ids: &UserNamespace,
    ) -> Result<Self, MountError> {
        // Dropped on the way out, it takes away what was mounted by then.
        let clones = Self { bundle };
        let below = clone_of(Path::new(layers.below), ids, true)?;
        attach(&below, &bundle.join(LAYERS))?;
        attach(&clone_of(layers.own, ids, false)?, &bundle.join(OWN))?;
        Ok(clones)
    }
}

impl Drop for Clones<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove(self.bundle) {
            log::warn!("{}", crate::error::chain(&error));
        }
    }
}
/// Takes away what a shim that died amid the mounting left in `bundle`; fine if nothing.
pub(super) fn remove(bundle: &Path) -> Result<(), MountError> {
    for place in [LAYERS, OWN].map(|name| bundle.join(name)) {
        unmount_all(&place)?;
        // A directory that is not empty is not ours, or still mounted on: it stays.
        let _absent = std::fs::remove_dir(&place);
    }
    Ok(())
}

fn clone_of(dir: &Path, ids: &UserNamespace, read_only: bool) -> Result<OwnedFd, MountError> {
    let failed = |source| MountError::Map {
        dir: dir.to_owned(),
        source,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(CWD, dir, flags).map_err(failed)?;
    sys::map_mount_ids(&clone, &ids.fd).map_err(failed)?;
    if read_only {
        sys::make_mount_read_only(&clone).map_err(failed)?;
    }
    Ok(clone)
}

fn attach(clone: &OwnedFd, place: &Path) -> Result<(), MountError> {
    std::fs::create_dir_all(place)
        .map_err(|source| MountError::Create(place.to_owned(), source))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(clone, "", CWD, place, flags).map_err(|source| MountError::Mount {
        source_: "a mapped clone".to_owned(),
        kind: "bind".to_owned(),
        target: place.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn layers_are_named_by_way_of_their_clones() {
        let data =
            options("index=off lowerdir=/s/9/fs:/s/1/fs upperdir=/s/12/fs workdir=/s/12/work");
        let layers = Layers::of(&data).unwrap();
        assert_eq!((layers.below, layers.own), ("/s/", Path::new("/s/12")));
        let renamed = "index=off lowerdir=layers/9/fs:layers/1/fs upperdir=own/fs workdir=own/work";
        assert_eq!(layers.by_way_of_clones(&data), options(renamed));
        let one = options("lowerdir=/s/1/fs upperdir=/s/12/fs workdir=/s/12/work");
        let renamed = "lowerdir=layers/fs upperdir=own/fs workdir=own/work";
        assert_eq!(
            Layers::of(&one).unwrap().by_way_of_clones(&one),
            options(renamed)
        );
    }

    #[test]
    fn what_is_no_overlay_of_its_own_is_refused() {
        for data in [
            "lowerdir=/s/1/fs:/s/2/fs",
            "lowerdir=/s/1/fs upperdir=/s/12/fs workdir=/s/13/work",
            "lowerdir=a:b upperdir=/s/12/fs workdir=/s/12/work",
            "size=5",
        ] {
            let data = options(data);
            assert!(
                matches!(Layers::of(&data), Err(MountError::NotMappable(_))),
                "{data:?}"
            );
        }
    }
}
