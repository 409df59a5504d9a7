//! The unit, by systemctl.
//!
//! Invariant: a start is told as done when the executor answers, not when its process exists.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::{UNIT_FILE, UNIT_NAME};
use crate::error::CliError;
use crate::output::print_line;

/// There, where systemd is the init system (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How long an executor may take until it answers, milliseconds: it finds all runs first.
const ANSWER_MS_MAX: u64 = 30_000;
/// Between two looks, milliseconds.
const LOOK_MS: u64 = 50;

/// `start` or `restart`, and waits until the executor answers.
pub(super) fn begin(verb: &'static str, socket: &Path) -> Result<u8, CliError> {
    systemctl(verb)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let begun = Instant::now();
        while let Err(source) = UnixStream::connect(socket).await {
            if begun.elapsed() > Duration::from_millis(ANSWER_MS_MAX) {
                let socket = socket.to_owned();
                return Err(CliError::NotAnswering {
                    socket,
                    seconds: ANSWER_MS_MAX / 1_000,
                    source,
                });
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(())
    })?;
    print_line(&format!("the executor serves on {}", socket.display()))?;
    Ok(0)
}

/// Ends the executor; runs go on.
pub(super) fn stop() -> Result<(), CliError> {
    systemctl("stop")
}

/// Ends it for good.
pub(super) fn disable() -> Result<(), CliError> {
    systemctl("disable")
}

/// Tells systemd that units came or went.
pub(super) fn reload() -> Result<(), CliError> {
    needs_systemd()?;
    succeed(Command::new("systemctl").arg("daemon-reload"), "reload")
}

/// The unit's main process, if it runs. None, too, where there is no systemd.
pub(super) fn main_pid() -> Option<i32> {
    needs_systemd().ok()?;
    let mut show = Command::new("systemctl");
    show.args(["show", "--property=MainPID", "--value", UNIT_NAME]);
    let shown = show.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&shown.stdout);
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Fails where systemd does not run.
pub(super) fn needs_systemd() -> Result<(), CliError> {
    if Path::new(BOOTED).is_dir() {
        Ok(())
    } else {
        Err(CliError::NoSystemd)
    }
}

fn systemctl(verb: &'static str) -> Result<(), CliError> {
    needs_systemd()?;
    if !Path::new(UNIT_FILE).exists() && !is_known() {
        return Err(CliError::NoUnit);
    }
    succeed(Command::new("systemctl").args([verb, UNIT_NAME]), verb)
}

/// Whether a package brought the unit.
fn is_known() -> bool {
    let mut cat = Command::new("systemctl");
    cat.args(["cat", UNIT_NAME]);
    let seen = cat.stdout(Stdio::null()).stderr(Stdio::null()).status();
    seen.is_ok_and(|status| status.success())
}

fn succeed(command: &mut Command, verb: &'static str) -> Result<(), CliError> {
    let status = command.status().map_err(CliError::io("start systemctl"))?;
    if status.success() {
        Ok(())
    } else {
        Err(CliError::Systemctl { verb, status })
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("start the event loop"))
}
