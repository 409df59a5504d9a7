//! Signals to a command that follows a run.
//!
//! The first SIGINT or SIGTERM is passed on as a stop with that signal, the second is a cancel, the third (nobody answers)
//! ends only us. SIGHUP (the terminal closed) leaves the run alone.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;
use crate::output::note;

/// Signals that ask for the run's end (stop, then cancel); one more leaves it to itself.
const ENDINGS_ASKED_MAX: u32 = 2;

/// What a signal asks of the run.
pub(crate) enum Ending {
    /// To stop, with the signal of this name.
    Stop(&'static str),
    /// To be killed.
    Cancel,
}

/// The signals that concern a run rather than its client.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn catch() -> Result<Self, CliError> {
        let listening = || CliError::io("listen for signals");
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(listening())?,
            terminate: signal(SignalKind::terminate()).map_err(listening())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "INT",
            _ = self.terminate.recv() => "TERM",
        }
    }

    /// Waits for the end of a run that is followed; `ask` passes on what signals ask of it meanwhile.
    pub(crate) async fn until<T>(
        mut self,
        ended: impl Future<Output = Result<T, CliError>>,
        run: &str,
        mut ask: impl FnMut(Ending) -> Result<(), CliError>,
    ) -> Result<T, CliError> {
        tokio::pin!(ended);
        let mut asked = 0;
        loop {
            let name = tokio::select! {
                ended = &mut ended => return ended,
                name = self.next() => name,
            };
            match asked {
                0 => {
                    note(&format!("stopping with SIG{name}; once more to kill"));
                    ask(Ending::Stop(name))?;
                }
                ENDINGS_ASKED_MAX => {
                    let run = run.to_owned();
                    return Err(CliError::Left { run });
                }
                _ => {
                    note("cancelling");
                    ask(Ending::Cancel)?;
                }
            }
            asked += 1;
        }
    }
}
