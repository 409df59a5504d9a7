//! The arguments of `davit run`, and the request they make.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use davit_types::{
    Bytes, Capability, EnvVar, ExtractPath, FieldError, FieldErrors, NetworkMode, OciRuntime,
    PullPolicy, RunRequest,
};

use super::{Cpu, RegistryArgs, SecretArgs, TerminalArgs, whole_seconds};
use crate::error::CliError;

/// Largest environment file read, bytes.
const ENV_FILE_BYTES_MAX: u64 = 1 << 20;

/// What `davit run --help` says of a scheduler.
pub(crate) const NOT_SCHEDULED: &str = "\
What a scheduler does not take, and what to use instead:
  --cpu, --memory, --pids, --disk  --instance-type: sizes have prices there
  --name                           --label, or a saved job: davit runner create NAME
  --publish                        a host's own executor: a scheduler has no ports to give
  --log-cap                        nothing: each log has 256 MiB
  --rm                             nothing: ended runs stay until their retention is over
  --registry-user                  --registry, for one that is kept: davit registry add";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Print the run's id and return; the run goes on
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass on standard input; the job's is empty otherwise. With --detach it stays open for `davit attach -i`
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    /// Forget the run once it has ended and its exit code is known
    #[arg(long, conflicts_with = "detach")]
    pub(crate) rm: bool,
    /// Environment variable; KEY alone takes the value from davit's environment
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// File of KEY=VALUE lines; # begins a comment line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// Size the operator offers (`davit info` or `davit instance-type list` shows them)
    #[arg(long, visible_alias = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// Cores, fractions allowed
    #[arg(long, value_name = "CORES")]
    cpu: Option<Cpu>,
    /// Memory, e.g. 512MiB
    #[arg(long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Processes and threads
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// What it may write to its root file system, e.g. 10GiB, where the host can bound it (`davit info`)
    #[arg(long, value_name = "BYTES")]
    disk: Option<Bytes>,
    /// Time the job may run, e.g. 90s, 2h [default: 1h]
    #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
    timeout: Option<u64>,
    /// Time it may stay paused at a stretch [default: 24h]
    #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
    max_pause: Option<u64>,
    /// Log bytes kept [default: 256MiB]
    #[arg(long, value_name = "BYTES")]
    log_cap: Option<Bytes>,
    /// none, bridge (an address of its own behind the host's), or host where the operator allows it
    #[arg(long, default_value = "none", value_name = "none|bridge|host")]
    network: NetworkMode,
    #[command(flatten)]
    bridge: BridgeArgs,
    /// With a bridge: HOST-PORT:PORT[/tcp|udp], be reached at a port of the host's, where the operator allows it
    #[arg(long, value_name = "PORTS")]
    publish: Vec<String>,
    #[command(flatten)]
    inside: InsideArgs,
    /// Name for people, unique among live runs
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Label, for your own use
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// One line for `sh -c`, instead of a command after --
    #[arg(long, value_name = "LINE")]
    shell: Option<String>,
    /// When to ask the registry
    #[arg(long, default_value = "missing", value_parser = pull_policy)]
    pull: PullPolicy,
    /// OCI runtime [default: the operator's]
    #[arg(long, value_parser = oci_runtime, value_name = "crun|runc|runsc")]
    runtime: Option<OciRuntime>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Give the job a capability, where the host's operator allows it; it has no others
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<Capability>,
    /// Files for the working directory: a directory, a tar file, or - for a tar stream on standard input. Without
    /// --workdir, and where the image names none, that is /work
    #[arg(long, value_name = "PATH", help_heading = FILES)]
    pub(crate) dir: Option<PathBuf>,
    /// Once the job has ended, however it did, bring FROM (a file or directory in the container; a relative one begins
    /// at the working directory) to TO on this side. Several times for several
    #[arg(long, value_name = "FROM:TO", help_heading = FILES)]
    extract: Vec<ExtractPath>,
    #[command(flatten)]
    pub(crate) credentials: RegistryArgs,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
    /// Image reference
    image: String,
    /// Command and arguments; the image's own when absent
    #[arg(last = true, value_name = "ARGV")]
    argv: Vec<String>,
}

/// How a job finds its container.
#[derive(Debug, Default, Args)]
pub(crate) struct InsideArgs {
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// USER or USER:GROUP, names or numbers
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Host name in the container
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
}

/// What goes with `--network bridge`.
#[derive(Debug, Default, Args)]
pub(crate) struct BridgeArgs {
    /// With a bridge: reach CIDR[,tcp|udp[,PORT[-PORT]]] and nothing else; several times for several [default: whatever is
    /// public]
    #[arg(long, value_name = "RULE")]
    pub(crate) egress: Vec<String>,
    /// With a bridge: bytes a second in each direction, e.g. 10MiB
    #[arg(long, value_name = "BYTES")]
    pub(crate) network_rate: Option<Bytes>,
}

/// Where `--help` has what goes in and comes out.
const FILES: &str = "Files";

/// Where `--help` has what only a scheduler is told.
const PLACING: &str = "Through a scheduler";

/// What only a scheduler is told.
#[derive(Debug, Default, Args)]
pub(crate) struct PlacingArgs {
    /// Where the run goes [default: the profile's, or the only one there is]
    #[arg(long, help_heading = PLACING, value_name = "SLUG")]
    pub(crate) region: Option<String>,
    /// Name of a registry that is kept there (`davit registry list`)
    #[arg(long, help_heading = PLACING, value_name = "NAME")]
    pub(crate) registry: Option<String>,
    /// -1000 to 1000; higher goes first
    #[arg(long, help_heading = PLACING, allow_negative_numbers = true, value_name = "N")]
    pub(crate) priority: Option<i32>,
    /// Name of a host it may go to; several times for several
    #[arg(long, help_heading = PLACING, value_name = "NAME")]
    pub(crate) executor: Vec<String>,
}

impl PlacingArgs {
    /// One of them that is given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("--region", self.region.is_some()),
            ("--registry", self.registry.is_some()),
            ("--priority", self.priority.is_some()),
            ("--executor", !self.executor.is_empty()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }
}

fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err("must be always, missing or never".to_owned()),
    }
}

pub(super) fn oci_runtime(text: &str) -> Result<OciRuntime, String> {
    [OciRuntime::Crun, OciRuntime::Runc, OciRuntime::Runsc]
        .into_iter()
        .find(|runtime| runtime.binary() == text)
        .ok_or_else(|| "must be crun, runc or runsc".to_owned())
}

/// Whether the files of `--dir` are a tar stream on standard input.
pub(crate) fn from_stdin(dir: Option<&Path>) -> bool {
    dir == Some(Path::new("-"))
}

impl RunArgs {
    /// How many things come on standard input, secrets aside.
    pub(crate) fn readers_of_stdin(&self) -> usize {
        let readers = [
            from_stdin(self.dir.as_deref()),
            self.credentials.registry_password_stdin,
            self.interactive && !self.detach,
        ];
        readers.into_iter().filter(|reads| *reads).count()
    }

    /// The request: not checked beyond its form, whoever takes it does that.
    pub(crate) fn request(&self) -> Result<RunRequest, CliError> {
        let mut wrong = Vec::new();
        let mut lines = Vec::new();
        for file in &self.env_file {
            lines.extend(env_file_lines(file)?);
        }
        let env = variables(lines.iter().chain(&self.env), &mut wrong);
        let labels = labels(&self.label, &mut wrong);
        if let (Some(line), false) = (&self.shell, self.argv.is_empty()) {
            let problem = "command (--shell) excludes argv (after --): give one of the two";
            wrong.push(FieldError::new("command", line, problem));
        }
        let stdin = from_stdin(self.dir.as_deref());
        if stdin && self.credentials.registry_password_stdin {
            let problem = "excludes --registry-password-stdin: standard input is one of the two";
            wrong.push(FieldError::new("--dir", "-", problem));
        }
        if self.interactive && !self.detach && (stdin || self.credentials.registry_password_stdin) {
            let problem =
                "excludes --dir - and --registry-password-stdin: standard input is one of them";
            wrong.push(FieldError::new("--interactive", true, problem));
        }
        if !wrong.is_empty() {
            return Err(CliError::Fields(FieldErrors(wrong)));
        }
        Ok(RunRequest {
            image: self.image.clone(),
            command: self.shell.clone(),
            argv: self.argv.clone(),
            entrypoint: self.entrypoint.clone(),
            env,
            name: self.name.clone(),
            labels,
            instance_type: self.instance_type.clone(),
            cpu_millis: self.cpu.map(|cpu| cpu.millis),
            memory_bytes_max: self.memory,
            pids_max: self.pids,
            disk_bytes_max: self.disk,
            timeout_seconds: self.timeout,
            max_pause_seconds: self.max_pause,
            log_bytes_max: self.log_cap,
            workdir: self.inside.workdir.clone(),
            user: self.inside.user.clone(),
            hostname: self.inside.hostname.clone(),
            network: self.network,
            egress: self.bridge.egress.clone(),
            publish: self.publish.clone(),
            network_bytes_per_second_max: self.bridge.network_rate.map(|rate| rate.0),
            pull_policy: self.pull,
            runtime: self.runtime,
            read_only_root: self.read_only,
            capabilities: self.cap_add.iter().copied().collect(),
            extracts: self.extract.clone(),
            stdin: self.interactive,
            tty: self.terminal.tty,
            // Beside it, in a message of their own.
            secret_env: Vec::new(),
            secret_files: Vec::new(),
        })
    }
}

/// Variables as they are given; those without a value take it from our own environment.
pub(crate) fn variables<'a>(
    given: impl IntoIterator<Item = &'a String>,
    wrong: &mut Vec<FieldError>,
) -> Vec<EnvVar> {
    let mut variables = Vec::new();
    for line in given {
        match line.split_once('=') {
            Some((key, value)) => variables.push(EnvVar {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            None => match std::env::var(line) {
                Ok(value) => variables.push(EnvVar {
                    key: line.clone(),
                    value,
                }),
                Err(_) => wrong.push(FieldError::new(
                    "env",
                    line,
                    "has no value, and davit's environment has none for it",
                )),
            },
        }
    }
    variables
}

/// Labels as they are given.
pub(crate) fn labels(given: &[String], wrong: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for label in given {
        match label.split_once('=') {
            Some((key, value)) => {
                labels.insert(key.to_owned(), value.to_owned());
            }
            None => wrong.push(FieldError::new("label", label, "is not KEY=VALUE")),
        }
    }
    labels
}

fn env_file_lines(path: &Path) -> Result<Vec<String>, CliError> {
    let reading = || CliError::io(format!("read {}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(reading())?;
    file.take(ENV_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(reading())?;
    if text.len() as u64 > ENV_FILE_BYTES_MAX {
        let problem = format!("is larger than {ENV_FILE_BYTES_MAX} bytes");
        return Err(CliError::field(FieldError::new(
            "env-file",
            path.display(),
            problem,
        )));
    }
    let kept = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(kept.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn what_is_typed_at_a_job_is_no_secret_too() {
        for (options, allowed) in [
            (&["-i"][..], false),
            (&["--dir", "-"], false),
            (&["-d", "-i"], true),
            (&[], true),
        ] {
            let run = [&["davit", "run"], options, &["--secret", "a=-", "image"]].concat();
            let Command::Run(args) = Cli::try_parse_from(run).unwrap().command else {
                panic!("it is a run");
            };
            // It is not read: standard input may be anything here.
            assert_eq!(args.readers_of_stdin() == 0, allowed, "{options:?}");
            if !allowed {
                let told = args.secrets.read(args.readers_of_stdin()).unwrap_err();
                assert!(format!("{told:?}").contains("standard input"), "{told:?}");
            }
        }
    }
}
