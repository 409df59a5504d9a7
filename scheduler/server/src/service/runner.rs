//! A runner: what is kept of it, what may be asked of it, and what is wrong with what was asked.
//!
//! Invariant: a kept runner is valid by the limits of its time; a run of it is checked again as a whole.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{
    Capability, EnvVar, ExtractPath, NetworkMode, OciRuntime, PullPolicy, RunRequest, limits,
};
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::planned::{
    ATTEMPTS_MAX, BACKOFF_MS_MAX, EXECUTORS_MAX, FENCE_MS_MIN, LOST_AFTER_MS_MAX, LostPolicy,
    OnLost, RETRY_EXIT_CODES_MAX, RetryPolicy, STOP_AFTER_MS_MIN,
};

/// Characters of a runner's name, at least.
pub const NAME_CHARS_MIN: usize = 3;
/// Characters of a runner's name, at most.
pub const NAME_CHARS_MAX: usize = 50;
/// Characters of a runner's shell command.
pub const RUN_COMMAND_CHARS_MAX: usize = 1_000;
/// Characters of a registry's name or address.
pub const REGISTRY_CHARS_MAX: usize = 255;
/// The longest image tag (OCI distribution specification).
pub const TAG_CHARS_MAX: usize = 128;
/// Priorities are between this and its negative.
pub const PRIORITY_MAX: i32 = 1_000;
/// The largest cap on a runner's live runs.
pub const LIVE_RUNS_MAX: u32 = 1_000_000;

/// All that is said of a runner but its environment's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerSettings {
    /// Unique among the tenant's runners.
    pub name: String,
    /// Name of one of the tenant's registries, or the address of a public one.
    #[serde(default)]
    pub container_registry: Option<String>,
    /// Repository, without registry and tag.
    pub image_name: String,
    /// Tag, or `sha256:…`.
    pub image_tag: String,
    /// Shell form; excludes `argv`.
    #[serde(default)]
    pub run_command: Option<String>,
    /// Exec form.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Overrides the image's.
    #[serde(default)]
    pub entrypoint: Option<String>,
    /// Wall seconds.
    pub timeout_seconds: u64,
    /// Slug of the region.
    pub region: String,
    /// Slug of the instance type.
    pub instance_type: String,
    /// Names of the environment variables; their values are sealed apart.
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// Those of them whose values are to be taken out of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Names of the secret files; their contents are sealed apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i32,
    /// How many of its runs may be live at once.
    #[serde(default)]
    pub live_runs_max: Option<u32>,
    /// When its runs are tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// What becomes of its runs when their host is silent.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Names of the executors it may go to; any, when empty.
    #[serde(default)]
    pub executors: Vec<String>,
    /// Labels its host must have.
    #[serde(default)]
    pub labels_wanted: BTreeMap<String, String>,
    /// Network.
    #[serde(default)]
    pub network: NetworkMode,
    /// OCI runtime; the host's default when absent.
    #[serde(default)]
    pub runtime: Option<OciRuntime>,
    /// When to ask the registry.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Longest pause, seconds.
    #[serde(default)]
    pub max_pause_seconds: Option<u64>,
    /// Capabilities, of those that its host's operator allows.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<Capability>,
    /// With a bridge: all it may reach; whatever is public when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<String>,
    /// With a bridge: bytes a second in each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_bytes_per_second_max: Option<u64>,
    /// Working directory; the image's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers; the image's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Host name; the last part of the run's id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Nothing can be written to the root file system.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root: bool,
    /// What is to come out of its runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<ExtractPath>,
}

/// A runner as the catalogue holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerBody {
    /// What people say of it.
    pub settings: RunnerSettings,
    /// When a host last fetched its image ahead.
    #[serde(default)]
    pub warmed_ms: Option<u64>,
    /// SHA-256 (hex) of the request that made it, if that had an idempotency key.
    #[serde(default)]
    pub made_by: Option<String>,
}

impl RunnerSettings {
    /// What is wrong with the runner's own fields.
    pub(super) fn check(&self, check: &mut Check) {
        check.name("name", &self.name, NAME_CHARS_MIN, NAME_CHARS_MAX);
        if let Some(registry) = &self.container_registry {
            check.text("container_registry", registry, REGISTRY_CHARS_MAX);
        }
        check_image(check, &self.image_name, &self.image_tag);
        if let Some(command) = &self.run_command {
            check.text("run_command", command, RUN_COMMAND_CHARS_MAX);
            if !self.argv.is_empty() {
                check.fail("run_command", command, "excludes argv: give one of the two");
            }
        }
        check.range(
            "timeout_seconds",
            self.timeout_seconds,
            1,
            limits::TIMEOUT_SECONDS_MAX,
        );
        check.range("priority", self.priority, -PRIORITY_MAX, PRIORITY_MAX);
        if let Some(cap) = self.live_runs_max {
            check.range("live_runs_max", cap, 1, LIVE_RUNS_MAX);
        }
        self.check_policies(check);
        self.check_hosts(check);
    }

    /// What a host is told of it in the same words, as it is: all that a run has no word in.
    pub(super) fn as_request(&self) -> RunRequest {
        RunRequest {
            max_pause_seconds: self.max_pause_seconds,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            network: self.network,
            egress: self.egress.clone(),
            network_bytes_per_second_max: self.network_bytes_per_second_max,
            pull_policy: self.pull_policy,
            runtime: self.runtime,
            read_only_root: self.read_only_root,
            capabilities: self.capabilities.clone(),
            extracts: self.extracts.clone(),
            ..RunRequest::default()
        }
    }

    fn check_policies(&self, check: &mut Check) {
        let retry = &self.retry;
        check.range("retry.attempts_max", retry.attempts_max, 1, ATTEMPTS_MAX);
        check.range("retry.backoff_ms", retry.backoff_ms, 0, BACKOFF_MS_MAX);
        if retry.exit_codes.len() > RETRY_EXIT_CODES_MAX {
            let problem = format!("at most {RETRY_EXIT_CODES_MAX} codes are allowed");
            check.fail("retry.exit_codes", retry.exit_codes.len(), problem);
        }
        let lost = &self.on_lost;
        let longest = LOST_AFTER_MS_MAX;
        check.range("on_lost.lost_after_ms", lost.lost_after_ms, 1_000, longest);
        let shortest = STOP_AFTER_MS_MIN;
        check.range(
            "on_lost.stop_after_ms",
            lost.stop_after_ms,
            shortest,
            longest,
        );
        let fence_ms = lost.stop_after_ms.saturating_add(FENCE_MS_MIN);
        if lost.policy == LostPolicy::Requeue && lost.lost_after_ms < fence_ms {
            let problem = format!(
                "must be at least stop_after_ms + {FENCE_MS_MIN}: before that the old host may still execute the run"
            );
            check.fail("on_lost.lost_after_ms", lost.lost_after_ms, problem);
        }
    }

    fn check_hosts(&self, check: &mut Check) {
        if self.executors.len() > EXECUTORS_MAX {
            let problem = format!("at most {EXECUTORS_MAX} executors are allowed");
            check.fail("executors", self.executors.len(), problem);
        }
        for (at, name) in self.executors.iter().enumerate() {
            check.name(
                &format!("executors[{at}]"),
                name,
                1,
                limits::LABEL_CHARS_MAX,
            );
        }
        if self.labels_wanted.len() > limits::LABELS_MAX {
            let problem = format!("at most {} labels are allowed", limits::LABELS_MAX);
            check.fail("labels_wanted", self.labels_wanted.len(), problem);
        }
        for (key, value) in &self.labels_wanted {
            check.name("labels_wanted", key, 1, limits::LABEL_CHARS_MAX);
            let field = format!("labels_wanted.{key}");
            check.name(&field, value, 0, limits::LABEL_CHARS_MAX);
        }
    }
}

/// The parts of an image reference, so that they make one together.
fn check_image(check: &mut Check, name: &str, tag: &str) {
    check.text("image_name", name, limits::IMAGE_CHARS_MAX);
    let part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let fits = |component: &str| {
        component.bytes().all(part)
            && component
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphanumeric())
    };
    if !name.is_empty() && !name.split('/').all(fits) {
        check.fail(
            "image_name",
            name,
            "must be lower-case letters, digits, - _ . in parts divided by /, without registry and tag",
        );
    }
    let digest = tag
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let fits = (1..=TAG_CHARS_MAX).contains(&tag.len())
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !tag.starts_with(['-', '.']);
    if !digest && !fits {
        let problem = format!(
            "must be 1 to {TAG_CHARS_MAX} letters, digits, - _ . not beginning with - or ., or sha256: and 64 digits"
        );
        check.fail("image_tag", tag, problem);
    }
}

/// What is wrong with variables that are kept by their names.
pub(super) fn check_variables(check: &mut Check, field: &str, variables: &[EnvVar]) {
    let mut names: Vec<&str> = variables.iter().map(|var| var.key.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        check.fail(field, twice[0], "is there twice");
    }
}
