//! A run without a saved runner, as the API has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use davit_types::{
    Capability, EnvVar, ExtractPath, FieldError, NetworkMode, OciRuntime, PullPolicy, RunRequest,
};
use serde::Serialize;

use super::error::ServerError;
use crate::args::{PlacingArgs, ReadSecrets};
use crate::error::CliError;

/// The body of `POST /v1/runs`.
#[derive(Debug, Serialize)]
pub(super) struct OneOff {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_registry: Option<String>,
    region: String,
    instance_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    argv: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<String>,
    env_variables: Vec<Variable>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secret_files: Vec<SecretFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u64>,
    priority: i32,
    labels: BTreeMap<String, String>,
    executors: Vec<String>,
    network: NetworkMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<OciRuntime>,
    pull_policy: PullPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pause_seconds: Option<u64>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    capabilities: BTreeSet<Capability>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    egress: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_bytes_per_second_max: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stdin: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tty: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extracts: Vec<ExtractPath>,
}

/// What it comes with.
#[derive(Debug, Serialize)]
struct Files {
    upload_id: String,
}

/// An environment variable.
#[derive(Debug, Serialize)]
pub(super) struct Variable {
    env_key: String,
    env_val: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
}

/// A secret file, whose content is text there.
#[derive(Serialize)]
pub(super) struct SecretFile {
    name: String,
    value: String,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({})", self.name)
    }
}

/// Secrets as the API has them: variables and files.
pub(super) fn secrets(read: ReadSecrets) -> Result<(Vec<Variable>, Vec<SecretFile>), CliError> {
    let env = read.env.into_iter().map(|var| Variable {
        env_key: var.key,
        env_val: var.value,
        secret: true,
    });
    let files = read.files.into_iter().map(|file| {
        let name = file.name;
        let value = String::from_utf8(file.value).map_err(|_| {
            let field = format!("--secret {name}");
            let problem = "is not UTF-8 text, which a scheduler wants: encode it";
            CliError::field(FieldError::new(field, "", problem))
        })?;
        Ok(SecretFile { name, value })
    });
    let files: Result<Vec<SecretFile>, CliError> = files.collect();
    Ok((env.collect(), files?))
}

impl From<EnvVar> for Variable {
    fn from(variable: EnvVar) -> Self {
        Self {
            env_key: variable.key,
            env_val: variable.value,
            secret: false,
        }
    }
}

/// Where a run goes and in which size.
#[derive(Debug)]
pub(super) struct Size {
    pub(super) region: String,
    pub(super) instance_type: String,
}

impl OneOff {
    pub(super) fn new(
        request: RunRequest,
        (secret_env, secret_files): (Vec<Variable>, Vec<SecretFile>),
        placing: &PlacingArgs,
        size: Size,
    ) -> Self {
        let env = request.env.into_iter().map(Variable::from);
        Self {
            image: request.image,
            container_registry: placing.registry.clone(),
            region: size.region,
            instance_type: size.instance_type,
            command: request.command,
            argv: request.argv,
            entrypoint: request.entrypoint,
            env_variables: env.chain(secret_env).collect(),
            secret_files,
            timeout_seconds: request.timeout_seconds,
            priority: placing.priority.unwrap_or_default(),
            labels: request.labels,
            executors: placing.executor.clone(),
            network: request.network,
            runtime: request.runtime,
            pull_policy: request.pull_policy,
            max_pause_seconds: request.max_pause_seconds,
            capabilities: request.capabilities,
            egress: request.egress,
            network_bytes_per_second_max: request.network_bytes_per_second_max,
            stdin: request.stdin,
            tty: request.tty,
            files: None,
            extracts: request.extracts,
        }
    }

    /// The same with a complete upload.
    pub(super) fn with_files(mut self, upload_id: Option<String>) -> Self {
        self.files = upload_id.map(|upload_id| Files { upload_id });
        self
    }
}

/// Refuses what is asked of a run and only a host's own executor does.
pub(super) fn refuse_host_only(request: &RunRequest) -> Result<(), ServerError> {
    let size =
        "sizes are the scheduler's: choose one with --instance-type (`davit instance-type list`)";
    let image = "the image says it: build one that does, or run it on a host's own executor";
    let asked = [
        ("--cpu", request.cpu_millis.is_some(), size),
        ("--memory", request.memory_bytes_max.is_some(), size),
        ("--pids", request.pids_max.is_some(), size),
        ("--disk", request.disk_bytes_max.is_some(), size),
        ("--workdir", request.workdir.is_some(), image),
        ("--user", request.user.is_some(), image),
        ("--read-only", request.read_only_root, image),
        (
            "--hostname",
            request.hostname.is_some(),
            "a run's host name is its id there",
        ),
        (
            "--name",
            request.name.is_some(),
            "runs have ids there: use --label, or save a runner (`davit runner create NAME`)",
        ),
        (
            "--publish",
            !request.publish.is_empty(),
            "which host it comes to is not known before: publish on a host's own executor",
        ),
        (
            "--log-cap",
            request.log_bytes_max.is_some(),
            "the host's operator sets it",
        ),
    ];
    match asked.into_iter().find(|(_, given, _)| *given) {
        Some((what, _, instead)) => Err(ServerError::HostOnly {
            what: what.to_owned(),
            instead,
        }),
        None => Ok(()),
    }
}
