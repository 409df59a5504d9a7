//! Signals to a command that follows a run.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

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
}
