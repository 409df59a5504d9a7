//! Our own terminal, while it is a job's: raw, and never left so; its size; the keys that leave.
//!
//! ```text
//!  Raw::begin ─ keys go on as bytes ─ dropped, panic, SIGHUP, SIGQUIT ─► as it was
//! ```
//!
//! Absent on purpose: any look at what a job writes. Its escape sequences reach this terminal as those of any program here.

mod keys;
mod raw;

use std::io::{self, IsTerminal};

use davit_rpc::console::WindowSize;
use davit_types::FieldError;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::keys::{DetachKeys, Matcher};
pub(crate) use self::raw::{Raw, line_end};
use crate::error::CliError;

/// The size of our terminal, where we have one that knows it.
pub(crate) fn size() -> Option<WindowSize> {
    let known = [
        tcgetwinsize(io::stdout()).ok(),
        tcgetwinsize(io::stdin()).ok(),
    ];
    let mut known = known.into_iter().flatten();
    let size = known.find(|size| size.ws_row > 0 && size.ws_col > 0)?;
    Some(WindowSize {
        rows: size.ws_row.into(),
        columns: size.ws_col.into(),
    })
}

/// Refuses to type at a terminal from something that is none, or to show one there.
pub(crate) fn required(flags: &'static str) -> Result<(), CliError> {
    let missing = match (io::stdin().is_terminal(), io::stdout().is_terminal()) {
        (true, true) => return Ok(()),
        (false, _) => "standard input is no terminal",
        (true, false) => "standard output is no terminal",
    };
    let problem = format!("{missing}: leave out --tty, or call it from a terminal");
    Err(CliError::field(FieldError::new(flags, "", problem)))
}

/// The sizes our terminal comes to have.
pub(crate) struct Resizes(Signal);

impl Resizes {
    /// Listens from now on.
    pub(crate) fn begin() -> Result<Self, CliError> {
        let listening = CliError::io("listen for signals");
        signal(SignalKind::window_change())
            .map(Self)
            .map_err(listening)
    }

    /// The next one. May be given up and called again.
    pub(crate) async fn next(&mut self) -> WindowSize {
        loop {
            // Without an end: tokio keeps listening as long as this is there.
            self.0.recv().await;
            if let Some(size) = size() {
                return size;
            }
        }
    }
}
