//! The scheduler's own commands: serve, and what can be done beside a serving one.

use std::io;

use davit_executor::settings as executor_settings;
use davit_scheduler::serve::{self, Scheduler};
use davit_scheduler::settings::{self, Loaded, LogFormat, LogSettings};
use davit_settings::{FlagValue, Sources};
use davit_types::{FieldError, Tenant};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::executor::start_logging;
use super::host;
use crate::args::{Format, SchedulerCommand, SchedulerSettingsArgs};
use crate::error::CliError;
use crate::output::{print_json, print_text};

/// Does it; the answer is the process's exit code.
pub(super) fn command(command: &SchedulerCommand, format: Format) -> Result<u8, CliError> {
    match command {
        SchedulerCommand::Serve(args) => {
            davit_executor::dump_no_core().map_err(CliError::io("do without core dumps"))?;
            run(args)?;
        }
        SchedulerCommand::Config(args) => {
            let loaded = load(args)?;
            match format {
                Format::Json => print_json(&loaded.settings)?,
                Format::Table => print_text(&settings::effective(&loaded))?,
            }
        }
        SchedulerCommand::Schema => print_json(&settings::json_schema())?,
        SchedulerCommand::Reference => print_text(&settings::reference())?,
        SchedulerCommand::Unit => print_text(&host::scheduler_unit())?,
        SchedulerCommand::Token {
            tenant,
            name,
            settings,
        } => {
            let owner: Tenant = tenant.parse().map_err(|error| {
                let problem = format!("{error}");
                CliError::field(FieldError::new("--tenant", tenant, problem))
            })?;
            let settings = load(settings)?.settings;
            let text = runtime()?.block_on(serve::first_token(&settings, &owner, name))?;
            print_text(&format!("{text}\n"))?;
        }
        SchedulerCommand::RotateKeys(args) => {
            serve::rotate_keys(&load(args)?.settings)?;
            print_text(
                "Give the new key files to every replica, restart all, then: davit scheduler rewrap-secrets\n",
            )?;
        }
        SchedulerCommand::RewrapSecrets(args) => {
            let settings = load(args)?.settings;
            let rewrap = serve::rewrap_secrets(&settings, "davit scheduler rewrap-secrets");
            let wrapped = runtime()?.block_on(rewrap)?;
            print_text(&format!("{wrapped} secrets wrapped anew\n"))?;
        }
    }
    Ok(0)
}

fn load(args: &SchedulerSettingsArgs) -> Result<Loaded, CliError> {
    let mut flags = Vec::new();
    for setting in &args.set {
        let Some((key, value)) = setting.split_once('=') else {
            let problem = "is not KEY=VALUE";
            return Err(CliError::field(FieldError::new("--set", setting, problem)));
        };
        flags.push(FlagValue {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(settings::load(&Sources {
        file: args.config.clone(),
        environment: std::env::vars_os().collect(),
        flags,
    })?)
}

fn run(args: &SchedulerSettingsArgs) -> Result<(), CliError> {
    let settings = load(args)?.settings;
    start_logging(&as_executor_s(&settings.log))?;
    runtime()?.block_on(async {
        let stop = told_to_stop().map_err(CliError::io("listen for signals"))?;
        let scheduler = Scheduler::open(&settings).await?;
        let (api, link) = (scheduler.rest_address()?, scheduler.link_address()?);
        tracing::info!(%api, %link, "serving");
        scheduler.serve(stop).await?;
        tracing::info!("going down; runs and hosts go on");
        Ok(())
    })
}

/// The same words: what is done with them is one function.
fn as_executor_s(log: &LogSettings) -> executor_settings::LogSettings {
    executor_settings::LogSettings {
        filter: log.filter.clone(),
        format: match log.format {
            LogFormat::Human => executor_settings::LogFormat::Human,
            LogFormat::Json => executor_settings::LogFormat::Json,
        },
    }
}

pub(super) fn runtime() -> Result<Runtime, CliError> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("start the event loop"))
}

/// Ready at SIGTERM or SIGINT.
pub(super) fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
