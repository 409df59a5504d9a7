//! Every setting that exists, once: name, kind, range and meaning.
//!
//! The check of a file, the environment names, the JSON Schema, the reference page and the nearest-key
//! hints all read this table, so none of them can lag behind. A test holds it against the structure
//! in [`super::model`].

mod outside;

use self::outside::{LINK, REGISTRY};

/// One setting.
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// Inside a list or map of tables: whether an entry must have it.
    pub(super) required: bool,
    /// One or two sentences for the reference.
    pub(super) doc: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// An absolute path.
    Path,
    /// A text of 1 to so many characters.
    Text { chars_max: usize },
    /// A name for identifiers: letters, digits, `-_.`, at most 63.
    Name,
    /// true or false.
    Bool,
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// Bytes, with an optional unit; also a whole number.
    Bytes { min: u64, max: u64 },
    /// A count of CPUs, kept in thousandths.
    Cpu,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list of values of one kind.
    List { of: &'static Kind, items_max: usize },
    /// A section.
    Section(&'static [Field]),
    /// `[[key]]`: a list of tables.
    Tables {
        fields: &'static [Field],
        items_max: usize,
    },
    /// `[key."name"]`: tables by name.
    Map {
        fields: &'static [Field],
        items_max: usize,
    },
}

const fn field(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        required: false,
        doc,
    }
}

const fn required(key: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        required: true,
        doc,
    }
}

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const PATHS_MAX: usize = 64;
const ALLOWED_IMAGES_MAX: usize = 10_000;
const COMMAND_PARTS_MAX: usize = 64;
const INSTANCE_TYPES_MAX: usize = 100;
const REGISTRIES_MAX: usize = 1_000;
const TEXT_CHARS_MAX: usize = 4_095;
const DAY_SECONDS: u64 = 86_400;

/// Smallest and largest CPU count, in thousandths.
pub(super) const CPU_MILLIS_RANGE: (u64, u64) = (10, 1_024_000);

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

const IMAGES: &[Field] = &[
    field(
        "cache_bytes_max",
        Kind::Bytes {
            min: 64 * MIB,
            max: 1024 * TIB,
        },
        "Size above which the images unused for longest are evicted, never one in use.",
    ),
    field(
        "pull_deadline_seconds",
        Kind::Integer {
            min: 1,
            max: DAY_SECONDS,
        },
        "Longest a pull may take.",
    ),
    field(
        "pull_stall_seconds",
        Kind::Integer { min: 1, max: 3_600 },
        "Longest a pull may go without progress; at most `pull_deadline_seconds`.",
    ),
    field(
        "allow",
        Kind::List {
            of: &TEXT,
            items_max: ALLOWED_IMAGES_MAX,
        },
        "Digests (`sha256:…`) and repositories (`registry.example.com/team/app`) that may run. Empty allows all.",
    ),
];

const NETWORK: &[Field] = &[field(
    "allow_host",
    Kind::Bool,
    "Allow `--network host`: such a run sees every interface of the host.",
)];

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

impl Kind {
    /// What the setting takes, for an error message or the reference.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Path => "an absolute path".to_owned(),
            Self::Text { chars_max } => format!("a text of 1 to {chars_max} characters"),
            Self::Name => {
                "a name: 1 to 63 of A-Z a-z 0-9 - _ . beginning with a letter or digit".to_owned()
            }
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max } => format!("a whole number, {min} to {max}"),
            Self::Bytes { min, max } => format!(
                "a byte count such as \"512MiB\", {} to {}",
                davit_types::Bytes(*min),
                davit_types::Bytes(*max)
            ),
            Self::Cpu => "a number of CPUs such as 0.5, 0.01 to 1024".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::List { of, items_max } => {
                format!("a list of at most {items_max}, each {}", of.expected())
            }
            Self::Section(_) => "a section".to_owned(),
            Self::Tables { items_max, .. } => format!("a list of 1 to {items_max} tables"),
            Self::Map { items_max, .. } => format!("at most {items_max} tables by name"),
        }
    }
}

/// All settings by full path, sections opened, lists of tables not.
pub(super) fn leaves() -> Vec<(String, &'static Field)> {
    let mut found = Vec::new();
    for top in SETTINGS {
        match top.kind {
            Kind::Section(fields) => found.extend(
                fields
                    .iter()
                    .map(|inner| (format!("{}.{}", top.key, inner.key), inner)),
            ),
            _ => found.push((top.key.to_owned(), top)),
        }
    }
    found
}
