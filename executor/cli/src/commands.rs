//! What each command does: one module a group.

mod control;
mod dev;
mod executor;
mod follow;
mod host;
mod images;
mod manual;
mod register;
mod run;
mod scheduler;
mod show;

use std::path::PathBuf;

use tokio::runtime::Builder;

use crate::args::{Cli, Command, ExecutorCommand, Format, ImageCommand};
use crate::client::Client;
use crate::error::CliError;

/// Where the executor is looked for when nobody says.
const SOCKET_DEFAULT: &str = "/run/davit/executor.sock";

/// What a client command works with.
struct Context {
    client: Client,
    format: Format,
}

/// Runs the command; the answer is the process's exit code.
pub(crate) fn dispatch(cli: Cli) -> Result<u8, CliError> {
    match cli.command {
        Command::Executor(command) => return executor_command(command, cli.socket, cli.output),
        Command::Scheduler(command) => return scheduler::command(&command, cli.output),
        Command::Dev(args) => return dev::serve(&args),
        Command::Completions { shell } => return manual::completions(shell),
        Command::Man { dir } => return manual::write_pages(&dir),
        _ => {}
    }
    let starting = CliError::io("start the event loop");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(starting)?;
    runtime.block_on(async {
        let socket = cli.socket.unwrap_or_else(|| PathBuf::from(SOCKET_DEFAULT));
        let client = Client::connect(&socket).await?;
        client_command(
            cli.command,
            &Context {
                client,
                format: cli.output,
            },
        )
        .await
    })
}

fn executor_command(
    command: ExecutorCommand,
    socket: Option<PathBuf>,
    format: Format,
) -> Result<u8, CliError> {
    match command {
        ExecutorCommand::Serve(settings) => executor::serve(&settings, socket),
        ExecutorCommand::Register(args) => register::register(&args, socket, format),
        ExecutorCommand::Host(command) => host::command(&command, socket, format),
        ExecutorCommand::Config(settings) => executor::config(&settings, socket, format),
        ExecutorCommand::Schema => executor::schema(),
        ExecutorCommand::Reference => executor::reference(),
    }
}

async fn client_command(command: Command, context: &Context) -> Result<u8, CliError> {
    match command {
        Command::Run(args) => return run::run(&args, context).await,
        Command::Attach { run } => return run::attach(&run, context).await,
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
        Command::Usage { runs } => show::usage(&runs, context).await,
        Command::Images => images::list(context).await,
        Command::Image(ImageCommand::Rm { images }) => images::remove(&images, context).await,
        Command::Pull { image, registry } => images::pull(image, &registry, context).await,
        Command::Info => show::info(context).await,
        Command::Metrics => show::metrics(context).await,
        Command::Executor(_)
        | Command::Scheduler(_)
        | Command::Dev(_)
        | Command::Completions { .. }
        | Command::Man { .. } => {
            // Handled before a connection was made.
            Ok(())
        }
    }?;
    Ok(0)
}
