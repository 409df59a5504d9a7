//! The command line against a scheduler: the same words as for the executor of this host, and those that only a scheduler
//! has.
//!
//! ```text
//!  place (flags, variables, profiles) ─► Access ─► Client: token, retries, problems ─► a file a group of commands ─► output
//!                                                     └─ follow: server-sent events, resumed where they broke
//! ```
//!
//! Invariants: a token is read from a file, standard input or the environment, never from an argument, and is in no error;
//! a request that makes something carries a key, so that a lost answer makes nothing twice; every wait that is not the
//! run's own has a bound; what a scheduler cannot do is refused by a sentence that says what to do instead.
//!
//! Absent on purpose: the scheduler's own types. Answers are shown as they came ([`Tree`](crate::output::tree::Tree)), so
//! a newer scheduler's fields are seen by an older command line; only what is decided by is read into structs.

mod accounts;
mod catalogue;
mod client;
mod console;
mod control;
mod error;
mod executors;
mod export;
mod files;
mod follow;
mod one_off;
mod place;
mod profiles;
mod run;
mod runners;
mod show;
mod socket;
mod sse;
mod words;

pub(crate) use self::error::ServerError;
pub(crate) use self::place::{Access, Place, choose};
pub(crate) use self::profiles::command as profile;
pub(crate) use self::words::has_place_only_on_a_host;

use self::client::Client;
use crate::args::{Command, ExecutorCommand, Format, ServerCommand, UsageCommand};
use crate::error::CliError;

/// What a command works with.
struct Session {
    client: Client,
    format: Format,
    region: Option<String>,
    instance_type: Option<String>,
}

/// Does what was asked; the answer is the process's exit code.
pub(crate) async fn command(
    command: Command,
    access: Access,
    format: Format,
) -> Result<u8, CliError> {
    if let Some(refused) = has_place_only_on_a_host(&command) {
        return Err(refused.into());
    }
    let session = Session {
        client: Client::new(&access)?,
        format,
        region: access.region,
        instance_type: access.instance_type,
    };
    let session = &session;
    match command {
        Command::Run(args) => return run::run(&args, session).await,
        Command::Attach(args) => return run::attach(&args, session).await,
        Command::Exec(args) => return console::exec(&args, session).await,
        Command::Wait(args) => return control::wait(&args.runs, session).await,
        Command::Extract { run, to } => {
            return files::extract(&run, to.as_deref(), session).await;
        }
        Command::Ps { all, quiet } => show::list(all, quiet, session).await,
        Command::Logs(args) => run::logs(&args, session).await,
        Command::Stop {
            runs,
            signal,
            grace,
        } => control::stop(&runs.runs, signal.as_deref(), grace, session).await,
        Command::Pause(args) => control::each(control::Act::Pause, &args.runs, session).await,
        Command::Resume(args) => control::each(control::Act::Resume, &args.runs, session).await,
        Command::Cancel(args) => control::each(control::Act::Cancel, &args.runs, session).await,
        Command::Extend { run, timeout } => control::extend(&run, timeout, session).await,
        Command::Inspect(args) => show::inspect(&args.runs, session).await,
        Command::Usage {
            command: Some(UsageCommand::Export(args)),
            ..
        } => export::export(&args, session).await,
        Command::Usage { runs, .. } => show::usage(&runs, session).await,
        Command::Executor(ExecutorCommand::Fleet(command)) => {
            executors::command(command, session).await
        }
        Command::Server(command) => return only_here(command, session).await,
        // Refused above, or done before a place was chosen.
        _ => Ok(()),
    }?;
    Ok(0)
}

/// What only a scheduler has.
async fn only_here(command: ServerCommand, session: &Session) -> Result<u8, CliError> {
    match command {
        ServerCommand::Runner(command) => return runners::command(command, session).await,
        ServerCommand::Token(command) => accounts::token(command, session).await,
        ServerCommand::Tenant(command) => accounts::tenant(command, session).await,
        ServerCommand::Registry(command) => catalogue::registry(command, session).await,
        ServerCommand::InstanceType(command) => catalogue::instance_type(command, session).await,
        ServerCommand::Region(command) => catalogue::region(command, session).await,
    }?;
    Ok(0)
}
