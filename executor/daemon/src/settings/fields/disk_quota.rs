//! `[disk_quota]`: how much a run may write to its disk.

use davit_settings::{Field, Kind, field};
use davit_types::limits;

pub(super) const DISK_QUOTA: &[Field] = &[
    field(
        "mode",
        Kind::Choice(&["auto", "required", "off"]),
        "`auto`: a run is held to its disk (`instance_types.disk`, `--disk`) where containerd's snapshots are on ext4 or XFS \
         mounted with `prjquota`, the snapshotter being overlayfs; elsewhere a warning says that nothing bounds it. \
         `required`: the executor does not serve where it cannot, nor where runs have no user namespaces; `off`: none is held \
         to it.",
    ),
    field(
        "bytes_max",
        Kind::Bytes {
            min: limits::DISK_BYTES_MIN.0,
            max: limits::DISK_BYTES_MAX.0,
        },
        "The most disk that a run may have, by its type or its own request; absent: no bound.",
    ),
];
