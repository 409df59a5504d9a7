//! Arguments of `davit runner`: saved jobs of a scheduler.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use davit_types::{Capability, ExtractPath, NetworkMode, OciRuntime};

use super::run::{BridgeArgs, InsideArgs, oci_runtime};
use super::{SecretArgs, TerminalArgs, whole_seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum RunnerCommand {
    /// Save a job
    Create {
        /// 3 to 50 characters, unique among the tenant's
        name: String,
        #[command(flatten)]
        job: Box<JobArgs>,
    },
    /// List saved jobs
    List,
    /// Show a saved job
    Show {
        /// Id, unique beginning of an id, or name
        runner: String,
        /// The values of its environment variables too
        #[arg(long)]
        reveal: bool,
    },
    /// Change a saved job: what is given; its earlier runs keep what they have
    Edit {
        /// Id, unique beginning of an id, or name
        runner: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        job: Box<JobArgs>,
    },
    /// Remove saved jobs; their runs go on
    Delete {
        /// Ids, unique beginnings of ids, or names
        #[arg(required = true, value_name = "RUNNER")]
        runners: Vec<String>,
    },
    /// Run a saved job and exit with its exit code
    #[command(after_help = crate::exit::HELP)]
    Run(Box<RunnerRunArgs>),
    /// Let a host fetch the job's image ahead
    Warmup {
        /// Id, unique beginning of an id, or name
        runner: String,
    },
}

/// What a saved job is.
#[derive(Debug, Default, Args)]
pub(crate) struct JobArgs {
    /// Image, e.g. docker.io/library/busybox:1.36; without its registry, where --registry says it
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Name of a registry (`davit registry list`)
    #[arg(long, value_name = "NAME")]
    pub(crate) registry: Option<String>,
    /// Region [default: the profile's]
    #[arg(long, value_name = "SLUG")]
    pub(crate) region: Option<String>,
    /// Size [default: the profile's]
    #[arg(long, visible_alias = "type", value_name = "SLUG")]
    pub(crate) instance_type: Option<String>,
    /// Environment variable; KEY alone takes the value from davit's environment
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// Time its runs may take, e.g. 90s, 2h [default: 1h]
    #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
    pub(crate) timeout: Option<u64>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
    /// Mount the root file system read-only; --read-only=false takes that back
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) read_only: Option<bool>,
    /// -1000 to 1000; higher goes first
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) priority: Option<i32>,
    /// Network: none, bridge, or host where the host's operator allows it [default: none]
    #[arg(long, value_name = "none|bridge|host")]
    pub(crate) network: Option<NetworkMode>,
    #[command(flatten)]
    pub(crate) bridge: BridgeArgs,
    /// OCI runtime [default: the host's]
    #[arg(long, value_parser = oci_runtime, value_name = "crun|runc|runsc")]
    pub(crate) runtime: Option<OciRuntime>,
    /// Give the job a capability, where the host's operator allows it; it has no others
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<Capability>,
    /// What is to be had of each of its runs, once it has ended, however it did: FROM, a file or directory in the
    /// container; `davit extract` brings it to TO. Several times for several
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) extract: Vec<ExtractPath>,
    /// Runs of it that may be live at once; more wait
    #[arg(long, value_name = "N")]
    pub(crate) live_runs_max: Option<u32>,
    /// One line for `sh -c`, instead of a command after --
    #[arg(long, value_name = "LINE", conflicts_with = "argv")]
    pub(crate) shell: Option<String>,
    /// Command and arguments; the image's own when absent
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunnerRunArgs {
    /// Print the run's id and return; the run goes on
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass on standard input; the job's is empty otherwise. With --detach it stays open for `davit attach -i`
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    /// Environment variable over the runner's; KEY alone takes the value from davit's environment
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// Files for the working directory: a directory, a tar file, or - for a tar stream on standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    /// Time this run may take, e.g. 90s, 2h
    #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
    pub(crate) timeout: Option<u64>,
    /// Replaces the runner's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Label, for your own use
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Once the job has ended, however it did, bring FROM (a file or directory in the container) to TO on this side,
    /// instead of what the runner says. Several times for several
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) extract: Vec<ExtractPath>,
    /// One line for `sh -c`, instead of a command after --
    #[arg(long, value_name = "LINE", conflicts_with = "argv")]
    pub(crate) shell: Option<String>,
    /// Id, unique beginning of an id, or name
    pub(crate) runner: String,
    /// Command and arguments instead of the runner's
    #[arg(last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
}
