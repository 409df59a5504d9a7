//! Letting the job go: who may ask for it, and when its time begins.
//!
//! ```text
//!  containerd's Start ─────┐
//!                          ├─► service::start ─► starting() ─► the job is let go ─► started() ─► deadline
//!  Start on shim.sock ─────┘                     NotYet → Begun                    Done, or NotYet again
//! ```
//!
//! The start of a job is the instant before the message or the open gate that lets it go. Only where a runtime's
//! command does it, milliseconds of which pass before the job runs, it is the instant after that command: a job
//! pays for no more than it can have had.

use std::future::Future;
use std::pin::Pin;

use davit_rundir::{ControlError, ControlErrorCode, Stamp, StateRecord};

use super::{Run, refused};
use crate::lock;

/// How far letting the job go has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letting {
    NotYet,
    Begun(Stamp),
    Done,
}

/// What letting it go has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetGo {
    /// It runs since [`Run::starting`].
    AtOnce,
    /// A command of the runtime's has just let it go.
    ByCommand,
    /// It does not run.
    Failed,
}

/// What [`Starter`] comes to.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<(), ControlError>> + Send>>;

/// Lets the run's job go, unless it was before: the container's part of [`ControlRequest::Start`].
///
/// [`ControlRequest::Start`]: davit_rundir::ControlRequest::Start
pub(crate) type Starter = Box<dyn Fn() -> Starting + Send + Sync>;

impl Run {
    /// The job is about to be let go.
    pub(crate) fn starting(&self) {
        self.shared.note_traffic();
        self.shared
            .letting
            .send_replace(Letting::Begun(Stamp::now()));
    }

    /// The job was let go: its time has begun. (Or it could not be: then nothing began.)
    pub(crate) fn started(&self, how: LetGo) {
        let shared = &self.shared;
        let begun = *shared.letting.borrow();
        let at = match (how, begun) {
            (LetGo::AtOnce, Letting::Begun(begun)) => Some(begun),
            (LetGo::ByCommand, Letting::Begun(begun)) => {
                // A job may be over before the runtime's command is; then it began with the command.
                let over = lock(&shared.init_exit).is_none();
                Some(if over { begun } else { Stamp::now() })
            }
            _ => None,
        };
        if let Some(at) = at {
            let record = lock(&shared.books).as_mut().map(|books| {
                books.started(at);
                books.record.clone()
            });
            if let Some(record) = record {
                shared.save(&record);
            }
            shared.changed.notify_one();
        }
        let letting = match how {
            LetGo::Failed => Letting::NotYet,
            LetGo::AtOnce | LetGo::ByCommand => Letting::Done,
        };
        shared.letting.send_replace(letting);
    }

    /// Waits while the job is being let go.
    pub(crate) async fn letting_go_is_over(&self) {
        let mut letting = self.shared.letting.subscribe();
        let settled = |letting: &Letting| !matches!(letting, Letting::Begun(_));
        if letting.wait_for(settled).await.is_err() {
            log::error!("run handle vanished");
        }
    }

    /// Lets the job go for whoever asks on shim.sock.
    pub(super) async fn start(&self) -> Result<StateRecord, ControlError> {
        let not_created = || refused(ControlErrorCode::NotRunning, "the container is not created");
        self.shared.starter.get().ok_or_else(not_created)?().await?;
        self.shared.state().ok_or_else(not_created)
    }
}
