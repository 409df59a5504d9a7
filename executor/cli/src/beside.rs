//! Being at the side of a process with our standard input, output and terminal, over the socket and through a scheduler
//! alike: both speak the messages of `davit.console.v1` here.
//!
//! ```text
//!  stdin ─ thread ─► Typing ─┐                                 ┌─ commands/console.rs: gRPC
//!  SIGWINCH ─► Resizes ──────┼─► carry ◄─► Line ◄─ Dial::dial ─┤
//!  stdout, stderr ◄──────────┘                                 └─ server/console.rs: WebSocket
//! ```
//!
//! - [`exec`]: one line, which ends with the process, and the process with it;
//! - [`attended()`]: a run that is followed elsewhere, with our input, and our terminal where it has one; dialled until the job
//!   is there, and again when the line breaks.
//!
//! Invariants: a terminal is raw from the first line to a process that has one until the last is over, and its keys are read
//! whether or not the process takes them, so that whoever wants to leave can; what a job writes comes from here only where it is typed at, with
//! a terminal: from its log it would come a blink late.
//!
//! Absent on purpose: filling holes. A terminal that does not take what a job writes misses some of it (its log has it all),
//! and is told so; the job never waits for it. Keys that leave `exec`: its process would end with the line.

mod attended;
mod carry;
mod screen;
mod typing;

use std::fmt;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::{Ended, Exec, Open, open::With};
use tokio::sync::mpsc;

pub(crate) use self::attended::{Attended, Place, Shown, attended};
use self::carry::{Over, Sides, carry};
use self::screen::Screen;
use self::typing::Typing;
use crate::commands::Signals;
use crate::error::CliError;
use crate::exit;
use crate::output::note;
use crate::terminal::{Raw, Resizes, size};

/// Messages that wait each way.
pub(crate) const MESSAGES_WAITING_MAX: usize = 4;
/// What a shell adds to the number of a signal that ended a program.
const SIGNALED: u8 = 128;

/// An open console.
pub(crate) struct Line {
    /// The process has a terminal.
    pub(crate) tty: bool,
    /// Dropped, it is over.
    pub(crate) input: mpsc::Sender<Input>,
    /// An error is a break.
    pub(crate) output: mpsc::Receiver<Result<Output, CliError>>,
    /// Whether signals go over it.
    pub(crate) signals: bool,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No process to be beside, or not one of that kind.
    NotNow(CliError),
    /// Nobody answers, or not for the moment.
    Away(CliError),
    /// It makes no sense to ask again.
    Never(CliError),
}

impl Refusal {
    pub(crate) fn into_error(self) -> CliError {
        match self {
            Self::NotNow(error) | Self::Away(error) | Self::Never(error) => error,
        }
    }
}

/// Whoever opens consoles of a run.
pub(crate) trait Dial {
    /// Opens one, or says why not.
    async fn dial(&mut self, open: Open) -> Result<Line, Refusal>;
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line(tty: {})", self.tty)
    }
}

/// `davit exec`: the answer is our exit code.
pub(crate) async fn exec(
    dial: &mut impl Dial,
    run: &str,
    exec: Exec,
    mut signals: Signals,
) -> Result<u8, CliError> {
    let (stdin, tty) = (exec.stdin, exec.tty);
    let open = Open {
        run: run.to_owned(),
        with: Some(With::Exec(exec)),
        window_size: tty.then(size).flatten(),
    };
    let line = tokio::select! {
        line = dial.dial(open) => line.map_err(Refusal::into_error)?,
        // What may have begun ends with its line.
        name = signals.next() => return Ok(SIGNALED + number(name)),
    };
    let raw = match stdin && tty {
        true => Some(Raw::begin()?),
        false => None,
    };
    let mut typing = stdin.then(|| match &raw {
        // It ends with this command: there is nothing to come back to.
        Some(_) => Typing::of_terminal(None),
        None => Typing::of_stream(),
    });
    let mut resizes = match tty {
        true => Some(Resizes::begin()?),
        false => None,
    };
    let mut screen = Screen::new(true);
    let sides = Sides {
        typing: typing.as_mut(),
        resizes: resizes.as_mut(),
        screen: &mut screen,
        signals: Some(&mut signals),
    };
    let over = carry(line, sides).await;
    drop(raw);
    match over? {
        Over::Ended(ended) => Ok(told(&ended)),
        Over::Signaled(number) => Ok(SIGNALED + number),
        Over::Broke(error) => Err(error),
        Over::Left => Err(CliError::Protocol("the end of the console")),
    }
}

const fn number(name: &str) -> u8 {
    match name.as_bytes() {
        b"INT" => 2,
        _ => 15,
    }
}

/// What our exit code is, and what is to be said of it.
fn told(ended: &Ended) -> u8 {
    match ended.reason.as_str() {
        "exited" => {}
        "run_ended" => note("the run has ended, and with it the process"),
        reason if ended.message.is_empty() => note(&format!("the console ended: {reason}")),
        _ => note(&ended.message),
    }
    tell_dropped(ended);
    let code = ended.exit_code.and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(exit::DAVIT_FAILED)
}

fn tell_dropped(ended: &Ended) {
    if ended.dropped_bytes > 0 {
        note(&format!(
            "{} bytes of output were not taken in time",
            ended.dropped_bytes
        ));
    }
}

/// Says where the output is that no terminal showed.
pub(crate) fn tell_holes(run: &str) {
    note(&format!(
        "not all of its output was shown here: davit logs {run}"
    ));
}
