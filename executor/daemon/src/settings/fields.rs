//! Every setting that exists, once: name, kind, range and meaning.
//!
//! The check of a file, the environment names, the JSON Schema, the reference page and the nearest-key
//! hints all read this table, so none of them can lag behind. A test holds it against the structure
//! in [`super::model`].

mod disk_quota;
mod files;
mod images;
mod network;

use davit_settings::{Field, Kind, field, required};
use davit_types::Capability;

use self::disk_quota::DISK_QUOTA;
use self::files::FILES;
use self::images::{IMAGE_SIGNATURE, IMAGE_SIGNATURES_MAX, IMAGES};
use self::network::NETWORK;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const PATHS_MAX: usize = 64;
const ALLOWED_IMAGES_MAX: usize = 10_000;
const COMMAND_PARTS_MAX: usize = 64;
const INSTANCE_TYPES_MAX: usize = 100;
const REGISTRIES_MAX: usize = 1_000;
const TEXT_CHARS_MAX: usize = 4_095;
const DAY_SECONDS: u64 = 86_400;
/// Ids of one container.
const ID_RANGE: u64 = crate::ids::IDS as u64;
/// Ids above are negative to many programs.
pub(super) const IDS_END: u64 = 1 << 31;

const TEXT: Kind = Kind::Text {
    chars_max: TEXT_CHARS_MAX,
};

/// The whole tree.
pub(super) const SETTINGS: &[Field] = &[
    field(
        "state_dir",
        Kind::Path,
        "Root of all that must survive a restart, on a real disk; run directories are in `runs/` below it.",
    ),
    field(
        "socket",
        Kind::Path,
        "Unix socket of the local API, made with mode 0600. The command line reads the same variable.",
    ),
    field(
        "socket_group",
        Kind::Name,
        "Group, by name or number, that may use the socket beside root (mode 0660). Its members see and end every run of this host. Not set: root only.",
    ),
    field(
        "cgroup_parent",
        Kind::Path,
        "Cgroup all runs live in, from the root of the cgroup v2 file system.",
    ),
    field(
        "allow_missing_controllers",
        Kind::Bool,
        "For development: serve although the cpu, memory or pids controller is missing. Runs are then unlimited.",
    ),
    field(
        "live_runs_max",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "Runs that may be live at once; one more is refused.",
    ),
    field(
        "additional_binary_paths",
        Kind::List {
            of: &Kind::Path,
            items_max: PATHS_MAX,
        },
        "Directories searched for OCI runtimes after `PATH`.",
    ),
    field(
        "default_runtime",
        Kind::Choice(&["crun", "runc", "runsc"]),
        "OCI runtime of a run that names none.",
    ),
    field(
        "capabilities_allowed",
        Kind::List {
            of: &Kind::Choice(&Capability::NAMES),
            items_max: Capability::NAMES.len(),
        },
        "Capabilities a run may ask for, `CAP_…`. It has none but those; empty allows none.",
    ),
    field(
        "containerd",
        Kind::Section(CONTAINERD),
        "Where and how containerd is reached.",
    ),
    field("images", Kind::Section(IMAGES), "Image cache and pulls."),
    field(
        "registries",
        Kind::Map {
            fields: REGISTRY,
            items_max: REGISTRIES_MAX,
        },
        "Access to registries, by host (and port): `[registries.\"registry.example.com\"]`.",
    ),
    field(
        "link",
        Kind::Section(LINK),
        "The scheduler that gives this host runs. Without `server` the host works alone.",
    ),
    field(
        "network",
        Kind::Section(NETWORK),
        "What runs may ask of the network.",
    ),
    field(
        "user_namespaces",
        Kind::Section(USER_NAMESPACES),
        "User namespaces: root in a container is nobody on the host.",
    ),
    field(
        "disk_quota",
        Kind::Section(DISK_QUOTA),
        "How much a run may write to its root file system.",
    ),
    field(
        "files",
        Kind::Section(FILES),
        "Files that go into runs and come out of them.",
    ),
    field(
        "warm",
        Kind::Section(WARM),
        "Containers made in advance, so that a run need not wait for one.",
    ),
    field(
        "instance_types",
        Kind::Tables {
            fields: INSTANCE_TYPE,
            items_max: INSTANCE_TYPES_MAX,
        },
        "The sizes offered; the first is the default. Naming any replaces the built-in ones.",
    ),
    field(
        "image_signatures",
        Kind::Tables {
            fields: IMAGE_SIGNATURE,
            items_max: IMAGE_SIGNATURES_MAX,
        },
        "Images that must be signed (cosign, with a key): an image needs a signature for every entry that covers it. Without entries none needs one.",
    ),
    field(
        "reap",
        Kind::Section(REAP),
        "Sweeping of what is left over.",
    ),
    field(
        "retention",
        Kind::Section(RETENTION),
        "How long ended runs are kept.",
    ),
    field("log", Kind::Section(LOG), "The executor's own log."),
];

const CONTAINERD: &[Field] = &[
    field("socket", Kind::Path, "containerd's gRPC socket."),
    field(
        "namespace",
        Kind::Name,
        "containerd namespace of everything davit makes.",
    ),
    field("snapshotter", Kind::Name, "Snapshotter plugin."),
    field(
        "runtime",
        Kind::Name,
        "Runtime name, from which containerd derives the name of the shim's binary.",
    ),
    field(
        "prestarted_shims",
        Kind::Bool,
        "Fork shims from a process of davit's where containerd (2.1 to 2.4) can be given their address: quicker and \
         smaller than having containerd execute each. Off: it executes them, as older ones always do.",
    ),
];

const REGISTRY: &[Field] = &[
    field(
        "username",
        Kind::Text { chars_max: 256 },
        "User name; without one the registry is asked anonymously.",
    ),
    field(
        "password_file",
        Kind::Path,
        "File holding the password; one newline at its end is ignored. Read at each pull.",
    ),
    field(
        "password_command",
        Kind::List {
            of: &TEXT,
            items_max: COMMAND_PARTS_MAX,
        },
        "Program and arguments that print the password (`vault`, `sops`…). Run at each pull, for at most 10 s.",
    ),
    field("plain_http", Kind::Bool, "Speak http without TLS."),
];

const LINK: &[Field] = &[
    field(
        "server",
        Kind::Text { chars_max: 2_000 },
        "The scheduler's address, `https://…`; `http://` only to this host itself. Register first: `davit executor register`.",
    ),
    field(
        "ca_file",
        Kind::Path,
        "Certificates (PEM) that the scheduler's must lead to; absent: those of the system.",
    ),
    field(
        "credentials_file",
        Kind::Path,
        "Who this host is to the scheduler, written by `davit executor register` with mode 0600.",
    ),
    field(
        "labels",
        Kind::List {
            of: &TEXT,
            items_max: davit_types::limits::LABELS_MAX,
        },
        "What runs can ask for, each `key=value`.",
    ),
    field(
        "cpu",
        Kind::Cpu,
        "CPUs that runs of the scheduler's may have in all; absent: the host's.",
    ),
    field(
        "memory",
        Kind::Bytes {
            min: 4 * MIB,
            max: 1024 * TIB,
        },
        "Memory that they may have in all; absent: the host's.",
    ),
    field(
        "pids",
        Kind::Integer {
            min: 1,
            max: 4_194_304,
        },
        "Processes and threads that they may have in all; absent: the kernel's limit, less 4096.",
    ),
    field(
        "disk",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Disk that they may have in all; absent: the file system of `state_dir`.",
    ),
];

const USER_NAMESPACES: &[Field] = &[
    field(
        "mode",
        Kind::Choice(&["auto", "required", "off"]),
        "`auto`: each container of crun or runc has one where the host can (Linux 6.3, snapshotter overlayfs); \
         `required`: the executor does not serve where it cannot; `off`: none has.",
    ),
    field(
        "first_id",
        Kind::Integer {
            min: ID_RANGE,
            max: IDS_END - ID_RANGE,
        },
        "First of the host's user and group ids that containers are given, a multiple of 65536. Nobody else may be given \
         them: neither by /etc/subuid nor by another executor on this host.",
    ),
    field(
        "ranges",
        Kind::Integer {
            min: 1,
            max: IDS_END / ID_RANGE - 1,
        },
        "Ranges of 65536 ids from there on: as many containers can be live, warm slots among them.",
    ),
];

const WARM: &[Field] = &[
    field(
        "slots_per_profile",
        Kind::Integer { min: 0, max: 100 },
        "Containers that wait for runs of one kind (image, user, directory, network…), at most; runs that find none double them. 0 makes none.",
    ),
    field(
        "slots_max",
        Kind::Integer { min: 0, max: 1_000 },
        "Containers that wait in all; each takes about a megabyte of memory. 0 makes none.",
    ),
    field(
        "idle_seconds",
        Kind::Integer {
            min: 1,
            max: DAY_SECONDS,
        },
        "Time without a run of their kind after which the last of them is removed.",
    ),
    field(
        "memory_stall_ms",
        Kind::Integer { min: 0, max: 2_000 },
        "Memory runs short when less than a tenth of it is available and tasks wait for it for so many milliseconds of two seconds (PSI): all are removed then, and none is made for 30 s. 0 never removes them for that.",
    ),
];

const INSTANCE_TYPE: &[Field] = &[
    required("slug", Kind::Name, "Name in requests."),
    field(
        "name",
        Kind::Text { chars_max: 63 },
        "Name for people; the slug when absent.",
    ),
    required(
        "cpu",
        Kind::Cpu,
        "CPUs, fractions allowed: 0.5 is half a core.",
    ),
    required(
        "memory",
        Kind::Bytes {
            min: 4 * MIB,
            max: 16 * TIB,
        },
        "Memory (`memory.max`); swap is always off.",
    ),
    required(
        "pids",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "Processes and threads (`pids.max`).",
    ),
    field(
        "disk",
        Kind::Bytes {
            min: davit_types::limits::DISK_BYTES_MIN.0,
            max: davit_types::limits::DISK_BYTES_MAX.0,
        },
        "What it may write to its root file system (`disk_quota`), with one file for each 8 KiB and at least 4096; absent: as \
         much as there is.",
    ),
    field(
        "price_second_micros",
        Kind::Integer {
            min: 0,
            max: 1_000_000_000_000,
        },
        "Price of one second in millionths of the currency unit; 0 when absent.",
    ),
];

const REAP: &[Field] = &[field(
    "age_seconds",
    Kind::Integer {
        min: 1,
        max: 30 * DAY_SECONDS,
    },
    "`davit reap` and the sweep at start leave alone what is younger.",
)];

const RETENTION: &[Field] = &[field(
    "finished_seconds",
    Kind::Integer {
        min: 60,
        max: 3_650 * DAY_SECONDS,
    },
    "Time after its end at which a run is forgotten, log included. Absent: kept until `davit rm`.",
)];

const LOG: &[Field] = &[
    field(
        "filter",
        Kind::Text { chars_max: 1_000 },
        "What is logged: `info`, or by module: `davit_executor=debug,info`.",
    ),
    field(
        "format",
        Kind::Choice(&["human", "json"]),
        "How lines look.",
    ),
];
