//! The raw terminal: every key goes on as bytes, and what comes is shown as it is.
//!
//! Invariant: whatever ends this process, but for SIGKILL, gives the terminal back as it was: the end of [`Raw`], a panic
//! (which does not unwind in a release), SIGHUP and SIGQUIT, which end it at once. SIGINT and SIGTERM are the run's.

use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::error::CliError;

/// What the terminal is to be again; there only while it is raw.
static EARLIER: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();
/// What a shell adds to the number of a signal that ended a program.
const SIGNALED: i32 = 128;

/// Standard input's terminal, raw for as long as this is there.
#[derive(Debug)]
pub(crate) struct Raw {
    ending: JoinHandle<()>,
}

impl Raw {
    /// From now on.
    pub(crate) fn begin() -> Result<Self, CliError> {
        let failed = || CliError::io("make the terminal raw");
        let earlier = tcgetattr(io::stdin()).map_err(|errno| failed()(errno.into()))?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed())?;
        let mut quit = signal(SignalKind::quit()).map_err(failed())?;
        HOOK.call_once(|| {
            let told = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                restore();
                told(panic);
            }));
        });
        let mut raw = earlier.clone();
        raw.make_raw();
        // At once, and nothing is thrown away: what was typed before is the job's too.
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .map_err(|errno| failed()(errno.into()))?;
        *EARLIER.lock().unwrap_or_else(PoisonError::into_inner) = Some(earlier);
        let ending = tokio::spawn(async move {
            let number = tokio::select! {
                _ = hangup.recv() => SignalKind::hangup().as_raw_value(),
                _ = quit.recv() => SignalKind::quit().as_raw_value(),
            };
            restore();
            std::process::exit(SIGNALED + number);
        });
        Ok(Self { ending })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.ending.abort();
        restore();
    }
}

fn restore() {
    let earlier = EARLIER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(earlier) = earlier {
        // A terminal that is gone wants nothing back.
        tcsetattr(io::stdin(), OptionalActions::Now, &earlier).unwrap_or_default();
    }
}

/// What ends a line of ours on standard error.
pub(crate) fn line_end() -> &'static str {
    let earlier = EARLIER.lock().unwrap_or_else(PoisonError::into_inner);
    if earlier.is_some() { "\r\n" } else { "\n" }
}
