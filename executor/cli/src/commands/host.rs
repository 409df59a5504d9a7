//! This host's executor as a service: its settings file, its unit, whether it is well, and its removal.
//!
//! ```text
//!  configure ─► settings file        start, stop, restart, logs ─► systemctl, journalctl
//!  unit      ─► the unit's text      status ─► executor.sock      purge ─► all of these
//! ```
//!
//! Absent on purpose: the executors of other hosts (a scheduler's business), an init system other than systemd.

mod configure;
mod journal;
mod purge;
mod service;
mod status;

use std::path::{Path, PathBuf};

use crate::args::{Format, HostCommand};
use crate::error::CliError;
use crate::output::print_text;

/// The unit as it is installed.
const UNIT: &str = include_str!("../../../../packaging/systemd/davit-executor.service");
const SCHEDULER_UNIT: &str = include_str!("../../../../packaging/systemd/davit-scheduler.service");
/// Where the units have davit, whatever it is called here.
const UNIT_PROGRAM: &str = "/usr/local/bin/davit";
const UNIT_NAME: &str = "davit-executor.service";
/// Where an operator's units are.
pub(super) const UNIT_FILE: &str = "/etc/systemd/system/davit-executor.service";

/// Does it; the answer is the process's exit code.
pub(super) fn command(
    command: &HostCommand,
    socket: Option<PathBuf>,
    format: Format,
) -> Result<u8, CliError> {
    let socket_or_default = || socket.clone().unwrap_or(super::SOCKET_DEFAULT.into());
    match command {
        HostCommand::Configure(args) => configure::configure(args),
        HostCommand::Unit => print_text(&unit()).map(|()| 0),
        HostCommand::Start => service::begin("start", &socket_or_default()),
        HostCommand::Restart => service::begin("restart", &socket_or_default()),
        HostCommand::Stop => service::stop().map(|()| 0),
        HostCommand::Logs(args) => journal::show(args),
        HostCommand::Status => status::show(&socket_or_default(), format),
        HostCommand::Purge(args) => purge::purge(args, socket),
    }
}

/// The executor's unit, with this program in it.
pub(super) fn unit() -> String {
    with_program(UNIT, std::env::current_exe().ok().as_deref())
}

/// The scheduler's unit, with this program in it.
pub(super) fn scheduler_unit() -> String {
    with_program(SCHEDULER_UNIT, std::env::current_exe().ok().as_deref())
}

fn with_program(unit: &str, program: Option<&Path>) -> String {
    match program.and_then(Path::to_str) {
        Some(program) if !program.contains(char::is_whitespace) => {
            unit.replace(UNIT_PROGRAM, program)
        }
        _ => unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_keeps_runs_alive_and_starts_this_program() {
        let unit = with_program(UNIT, Some(Path::new("/opt/davit")));
        for line in [
            "ExecStart=/opt/davit executor serve",
            "KillMode=process",
            "Delegate=yes",
            "Restart=always",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
        }
        let unit = with_program(SCHEDULER_UNIT, None);
        for line in [
            "ExecStart=/usr/local/bin/davit scheduler serve",
            "User=davit-scheduler",
            "NoNewPrivileges=yes",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
        }
    }
}
