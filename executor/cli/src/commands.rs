//! What each command does: one module a group.

mod console;
mod control;
mod dev;
mod executor;
pub(crate) mod files;
mod follow;
mod host;
mod images;
mod manual;
mod register;
mod run;
mod scheduler;
mod show;
mod signals;

use std::path::PathBuf;

use tokio::runtime::Builder;

pub(crate) use self::run::{password, tell_unusual_end};
pub(crate) use self::signals::{Ending, Signals};
use crate::args::{Cli, Command, ExecutorCommand, Format, ImageCommand, UsageCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::server::{self, Place, ServerError};

/// Where the executor is looked for when nobody says.
const SOCKET_DEFAULT: &str = "/run/davit/executor.sock";

/// What a client command works with.
struct Context {
    client: Client,
    format: Format,
}

/// Runs the command; the answer is the process's exit code.
pub(crate) fn dispatch(cli: Cli) -> Result<u8, CliError> {
    let command = match cli.command {
        Command::Executor(command) => match executor_command(command, &cli.socket, cli.output)? {
            Done::Yes(code) => return Ok(code),
            Done::No(command) => Command::Executor(command),
        },
        Command::Scheduler(command) => return scheduler::command(&command, cli.output),
        Command::Dev(args) => return dev::serve(&args),
        Command::Profile(command) => return server::profile(&command, &cli.place, cli.output),
        Command::Completions { shell } => return manual::completions(shell),
        Command::Man { dir } => return manual::write_pages(&dir),
        command => command,
    };
    let place = server::choose(&cli.place, cli.socket)?;
    let starting = CliError::io("start the event loop");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(starting)?;
    runtime.block_on(async {
        let socket = match place {
            Place::Server(access) => return server::command(command, *access, cli.output).await,
            Place::Host(socket) => socket.unwrap_or_else(|| PathBuf::from(SOCKET_DEFAULT)),
        };
        server_only(&command)?;
        let client = Client::connect(&socket).await?;
        let format = cli.output;
        client_command(command, &Context { client, format }).await
    })
}

/// Refuses what no executor does.
fn server_only(command: &Command) -> Result<(), ServerError> {
    match command {
        Command::Server(_)
        | Command::Executor(_)
        | Command::Usage {
            command: Some(UsageCommand::Export(_)),
            ..
        } => Err(ServerError::NoServer),
        Command::Run(args) => match args.placing.given() {
            Some(what) => Err(ServerError::ServerOnly { what }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether a command is done, or is for a scheduler.
enum Done {
    Yes(u8),
    No(ExecutorCommand),
}

fn executor_command(
    command: ExecutorCommand,
    socket: &Option<PathBuf>,
    format: Format,
) -> Result<Done, CliError> {
    let socket = socket.clone();
    let code = match command {
        ExecutorCommand::Serve(settings) => executor::serve(&settings, socket),
        ExecutorCommand::Register(args) => register::register(&args, socket, format),
        ExecutorCommand::Host(command) => host::command(&command, socket, format),
        ExecutorCommand::Config(settings) => executor::config(&settings, socket, format),
        ExecutorCommand::Schema => executor::schema(),
        ExecutorCommand::Reference => executor::reference(),
        fleet @ ExecutorCommand::Fleet(_) => return Ok(Done::No(fleet)),
    }?;
    Ok(Done::Yes(code))
}

async fn client_command(command: Command, context: &Context) -> Result<u8, CliError> {
    match command {
        Command::Run(args) => return run::run(&args, context).await,
        Command::Attach(args) => return run::attach(&args, context).await,
        Command::Exec(args) => return console::exec(&args, context).await,
        Command::Extract { run, to } => return files::extract(&run, to.as_deref(), context).await,
        Command::Wait(args) => return control::wait(&args.runs, context).await,
        Command::Ps { all, quiet } => show::list(all, quiet, context).await,
        Command::Logs(args) => run::logs(&args, context).await,
        Command::Stop {
            runs,
            signal,
            grace,
        } => control::stop(&runs.runs, signal.as_deref(), grace, context).await,
        Command::Pause(args) => control::each(control::Act::Pause, &args.runs, context).await,
        Command::Resume(args) => control::each(control::Act::Resume, &args.runs, context).await,
        Command::Cancel(args) => control::each(control::Act::Cancel, &args.runs, context).await,
        Command::Extend { run, timeout } => control::extend(run, timeout, context).await,
        Command::Rm { runs, force } => control::remove(&runs.runs, force, context).await,
        Command::Reap { age } => control::reap(age, context).await,
        Command::Inspect(args) => show::inspect(&args.runs, context).await,
        Command::Usage { runs, .. } => show::usage(&runs, context).await,
        Command::Images => images::list(context).await,
        Command::Image(ImageCommand::Rm { images }) => images::remove(&images, context).await,
        Command::Pull { image, registry } => images::pull(image, &registry, context).await,
        Command::Info => show::info(context).await,
        Command::Metrics => show::metrics(context).await,
        Command::Executor(_)
        | Command::Scheduler(_)
        | Command::Dev(_)
        | Command::Server(_)
        | Command::Profile(_)
        | Command::Completions { .. }
        | Command::Man { .. } => {
            // Handled before a connection was made.
            Ok(())
        }
    }?;
    Ok(0)
}
