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
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only_root: bool,
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
            workdir: request.workdir,
            user: request.user,
            hostname: request.hostname,
            read_only_root: request.read_only_root,
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

/// An option that only a host's own executor takes.
struct HostOnly {
    option: &'static str,
    is_given: fn(&RunRequest) -> bool,
    instead: &'static str,
}

const SIZE: &str =
    "sizes have prices there: choose one with --instance-type (`davit instance-type list`)";

/// Also told to users before they try: [`NOT_SCHEDULED`](crate::args::NOT_SCHEDULED), and the README.
const HOST_ONLY: &[HostOnly] = &[
    HostOnly {
        option: "--cpu",
        is_given: |run| run.cpu_millis.is_some(),
        instead: SIZE,
    },
    HostOnly {
        option: "--memory",
        is_given: |run| run.memory_bytes_max.is_some(),
        instead: SIZE,
    },
    HostOnly {
        option: "--pids",
        is_given: |run| run.pids_max.is_some(),
        instead: SIZE,
    },
    HostOnly {
        option: "--disk",
        is_given: |run| run.disk_bytes_max.is_some(),
        instead: SIZE,
    },
    HostOnly {
        option: "--name",
        is_given: |run| run.name.is_some(),
        instead: "runs have ids there: use --label, or save a runner (`davit runner create NAME`)",
    },
    HostOnly {
        option: "--publish",
        is_given: |run| !run.publish.is_empty(),
        instead: "it has no ports of hosts to give: publish on a host's own executor (--socket)",
    },
    HostOnly {
        option: "--log-cap",
        is_given: |run| run.log_bytes_max.is_some(),
        instead: "each log has 256 MiB there: leave it out",
    },
];

/// Refuses what is asked of a run and only a host's own executor does.
pub(super) fn refuse_host_only(request: &RunRequest) -> Result<(), ServerError> {
    match HOST_ONLY.iter().find(|only| (only.is_given)(request)) {
        Some(only) => Err(ServerError::HostOnly {
            what: only.option.to_owned(),
            instead: only.instead,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::NOT_SCHEDULED;
    use davit_types::{Bytes, limits};

    const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));

    #[test]
    fn what_is_refused_is_told_before() {
        for HostOnly { option, .. } in HOST_ONLY {
            assert!(NOT_SCHEDULED.contains(option), "{option}");
            assert!(README.contains(&format!("`{option}`")), "{option}");
        }
        let told = Bytes(limits::LOG_BYTES_DEFAULT).to_string();
        assert!(told == "256MiB", "another size is told: {NOT_SCHEDULED}");
    }

    /// Every field otherwise than when it is absent.
    fn all() -> RunRequest {
        RunRequest {
            image: "busybox:1".to_owned(),
            command: Some("true".to_owned()),
            argv: vec!["true".to_owned()],
            entrypoint: Some("/bin/e".to_owned()),
            env: Vec::new(),
            name: Some("name".to_owned()),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            instance_type: Some("small".to_owned()),
            cpu_millis: Some(1),
            memory_bytes_max: Some(Bytes(1)),
            pids_max: Some(1),
            disk_bytes_max: Some(Bytes(1)),
            timeout_seconds: Some(1),
            max_pause_seconds: Some(1),
            log_bytes_max: Some(Bytes(1)),
            workdir: Some("/srv".to_owned()),
            user: Some("7:8".to_owned()),
            hostname: Some("inside".to_owned()),
            network: NetworkMode::Bridge,
            egress: vec!["192.0.2.0/24".to_owned()],
            publish: vec!["80:80".to_owned()],
            network_bytes_per_second_max: Some(1),
            pull_policy: PullPolicy::Never,
            runtime: Some(OciRuntime::Runc),
            read_only_root: true,
            capabilities: [Capability::Chown].into(),
            stdin: true,
            tty: true,
            extracts: vec!["out:out".parse().unwrap()],
            secret_env: Vec::new(),
            secret_files: Vec::new(),
        }
    }

    #[test]
    fn what_is_asked_for_is_sent_or_refused() {
        let size = Size {
            region: "here".to_owned(),
            instance_type: "small".to_owned(),
        };
        let asked = serde_json::to_value(all()).unwrap();
        let secrets = (Vec::new(), Vec::new());
        let body = OneOff::new(all(), secrets, &PlacingArgs::default(), size);
        let sent = serde_json::to_value(body).unwrap();
        for (field, value) in asked.as_object().unwrap() {
            // Variables have other names there.
            if field == "env" || sent.get(field) == Some(value) {
                continue;
            }
            let mut only = serde_json::json!({});
            only[field] = value.clone();
            let only: RunRequest = serde_json::from_value(only).unwrap();
            assert!(
                refuse_host_only(&only).is_err(),
                "{field} is left out without a word"
            );
        }
        let plain = RunRequest {
            image: "busybox:1".to_owned(),
            ..RunRequest::default()
        };
        refuse_host_only(&plain).unwrap();
    }
}
