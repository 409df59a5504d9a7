//! The files that a run comes with, unpacked below its working directory before its container is made.
//!
//! They go straight from the caller's stream to the container's own layer. They are taken once: a launch that is cut off
//! after that has nothing to take, and the run ends rather than begin without them.

use std::sync::Arc;

use super::{LaunchError, Order};
use crate::containerd::Mount;
use crate::files::intake::Upload;
use crate::files::{Bounds, Target, place, unpack};
use crate::oci;
use crate::runs::offload::offload;

/// Takes what `files` brings.
pub(super) async fn take(
    order: Order<'_>,
    mounts: Vec<Mount>,
    files: &mut Option<Upload>,
) -> Result<(), LaunchError> {
    let upload = files.take().ok_or(LaunchError::FilesGone)?;
    let run = order.run();
    let workdir = oci::working_directory(run, &order.image.config);
    let user = oci::user_text(run, &order.image.config).to_owned();
    let chain_id = order.image.chain_id.clone();
    let host = Arc::clone(order.host);
    let disk = host.disk.bound_of(run);
    offload(move || {
        let user = host.warm.users().resolve(&chain_id, &user, &mounts)?;
        let owner = (user.uid, user.gid);
        let limits = host.settings.files;
        let target = Target {
            dir: place::open(&mounts, &workdir, owner)?,
            owner: Some(owner),
            bounds: Bounds {
                bytes_max: (limits.upload_bytes_max.0, "files.upload_bytes_max"),
                files_max: (limits.upload_files_max, "files.upload_files_max"),
            },
        };
        let unpacked = upload.take(|stream| unpack(stream, &target));
        // Who runs out of room on a disk of the run's own has to hear how much that is. Some file systems hold root to it too.
        let unpacked = unpacked.map_err(|error| match disk {
            Some(bytes_max) if error.is_out_of_room() => LaunchError::FilesOnDisk(bytes_max, error),
            _ => error.into(),
        })?;
        tracing::debug!(
            files = unpacked.files,
            bytes = unpacked.bytes,
            "took the files of a run"
        );
        Ok(())
    })
    .await
}
