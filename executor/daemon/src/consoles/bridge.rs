//! Between a client's messages and the frames of `shim.sock`.
//!
//! ```text
//!  ConsoleInput ─► up: cut to frames, 64 KiB under way at most ─► shim
//!  ConsoleOutput ◄─ down: a frame is read when there is room for it ◄─ shim
//! ```

use std::path::Path;
use std::time::Duration;

use davit_lifecycle::State;
use davit_rpc::console::{
    ConsoleInput, ConsoleOutput, Ended, Opened, console_input::Input, console_output::Output,
};
use davit_rundir::{
    CONSOLE_DATA_BYTES_MAX, CONSOLE_HEADER_BYTES, CONSOLE_WINDOW_BYTES, ConsoleEnded, ConsoleFrame,
    ConsoleFrameError, ConsoleOpen, ControlReply, ControlRequest, FRAME_BYTES_MAX,
};
use davit_types::StopSignal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};

use super::{broken, wanted};
use crate::runs::{RunHandle, ShimError, View};

/// Bytes of one message of input.
const STDIN_BYTES_MAX: usize = 64 << 10;
/// How long the shim may take to begin a process, seconds: the runtime's command has a bound of its own.
const OPEN_SECONDS_MAX: u64 = 60;

/// How long after its shim has gone a run's end is waited for, which may be why, milliseconds.
const RUN_END_MS_MAX: u64 = 2_000;

/// A console's connection, once it is open.
pub(super) struct Shim {
    frames: Frames,
    writing: OwnedWriteHalf,
    tty: bool,
    signals: bool,
}

/// Asks the shim at `socket` for the console that is `wanted`.
pub(super) async fn connect(socket: &Path, wanted: &ConsoleOpen) -> Result<Shim, ShimError> {
    let bound = Duration::from_secs(OPEN_SECONDS_MAX);
    let opened = tokio::time::timeout(bound, opened(socket, wanted)).await;
    opened.unwrap_or(Err(ShimError::Silent))
}

async fn opened(socket: &Path, wanted: &ConsoleOpen) -> Result<Shim, ShimError> {
    let stream = UnixStream::connect(socket).await;
    let (reading, mut writing) = stream.map_err(ShimError::Connect)?.into_split();
    let mut line = serde_json::to_vec(&ControlRequest::Console).map_err(ShimError::Malformed)?;
    line.push(b'\n');
    writing.write_all(&line).await.map_err(ShimError::Broken)?;
    let mut reading = BufReader::new(reading);
    line.clear();
    let mut reply = (&mut reading).take(FRAME_BYTES_MAX as u64);
    let read = reply.read_until(b'\n', &mut line).await;
    if read.map_err(ShimError::Broken)? == 0 {
        return Err(ShimError::Closed);
    }
    match serde_json::from_slice(&line).map_err(ShimError::Malformed)? {
        ControlReply::State(_) => {}
        ControlReply::Error(error) => return Err(ShimError::Refused(error)),
        ControlReply::Exited(_) => return Err(ShimError::Closed),
    }
    let mut bytes = Vec::new();
    let open = ConsoleFrame::Open(Box::new(wanted.clone()));
    open.encode(&mut bytes)
        .map_err(|error| ShimError::Broken(std::io::Error::other(error)))?;
    writing.write_all(&bytes).await.map_err(ShimError::Broken)?;
    let mut frames = Frames {
        buffer: reading.buffer().to_vec(),
        reading: reading.into_inner(),
    };
    match frames.next().await.map_err(ShimError::Broken)? {
        Some(ConsoleFrame::Opened { tty }) => Ok(Shim {
            frames,
            writing,
            tty,
            signals: matches!(wanted, ConsoleOpen::Exec(_)),
        }),
        Some(ConsoleFrame::Refused(error)) => Err(ShimError::Refused(error)),
        _ => Err(ShimError::Closed),
    }
}

/// What comes from the shim.
struct Frames {
    reading: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Frames {
    /// The next one; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> std::io::Result<Option<ConsoleFrame>> {
        loop {
            let decoded = ConsoleFrame::decode(&self.buffer);
            if let Some((frame, length)) = decoded.map_err(std::io::Error::other)? {
                self.buffer.drain(..length);
                return Ok(Some(frame));
            }
            self.buffer
                .reserve(CONSOLE_DATA_BYTES_MAX + CONSOLE_HEADER_BYTES);
            if self.reading.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Carries until the end; says why it came.
pub(super) async fn carry(
    shim: Shim,
    input: mpsc::Receiver<ConsoleInput>,
    output: &mpsc::Sender<ConsoleOutput>,
    run: &RunHandle,
) -> &'static str {
    let Shim {
        frames,
        writing,
        tty,
        signals,
    } = shim;
    if !told(output, Output::Opened(Opened { tty })).await {
        return "client gone";
    }
    let credit = Semaphore::new(CONSOLE_WINDOW_BYTES);
    let up = up(input, writing, &credit, signals);
    let wrong = tokio::select! {
        // What the shim said last comes before what breaks after it.
        biased;
        why = down(frames, output, &credit, run) => return why,
        wrong = up => wrong,
        () = output.closed() => return "client gone",
    };
    let Some(message) = wrong else {
        return "client gone";
    };
    let ended = Ended {
        exit_code: None,
        reason: "error".to_owned(),
        message,
        dropped_bytes: 0,
    };
    told(output, Output::Ended(ended)).await;
    "client misunderstood"
}

async fn told(output: &mpsc::Sender<ConsoleOutput>, what: Output) -> bool {
    let message = ConsoleOutput { output: Some(what) };
    output.send(message).await.is_ok()
}

async fn down(
    mut frames: Frames,
    output: &mpsc::Sender<ConsoleOutput>,
    credit: &Semaphore,
    run: &RunHandle,
) -> &'static str {
    let failure = loop {
        let what = match frames.next().await {
            Ok(Some(ConsoleFrame::Stdout(bytes))) => Output::Stdout(bytes),
            Ok(Some(ConsoleFrame::Stderr(bytes))) => Output::Stderr(bytes),
            Ok(Some(ConsoleFrame::Taken(bytes))) => {
                // No more than was sent: a shim that says otherwise is held to the window.
                let room = CONSOLE_WINDOW_BYTES - credit.available_permits();
                credit.add_permits(room.min(bytes as usize));
                continue;
            }
            Ok(Some(ConsoleFrame::Ended(ended))) => {
                let reason = ended.reason.as_str();
                told(output, Output::Ended(said(ended))).await;
                return reason;
            }
            Ok(Some(_)) => break "the run's shim is not understood".to_owned(),
            Ok(None) => break "the run's shim closed the connection".to_owned(),
            Err(error) => break broken(&error),
        };
        if !told(output, what).await {
            return "client gone";
        }
    };
    // The shim of a run that is over waits for nobody who is slow to read.
    let (reason, message) = match ends_soon(run).await {
        true => (
            "run_ended",
            "the run ended before all output was taken".to_owned(),
        ),
        false => ("error", failure),
    };
    let ended = Ended {
        exit_code: None,
        reason: reason.to_owned(),
        message,
        dropped_bytes: 0,
    };
    told(output, Output::Ended(ended)).await;
    "shim gone"
}

async fn ends_soon(run: &RunHandle) -> bool {
    let mut changes = run.changes();
    let over = |view: &View| matches!(view.state, State::Closing | State::Ended);
    let bound = Duration::from_millis(RUN_END_MS_MAX);
    let over = tokio::time::timeout(bound, changes.wait_for(over)).await;
    matches!(over, Ok(Ok(_)))
}

fn said(ended: ConsoleEnded) -> Ended {
    Ended {
        exit_code: ended.exit_code.map(u32::from),
        reason: ended.reason.as_str().to_owned(),
        message: ended.message,
        dropped_bytes: ended.dropped_bytes,
    }
}

/// Until the client is gone, or has said what is wrong (`Some`).
async fn up(
    mut input: mpsc::Receiver<ConsoleInput>,
    mut writing: OwnedWriteHalf,
    credit: &Semaphore,
    signals: bool,
) -> Option<String> {
    while let Some(message) = input.recv().await {
        let sent = match message.input {
            Some(Input::Stdin(bytes)) if bytes.len() <= STDIN_BYTES_MAX => {
                typed(&mut writing, &bytes, credit).await
            }
            Some(Input::Stdin(bytes)) => {
                return Some(format!(
                    "stdin: {} bytes in one message, at most {STDIN_BYTES_MAX} allowed",
                    bytes.len()
                ));
            }
            Some(Input::StdinEnd(_)) => send(&mut writing, &ConsoleFrame::StdinEnd).await,
            Some(Input::WindowSize(size)) => match wanted::window(size) {
                Ok(window) => send(&mut writing, &ConsoleFrame::Window(window)).await,
                Err(error) => return Some(error.to_string()),
            },
            Some(Input::Signal(_)) if !signals => {
                return Some("signal: the job itself is signalled by stop only".to_owned());
            }
            Some(Input::Signal(text)) => match text.parse::<StopSignal>() {
                Ok(signal) => {
                    let number = u8::try_from(signal.number()).unwrap_or_default();
                    send(&mut writing, &ConsoleFrame::Signal(number)).await
                }
                Err(problem) => return Some(format!("signal: {problem}")),
            },
            Some(Input::Open(_)) => return Some("open: it is open already".to_owned()),
            // Of a later version of the messages.
            None => Ok(()),
        };
        if let Err(error) = sent {
            // What the shim said before it closed is on its way down.
            tracing::debug!(%error, "a console's shim");
            return std::future::pending().await;
        }
    }
    None
}

async fn typed(
    writing: &mut OwnedWriteHalf,
    bytes: &[u8],
    credit: &Semaphore,
) -> std::io::Result<()> {
    for piece in bytes.chunks(CONSOLE_DATA_BYTES_MAX) {
        let count = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let room = credit.acquire_many(count).await;
        room.map_err(std::io::Error::other)?.forget();
        send(writing, &ConsoleFrame::Stdin(piece.to_vec())).await?;
    }
    Ok(())
}

async fn send(writing: &mut OwnedWriteHalf, frame: &ConsoleFrame) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    frame
        .encode(&mut bytes)
        .map_err(|error: ConsoleFrameError| std::io::Error::other(error))?;
    writing.write_all(&bytes).await
}
