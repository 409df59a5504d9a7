//! What is said to this host's own executor as a service: settings file, unit, journal, removal.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SettingsArgs;

/// What is done to the executor of this host, by whoever runs the host.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Change the settings file, by flags or by questions; its comments stay
    Configure(ConfigureArgs),
    /// Print the systemd unit
    Unit,
    /// Start the service, and wait until it answers
    Start,
    /// End the service; runs go on
    Stop,
    /// End the service and start it; runs go on
    Restart,
    /// Show the service's journal
    Logs(JournalArgs),
    /// Tell whether an executor serves here: exit code 0 well, 1 not well, 3 none
    Status,
    /// Remove what davit made on this host: runs, images, state, settings, service
    Purge(PurgeArgs),
}

/// Which settings are changed, in which file.
#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    /// Settings file, made if it does not exist [default: /etc/davit/executor.toml]
    #[arg(
        long,
        env = "DAVIT_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// The scheduler's address, e.g. `https://davit.example.com`
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Set one setting, e.g. --set images.pull_stall_seconds=30
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Take one setting out, so that its default holds
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
}

/// How the journal is read.
#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    /// Go on with what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin so many lines before the end
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) lines: u32,
}

/// What may go.
#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Cancel runs that are alive; without it they keep everything where it is
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}
