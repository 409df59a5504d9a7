//! What a job was locked in with: recorded with its launch, as the runtime was told.

use serde::{Deserialize, Serialize};

/// How a job is locked in. What is absent or empty was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityProfile {
    /// The OCI runtime: `crun`, `runc` or `runsc`.
    pub runtime: String,
    /// Its user in the container's terms, which are the host's unless it has a `user` namespace.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub additional_gids: Vec<u32>,
    /// Every capability in any of the five sets, `CAP_…`, in order.
    pub capabilities: Vec<String>,
    /// Whether no program can gain privileges by being executed.
    pub no_new_privileges: bool,
    /// SHA-256 of the system call filter as JSON, `sha256:…`: the same for the same rules.
    pub seccomp_digest: Option<String>,
    /// The AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// The SELinux label of its processes.
    pub selinux_label: Option<String>,
    /// The host's ids that its ids are, from its 0 on; absent where it has no user namespace and they are the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdRange>,
    /// Why it has no user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_user_namespace: Option<String>,
    /// Why its disk is not bounded as it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_disk_quota: Option<String>,
    /// Its own namespaces, `cgroup`, `ipc`, `mount`, `network`, `pid`, `user`, `uts`; what is not among them is the host's.
    pub namespaces: Vec<String>,
    /// `none`, `bridge` or `host`.
    pub network: String,
    /// Whether its root file system is read-only.
    pub read_only_root: bool,
    /// What is mounted over that, in order.
    pub mounts: Vec<MountPoint>,
    /// Paths whose content is hidden.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only.
    pub read_only_paths: Vec<String>,
    /// Devices beside those that every container has.
    pub devices: Vec<String>,
}

/// Ids of users and groups, the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// The first of them.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = u64::from(self.first) + u64::from(self.count).saturating_sub(1);
        write!(f, "{}-{last}", self.first)
    }
}

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// Where the job sees it.
    pub destination: String,
    /// The file system's type, or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A path of the host's, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// As for mount(8).
    pub options: Vec<String>,
}
