//! What a job was locked in with, as JSON.

use davit_rpc::local::{MountPoint, SecurityProfile};
use serde::Serialize;

/// What its job was locked in with: `davit inspect` alone asks for it.
#[derive(Debug, Serialize)]
pub(super) struct SecurityJson<'a> {
    runtime: &'a str,
    uid: u32,
    gid: u32,
    additional_gids: &'a [u32],
    capabilities: &'a [String],
    no_new_privileges: bool,
    seccomp_digest: Option<&'a str>,
    apparmor_profile: Option<&'a str>,
    selinux_label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<IdsJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_user_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_disk_quota: Option<&'a str>,
    namespaces: &'a [String],
    network: &'a str,
    read_only_root: bool,
    mounts: Vec<MountJson<'a>>,
    masked_paths: &'a [String],
    read_only_paths: &'a [String],
    devices: &'a [String],
}

impl<'a> From<&'a SecurityProfile> for SecurityJson<'a> {
    fn from(profile: &'a SecurityProfile) -> Self {
        Self {
            runtime: &profile.runtime,
            uid: profile.uid,
            gid: profile.gid,
            additional_gids: &profile.additional_gids,
            capabilities: &profile.capabilities,
            no_new_privileges: profile.no_new_privileges,
            seccomp_digest: profile.seccomp_digest.as_deref(),
            apparmor_profile: profile.apparmor_profile.as_deref(),
            selinux_label: profile.selinux_label.as_deref(),
            ids: profile.ids.as_ref().map(|ids| IdsJson {
                first: ids.first,
                count: ids.count,
            }),
            no_user_namespace: profile.no_user_namespace.as_deref(),
            no_disk_quota: profile.no_disk_quota.as_deref(),
            namespaces: &profile.namespaces,
            network: &profile.network,
            read_only_root: profile.read_only_root,
            mounts: profile.mounts.iter().map(MountJson::from).collect(),
            masked_paths: &profile.masked_paths,
            read_only_paths: &profile.read_only_paths,
            devices: &profile.devices,
        }
    }
}

#[derive(Debug, Serialize)]
struct IdsJson {
    first: u32,
    count: u32,
}

#[derive(Debug, Serialize)]
struct MountJson<'a> {
    destination: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    host_path: Option<&'a str>,
    options: &'a [String],
}

impl<'a> From<&'a MountPoint> for MountJson<'a> {
    fn from(mount: &'a MountPoint) -> Self {
        Self {
            destination: &mount.destination,
            kind: &mount.r#type,
            host_path: mount.host_path.as_deref(),
            options: &mount.options,
        }
    }
}
