//! The border: a request as it came in, and the one place that says what is wrong with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::spec::limits as max;
use crate::{
    Attempt, Bytes, Capability, Command, EgressRule, EnvVar, ExtractPath, FieldError, FieldErrors,
    InstanceType, Labels, NetworkMode, OciRuntime, PublishedPort, PullPolicy, RunId, RunSpec,
    Tenant,
};

mod exec;
mod secrets;
#[cfg(test)]
mod tests;

mod network;
mod size;

pub use self::exec::ExecRequest;
pub use self::secrets::{NamedSecret, check_secret_values};

/// A run as asked for. Nothing in it has been checked; absent means "the default".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunRequest {
    /// Image reference.
    pub image: String,
    /// Shell form; excludes `argv`.
    pub command: Option<String>,
    /// Exec form; excludes `command`. Empty means absent.
    pub argv: Vec<String>,
    /// Overrides the image's entrypoint.
    pub entrypoint: Option<String>,
    /// Environment.
    pub env: Vec<EnvVar>,
    /// Name for people.
    pub name: Option<String>,
    /// Labels.
    pub labels: Labels,
    /// Slug of an instance type; the operator's default when absent.
    pub instance_type: Option<String>,
    /// Overrides the type's CPU, thousandths.
    pub cpu_millis: Option<u32>,
    /// Overrides the type's memory.
    pub memory_bytes_max: Option<Bytes>,
    /// Overrides the type's pids.
    pub pids_max: Option<u32>,
    /// Overrides the type's disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes_max: Option<Bytes>,
    /// Wall seconds.
    pub timeout_seconds: Option<u64>,
    /// Longest pause, seconds.
    pub max_pause_seconds: Option<u64>,
    /// Log cap.
    pub log_bytes_max: Option<Bytes>,
    /// Working directory.
    pub workdir: Option<String>,
    /// User.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Network.
    pub network: NetworkMode,
    /// Whom it may reach, [`EgressRule`]s; whatever is public when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<String>,
    /// Where it is reached, [`PublishedPort`]s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Bytes a second, in each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_bytes_per_second_max: Option<u64>,
    /// Pull policy.
    pub pull_policy: PullPolicy,
    /// OCI runtime; the operator's default when absent.
    pub runtime: Option<OciRuntime>,
    /// Read-only root.
    pub read_only_root: bool,
    /// Capabilities; none when empty.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<Capability>,
    /// Its input stays open for consoles; empty from the start otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// It has a terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// What to collect once the job has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extracts: Vec<ExtractPath>,
    /// Names of variables whose values come beside this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Names of files whose contents come beside this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<String>,
}

/// Collects errors while fields are checked, so that a user sees all of them at once.
#[derive(Default)]
struct Check(Vec<FieldError>);

impl Check {
    fn fail(&mut self, field: &str, value: impl std::fmt::Display, problem: impl Into<String>) {
        self.0.push(FieldError::new(field, value, problem));
    }

    fn text(&mut self, field: &str, value: Option<&str>, chars_max: usize) {
        let Some(value) = value else { return };
        let chars = value.chars().count();
        if value.is_empty() {
            self.fail(field, value, "is empty; leave it out instead");
        } else if chars > chars_max {
            self.fail(
                field,
                value,
                format!("has {chars} characters, at most {chars_max} allowed"),
            );
        }
        self.no_nul(field, value);
    }

    fn no_nul(&mut self, field: &str, value: &str) {
        if value.contains('\0') {
            self.fail(field, value, "contains a NUL byte");
        }
    }

    fn range<T: PartialOrd + std::fmt::Display>(&mut self, field: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            let problem = format!("must be {min} to {max}");
            self.fail(field, value, problem);
        }
    }
}

impl RunRequest {
    /// The specification this asks for.
    ///
    /// `instance_types` is what the operator offers, the first being the default;
    /// `default_runtime` serves a request that names none.
    ///
    /// # Errors
    /// Every field that is wrong, in one list.
    pub fn parse(
        self,
        run_id: RunId,
        tenant: Tenant,
        instance_types: &[InstanceType],
        default_runtime: OciRuntime,
    ) -> Result<RunSpec, FieldErrors> {
        let mut check = Check::default();
        self.check_texts(&mut check);
        self.check_command(&mut check);
        self.check_env(&mut check);
        self.check_secrets(&mut check);
        self.check_labels(&mut check);
        check.0.extend(crate::files::check(&self.extracts));
        let instance_type = self.choose_instance_type(&mut check, instance_types);
        let (timeout_seconds, max_pause_seconds) = self.times(&mut check);
        let log_bytes_max = self.log_bytes_max.unwrap_or(Bytes(max::LOG_BYTES_DEFAULT));
        check.range("log_bytes_max", log_bytes_max, Bytes(4096), Bytes::gib(64));
        let runtime = self.runtime.unwrap_or(default_runtime);
        if self.tty && runtime == OciRuntime::Runsc {
            let problem =
                "davit makes no terminal under runsc: leave it out, or name another runtime";
            check.fail("tty", true, problem);
        }
        let (egress, publish) = self.parse_network(&mut check);
        let (true, Some(instance_type)) = (check.0.is_empty(), instance_type) else {
            return Err(FieldErrors(check.0));
        };
        let command = match (self.command, self.argv) {
            (Some(line), _) => Command::Shell(line),
            (None, argv) if argv.is_empty() => Command::Image,
            (None, argv) => Command::Argv(argv),
        };
        Ok(RunSpec {
            run_id,
            attempt: Attempt::FIRST,
            tenant,
            name: self.name,
            labels: self.labels,
            image: self.image,
            pull_policy: self.pull_policy,
            command,
            entrypoint: self.entrypoint,
            env: self.env,
            workdir: self.workdir,
            user: self.user,
            hostname: self.hostname,
            instance_type,
            timeout_seconds,
            max_pause_seconds,
            log_bytes_max,
            network: self.network,
            egress,
            publish,
            network_bytes_per_second_max: self.network_bytes_per_second_max,
            runtime,
            read_only_root: self.read_only_root,
            capabilities: self.capabilities,
            stdin: self.stdin,
            tty: self.tty,
            extracts: self.extracts,
            files_in: false,
            secret_env: self.secret_env,
            secret_files: self.secret_files,
        })
    }

    /// How long it may run, and stay paused, seconds.
    fn times(&self, check: &mut Check) -> (u64, u64) {
        let timeout_seconds = self.timeout_seconds.unwrap_or(max::TIMEOUT_SECONDS_DEFAULT);
        check.range(
            "timeout_seconds",
            timeout_seconds,
            1,
            max::TIMEOUT_SECONDS_MAX,
        );
        let max_pause_seconds = self.max_pause_seconds.unwrap_or(max::PAUSE_SECONDS_DEFAULT);
        check.range(
            "max_pause_seconds",
            max_pause_seconds,
            1,
            max::PAUSE_SECONDS_MAX,
        );
        (timeout_seconds, max_pause_seconds)
    }

    fn check_texts(&self, check: &mut Check) {
        check.text("image", Some(&self.image), max::IMAGE_CHARS_MAX);
        check.text(
            "entrypoint",
            self.entrypoint.as_deref(),
            max::ENTRYPOINT_CHARS_MAX,
        );
        check.text("name", self.name.as_deref(), max::NAME_CHARS_MAX);
        check.text("user", self.user.as_deref(), max::NAME_CHARS_MAX);
        check.text("workdir", self.workdir.as_deref(), max::PATH_CHARS_MAX);
        check.text("hostname", self.hostname.as_deref(), max::NAME_CHARS_MAX);
        for (field, value) in [("name", &self.name), ("hostname", &self.hostname)] {
            let Some(value) = value else { continue };
            let fits = value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && value
                    .bytes()
                    .next()
                    .is_some_and(|b| b.is_ascii_alphanumeric());
            if !fits && !value.is_empty() {
                check.fail(
                    field,
                    value,
                    "may hold letters, digits, - _ . and begins with one of the first two",
                );
            }
        }
        if let Some(dir) = self.workdir.as_deref().filter(|dir| !dir.starts_with('/')) {
            check.fail("workdir", dir, "is not an absolute path");
        }
    }

    fn check_command(&self, check: &mut Check) {
        if let Some(line) = self.command.as_deref() {
            check.text("command", Some(line), max::COMMAND_CHARS_MAX);
            if !self.argv.is_empty() {
                check.fail("command", line, "excludes argv: give one of the two");
            }
        }
        let elements = self.argv.len();
        if elements > max::ARGV_ELEMENTS_MAX {
            let problem = format!(
                "has {elements} elements, at most {} allowed",
                max::ARGV_ELEMENTS_MAX
            );
            check.fail("argv", &self.argv[0], problem);
        }
        let chars: usize = self.argv.iter().map(|arg| arg.chars().count()).sum();
        if chars > max::ARGV_CHARS_MAX {
            let problem = format!(
                "has {chars} characters in total, at most {} allowed",
                max::ARGV_CHARS_MAX
            );
            check.fail("argv", &self.argv[0], problem);
        }
        if self.argv.first().is_some_and(String::is_empty) && self.entrypoint.is_none() {
            check.fail("argv[0]", "", "is empty: there is no program to run");
        }
        for (at, arg) in self.argv.iter().enumerate() {
            check.no_nul(&format!("argv[{at}]"), arg);
        }
    }

    fn check_env(&self, check: &mut Check) {
        if self.env.len() > max::ENV_VARIABLES_MAX {
            check.fail(
                "env",
                self.env.len(),
                format!("at most {} variables allowed", max::ENV_VARIABLES_MAX),
            );
        }
        let bytes: usize = self
            .env
            .iter()
            .map(|var| var.key.len() + var.value.len())
            .sum();
        if bytes > max::ENV_BYTES_MAX {
            check.fail(
                "env",
                format!("{bytes} bytes"),
                format!("at most {} bytes allowed", max::ENV_BYTES_MAX),
            );
        }
        for (at, EnvVar { key, value }) in self.env.iter().enumerate() {
            let mut letters = key.bytes();
            let fits = letters
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !fits {
                check.fail(
                    &format!("env[{at}].key"),
                    key,
                    "must match [a-zA-Z_][a-zA-Z0-9_]*",
                );
            }
            if value.contains('\0') {
                // The value itself may be confidential: name the key only.
                check.fail(&format!("env[{at}].value"), key, "contains a NUL byte");
            }
        }
    }

    fn check_labels(&self, check: &mut Check) {
        if self.labels.len() > max::LABELS_MAX {
            check.fail(
                "labels",
                self.labels.len(),
                format!("at most {} labels allowed", max::LABELS_MAX),
            );
        }
        for (key, value) in &self.labels {
            check.text("labels", Some(key), max::LABEL_CHARS_MAX);
            if value.chars().count() > max::LABEL_CHARS_MAX {
                check.fail(
                    &format!("labels.{key}"),
                    value,
                    format!("at most {} characters allowed", max::LABEL_CHARS_MAX),
                );
            }
            check.no_nul(&format!("labels.{key}"), value);
        }
    }
}
