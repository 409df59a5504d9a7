//! A change of a runner.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{Capability, NetworkMode, OciRuntime, PullPolicy};
use serde::Deserialize;
use utoipa::ToSchema;

use super::extracts::{self, ExtractBody};
use super::runner::{Network, OnLostView, Pull, RetryView, Runtime, files, variables};
use super::{SecretFileBody, Variable, clearable, secret_names};
use crate::service::planned::{OnLost, RetryPolicy};
use crate::service::runner::RunnerSettings;
use crate::service::runners::RunnerInput;

/// A change of a runner: what is absent stays, `null` clears what may be absent.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rest) struct RunnerChange {
    name: Option<String>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    container_registry: Option<Option<String>>,
    image_name: Option<String>,
    image_tag: Option<String>,
    /// With it, `argv` is cleared unless it is given too.
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    run_command: Option<Option<String>>,
    /// With it, `run_command` is cleared unless it is given too.
    argv: Option<Vec<String>>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    entrypoint: Option<Option<String>>,
    timeout_seconds: Option<u64>,
    region: Option<String>,
    instance_type: Option<String>,
    /// Replaces all of them.
    env_variables: Option<Vec<Variable>>,
    /// Replaces all of them.
    secret_files: Option<Vec<SecretFileBody>>,
    priority: Option<i32>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<u32>)]
    live_runs_max: Option<Option<u32>>,
    retry: Option<RetryView>,
    on_lost: Option<OnLostView>,
    executors: Option<Vec<String>>,
    labels_wanted: Option<BTreeMap<String, String>>,
    network: Option<Network>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<Runtime>)]
    runtime: Option<Option<Runtime>>,
    pull_policy: Option<Pull>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<u64>)]
    max_pause_seconds: Option<Option<u64>>,
    /// Replaces all of them.
    #[schema(value_type = Option<Vec<String>>)]
    capabilities: Option<BTreeSet<Capability>>,
    egress: Option<Vec<String>>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<u64>)]
    network_bytes_per_second_max: Option<Option<u64>>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    workdir: Option<Option<String>>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    user: Option<Option<String>>,
    #[serde(deserialize_with = "clearable")]
    #[schema(value_type = Option<String>)]
    hostname: Option<Option<String>>,
    read_only_root: Option<bool>,
    extracts: Option<Vec<ExtractBody>>,
}

impl RunnerChange {
    /// What the runner is to be.
    pub(in crate::rest) fn merge(&self, kept: &RunnerSettings) -> RunnerInput {
        let new = self.clone();
        let kept = kept.clone();
        let (run_command, argv) = match (new.run_command, new.argv) {
            (None, None) => (kept.run_command, kept.argv),
            (Some(Some(command)), None) => (Some(command), Vec::new()),
            (Some(None), None) => (None, kept.argv),
            (None, Some(argv)) if argv.is_empty() => (kept.run_command, argv),
            (command, argv) => (command.flatten(), argv.unwrap_or_default()),
        };
        RunnerInput {
            settings: RunnerSettings {
                name: new.name.unwrap_or(kept.name),
                container_registry: new.container_registry.unwrap_or(kept.container_registry),
                image_name: new.image_name.unwrap_or(kept.image_name),
                image_tag: new.image_tag.unwrap_or(kept.image_tag),
                run_command,
                argv,
                entrypoint: new.entrypoint.unwrap_or(kept.entrypoint),
                timeout_seconds: new.timeout_seconds.unwrap_or(kept.timeout_seconds),
                region: new.region.unwrap_or(kept.region),
                instance_type: new.instance_type.unwrap_or(kept.instance_type),
                env_keys: kept.env_keys,
                secret_env: match &new.env_variables {
                    Some(variables) => secret_names(variables),
                    None => kept.secret_env,
                },
                secret_files: kept.secret_files,
                priority: new.priority.unwrap_or(kept.priority),
                live_runs_max: new.live_runs_max.unwrap_or(kept.live_runs_max),
                retry: new.retry.map_or(kept.retry, RetryPolicy::from),
                on_lost: new.on_lost.map_or(kept.on_lost, OnLost::from),
                executors: new.executors.unwrap_or(kept.executors),
                labels_wanted: new.labels_wanted.unwrap_or(kept.labels_wanted),
                network: new.network.map_or(kept.network, NetworkMode::from),
                runtime: new
                    .runtime
                    .map_or(kept.runtime, |r| r.map(OciRuntime::from)),
                pull_policy: new.pull_policy.map_or(kept.pull_policy, PullPolicy::from),
                max_pause_seconds: new.max_pause_seconds.unwrap_or(kept.max_pause_seconds),
                capabilities: new.capabilities.unwrap_or(kept.capabilities),
                egress: new.egress.unwrap_or(kept.egress),
                network_bytes_per_second_max: new
                    .network_bytes_per_second_max
                    .unwrap_or(kept.network_bytes_per_second_max),
                workdir: new.workdir.unwrap_or(kept.workdir),
                user: new.user.unwrap_or(kept.user),
                hostname: new.hostname.unwrap_or(kept.hostname),
                read_only_root: new.read_only_root.unwrap_or(kept.read_only_root),
                extracts: new.extracts.map_or(kept.extracts, extracts::paths),
            },
            env: new.env_variables.map(variables),
            files: new.secret_files.map(files),
        }
    }
}
