//! How full the run's own disk was at its end.
//!
//! The layer that a container writes to bears its quota with it (davit-quota), so nobody need tell the shim of one, and what
//! it says holds whoever made the container. It is asked once nothing of the job is left, and before the layer goes.

use std::fs::File;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use davit_quota::{ProjectId, Usage};

use super::Shared;

/// The option of an overlay that names the directory written to.
const OWN_LAYER: &str = "upperdir=";
/// The project of all that is in none.
const NOBODYS: ProjectId = ProjectId(0);

/// The directory that a container with `mounts` for its root file system writes to.
pub(crate) fn own_layer(mounts: &[Mount]) -> Option<PathBuf> {
    let options = mounts.iter().flat_map(|mount| &mount.options);
    let mut layers = options.filter_map(|option| option.strip_prefix(OWN_LAYER));
    layers.next().map(PathBuf::from)
}

impl Shared {
    /// What its layer holds; `None` where nothing bounds it.
    pub(super) fn disk(&self) -> Option<Usage> {
        let layer = self.layer.get()?;
        let usage = match read(layer) {
            Ok(usage) => usage,
            Err(error) => {
                log::warn!("cannot tell what is in {}: {error}", layer.display());
                None
            }
        };
        usage.filter(|usage| usage.limits.bytes_max > 0)
    }
}

fn read(layer: &Path) -> std::io::Result<Option<Usage>> {
    let layer = File::open(layer)?;
    match davit_quota::project_of(&layer) {
        // Also where a file system has no projects.
        Ok(NOBODYS) | Err(_) => Ok(None),
        Ok(project) => davit_quota::usage(&layer, project).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_written_to_is_the_upper_one() {
        let overlay = Mount {
            type_: "overlay".into(),
            options: [
                "index=off",
                "workdir=/s/4/work",
                "upperdir=/s/4/fs",
                "lowerdir=/s/1/fs",
            ]
            .map(str::to_owned)
            .into(),
            ..Mount::default()
        };
        assert_eq!(own_layer(&[overlay]), Some("/s/4/fs".into()));
        assert_eq!(own_layer(&[Mount::default()]), None);
    }

    #[test]
    fn a_layer_without_a_project_has_no_figures() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        assert!(read(&dir.path().join("none")).is_err());
    }
}
