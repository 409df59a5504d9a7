//! `davit executor logs`: the unit's journal, by journalctl.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{UNIT_NAME, service};
use crate::args::JournalArgs;
use crate::error::CliError;

/// Becomes journalctl.
pub(super) fn show(args: &JournalArgs) -> Result<u8, CliError> {
    service::needs_systemd()?;
    let mut journal = Command::new("journalctl");
    journal.args(["--unit", UNIT_NAME, "--lines"]);
    journal.arg(args.lines.to_string());
    if args.follow {
        journal.arg("--follow");
    }
    Err(CliError::io("start journalctl")(journal.exec()))
}
