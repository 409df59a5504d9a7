//! What a run is locked in with, as it is shown.

use davit_types::{MountPoint, SecurityProfile};
use serde::Serialize;
use utoipa::ToSchema;

/// What an attempt is locked in with, as its host told the OCI runtime. Which of the host's ids its user namespace has is
/// the host's matter, and shown there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct SecurityView {
    /// The OCI runtime.
    #[schema(example = "crun")]
    runtime: String,
    /// Its user, in the container's terms.
    uid: u32,
    /// Its group.
    gid: u32,
    /// Its further groups.
    additional_gids: Vec<u32>,
    /// Every capability in any of its sets.
    capabilities: Vec<String>,
    /// Whether no program can gain privileges by being executed.
    no_new_privileges: bool,
    /// SHA-256 of the system call filter: the same for the same rules.
    seccomp_digest: Option<String>,
    apparmor_profile: Option<String>,
    selinux_label: Option<String>,
    /// Why its ids are the host's; `null` where it has a user namespace.
    no_user_namespace: Option<String>,
    /// Why its disk is not bounded to what its type says; `null` where it is.
    no_disk_quota: Option<String>,
    /// Its own namespaces; what is not among them is the host's.
    namespaces: Vec<String>,
    /// `none` or `host`.
    network: String,
    read_only_root: bool,
    /// What is mounted over its root file system, in order.
    mounts: Vec<MountView>,
    /// Paths whose content is hidden.
    masked_paths: Vec<String>,
    read_only_paths: Vec<String>,
    /// Devices beside those that every container has.
    devices: Vec<String>,
}

/// One mount.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct MountView {
    /// Where the job sees it.
    destination: String,
    /// The file system's type, or `bind`.
    r#type: String,
    /// A path of the host's, where it is one.
    host_path: Option<String>,
    /// As for mount(8).
    options: Vec<String>,
}

impl From<SecurityProfile> for SecurityView {
    fn from(profile: SecurityProfile) -> Self {
        Self {
            runtime: profile.runtime,
            uid: profile.uid,
            gid: profile.gid,
            additional_gids: profile.additional_gids,
            capabilities: profile.capabilities,
            no_new_privileges: profile.no_new_privileges,
            seccomp_digest: profile.seccomp_digest,
            apparmor_profile: profile.apparmor_profile,
            selinux_label: profile.selinux_label,
            no_user_namespace: profile.no_user_namespace,
            no_disk_quota: profile.no_disk_quota,
            namespaces: profile.namespaces,
            network: profile.network,
            read_only_root: profile.read_only_root,
            mounts: profile.mounts.into_iter().map(MountView::from).collect(),
            masked_paths: profile.masked_paths,
            read_only_paths: profile.read_only_paths,
            devices: profile.devices,
        }
    }
}

impl From<MountPoint> for MountView {
    fn from(mount: MountPoint) -> Self {
        Self {
            destination: mount.destination,
            r#type: mount.kind,
            host_path: mount.host_path,
            options: mount.options,
        }
    }
}
