//! The arguments of commands that are at the side of a run's processes.

use clap::Args;
use davit_rpc::console::Exec;
use davit_types::{FieldError, FieldErrors};

use super::{Format, variables};
use crate::beside::Place;
use crate::error::CliError;
use crate::terminal::{self, DetachKeys};

/// What `davit exec --help` ends with.
pub(crate) const EXEC_HELP: &str = "\
The process has the job's user, variables, working directory, limits and restrictions, and ends with this command, with
all that it began, and with its run. What it prints is not in the run's log.

Exit codes:
  the process's own, 128 + n when signal n ended it
  125  davit failed, not the process: wrong arguments, no executor, no such run or program, run not
       running or paused, connection broken";

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Pass on standard input; the process has none otherwise
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the process a terminal; with -i it is this one
    #[arg(short, long)]
    tty: bool,
    /// USER or USER:GROUP, names or numbers [default: the job's]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory in the container [default: the job's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Environment variable; KEY alone takes the value from davit's environment
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Id, unique beginning of an id, or name
    pub(crate) run: String,
    /// Program and arguments; a -- may stand before them
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<String>,
}

impl ExecArgs {
    /// The process: not checked beyond its form, whoever begins it does that.
    pub(crate) fn process(&self) -> Result<Exec, CliError> {
        let mut wrong = Vec::new();
        let env = variables(&self.env, &mut wrong);
        if !wrong.is_empty() {
            return Err(CliError::Fields(FieldErrors(wrong)));
        }
        if self.tty && self.interactive {
            terminal::required("--tty")?;
        }
        Ok(Exec {
            argv: self.argv.clone(),
            env: env.into_iter().map(|var| (var.key, var.value)).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            stdin: self.interactive,
        })
    }
}

/// A job's terminal.
#[derive(Debug, Args)]
pub(crate) struct TerminalArgs {
    /// Give the job a terminal; with -i it is this one
    #[arg(short, long)]
    pub(crate) tty: bool,
    #[command(flatten)]
    leaving: LeavingArgs,
}

/// How a job's terminal is left.
#[derive(Debug, Args)]
pub(crate) struct LeavingArgs {
    /// Keys that leave the job's terminal, and the job to itself: ctrl-KEY or characters, commas between; "" for none
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
}

/// `davit attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Type at a job that was submitted with --interactive: whoever did before does no more. Where it has a terminal it is
    /// this one; its last 16 KiB are shown first
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[command(flatten)]
    leaving: LeavingArgs,
    /// Id, unique beginning of an id, or name
    pub(crate) run: String,
}

impl LeavingArgs {
    pub(crate) const fn keys(&self) -> &DetachKeys {
        &self.detach_keys
    }
}

impl AttachArgs {
    pub(crate) const fn keys(&self) -> &DetachKeys {
        self.leaving.keys()
    }

    /// Refuses what is printed for programs and typed at by people.
    pub(crate) fn check(&self, place: Place, format: Format) -> Result<(), CliError> {
        readable(place, format)
    }
}

impl TerminalArgs {
    pub(crate) const fn keys(&self) -> &DetachKeys {
        self.leaving.keys()
    }

    /// Where a job's output is shown that has our input, or has not.
    pub(crate) const fn place(&self, interactive: bool) -> Place {
        match self.tty && interactive {
            true => Place::Terminal,
            false => Place::Log,
        }
    }

    /// Refuses a terminal that is not there, for a job that is not left alone.
    pub(crate) fn check(&self, interactive: bool, format: Format) -> Result<(), CliError> {
        readable(self.place(interactive), format)?;
        if self.tty && interactive {
            terminal::required("--tty")?;
        }
        Ok(())
    }
}

fn readable(place: Place, format: Format) -> Result<(), CliError> {
    if place == Place::Terminal && format == Format::Json {
        let problem = "excludes a terminal that is typed at: what a job shows there is no JSON";
        return Err(CliError::field(FieldError::new(
            "--output", "json", problem,
        )));
    }
    Ok(())
}
