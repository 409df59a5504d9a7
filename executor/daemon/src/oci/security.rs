//! What a spec locks its job in with, told to people. Pure.
//!
//! Invariant: it is read from the spec that the runtime gets, never from what that was made of.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

use davit_types::{MountPoint, NetworkMode, OciRuntime, SecurityProfile};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxSeccomp, Mount, Process, Spec};
use sha2::{Digest as _, Sha256};

use super::ids;

/// What the job of `spec` is locked in with, under this runtime, in this network.
#[must_use]
pub fn security(spec: &Spec, runtime: OciRuntime, network: NetworkMode) -> SecurityProfile {
    let mut profile = SecurityProfile {
        runtime: runtime.binary().to_owned(),
        network: network.as_str().to_owned(),
        read_only_root: spec
            .root()
            .as_ref()
            .is_some_and(|root| root.readonly() == Some(true)),
        mounts: spec.mounts().iter().flatten().map(mount_point).collect(),
        ids: ids::given(spec),
        ..SecurityProfile::default()
    };
    if let Some(process) = spec.process() {
        of_process(process, &mut profile);
    }
    if let Some(linux) = spec.linux() {
        of_linux(linux, &mut profile);
    }
    profile
}

fn of_process(process: &Process, profile: &mut SecurityProfile) {
    let user = process.user();
    (profile.uid, profile.gid) = (user.uid(), user.gid());
    profile.additional_gids = user.additional_gids().clone().unwrap_or_default();
    profile.no_new_privileges = process.no_new_privileges() == Some(true);
    profile
        .apparmor_profile
        .clone_from(process.apparmor_profile());
    profile.selinux_label.clone_from(process.selinux_label());
    if let Some(sets) = process.capabilities() {
        let sets = [
            sets.bounding(),
            sets.effective(),
            sets.inheritable(),
            sets.permitted(),
            sets.ambient(),
        ];
        let all = sets.into_iter().flatten().flatten();
        let names: BTreeSet<String> = all.map(|one| format!("CAP_{one}")).collect();
        profile.capabilities = names.into_iter().collect();
    }
}

fn of_linux(linux: &Linux, profile: &mut SecurityProfile) {
    profile.seccomp_digest = linux.seccomp().as_ref().map(seccomp_digest);
    let namespaces = linux.namespaces().iter().flatten();
    // One with a path is somebody's: it may be the host's.
    let own = namespaces.filter(|namespace| namespace.path().is_none());
    let names: BTreeSet<&str> = own.map(|namespace| name(namespace.typ())).collect();
    profile.namespaces = names.into_iter().map(str::to_owned).collect();
    profile.masked_paths = linux.masked_paths().clone().unwrap_or_default();
    profile.read_only_paths = linux.readonly_paths().clone().unwrap_or_default();
    let devices = linux.devices().iter().flatten();
    profile.devices = devices
        .map(|device| device.path().display().to_string())
        .collect();
}

const fn name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn mount_point(mount: &Mount) -> MountPoint {
    let source = mount.source().as_ref().filter(|path| path.is_absolute());
    MountPoint {
        destination: mount.destination().display().to_string(),
        kind: mount.typ().clone().unwrap_or_default(),
        host_path: source.map(|path| path.display().to_string()),
        options: mount.options().clone().unwrap_or_default(),
    }
}

/// The digest of a filter. Nearly all specs have the same one: it is compared with that, which is much cheaper.
fn seccomp_digest(filter: &LinuxSeccomp) -> String {
    static USUAL: OnceLock<(LinuxSeccomp, String)> = OnceLock::new();
    let (usual, digest) = USUAL.get_or_init(|| (filter.clone(), digest_of(filter)));
    if usual == filter {
        digest.clone()
    } else {
        digest_of(filter)
    }
}

fn digest_of(filter: &LinuxSeccomp) -> String {
    let text = serde_json::to_vec(filter).expect("a filter is lists of words and numbers");
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(&text) {
        write!(digest, "{byte:02x}").expect("a String takes everything");
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: serde_json::Value) -> SecurityProfile {
        let spec: Spec = serde_json::from_value(spec).expect("a spec");
        security(&spec, OciRuntime::Runc, NetworkMode::Host)
    }

    fn filtered(errno: u32) -> SecurityProfile {
        told(json!({
            "ociVersion": "1.0.2",
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}}
        }))
    }

    #[test]
    fn what_opens_the_cage_is_told() {
        let profile = told(json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/",
                "user": {"uid": 3, "gid": 4, "additionalGids": [6, 5]},
                "capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_KILL"], "ambient": ["CAP_KILL"]},
                "apparmorProfile": "unconfined",
                "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0",
            },
            "mounts": [
                {"destination": "/host", "type": "bind", "source": "/", "options": ["rbind"]},
                {"destination": "/proc", "type": "proc", "source": "proc"},
            ],
            "linux": {
                "namespaces": [
                    {"type": "mount"},
                    {"type": "pid", "path": "/proc/1/ns/pid"},
                    {"type": "network"},
                ],
                "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
                "readonlyPaths": ["/proc/sys"],
            },
        }));
        assert_eq!(profile.capabilities, ["CAP_KILL", "CAP_SYS_ADMIN"]);
        assert_eq!((profile.uid, profile.gid), (3, 4));
        assert_eq!(profile.additional_gids, [6, 5]);
        assert!(!profile.no_new_privileges && !profile.read_only_root);
        assert_eq!(profile.seccomp_digest, None);
        assert_eq!(profile.apparmor_profile.as_deref(), Some("unconfined"));
        assert!(profile.selinux_label.is_some());
        assert_eq!(
            profile.namespaces,
            ["mount", "network"],
            "a joined one is not its own"
        );
        assert_eq!(profile.devices, ["/dev/fuse"]);
        assert_eq!(profile.mounts[0].host_path.as_deref(), Some("/"));
        assert_eq!(profile.mounts[1].host_path, None);
        assert_eq!(
            (profile.runtime.as_str(), profile.network.as_str()),
            ("runc", "host")
        );
        assert!(profile.masked_paths.is_empty());
        assert_eq!(profile.read_only_paths, ["/proc/sys"]);
    }

    #[test]
    fn each_filter_has_its_own_digest() {
        let digest = |errno| filtered(errno).seccomp_digest.expect("it has a filter");
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(38));
        assert_eq!(digest(38), digest(38));
    }
}
