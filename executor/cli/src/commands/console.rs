//! `exec`: a process at the side of a run's job, our streams being its own. `run -i`: our standard input for the job, whose
//! output is its log.
//!
//! ```text
//!  our stdin ─ thread ─► input ─► executor ─► process ─► output ─► our stdout and stderr
//! ```
//!
//! A reading of standard input cannot be taken back: it has a thread of its own, which ends with this process.

use std::io::{self, Read, Write};
use std::time::Duration;

use davit_rpc::console::{
    Attach, ConsoleInput, ConsoleOutput, Ended, Exec, Open, StdinEnd, console_input::Input,
    console_output::Output, open::With,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::follow::is_gone;
use super::{Context, Signals};
use crate::args::ExecArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::exit;
use crate::output::note;

/// Bytes of standard input sent at once.
const READ_BYTES: usize = 32 << 10;
/// Messages that wait to be sent.
const MESSAGES_WAITING_MAX: usize = 4;

/// Between two tries to reach a job that does not run yet, or an executor that is away.
const RETRY_MS: u64 = 100;

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

/// Passes our standard input on to the job of `run`: from its start on, over an executor that is replaced, until the input
/// has ended or the job takes none. To be dropped when the run has ended.
pub(super) async fn pass_input(client: Client, run: String) {
    let (typed, mut inputs) = mpsc::channel(MESSAGES_WAITING_MAX);
    std::thread::spawn(move || read_stdin(&typed));
    let mut client = client;
    let mut pending = None;
    loop {
        match passed(&client, &run, &mut inputs, &mut pending).await {
            Ok(()) => return,
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) if is_gone(&status) => {
                if let Ok(again) = Client::connect(client.socket()).await {
                    client = again;
                }
            }
            Err(status) => return note(&format!("input is not passed on: {}", status.message())),
        }
        tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
    }
}

async fn passed(
    client: &Client,
    run: &str,
    inputs: &mut mpsc::Receiver<ConsoleInput>,
    pending: &mut Option<ConsoleInput>,
) -> Result<(), Status> {
    let (input, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let open = Open {
        run: run.to_owned(),
        with: Some(With::Attach(Attach { stdin: true })),
        window_size: None,
    };
    send(&input, Input::Open(open)).await;
    let mut service = client.consoles();
    let answer = service.open(ReceiverStream::new(messages)).await;
    let mut output: Streaming<ConsoleOutput> = answer?.into_inner();
    let mut reading = true;
    loop {
        tokio::select! {
            // What the job writes is in its log.
            message = output.message() => match message?.and_then(|message| message.output) {
                Some(Output::Ended(ended)) => {
                    if !ended.message.is_empty() {
                        note(&ended.message);
                    }
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            },
            room = input.reserve(), if pending.is_some() => {
                if let (Ok(room), Some(message)) = (room, pending.take()) {
                    room.send(message);
                }
            }
            next = inputs.recv(), if pending.is_none() && reading => {
                reading = next.is_some();
                *pending = next;
            }
        }
    }
}
