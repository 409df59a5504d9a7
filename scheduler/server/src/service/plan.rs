//! From what was asked to what is executed: a runner's settings and a run's own, checked together.
//!
//! ```text
//!  runner + Overrides ─┐
//!                      ├─► Job ─► checked with its environment ─► PlannedRun without it
//!  OneOff ─────────────┘
//! ```
//!
//! What many runs have in common is read once: a `Saved` runner, the `Places`.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{
    Bytes, EnvVar, ExtractPath, FieldError, FieldErrors, InstanceType, Labels, OciRuntime,
    Resources, RunId, RunRequest, Tenant, limits,
};
use serde::Serialize;
use uuid::Uuid;

use super::check::Check;
use super::places::Places;
use super::planned::{PlannedFiles, PlannedRun};
use super::runner::RunnerSettings;
use super::secret_files::{self, SecretFile};
use super::{Service, ServiceError, environment, registries, runners};

/// Bytes of one variable's value: what a secret may hold, less what sealing adds.
pub const VALUE_BYTES_MAX: usize = 127 * 1024;

/// What one run of a runner may have otherwise than the runner.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overrides {
    /// Shell form; with it, neither of the runner's own commands counts.
    pub command: Option<String>,
    /// Exec form; the same.
    pub argv: Vec<String>,
    /// Entrypoint.
    pub entrypoint: Option<String>,
    /// Variables, over the runner's of the same names.
    pub env: Vec<EnvVar>,
    /// Names of those whose values are to be taken out of the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Files, over the runner's of the same names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<SecretFile>,
    /// Wall seconds.
    pub timeout_seconds: Option<u64>,
    /// Priority.
    pub priority: Option<i32>,
    /// For the submitter's use.
    pub labels: Labels,
    /// The upload it comes with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<Uuid>,
    /// Its input stays open for clients that attach.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// It has a terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// What is to come out of it, instead of what the runner names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<ExtractPath>,
}

/// A run without a runner: what a runner would say, and the whole image reference.
#[derive(Clone, Debug, Serialize)]
pub struct OneOff {
    /// `registry/repository:tag`; with `settings.container_registry`, what follows its address.
    pub image: String,
    /// All else. Name, image name and image tag are not used.
    pub settings: RunnerSettings,
    /// What a run of a runner might say.
    pub overrides: Overrides,
}

/// A run before it has an id.
pub(super) struct Job {
    pub(super) image: String,
    pub(super) registry_owner: Option<Uuid>,
    pub(super) settings: RunnerSettings,
    pub(super) overrides: Overrides,
    /// With the overrides.
    pub(super) env: Vec<EnvVar>,
    /// The same.
    pub(super) files: Vec<SecretFile>,
    /// The upload that the overrides name, once it was found.
    pub(super) uploaded: Option<PlannedFiles>,
}

/// A checked run and the type it has.
pub(super) struct Planned {
    pub(super) plan: PlannedRun,
    /// Variables, and files as they are stored.
    pub(super) env: Vec<EnvVar>,
    pub(super) region: String,
    pub(super) priority: i32,
}

/// A runner as its runs need it.
pub(super) struct Saved {
    image: String,
    registry_owner: Option<Uuid>,
    settings: RunnerSettings,
    defaults: Vec<EnvVar>,
    files: Vec<SecretFile>,
}

impl Saved {
    pub(super) async fn load(
        service: &Service,
        tenant: &Tenant,
        runner: Uuid,
    ) -> Result<Self, ServiceError> {
        let settings = runners::show(service, tenant, runner).await?.body.settings;
        let (image, registry_owner) = image_of(service, tenant, &settings).await?;
        let none = settings.env_keys.is_empty() && settings.secret_files.is_empty();
        let stored = if none {
            Vec::new()
        } else {
            environment::open(service, tenant, runner).await?
        };
        let (defaults, files) = secret_files::apart(stored);
        Ok(Self {
            image,
            registry_owner,
            settings,
            defaults,
            files,
        })
    }

    /// A run of it.
    pub(super) fn job(&self, overrides: Overrides) -> Job {
        Job {
            image: self.image.clone(),
            registry_owner: self.registry_owner,
            env: environment::merge(self.defaults.clone(), &overrides.env),
            files: secret_files::merge(&self.files, &overrides.secret_files),
            settings: self.settings.clone(),
            overrides,
            uploaded: None,
        }
    }
}

impl Job {
    /// The job of a run without a runner, whose image comes from `source`.
    pub(super) fn of_one_off(one_off: OneOff, source: &registries::Source) -> Self {
        let OneOff {
            image,
            settings,
            overrides,
        } = one_off;
        Self {
            image: source.image(&image),
            registry_owner: source.registry_owner,
            env: environment::merge(Vec::new(), &overrides.env),
            files: overrides.secret_files.clone(),
            settings,
            overrides,
            uploaded: None,
        }
    }

    /// Checks all of it.
    pub(super) fn plan(self, places: &Places, run: RunId) -> Result<Planned, ServiceError> {
        let settings = self.settings;
        let overrides = self.overrides;
        let common = settings.as_request();
        let own = overrides.command.is_some() || !overrides.argv.is_empty();
        let (command, argv) = if own {
            (overrides.command, overrides.argv)
        } else {
            (settings.run_command, settings.argv)
        };
        let request = RunRequest {
            image: self.image,
            command,
            argv,
            entrypoint: overrides.entrypoint.or(settings.entrypoint),
            labels: overrides.labels,
            instance_type: Some(settings.instance_type.clone()),
            timeout_seconds: overrides.timeout_seconds.or(Some(settings.timeout_seconds)),
            secret_env: marked(&self.env, [&settings.secret_env, &overrides.secret_env]),
            secret_files: secret_files::names(&self.files),
            stdin: overrides.stdin,
            tty: overrides.tty,
            extracts: if overrides.extracts.is_empty() {
                common.extracts
            } else {
                overrides.extracts
            },
            ..common
        };
        let priority = overrides.priority.unwrap_or(settings.priority);
        let mut check = Check::default();
        let max = super::runner::PRIORITY_MAX;
        check.range("priority", priority, -max, max);
        let offer = places.check(&mut check, &settings.region, &settings.instance_type);
        check_request(&mut check, &request, &self.env);
        secret_files::check(&mut check, &self.files);
        check.done()?;
        let Some(offer) = offer else {
            return Err(ServiceError::not_found(
                "instance type",
                &settings.instance_type,
            ));
        };
        let env = secret_files::beside(&self.env, &self.files);
        let plan = PlannedRun {
            request,
            instance_type: offer.instance_type,
            disk_bytes: offer.disk_bytes,
            on_lost: settings.on_lost,
            retry: settings.retry,
            executors: settings.executors,
            labels_wanted: settings.labels_wanted,
            live_runs_max: settings.live_runs_max,
            secrets_owner: (!env.is_empty()).then(|| *run.as_uuid()),
            registry_owner: self.registry_owner,
            files: self.uploaded,
        };
        Ok(Planned {
            plan,
            env,
            region: settings.region,
            priority,
        })
    }
}

/// Those variables of `env` that are marked as secret in one of `lists`: whoever overrides a value does not unmark it.
fn marked(env: &[EnvVar], lists: [&Vec<String>; 2]) -> Vec<String> {
    let secret = |var: &&EnvVar| lists.iter().any(|names| names.contains(&var.key));
    let marked = env.iter().filter(secret);
    marked.map(|var| var.key.clone()).collect()
}

/// A runner's image reference, and whose credentials its pull needs.
pub(super) async fn image_of(
    service: &Service,
    tenant: &Tenant,
    settings: &RunnerSettings,
) -> Result<(String, Option<Uuid>), ServiceError> {
    let divider = if settings.image_tag.starts_with("sha256:") {
        '@'
    } else {
        ':'
    };
    let image = format!("{}{divider}{}", settings.image_name, settings.image_tag);
    let registry = settings.container_registry.as_deref();
    let source = registries::source(service, tenant, registry).await?;
    Ok((source.image(&image), source.registry_owner))
}

/// What is wrong with the registry that is named.
pub(super) async fn check_registry(
    service: &Service,
    tenant: &Tenant,
    check: &mut Check,
    settings: &RunnerSettings,
) -> Result<(), ServiceError> {
    match image_of(service, tenant, settings).await {
        Ok(_) => Ok(()),
        Err(ServiceError::Invalid(errors)) => {
            check.add(errors);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What is wrong with a request by the rules that its host will apply too, in the words of this API.
pub(super) fn check_request(check: &mut Check, request: &RunRequest, env: &[EnvVar]) {
    for (at, var) in env.iter().enumerate() {
        if var.value.len() > VALUE_BYTES_MAX {
            let problem = format!(
                "has {} bytes, at most {VALUE_BYTES_MAX} allowed",
                var.value.len()
            );
            // The value itself may be confidential: name the key only.
            check.fail(&format!("env_variables[{at}].env_val"), &var.key, problem);
        }
    }
    // Types are checked apart: any will do for the rest.
    let any = InstanceType {
        slug: String::new(),
        name: String::new(),
        resources: Resources {
            cpu_millis: 1_000,
            memory_bytes_max: Bytes::gib(1),
            pids_max: 1,
        },
        price_second_micros: 0,
        disk_bytes_max: None,
    };
    let whole = RunRequest {
        env: if env.is_empty() {
            request.env.clone()
        } else {
            env.to_vec()
        },
        instance_type: None,
        ..request.clone()
    };
    let parsed = whole.parse(
        RunId::generate(),
        Tenant::local(),
        &[any],
        OciRuntime::default(),
    );
    if let Err(errors) = parsed {
        let renamed = errors.0.into_iter().map(|error| FieldError {
            field: renamed(&error.field),
            ..error
        });
        check.add(FieldErrors(renamed.collect()));
    }
}

/// The name that a field of a host's request has in this API.
fn renamed(field: &str) -> String {
    match field.strip_prefix("env") {
        Some(rest) if rest.is_empty() || rest.starts_with('[') => format!("env_variables{rest}")
            .replace("].key", "].env_key")
            .replace("].value", "].env_val"),
        _ => field.to_owned(),
    }
}

/// The settings of a one-off run that says nothing else.
#[must_use]
pub fn plain_settings(region: String, instance_type: String) -> RunnerSettings {
    RunnerSettings {
        name: String::new(),
        container_registry: None,
        image_name: String::new(),
        image_tag: String::new(),
        run_command: None,
        argv: Vec::new(),
        entrypoint: None,
        timeout_seconds: limits::TIMEOUT_SECONDS_DEFAULT,
        region,
        instance_type,
        env_keys: Vec::new(),
        secret_env: Vec::new(),
        secret_files: Vec::new(),
        priority: 0,
        live_runs_max: None,
        retry: super::planned::RetryPolicy::default(),
        on_lost: super::planned::OnLost::default(),
        executors: Vec::new(),
        labels_wanted: BTreeMap::new(),
        network: davit_types::NetworkMode::default(),
        runtime: None,
        pull_policy: davit_types::PullPolicy::default(),
        max_pause_seconds: None,
        capabilities: BTreeSet::new(),
        egress: Vec::new(),
        network_bytes_per_second_max: None,
        workdir: None,
        user: None,
        hostname: None,
        read_only_root: false,
        extracts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn fields_have_the_names_of_this_api() {
        assert_eq!(renamed("env[3].key"), "env_variables[3].env_key");
        assert_eq!(renamed("env[3].value"), "env_variables[3].env_val");
        assert_eq!(renamed("env"), "env_variables");
        assert_eq!(renamed("argv[0]"), "argv[0]");
    }
}
