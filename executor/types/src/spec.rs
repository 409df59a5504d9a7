//! A valid run specification: what to run, as whom, within which limits. Holds no secret.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Attempt, Bytes, Capability, EgressRule, ExtractPath, InstanceType, NetworkMode, PublishedPort,
    RunId, RunKey, Tenant,
};

/// The numbers of the public contract (A2, A3, A5, B6, B7).
pub mod limits {
    /// Longest allowed timeout: 24 hours.
    pub const TIMEOUT_SECONDS_MAX: u64 = 86_400;
    /// Timeout of a run that names none: 1 hour.
    pub const TIMEOUT_SECONDS_DEFAULT: u64 = 3_600;
    /// A run's shell command, characters.
    pub const COMMAND_CHARS_MAX: usize = 4_000;
    /// Elements of an argv.
    pub const ARGV_ELEMENTS_MAX: usize = 200;
    /// Characters of an argv in total.
    pub const ARGV_CHARS_MAX: usize = 8_000;
    /// Characters of an entrypoint.
    pub const ENTRYPOINT_CHARS_MAX: usize = 500;
    /// Environment variables of a run.
    pub const ENV_VARIABLES_MAX: usize = 500;
    /// Bytes of all environment keys and values together.
    pub const ENV_BYTES_MAX: usize = 128 * 1024;
    /// Files of a run's secrets.
    pub const SECRET_FILES_MAX: usize = 64;
    /// Bytes of all of them together.
    pub const SECRET_FILES_BYTES_MAX: usize = 256 * 1024;
    /// Characters of the name of one.
    pub const SECRET_NAME_CHARS_MAX: usize = 128;
    /// Shortest value, or line of one, that is looked for in a run's log, bytes: shorter ones would make it unreadable.
    pub const REDACTED_BYTES_MIN: usize = 4;
    /// Labels of a run.
    pub const LABELS_MAX: usize = 64;
    /// Characters of a label's key or value.
    pub const LABEL_CHARS_MAX: usize = 256;
    /// Characters of a name, hostname, user, and instance type.
    pub const NAME_CHARS_MAX: usize = 63;
    /// Characters of a path in the container.
    pub const PATH_CHARS_MAX: usize = 4_095;
    /// Characters of an image reference.
    pub const IMAGE_CHARS_MAX: usize = 512;
    /// Time between the stop signal and the kill, when none is named.
    pub const STOP_GRACE_MS_DEFAULT: u64 = 10_000;
    /// Longest time between the stop signal and the kill: 10 minutes.
    pub const STOP_GRACE_MS_MAX: u64 = 600_000;
    /// How long a run may stay paused at a stretch, when none is named: 24 hours.
    pub const PAUSE_SECONDS_DEFAULT: u64 = 86_400;
    /// Longest allowed pause: 7 days.
    pub const PAUSE_SECONDS_MAX: u64 = 604_800;
    /// Rules of whom a run may reach.
    pub const EGRESS_RULES_MAX: usize = 64;
    /// Ports a run is reached at.
    pub const PUBLISHED_PORTS_MAX: usize = 16;
    /// Least bound of a run's network, bytes a second.
    pub const NETWORK_RATE_BYTES_MIN: u64 = 16 << 10;
    /// Largest bound of a run's network, bytes a second.
    pub const NETWORK_RATE_BYTES_MAX: u64 = 100 << 30;
    /// Least disk of a run.
    pub const DISK_BYTES_MIN: crate::Bytes = crate::Bytes::mib(1);
    /// Largest disk of a run: a pebibyte.
    pub const DISK_BYTES_MAX: crate::Bytes = crate::Bytes::gib(1 << 20);
    /// Files and directories collected from a run.
    pub const EXTRACTS_MAX: usize = 64;
    /// Log bytes kept of a run that names no cap.
    pub const LOG_BYTES_DEFAULT: u64 = 256 << 20;
}

/// What the container executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The image's own ENTRYPOINT and CMD.
    Image,
    /// One line for `sh -c`.
    Shell(String),
    /// Exec form: replaces the image's CMD.
    Argv(Vec<String>),
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Matches `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub key: String,
    /// Any text without NUL.
    pub value: String,
}

/// When to ask the registry (A11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Resolve the tag at the registry each time.
    Always,
    /// Use the host's copy if there is one.
    #[default]
    Missing,
    /// Never ask; fail without a copy.
    Never,
}

/// The OCI runtime that starts the container (A13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OciRuntime {
    /// crun.
    #[default]
    Crun,
    /// runc.
    Runc,
    /// gVisor.
    Runsc,
}

impl OciRuntime {
    /// Name of the binary looked for.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Runsc => "runsc",
        }
    }
}

/// The signal that asks a job to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StopSignal(i32);

const SIGNAL_NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("WINCH", 28),
];

impl StopSignal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The signal's number on Linux.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl std::str::FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = SIGNAL_NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, n)| *n);
        named
            .or_else(|| text.parse().ok().filter(|n| (1..=64).contains(n)))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no signal; write a name such as TERM or 1…64"))
    }
}

/// Free text the submitter attaches; never reaches the container.
pub type Labels = BTreeMap<String, String>;

/// A run that may be executed. Built by [`crate::RunRequest::parse`]; every field is within
/// [`limits`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The run.
    pub run_id: RunId,
    /// Which execution of it.
    pub attempt: Attempt,
    /// Whose it is.
    pub tenant: Tenant,
    /// A name for people, unique among live runs of the host.
    pub name: Option<String>,
    /// For the submitter's use.
    pub labels: Labels,
    /// The image as asked for: `registry/repository:tag` or `…@sha256:…`.
    pub image: String,
    /// When to ask the registry for it.
    pub pull_policy: PullPolicy,
    /// What to execute.
    pub command: Command,
    /// Overrides the image's entrypoint; run without a shell, split at white space.
    pub entrypoint: Option<String>,
    /// Added to the image's, overriding equal keys.
    pub env: Vec<EnvVar>,
    /// Working directory; the image's when absent.
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers; the image's when absent.
    pub user: Option<String>,
    /// Host name in the container; the short run id when absent.
    pub hostname: Option<String>,
    /// The limits, as a named type with the numbers it had at submission.
    pub instance_type: InstanceType,
    /// Wall seconds from start, paused time not counted.
    pub timeout_seconds: u64,
    /// Seconds it may stay paused at a stretch before it is ended as timed out.
    pub max_pause_seconds: u64,
    /// Log bytes kept; what comes after is counted and dropped with a mark.
    pub log_bytes_max: Bytes,
    /// The network.
    pub network: NetworkMode,
    /// With a bridge: all it may reach, private addresses among them; empty: whatever is public.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRule>,
    /// With a bridge: where it is reached from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<PublishedPort>,
    /// With a bridge: bytes a second in each direction, at most; the operator's bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_bytes_per_second_max: Option<u64>,
    /// The OCI runtime.
    pub runtime: OciRuntime,
    /// Mount the root file system read-only.
    pub read_only_root: bool,
    /// Its only capabilities, as whatever user it runs; of those that the operator's settings allow.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// What to collect once the job has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<ExtractPath>,
    /// Its input stays open for consoles; empty from the start otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// It has a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// It comes with files for its working directory. They are sent beside this, and it never begins without them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_in: bool,
    /// Names of the variables whose values are secret; those came beside, and are nowhere here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Names of its secret files, below `/run/secrets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<String>,
}

impl RunSpec {
    /// Whether it has secrets, which are to come beside it.
    #[must_use]
    pub const fn has_secrets(&self) -> bool {
        !self.secret_env.is_empty() || !self.secret_files.is_empty()
    }

    /// The execution this specifies.
    #[must_use]
    pub const fn key(&self) -> RunKey {
        RunKey {
            run: self.run_id,
            attempt: self.attempt,
        }
    }
}
