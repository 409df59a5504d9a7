//! The settings as the executor uses them: every value is within its documented range.
//!
//! The serialised form is the *canonical* one (bytes and thousandths as integers); what people write
//! (`memory = "512MiB"`, `cpu = 0.5`) is translated by the sibling module `check`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use davit_types::{Bytes, Capability, OciRuntime, Resources};
use serde::{Deserialize, Serialize};

use super::{DiskQuotaSettings, NetworkSettings};

/// Everything an operator can set. Build it with [`load`](fn@super::load) or take
/// [`Settings::default`], which is what an empty file gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Root of all that must survive a restart; run directories are in `runs/` below it.
    pub state_dir: PathBuf,
    /// Unix socket of the local API (0600).
    pub socket: PathBuf,
    /// Group, by name or number, that may use it beside root (0660).
    pub socket_group: Option<String>,
    /// Cgroup of all runs, from the root of the cgroup v2 file system.
    pub cgroup_parent: String,
    /// Serve on a host without cpu, memory or pids controller: runs are then unlimited.
    pub allow_missing_controllers: bool,
    /// Runs that may be live at once.
    pub live_runs_max: usize,
    /// Directories searched for runtimes and shims after `PATH`.
    pub additional_binary_paths: Vec<PathBuf>,
    /// Runtime of a run that names none.
    pub default_runtime: OciRuntime,
    /// What a run may be given; it has none but those it asks for.
    pub capabilities_allowed: Vec<Capability>,
    /// Where and how containerd is reached.
    pub containerd: ContainerdSettings,
    /// Image cache and pulls.
    pub images: ImageSettings,
    /// Images that must be signed, and by whom.
    pub image_signatures: Vec<ImageSignatureSettings>,
    /// By registry host (`registry.example.com`, `127.0.0.1:5000`).
    pub registries: BTreeMap<String, RegistrySettings>,
    /// The scheduler this host takes runs from.
    pub link: LinkSettings,
    /// What runs may ask of the network.
    pub network: NetworkSettings,
    /// User namespaces of containers.
    pub user_namespaces: UserNamespaceSettings,
    /// How much a run may write to its disk.
    pub disk_quota: DiskQuotaSettings,
    /// Files that go into runs and come out of them.
    pub files: FileSettings,
    /// Containers made in advance.
    pub warm: WarmSettings,
    /// The sizes offered, the first being the default; never empty, slugs unique.
    pub instance_types: Vec<InstanceTypeSettings>,
    /// Sweeping of what is left over.
    pub reap: ReapSettings,
    /// How long ended runs are kept.
    pub retention: RetentionSettings,
    /// The executor's own log.
    pub log: LogSettings,
}

/// Where and how containerd is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerdSettings {
    /// Its gRPC socket.
    pub socket: PathBuf,
    /// containerd namespace of everything davit makes.
    pub namespace: String,
    /// Snapshotter plugin.
    pub snapshotter: String,
    /// Runtime name; containerd derives the shim's binary from it.
    pub runtime: String,
    /// Have shims forked in advance rather than executed by containerd.
    pub prestarted_shims: bool,
}

/// Image cache and pulls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSettings {
    /// Size above which images unused for longest are evicted.
    pub cache_bytes_max: Bytes,
    /// Longest a pull may take.
    pub pull_deadline_seconds: u64,
    /// Longest a pull may go without progress.
    pub pull_stall_seconds: u64,
    /// Compressed bytes of an image.
    pub compressed_bytes_max: Bytes,
    /// Bytes of an image on disk.
    pub unpacked_bytes_max: Bytes,
    /// Files of an image, directories among them.
    pub unpacked_files_max: u64,
    /// Digests (`sha256:…`) or repositories that may run; empty allows all.
    pub allow: Vec<String>,
}

/// Images that must be signed with one of some keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSignatureSettings {
    /// Which: `registry/repository`, or `*`.
    pub repositories: Vec<String>,
    /// PEM files of public keys.
    pub public_key_files: Vec<PathBuf>,
}

/// Access to one registry. A password is never kept: see [`RegistrySettings::password`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// User name; absent means anonymous.
    pub username: Option<String>,
    /// File holding the password, one trailing newline ignored. Excludes `password_command`.
    pub password_file: Option<PathBuf>,
    /// Program and arguments that print the password. Excludes `password_file`.
    pub password_command: Option<Vec<String>>,
    /// Speak http without TLS.
    pub plain_http: bool,
}

/// The scheduler this host takes runs from, and what it may give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSettings {
    /// Its address; absent: the host works alone.
    pub server: Option<String>,
    /// Certificate of the authority that signed the scheduler's; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// Who this host is to the scheduler (0600).
    pub credentials_file: PathBuf,
    /// `key=value` each, keys unique.
    pub labels: Vec<String>,
    /// Thousandths of a CPU that runs may have in all; the host's when absent.
    pub cpu: Option<u32>,
    /// Memory that runs may have in all; the host's when absent.
    pub memory: Option<Bytes>,
    /// Processes that runs may have in all; the kernel's limit less some when absent.
    pub pids: Option<u64>,
    /// Disk that runs may have in all; the state directory's file system when absent.
    pub disk: Option<Bytes>,
}

impl LinkSettings {
    /// The labels, taken apart.
    #[must_use]
    pub fn label_pairs(&self) -> BTreeMap<String, String> {
        let pairs = self.labels.iter().filter_map(|label| label.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// User namespaces of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserNamespaceSettings {
    /// Whether containers get one.
    pub mode: UserNamespaceMode,
    /// First of the host's ids that containers are given; a multiple of 65536.
    pub first_id: u32,
    /// Ranges of 65536 ids from there on, one for each container.
    pub ranges: u32,
}

/// Whether containers get user namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespaceMode {
    /// Where the host can.
    #[default]
    Auto,
    /// Yes; a host that cannot takes no runs.
    Required,
    /// No: root in a container is root of the host, without capabilities.
    Off,
}

/// Files that go into runs and come out of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Bytes of the files that a run comes with.
    pub upload_bytes_max: Bytes,
    /// How many they may be, directories among them.
    pub upload_files_max: u64,
    /// Bytes kept of what is collected from a run.
    pub extract_bytes_max: Bytes,
}

/// Containers made in advance, so that a run need not wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmSettings {
    /// Most that wait for runs of one kind; 0 makes none.
    pub slots_per_profile: usize,
    /// Most that wait in all; 0 makes none.
    pub slots_max: usize,
    /// Time without a run of its kind after which the last one goes.
    pub idle_seconds: u64,
    /// Waiting of the host's tasks for memory, within two seconds, upon which all go; 0: none does.
    pub memory_stall_ms: u64,
}

/// A size runs can ask for (A7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceTypeSettings {
    /// Name in requests.
    pub slug: String,
    /// Name for people; the slug where the operator gave none.
    #[serde(default)]
    pub name: String,
    /// Thousandths of a CPU.
    pub cpu: u32,
    /// `memory.max`.
    pub memory: Bytes,
    /// `pids.max`.
    pub pids: u32,
    /// What a run may write to its root file system; absent: as much as there is.
    #[serde(default)]
    pub disk: Option<Bytes>,
    /// Price of a second, millionths of the currency unit.
    #[serde(default)]
    pub price_second_micros: u64,
}

/// Sweeping of what is left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReapSettings {
    /// Only what is older is swept.
    pub age_seconds: u64,
}

/// How long ended runs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Seconds after its end that a run's directory is removed; absent keeps it until `davit rm`.
    pub finished_seconds: Option<u64>,
}

/// The executor's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A tracing filter, e.g. `info` or `davit_executor=debug,info`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the executor's log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/davit".into(),
            socket: "/run/davit/executor.sock".into(),
            socket_group: None,
            cgroup_parent: "/davit".to_owned(),
            allow_missing_controllers: false,
            live_runs_max: 1_000,
            additional_binary_paths: Vec::new(),
            default_runtime: OciRuntime::Crun,
            capabilities_allowed: Vec::new(),
            containerd: ContainerdSettings {
                socket: "/run/containerd/containerd.sock".into(),
                namespace: "davit".to_owned(),
                snapshotter: "overlayfs".to_owned(),
                runtime: "io.containerd.davit.v1".to_owned(),
                prestarted_shims: true,
            },
            images: ImageSettings {
                cache_bytes_max: Bytes::gib(20),
                pull_deadline_seconds: 900,
                pull_stall_seconds: 60,
                compressed_bytes_max: Bytes::gib(32),
                unpacked_bytes_max: Bytes::gib(64),
                unpacked_files_max: 2_000_000,
                allow: Vec::new(),
            },
            image_signatures: Vec::new(),
            registries: BTreeMap::new(),
            link: LinkSettings {
                server: None,
                ca_file: None,
                credentials_file: "/etc/davit/host.json".into(),
                labels: Vec::new(),
                cpu: None,
                memory: None,
                pids: None,
                disk: None,
            },
            network: NetworkSettings::default(),
            user_namespaces: UserNamespaceSettings {
                mode: UserNamespaceMode::Auto,
                // What systemd (UIDS-GIDS.md) and shadow leave to nobody: 0x7000_0000 up to 0x7ffe_0000.
                first_id: 0x7000_0000,
                ranges: 0x0ffe,
            },
            disk_quota: DiskQuotaSettings::default(),
            files: FileSettings {
                upload_bytes_max: Bytes::gib(4),
                upload_files_max: 1_000_000,
                extract_bytes_max: Bytes::gib(4),
            },
            warm: WarmSettings {
                slots_per_profile: 4,
                slots_max: 16,
                idle_seconds: 300,
                memory_stall_ms: 150,
            },
            instance_types: InstanceTypeSettings::built_in(),
            reap: ReapSettings { age_seconds: 300 },
            retention: RetentionSettings::default(),
            log: LogSettings {
                filter: "info".to_owned(),
                format: LogFormat::Human,
            },
        }
    }
}

impl InstanceTypeSettings {
    /// The sizes offered where the operator names none.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        let size = |slug: &str, name: &str, cpu, mebibytes, pids, disk_gib, price| Self {
            slug: slug.to_owned(),
            name: name.to_owned(),
            cpu,
            memory: Bytes::mib(mebibytes),
            pids,
            disk: Some(Bytes::gib(disk_gib)),
            price_second_micros: price,
        };
        vec![
            size("small", "Small", 500, 512, 256, 10, 4),
            size("nano", "Nano", 250, 128, 64, 5, 2),
            size("medium", "Medium", 1_000, 2_048, 512, 20, 10),
            size("large", "Large", 2_000, 4_096, 1_024, 40, 20),
        ]
    }
}

impl From<&InstanceTypeSettings> for davit_types::InstanceType {
    fn from(size: &InstanceTypeSettings) -> Self {
        Self {
            slug: size.slug.clone(),
            name: size.name.clone(),
            resources: Resources {
                cpu_millis: size.cpu,
                memory_bytes_max: size.memory,
                pids_max: size.pids,
            },
            price_second_micros: size.price_second_micros,
            disk_bytes_max: size.disk,
        }
    }
}

impl Settings {
    /// The sizes as a run request is checked against.
    #[must_use]
    pub fn offered_instance_types(&self) -> Vec<davit_types::InstanceType> {
        self.instance_types.iter().map(Into::into).collect()
    }
}
