//! `exec`: a process at the side of a run's job, our streams being its own.
//!
//! ```text
//!  our stdin ─ thread ─► input ─► executor ─► process ─► output ─► our stdout and stderr
//! ```
//!
//! A reading of standard input cannot be taken back: it has a thread of its own, which ends with this process.

use std::io::{self, Read, Write};

use davit_rpc::console::{
    ConsoleInput, Ended, Exec, Open, StdinEnd, console_input::Input, console_output::Output,
    open::With,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Context, Signals};
use crate::args::ExecArgs;
use crate::error::CliError;
use crate::exit;
use crate::output::note;

/// Bytes of standard input sent at once.
const READ_BYTES: usize = 32 << 10;
/// Messages that wait to be sent.
const MESSAGES_WAITING_MAX: usize = 4;

/// `davit exec`.
pub(super) async fn exec(args: &ExecArgs, context: &Context) -> Result<u8, CliError> {
    let signals = Signals::catch()?;
    let exec = args.process()?;
    let ended = beside(&args.run, exec, signals, context).await?;
    told(&ended)
}

/// What our exit code is, and what is to be said of it.
fn told(ended: &Ended) -> Result<u8, CliError> {
    match ended.reason.as_str() {
        "exited" => {}
        "run_ended" => note("the run has ended, and with it the process"),
        reason if ended.message.is_empty() => note(&format!("the console ended: {reason}")),
        _ => note(&ended.message),
    }
    if ended.dropped_bytes > 0 {
        note(&format!(
            "{} bytes of output were not taken in time",
            ended.dropped_bytes
        ));
    }
    let code = ended.exit_code.and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(exit::DAVIT_FAILED))
}

async fn beside(
    run: &str,
    exec: Exec,
    mut signals: Signals,
    context: &Context,
) -> Result<Ended, CliError> {
    let (input, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let has_input = exec.stdin;
    let open = Open {
        run: run.to_owned(),
        with: Some(With::Exec(exec)),
        window_size: None,
    };
    send(&input, Input::Open(open)).await;
    let mut service = context.client.consoles();
    let answer = service.open(ReceiverStream::new(messages)).await;
    let mut output = answer?.into_inner();
    if has_input {
        let typed = input.clone();
        std::thread::spawn(move || read_stdin(&typed));
    }
    loop {
        let message = tokio::select! {
            message = output.message() => message?,
            name = signals.next() => {
                send(&input, Input::Signal(name.to_owned())).await;
                continue;
            }
        };
        match message.and_then(|message| message.output) {
            Some(Output::Stdout(bytes)) => print(&mut io::stdout(), &bytes)?,
            Some(Output::Stderr(bytes)) => print(&mut io::stderr(), &bytes)?,
            Some(Output::Ended(ended)) => return Ok(ended),
            Some(Output::Opened(_)) => {}
            None => return Err(CliError::Protocol("the end of the console")),
        }
    }
}

/// Nobody who listens is told by the answer, which is on its way.
async fn send(input: &mpsc::Sender<ConsoleInput>, what: Input) {
    let message = ConsoleInput { input: Some(what) };
    drop(input.send(message).await);
}

fn print(stream: &mut impl Write, bytes: &[u8]) -> Result<(), CliError> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(CliError::io("write the process's output"))
}

/// Until its end, or until nobody wants it.
fn read_stdin(input: &mpsc::Sender<ConsoleInput>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut stdin = io::stdin();
    loop {
        let what = match stdin.read(&mut buffer) {
            Ok(0) => Input::StdinEnd(StdinEnd {}),
            Ok(count) => Input::Stdin(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                note(&format!("cannot read standard input: {error}"));
                Input::StdinEnd(StdinEnd {})
            }
        };
        let is_end = matches!(what, Input::StdinEnd(_));
        let message = ConsoleInput { input: Some(what) };
        if input.blocking_send(message).is_err() || is_end {
            return;
        }
    }
}
