//! The scheduler's commands, and `davit dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SettingsArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulerCommand {
    /// Serve in the foreground until SIGTERM; runs and hosts outlive it
    Serve(SchedulerSettingsArgs),
    /// Print the settings in force and where each comes from
    Config(SchedulerSettingsArgs),
    /// Print the JSON Schema of the settings file
    Schema,
    /// Print the settings reference (Markdown)
    Reference,
    /// Print the systemd unit
    Unit,
    /// Make a token that may do everything, and its tenant; it is printed once
    Token {
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// Name for people
        #[arg(long, default_value = "operator", value_name = "NAME")]
        name: String,
        #[command(flatten)]
        settings: SchedulerSettingsArgs,
    },
    /// Add newer keys for secrets and access tokens, used from the next start on
    RotateKeys(SchedulerSettingsArgs),
    /// Wrap all stored secrets under the newest key
    RewrapSecrets(SchedulerSettingsArgs),
}

/// Where the scheduler's settings come from, beside the environment.
#[derive(Debug, Args)]
pub(crate) struct SchedulerSettingsArgs {
    /// Settings file [default: /etc/davit/scheduler.toml, if it exists]
    #[arg(
        long,
        env = "DAVIT_SCHEDULER_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Override one setting, e.g. --set rest.listen=127.0.0.1:8080
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// One machine, one command.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Directory of all that both keep
    #[arg(long, default_value = "/var/lib/davit-dev", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Address and port of the API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7180", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// Address and port that this host's own executor dials; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7181", value_name = "ADDRESS")]
    pub(crate) link_listen: String,
    #[command(flatten)]
    pub(crate) executor: SettingsArgs,
}
