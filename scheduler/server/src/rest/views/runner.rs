//! Runners.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{Capability, EnvVar, NetworkMode, OciRuntime, PullPolicy, limits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extracts::{self, ExtractBody};
use super::{SecretFileBody, Variable, secret_names};
use crate::service::planned::{
    BACKOFF_MS_DEFAULT, LOST_AFTER_MS_DEFAULT, LostPolicy, OnLost, RetryPolicy,
    STOP_AFTER_MS_DEFAULT,
};
use crate::service::runner::RunnerSettings;
use crate::service::runners::RunnerInput;
use crate::service::secret_files::SecretFile;

/// Which network a run has.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Network {
    /// Loopback only.
    #[default]
    None,
    /// An address of its own behind the host's: what is public, and what the operator allows.
    Bridge,
    /// The host's, where its operator allows it.
    Host,
}

/// When the registry is asked.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Pull {
    /// Each time.
    Always,
    /// When the host has no copy.
    #[default]
    Missing,
    /// Never.
    Never,
}

/// The OCI runtime.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Runtime {
    /// crun.
    Crun,
    /// runc.
    Runc,
    /// gVisor.
    Runsc,
}

/// What becomes of a run whose host is silent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Lost {
    /// It stays as it is.
    Wait,
    /// It fails as `executor_lost`.
    Fail,
    /// It is tried elsewhere, once the old host has surely ended it.
    Requeue,
}

macro_rules! same_words {
    ($ours:ident, $theirs:ident: $($word:ident),*) => {
        impl From<$ours> for $theirs {
            fn from(word: $ours) -> Self {
                match word { $($ours::$word => Self::$word),* }
            }
        }
        impl From<$theirs> for $ours {
            fn from(word: $theirs) -> Self {
                match word { $($theirs::$word => Self::$word),* }
            }
        }
    };
}
same_words!(Network, NetworkMode: None, Bridge, Host);
same_words!(Pull, PullPolicy: Always, Missing, Never);
same_words!(Runtime, OciRuntime: Crun, Runc, Runsc);
same_words!(Lost, LostPolicy: Wait, Fail, Requeue);

/// What becomes of runs whose host cannot be reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct OnLostView {
    /// Which way.
    policy: Lost,
    /// Silence after which a run is given up, milliseconds.
    #[serde(default = "lost_after_ms")]
    lost_after_ms: u64,
    /// Time after which the host itself ends it (`requeue`), milliseconds: 20000 at least.
    #[serde(default = "stop_after_ms")]
    stop_after_ms: u64,
}

const fn lost_after_ms() -> u64 {
    LOST_AFTER_MS_DEFAULT
}

const fn stop_after_ms() -> u64 {
    STOP_AFTER_MS_DEFAULT
}

impl From<OnLostView> for OnLost {
    fn from(view: OnLostView) -> Self {
        Self {
            policy: view.policy.into(),
            lost_after_ms: view.lost_after_ms,
            stop_after_ms: view.stop_after_ms,
        }
    }
}

impl From<OnLost> for OnLostView {
    fn from(kept: OnLost) -> Self {
        Self {
            policy: kept.policy.into(),
            lost_after_ms: kept.lost_after_ms,
            stop_after_ms: kept.stop_after_ms,
        }
    }
}

/// When a failed run is tried again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct RetryView {
    /// Attempts, the first included: 1 to 100.
    attempts_max: u32,
    /// After an end that is no fault of the job.
    #[serde(default)]
    on_infrastructure: bool,
    /// After an exit with one of these codes.
    #[serde(default)]
    exit_codes: Vec<u8>,
    /// Pause before the second attempt, milliseconds; it doubles.
    #[serde(default = "backoff_ms")]
    backoff_ms: u64,
}

const fn backoff_ms() -> u64 {
    BACKOFF_MS_DEFAULT
}

impl From<RetryView> for RetryPolicy {
    fn from(view: RetryView) -> Self {
        Self {
            attempts_max: view.attempts_max,
            on_infrastructure: view.on_infrastructure,
            exit_codes: view.exit_codes,
            backoff_ms: view.backoff_ms,
        }
    }
}

impl From<RetryPolicy> for RetryView {
    fn from(kept: RetryPolicy) -> Self {
        Self {
            attempts_max: kept.attempts_max,
            on_infrastructure: kept.on_infrastructure,
            exit_codes: kept.exit_codes,
            backoff_ms: kept.backoff_ms,
        }
    }
}

/// A runner to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct NewRunner {
    /// 3 to 50 characters, unique among the tenant's runners.
    name: String,
    /// Name of one of the tenant's registries, or the address of a public one.
    container_registry: Option<String>,
    /// Repository, without registry and tag.
    #[schema(example = "library/busybox")]
    image_name: String,
    /// Tag or `sha256:…`; `latest` when absent.
    image_tag: Option<String>,
    /// For `sh -c`, at most 1000 characters; excludes `argv`.
    run_command: Option<String>,
    /// At most 200 elements and 8000 characters; excludes `run_command`.
    #[serde(default)]
    argv: Vec<String>,
    /// Overrides the image's, at most 500 characters.
    entrypoint: Option<String>,
    /// 1 to 86400; 3600 when absent.
    timeout_seconds: Option<u64>,
    /// Slug of a region.
    region: String,
    /// Slug of an instance type.
    instance_type: String,
    /// Variables of all its runs.
    #[serde(default)]
    env_variables: Vec<Variable>,
    /// Files of all its runs.
    #[serde(default)]
    secret_files: Vec<SecretFileBody>,
    /// -1000 to 1000; higher goes first.
    #[serde(default)]
    priority: i32,
    /// How many of its runs may be live at once; more wait.
    live_runs_max: Option<u32>,
    /// When its runs are tried again; never, when absent.
    retry: Option<RetryView>,
    /// What becomes of its runs when their host is silent.
    on_lost: Option<OnLostView>,
    /// Names of the executors it may go to; any, when empty.
    #[serde(default)]
    executors: Vec<String>,
    /// Labels that its host must have.
    #[serde(default)]
    labels_wanted: BTreeMap<String, String>,
    /// Network.
    #[serde(default)]
    network: Network,
    /// OCI runtime; the host's default when absent.
    runtime: Option<Runtime>,
    /// When the registry is asked.
    #[serde(default)]
    pull_policy: Pull,
    /// Longest pause at a stretch, seconds.
    max_pause_seconds: Option<u64>,
    /// `CAP_…`, of those that the host's operator allows; a job has none but these.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["CAP_NET_BIND_SERVICE"]))]
    capabilities: BTreeSet<Capability>,
    /// With network bridge: all it may reach, `CIDR[,tcp|udp[,PORT[-PORT]]]`; whatever is public when empty. Private addresses
    /// are to be allowed by the host's operator.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.0/24,tcp,443"]))]
    egress: Vec<String>,
    /// With network bridge: bytes a second in each direction.
    network_bytes_per_second_max: Option<u64>,
    /// Working directory, absolute; the image's when absent.
    #[schema(example = "/srv")]
    workdir: Option<String>,
    /// `USER` or `USER:GROUP`, names or numbers; the image's when absent.
    #[schema(example = "1000:1000")]
    user: Option<String>,
    /// Host name, at most 63 characters; the last part of the run's id when absent.
    hostname: Option<String>,
    /// Whether nothing can be written to its root file system.
    #[serde(default)]
    read_only_root: bool,
    /// What is to come out of its runs, at most 64.
    #[serde(default)]
    extracts: Vec<ExtractBody>,
}

pub(super) fn files(list: Vec<SecretFileBody>) -> Vec<SecretFile> {
    list.into_iter().map(SecretFile::from).collect()
}

pub(super) fn variables(list: Vec<Variable>) -> Vec<EnvVar> {
    list.into_iter().map(EnvVar::from).collect()
}

impl From<NewRunner> for RunnerInput {
    fn from(new: NewRunner) -> Self {
        let timeout = new.timeout_seconds;
        Self {
            settings: RunnerSettings {
                name: new.name,
                container_registry: new.container_registry,
                image_name: new.image_name,
                image_tag: new.image_tag.unwrap_or_else(|| "latest".to_owned()),
                run_command: new.run_command,
                argv: new.argv,
                entrypoint: new.entrypoint,
                timeout_seconds: timeout.unwrap_or(limits::TIMEOUT_SECONDS_DEFAULT),
                region: new.region,
                instance_type: new.instance_type,
                env_keys: Vec::new(),
                secret_env: secret_names(&new.env_variables),
                secret_files: Vec::new(),
                priority: new.priority,
                live_runs_max: new.live_runs_max,
                retry: new.retry.map(RetryPolicy::from).unwrap_or_default(),
                on_lost: new.on_lost.map(OnLost::from).unwrap_or_default(),
                executors: new.executors,
                labels_wanted: new.labels_wanted,
                network: new.network.into(),
                runtime: new.runtime.map(OciRuntime::from),
                pull_policy: new.pull_policy.into(),
                max_pause_seconds: new.max_pause_seconds,
                capabilities: new.capabilities,
                egress: new.egress,
                network_bytes_per_second_max: new.network_bytes_per_second_max,
                workdir: new.workdir,
                user: new.user,
                hostname: new.hostname,
                read_only_root: new.read_only_root,
                extracts: extracts::paths(new.extracts),
            },
            env: Some(variables(new.env_variables)),
            files: Some(files(new.secret_files)),
        }
    }
}
