//! What everybody but its owner holds of a live run: a queue to ask, a view to watch. Cheap to clone.

use davit_types::{RunId, StopSignal, limits};
use tokio::sync::{mpsc, oneshot, watch};

use super::{RunError, View};
use crate::files::collect::Progress;
use crate::images::PullProgress;

/// Requests waiting for an owner; more are refused.
pub(super) const COMMANDS_WAITING_MAX: usize = 32;

/// How a run is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOrder {
    /// The first signal; the image's stop signal when absent.
    pub signal: Option<StopSignal>,
    /// Milliseconds until the kill.
    pub grace_ms: u64,
}

impl Default for StopOrder {
    fn default() -> Self {
        Self {
            signal: None,
            grace_ms: limits::STOP_GRACE_MS_DEFAULT,
        }
    }
}

/// A request to the owner.
#[derive(Debug)]
pub(super) enum Command {
    Stop(StopOrder),
    Cancel,
    Control(ControlOrder),
}

/// A request that the shim answers.
#[derive(Debug)]
pub(super) struct ControlOrder {
    pub(super) kind: ControlKind,
    pub(super) done: oneshot::Sender<Result<(), RunError>>,
}

/// What the shim is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlKind {
    Pause,
    Resume,
    Extend { timeout_ms: u64 },
}

impl ControlKind {
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Extend { .. } => "extend",
        }
    }
}

/// A handle on a live run.
#[derive(Clone, Debug)]
pub struct RunHandle {
    pub(super) run: RunId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<View>,
    pub(super) progress: watch::Receiver<PullProgress>,
    pub(super) collecting: watch::Receiver<Progress>,
}

impl RunHandle {
    /// The run as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Its changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// How its pull gets on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<PullProgress> {
        self.progress.clone()
    }

    /// How collecting its files gets on.
    pub(crate) fn collecting(&self) -> watch::Receiver<Progress> {
        self.collecting.clone()
    }

    /// Returns the run once its verdict is durable.
    ///
    /// # Errors
    /// [`RunError::ShuttingDown`] when the executor goes before the run does.
    pub async fn ended(&self) -> Result<View, RunError> {
        let mut changes = self.view.clone();
        let view = changes.wait_for(View::is_over).await;
        view.map(|view| view.clone())
            .map_err(|_| RunError::ShuttingDown)
    }

    /// Ends it and returns it ended; one that has ended comes back as it is.
    ///
    /// # Errors
    /// [`RunError::Busy`], [`RunError::ShuttingDown`].
    pub async fn stop(&self, order: StopOrder) -> Result<View, RunError> {
        self.send("stop", Command::Stop(order))?;
        self.ended().await
    }

    /// Kills it and returns it ended; one that has ended comes back as it is.
    ///
    /// # Errors
    /// [`RunError::Busy`], [`RunError::ShuttingDown`].
    pub async fn cancel(&self) -> Result<View, RunError> {
        self.send("cancel", Command::Cancel)?;
        self.ended().await
    }

    /// Freezes it.
    ///
    /// # Errors
    /// [`RunError::WrongPhase`] unless it executes; the shim's refusals.
    pub async fn pause(&self) -> Result<View, RunError> {
        self.control(ControlKind::Pause).await
    }

    /// Thaws it.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn resume(&self) -> Result<View, RunError> {
        self.control(ControlKind::Resume).await
    }

    /// Lets it take `timeout_ms` in all.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn extend(&self, timeout_ms: u64) -> Result<View, RunError> {
        self.control(ControlKind::Extend { timeout_ms }).await
    }

    async fn control(&self, kind: ControlKind) -> Result<View, RunError> {
        let (done, answer) = oneshot::channel();
        self.send(
            kind.operation(),
            Command::Control(ControlOrder { kind, done }),
        )?;
        match answer.await {
            Ok(outcome) => outcome.map(|()| self.view()),
            // The owner is gone: either the run is over or the executor goes down.
            Err(_) => Err(self.gone(kind.operation())),
        }
    }

    fn send(&self, operation: &'static str, command: Command) -> Result<(), RunError> {
        match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(RunError::Busy {
                operation,
                run: self.run,
            }),
            // Stopping what is over is fine; the rest find out when they wait for the answer.
            Err(mpsc::error::TrySendError::Closed(_)) if self.view.borrow().is_over() => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(RunError::ShuttingDown),
        }
    }

    fn gone(&self, operation: &'static str) -> RunError {
        let view = self.view.borrow();
        if view.is_over() {
            RunError::WrongPhase {
                operation,
                run: self.run,
                phase: view.state.phase(),
            }
        } else {
            RunError::ShuttingDown
        }
    }
}
