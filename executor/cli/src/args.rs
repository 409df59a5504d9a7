//! The command line.

mod console;
mod host;
mod run;
mod runner;
mod scheduler;
mod secrets;
mod server;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::console::{AttachArgs, EXEC_HELP, ExecArgs, TerminalArgs};
pub(crate) use self::host::{ConfigureArgs, HostCommand, JournalArgs, PurgeArgs};
pub(crate) use self::run::{NOT_SCHEDULED, PlacingArgs, RunArgs, from_stdin, labels, variables};
pub(crate) use self::runner::{JobArgs, RunnerCommand, RunnerRunArgs};
pub(crate) use self::scheduler::{DevArgs, SchedulerCommand, SchedulerSettingsArgs};
pub(crate) use self::secrets::{ReadSecrets, SecretArgs};
pub(crate) use self::server::*;
pub(crate) use self::values::Cpu;
use self::values::{milliseconds, whole_seconds};

/// Run containers, on this host or through a scheduler, and look after those that run.
#[derive(Debug, Parser)]
#[command(
    name = "davit",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Unix socket of the executor [default: /run/davit/executor.sock]
    #[arg(
        long,
        global = true,
        env = "DAVIT_SOCKET",
        hide_env_values = true,
        help_heading = "Global options",
        value_name = "PATH"
    )]
    pub(crate) socket: Option<PathBuf>,
    /// How results are printed: for people or for programs
    #[arg(
        short,
        long,
        global = true,
        env = "DAVIT_OUTPUT",
        hide_env_values = true,
        help_heading = "Global options",
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a new container and exit with its exit code
    #[command(after_help = format!("{NOT_SCHEDULED}\n\n{}", crate::exit::HELP))]
    Run(Box<RunArgs>),
    /// List runs: the live ones, or all
    Ps {
        /// Ended runs too
        #[arg(short, long)]
        all: bool,
        /// Ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print what a run wrote
    Logs(LogsArgs),
    /// Follow a run from its first line and exit with its exit code
    #[command(after_help = crate::exit::HELP)]
    Attach(AttachArgs),
    /// Begin a process in a running run and exit with its exit code
    #[command(after_help = EXEC_HELP)]
    Exec(Box<ExecArgs>),
    /// Wait for runs to end, print their exit codes, exit with the first that is not 0
    Wait(RunsArg),
    /// Ask runs to end, kill them when the grace is over
    Stop {
        #[command(flatten)]
        runs: RunsArg,
        /// Signal to ask with [default: the image's, else TERM]
        #[arg(long, value_name = "NAME|NUMBER")]
        signal: Option<String>,
        /// Time until the kill, e.g. 500ms, 10s [default: 10s]
        #[arg(long, value_parser = milliseconds, value_name = "TIME")]
        grace: Option<u64>,
    },
    /// Freeze runs; their memory stays, their timeout stands still
    Pause(RunsArg),
    /// Let paused runs go on
    Resume(RunsArg),
    /// Kill runs at once
    Cancel(RunsArg),
    /// Set the total time a live run may take
    Extend {
        /// Id, unique beginning of an id, or name
        run: String,
        /// Total from its start, e.g. 90s, 2h
        #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
        timeout: u64,
    },
    /// Bring what `davit run --extract` asked for of an ended run's files, once more or from elsewhere
    Extract {
        /// Id, unique beginning of an id, or name
        run: String,
        /// Directory that a relative TO begins at [default: the current one]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Forget ended runs: their logs, records and collected files
    Rm {
        #[command(flatten)]
        runs: RunsArg,
        /// Cancel those that still run
        #[arg(short, long)]
        force: bool,
    },
    /// Reconcile with containerd and sweep what is left over, only davit's own
    Reap {
        /// Only what is older, e.g. 0s, 5m [default: the executor's setting]
        #[arg(long, value_parser = whole_seconds, value_name = "TIME")]
        age: Option<u64>,
    },
    /// Show all that is known of runs
    Inspect(RunsArg),
    /// Show what runs used: the named ones, or all
    #[command(args_conflicts_with_subcommands = true)]
    Usage {
        /// Ids, unique beginnings of ids, or names
        runs: Vec<String>,
        #[command(subcommand)]
        command: Option<UsageCommand>,
    },
    /// List the images on this host
    Images,
    /// Manage images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Pull an image and print its digest
    Pull {
        /// Image reference
        image: String,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Show the executor, its host and what it offers
    Info,
    /// Print what the executor counted and timed, as OpenMetrics text whatever --output says
    Metrics,
    /// The executor itself
    #[command(subcommand)]
    Executor(ExecutorCommand),
    /// The scheduler: many hosts, one API
    #[command(subcommand)]
    Scheduler(SchedulerCommand),
    /// A scheduler and an executor on this host, for trying things out
    Dev(DevArgs),
    #[command(flatten)]
    Server(ServerCommand),
    /// Schedulers by name
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Print a completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Directory to write to
        dir: PathBuf,
    },
}

/// One run or more.
#[derive(Debug, Args)]
pub(crate) struct RunsArg {
    /// Ids, unique beginnings of ids, or names
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Id, unique beginning of an id, or name
    pub(crate) run: String,
    /// Go on until the run has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only records after this id
    #[arg(long, default_value_t = 0, value_name = "ID")]
    pub(crate) after: u64,
    /// Only one of the two streams
    #[arg(long, value_parser = ["stdout", "stderr"])]
    pub(crate) stream: Option<String>,
    /// The time before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// Credentials for one pull.
#[derive(Debug, Default, Args)]
pub(crate) struct RegistryArgs {
    /// User at the registry, for this pull only
    #[arg(long, value_name = "USER", requires = "registry_password_stdin")]
    pub(crate) registry_user: Option<String>,
    /// Read the registry password from standard input
    #[arg(long, requires = "registry_user")]
    pub(crate) registry_password_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Remove images that no run uses
    Rm {
        /// Image references
        #[arg(required = true)]
        images: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExecutorCommand {
    /// Serve in the foreground until SIGTERM; runs outlive it
    Serve(SettingsArgs),
    /// Register this host at a scheduler, once; repeated it changes nothing
    Register(RegisterArgs),
    #[command(flatten)]
    Host(HostCommand),
    /// Print the settings in force and where each comes from
    Config(SettingsArgs),
    /// Print the JSON Schema of the settings file
    Schema,
    /// Print the settings reference (Markdown)
    Reference,
    #[command(flatten)]
    Fleet(FleetCommand),
}

/// How this host becomes a scheduler's.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// The scheduler's address, e.g. `https://davit.example.com`
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// File that holds the one-time join token; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: PathBuf,
    /// Name for people [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

/// Where settings come from, beside the environment.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// Settings file [default: /etc/davit/executor.toml, if it exists]
    #[arg(
        long,
        env = "DAVIT_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Override one setting, e.g. --set images.pull_stall_seconds=30
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory of all that must survive a restart
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<String>,
    /// Serve although limits cannot be enforced here: for development only
    #[arg(long)]
    pub(crate) allow_missing_controllers: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
