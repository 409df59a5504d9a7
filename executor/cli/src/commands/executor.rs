//! The executor's own commands: serve, and what can be said of its settings without serving.

use std::path::PathBuf;

use davit_executor::settings::{self, FlagValue, Loaded, LogFormat, LogSettings, Sources};
use davit_types::FieldError;
use tracing_subscriber::EnvFilter;

use crate::args::{Format, SettingsArgs};
use crate::error::CliError;
use crate::output::{Paint, print_json, print_text};

/// `davit executor serve`.
pub(super) fn serve(args: &SettingsArgs, socket: Option<PathBuf>) -> Result<u8, CliError> {
    let loaded = load(args, socket)?;
    start_logging(&loaded.settings.log)?;
    davit_executor::serve(&loaded.settings)?;
    Ok(0)
}

/// `davit executor config`.
pub(super) fn config(
    args: &SettingsArgs,
    socket: Option<PathBuf>,
    format: Format,
) -> Result<u8, CliError> {
    let loaded = load(args, socket)?;
    match format {
        Format::Json => print_json(&loaded.settings)?,
        Format::Table => print_text(&settings::effective(&loaded))?,
    }
    Ok(0)
}

/// `davit executor schema`.
pub(super) fn schema() -> Result<u8, CliError> {
    print_json(&settings::json_schema())?;
    Ok(0)
}

/// `davit executor reference`.
pub(super) fn reference() -> Result<u8, CliError> {
    print_text(&settings::reference())?;
    Ok(0)
}

pub(super) fn load(args: &SettingsArgs, socket: Option<PathBuf>) -> Result<Loaded, CliError> {
    let mut flags = Vec::new();
    let mut flag = |flag: &str, key: &str, value: String| {
        flags.push(FlagValue {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value,
        });
    };
    if let Some(socket) = socket {
        flag("--socket", "socket", socket.display().to_string());
    }
    if let Some(dir) = &args.state_dir {
        flag("--state-dir", "state_dir", dir.clone());
    }
    if args.allow_missing_controllers {
        flag(
            "--allow-missing-controllers",
            "allow_missing_controllers",
            "true".to_owned(),
        );
    }
    for setting in &args.set {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(CliError::field(FieldError::new(
                "--set",
                setting,
                "is not KEY=VALUE",
            )));
        };
        flag("--set", key, value.to_owned());
    }
    let environment = std::env::vars_os().collect();
    Ok(settings::load(&Sources {
        file: args.config.clone(),
        environment,
        flags,
    })?)
}

pub(super) fn start_logging(log: &LogSettings) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        CliError::field(FieldError::new(
            "log.filter",
            &log.filter,
            error.to_string(),
        ))
    })?;
    // It writes down what goes over consoles, where it is asked for every detail.
    let filter = match "tungstenite=off".parse() {
        Ok(silent) => filter.add_directive(silent),
        Err(_) => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(Paint::of(&std::io::stderr()).is_on())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Human => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
