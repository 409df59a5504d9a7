//! Runners as they are shown.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{Capability, EnvVar};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::catalogue::{InstanceTypeView, RegionView};
use super::extracts::ExtractBody;
use super::runner::{Network, OnLostView, Pull, RetryView, Runtime};
use super::time;
use crate::service::runners::Runner;

/// Whether runs of it can be made.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum RunnerStatus {
    /// They can.
    Ready,
    /// Its region or its instance type is not offered any more.
    Unavailable,
}

/// A variable of a runner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ShownVariable {
    /// Name.
    env_key: String,
    /// Value: `null` unless it was asked for, with the scope `secrets:read`.
    env_val: Option<String>,
    /// It is taken out of the log.
    secret: bool,
}

/// A saved job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunnerView {
    id: Uuid,
    status: RunnerStatus,
    name: String,
    container_registry: Option<String>,
    image_name: String,
    image_tag: String,
    run_command: Option<String>,
    argv: Vec<String>,
    entrypoint: Option<String>,
    timeout_seconds: u64,
    region: RegionView,
    instance_type: InstanceTypeView,
    env_variables: Vec<ShownVariable>,
    /// Their names: contents are never shown.
    secret_files: Vec<String>,
    priority: i32,
    live_runs_max: Option<u32>,
    retry: RetryView,
    on_lost: OnLostView,
    executors: Vec<String>,
    labels_wanted: BTreeMap<String, String>,
    network: Network,
    runtime: Option<Runtime>,
    pull_policy: Pull,
    max_pause_seconds: Option<u64>,
    #[schema(value_type = Vec<String>)]
    capabilities: BTreeSet<Capability>,
    egress: Vec<String>,
    network_bytes_per_second_max: Option<u64>,
    /// The image's when absent.
    workdir: Option<String>,
    /// The image's when absent.
    user: Option<String>,
    /// The last part of the run's id when absent.
    hostname: Option<String>,
    read_only_root: bool,
    /// What comes out of its runs.
    extracts: Vec<ExtractBody>,
    /// When a host last fetched its image ahead.
    warmed_at: Option<String>,
    created_at: String,
    updated_at: String,
}

/// One runner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunnerReply {
    pub(in crate::rest) runner: RunnerView,
}

/// A page of runners.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunnersReply {
    pub(in crate::rest) runners: Vec<RunnerView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

impl RunnerView {
    /// The same with the values of its variables.
    pub(in crate::rest) fn reveal(mut self, clear: &[EnvVar]) -> Self {
        for shown in &mut self.env_variables {
            let found = clear.iter().find(|var| var.key == shown.env_key);
            shown.env_val = found.map(|var| var.value.clone());
        }
        self
    }

    /// A runner with its region and type as they are offered now.
    pub(in crate::rest) fn new(
        runner: Runner,
        region: Option<RegionView>,
        instance_type: Option<InstanceTypeView>,
    ) -> Self {
        let settings = runner.body.settings;
        let status = if region.is_some() && instance_type.is_some() {
            RunnerStatus::Ready
        } else {
            RunnerStatus::Unavailable
        };
        let env_variables = settings.env_keys.iter().map(|key| ShownVariable {
            env_key: key.clone(),
            env_val: None,
            secret: settings.secret_env.contains(key),
        });
        Self {
            id: runner.id,
            status,
            env_variables: env_variables.collect(),
            secret_files: settings.secret_files,
            name: settings.name,
            container_registry: settings.container_registry,
            image_name: settings.image_name,
            image_tag: settings.image_tag,
            run_command: settings.run_command,
            argv: settings.argv,
            entrypoint: settings.entrypoint,
            timeout_seconds: settings.timeout_seconds,
            region: region.unwrap_or_else(|| RegionView::gone(&settings.region)),
            instance_type: instance_type
                .unwrap_or_else(|| InstanceTypeView::gone(&settings.instance_type)),
            priority: settings.priority,
            live_runs_max: settings.live_runs_max,
            retry: settings.retry.into(),
            on_lost: settings.on_lost.into(),
            executors: settings.executors,
            labels_wanted: settings.labels_wanted,
            network: settings.network.into(),
            runtime: settings.runtime.map(Runtime::from),
            pull_policy: settings.pull_policy.into(),
            max_pause_seconds: settings.max_pause_seconds,
            capabilities: settings.capabilities,
            egress: settings.egress,
            network_bytes_per_second_max: settings.network_bytes_per_second_max,
            workdir: settings.workdir,
            user: settings.user,
            hostname: settings.hostname,
            read_only_root: settings.read_only_root,
            extracts: settings.extracts.into_iter().map(Into::into).collect(),
            warmed_at: runner.body.warmed_ms.map(time),
            created_at: time(runner.created_ms),
            updated_at: time(runner.updated_ms),
        }
    }
}
