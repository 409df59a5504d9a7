//! Runs as they are asked for.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{Capability, EnvVar, NetworkMode, OciRuntime, PullPolicy, StopSignal, limits};
use serde::Deserialize;
use utoipa::ToSchema;

use super::extracts::{self, ExtractBody};
use super::runner::{Network, OnLostView, Pull, RetryView, Runtime};
use super::uploads::FilesInput;
use super::{SecretFileBody, Variable, secret_names};
use crate::rest::problem::Problem;
use crate::service::plan::{OneOff, Overrides, plain_settings};
use crate::service::planned::{OnLost, RetryPolicy};
use crate::service::secret_files::SecretFile;
use crate::store::Stop;

/// What a run of a runner has otherwise than the runner.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rest) struct NewRun {
    /// For `sh -c`, at most 4000 characters; excludes `argv`.
    command: Option<String>,
    /// At most 200 elements and 8000 characters; excludes `command`.
    argv: Vec<String>,
    /// Overrides the runner's and the image's.
    entrypoint: Option<String>,
    /// Over the runner's of the same names.
    env_variables: Vec<Variable>,
    /// Over the runner's of the same names.
    secret_files: Vec<SecretFileBody>,
    /// 1 to 86400.
    timeout_seconds: Option<u64>,
    /// -1000 to 1000; higher goes first.
    priority: Option<i32>,
    /// For the submitter's use: at most 64 of 256 characters.
    labels: BTreeMap<String, String>,
    /// Files it comes with.
    files: Option<FilesInput>,
    /// What is to come out of it, at most 64; with any, none of the runner's.
    extracts: Vec<ExtractBody>,
    /// Its input stays open for clients that attach; empty from the start otherwise.
    stdin: bool,
    /// It has a terminal: its output and errors are one.
    tty: bool,
}

impl From<NewRun> for Overrides {
    fn from(new: NewRun) -> Self {
        Self {
            command: new.command,
            argv: new.argv,
            entrypoint: new.entrypoint,
            secret_env: secret_names(&new.env_variables),
            env: new.env_variables.into_iter().map(EnvVar::from).collect(),
            secret_files: new.secret_files.into_iter().map(SecretFile::from).collect(),
            timeout_seconds: new.timeout_seconds,
            priority: new.priority,
            labels: new.labels,
            upload: new.files.map(|files| files.upload_id),
            stdin: new.stdin,
            tty: new.tty,
            extracts: extracts::paths(new.extracts),
        }
    }
}

/// A run without a saved runner.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct NewOneOff {
    /// Image reference; what follows the address when `container_registry` is given.
    #[schema(example = "docker.io/library/busybox:1.36")]
    image: String,
    /// Name of one of the tenant's registries, or the address of a public one.
    container_registry: Option<String>,
    /// Slug of a region.
    region: String,
    /// Slug of an instance type.
    instance_type: String,
    /// For `sh -c`, at most 4000 characters; excludes `argv`.
    command: Option<String>,
    /// At most 200 elements and 8000 characters; excludes `command`.
    #[serde(default)]
    argv: Vec<String>,
    /// Overrides the image's.
    entrypoint: Option<String>,
    #[serde(default)]
    env_variables: Vec<Variable>,
    #[serde(default)]
    secret_files: Vec<SecretFileBody>,
    /// 1 to 86400; 3600 when absent.
    timeout_seconds: Option<u64>,
    /// -1000 to 1000; higher goes first.
    #[serde(default)]
    priority: i32,
    /// For the submitter's use.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// When it is tried again; never, when absent.
    retry: Option<RetryView>,
    /// What becomes of it when its host is silent.
    on_lost: Option<OnLostView>,
    /// Names of the executors it may go to; any, when empty.
    #[serde(default)]
    executors: Vec<String>,
    /// Labels that its host must have.
    #[serde(default)]
    labels_wanted: BTreeMap<String, String>,
    #[serde(default)]
    network: Network,
    runtime: Option<Runtime>,
    #[serde(default)]
    pull_policy: Pull,
    /// Longest pause at a stretch, seconds.
    max_pause_seconds: Option<u64>,
    /// `CAP_…`, of those that the host's operator allows; a job has none but these.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["CAP_NET_BIND_SERVICE"]))]
    capabilities: BTreeSet<Capability>,
    /// With network bridge: all it may reach, `CIDR[,tcp|udp[,PORT[-PORT]]]`; whatever is public when empty.
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
    /// Files it comes with.
    files: Option<FilesInput>,
    /// What is to come out of it, at most 64.
    #[serde(default)]
    extracts: Vec<ExtractBody>,
    /// Its input stays open for clients that attach; empty from the start otherwise.
    #[serde(default)]
    stdin: bool,
    /// It has a terminal: its output and errors are one.
    #[serde(default)]
    tty: bool,
}

impl From<NewOneOff> for OneOff {
    fn from(new: NewOneOff) -> Self {
        let mut settings = plain_settings(new.region, new.instance_type);
        settings.container_registry = new.container_registry;
        settings.priority = new.priority;
        settings.retry = new.retry.map(RetryPolicy::from).unwrap_or_default();
        settings.on_lost = new.on_lost.map(OnLost::from).unwrap_or_default();
        settings.executors = new.executors;
        settings.labels_wanted = new.labels_wanted;
        settings.network = NetworkMode::from(new.network);
        settings.runtime = new.runtime.map(OciRuntime::from);
        settings.pull_policy = PullPolicy::from(new.pull_policy);
        settings.max_pause_seconds = new.max_pause_seconds;
        settings.capabilities = new.capabilities;
        settings.egress = new.egress;
        settings.network_bytes_per_second_max = new.network_bytes_per_second_max;
        settings.workdir = new.workdir;
        settings.user = new.user;
        settings.hostname = new.hostname;
        settings.read_only_root = new.read_only_root;
        Self {
            image: new.image,
            settings,
            overrides: Overrides {
                command: new.command,
                argv: new.argv,
                entrypoint: new.entrypoint,
                secret_env: secret_names(&new.env_variables),
                env: new.env_variables.into_iter().map(EnvVar::from).collect(),
                secret_files: new.secret_files.into_iter().map(SecretFile::from).collect(),
                timeout_seconds: new.timeout_seconds,
                priority: None,
                labels: new.labels,
                upload: new.files.map(|files| files.upload_id),
                stdin: new.stdin,
                tty: new.tty,
                extracts: extracts::paths(new.extracts),
            },
        }
    }
}

/// Many runs of a runner.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct NewRuns {
    /// 1 to 1000.
    pub(in crate::rest) runs: Vec<NewRun>,
}

/// Many runs without a saved runner.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct NewOneOffs {
    /// 1 to 1000.
    pub(in crate::rest) runs: Vec<NewOneOff>,
}

/// How a run is to end.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rest) struct StopInput {
    /// Name or number; `TERM` when absent.
    #[schema(example = "TERM")]
    signal: Option<String>,
    /// Time until it is killed, milliseconds: 0 to 600000; 10000 when absent.
    grace_ms: Option<u64>,
}

impl StopInput {
    pub(in crate::rest) fn stop(&self) -> Result<Stop, Problem> {
        let signal = match &self.signal {
            None => StopSignal::TERM,
            Some(text) => {
                let parsed: Result<StopSignal, String> = text.parse();
                parsed.map_err(|problem| Problem::bad_field("signal", problem))?
            }
        };
        Ok(Stop {
            signal: signal.number(),
            grace_ms: self.grace_ms.unwrap_or(limits::STOP_GRACE_MS_DEFAULT),
        })
    }
}

/// A change of a live run.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct RunChange {
    /// Wall seconds from its start: 1 to 86400.
    pub(in crate::rest) timeout_seconds: u64,
}
