//! Consoles of a run: clients at the side of its processes, over `shim.sock`.
//!
//! ```text
//!  executor ─ shim.sock: "console" ─► frames (davit_rundir::ConsoleFrame)
//!                                       ├─ exec ──► service/console.rs: crun exec ──► exec.rs
//!                                       └─ attach ──► attach.rs: the job's input (job.rs), its output (taps.rs)
//! ```
//!
//! Invariants:
//! - a process that was begun here ends with its console and with its run, and all that it began: it has a cgroup of its
//!   own below the run's, and so is metered, limited, frozen and killed with it;
//! - a console never keeps anything from the job, its log or its end; a run has at most [`CONSOLES_MAX`];
//! - what an exec writes is its client's alone: the run's log is the job's.

mod attach;
mod exec;
mod job;
mod process;
mod streams;
mod taps;
mod wire;

use std::pin::Pin;
use std::time::Duration;

use davit_rundir::{ConsoleExec, ConsoleFrame, ConsoleOpen, ControlError, ControlErrorCode};
use tokio::net::UnixStream;

use self::attach::Attached;
pub(crate) use self::exec::{Begun, Over};
pub(crate) use self::job::{JobStreams, Wanted};
pub(crate) use self::process::process;
pub(crate) use self::streams::{Outputs, Polled, resize};
pub(crate) use self::taps::Taps;
use self::wire::{FramesIn, FramesOut, frames};
use crate::run::Run;

/// Consoles of a run at a time.
pub(crate) const CONSOLES_MAX: usize = 64;
/// How long a client may take to say what it wants, seconds.
const OPEN_SECONDS_MAX: u64 = 10;

/// What [`Beginner`] comes to.
pub(crate) type Beginning = Pin<Box<dyn Future<Output = Result<Begun, ControlError>> + Send>>;

/// Begins a process in the run's container: the container's part of a console.
pub(crate) type Beginner = Box<dyn Fn(ConsoleExec) -> Beginning + Send + Sync>;

/// Serves one console to its end; `buffer` was read of `stream` before.
pub(crate) async fn serve(run: Run, stream: UnixStream, buffer: Vec<u8>) {
    let (mut from, to) = frames(stream, buffer);
    let bound = Duration::from_secs(OPEN_SECONDS_MAX);
    let open = match tokio::time::timeout(bound, from.next()).await {
        Ok(Ok(Some(ConsoleFrame::Open(open)))) => open,
        Ok(Ok(None)) => return,
        _ => {
            let error = refusal(
                ControlErrorCode::Malformed,
                "it is not said what console is wanted",
            );
            return refuse(to, error).await;
        }
    };
    match *open {
        ConsoleOpen::Attach(wanted) => match Attached::new(&run, wanted) {
            Ok(attached) => attached.serve(from, to).await,
            Err(error) => refuse(to, error).await,
        },
        ConsoleOpen::Exec(wanted) => serve_exec(&run, wanted, from, to).await,
    }
}

async fn serve_exec(run: &Run, wanted: ConsoleExec, from: FramesIn, to: FramesOut) {
    match run.begin(wanted).await {
        Ok(begun) => exec::serve(run, from, to, begun).await,
        Err(error) => refuse(to, error).await,
    }
}

async fn refuse(mut to: FramesOut, error: ControlError) {
    log::info!("console refused: {error}");
    if to.push(&ConsoleFrame::Refused(error)).is_ok() {
        let bound = Duration::from_secs(OPEN_SECONDS_MAX);
        drop(tokio::time::timeout(bound, to.send_all()).await);
    }
}

/// Why there is no console.
pub(crate) fn refusal(code: ControlErrorCode, message: &str) -> ControlError {
    ControlError {
        code,
        message: message.to_owned(),
    }
}
