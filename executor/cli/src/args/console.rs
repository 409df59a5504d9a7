//! The arguments of commands that are at the side of a run's processes.

use clap::Args;
use davit_rpc::console::Exec;
use davit_types::FieldErrors;

use super::variables;
use crate::error::CliError;

/// What `davit exec --help` ends with.
pub(crate) const EXEC_HELP: &str = "\
The process has the job's user, variables, working directory, limits and restrictions, and ends with this command, with
all that it began, and with its run. What it prints is not in the run's log.

Exit codes:
  the process's own, 128 + n when signal n ended it
  125  davit failed, not the process: wrong arguments, no executor, no such run or program, run not running or paused";

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Pass on standard input; the process has none otherwise
    #[arg(short, long)]
    pub(crate) interactive: bool,
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
        Ok(Exec {
            argv: self.argv.clone(),
            env: env.into_iter().map(|var| (var.key, var.value)).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            tty: false,
            stdin: self.interactive,
        })
    }
}
