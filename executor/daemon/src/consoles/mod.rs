//! Consoles: a client at the side of a run's process, whether it comes over the local socket or over the link.
//!
//! ```text
//!  api/consoles.rs ─┐                              ┌─ refused: a status, nothing was sent
//!                   ├─► Consoles::open ─► wanted ──┤
//!  link ────────────┘    (run runs, fields right)  └─ shim.sock ◄─ bridge ─► ConsoleInput, ConsoleOutput
//! ```
//!
//! Invariants:
//! - nothing is held here but a connection: when the executor dies the shim sees it close, and ends what was begun by it;
//! - what a client does not read is not read from the shim, nor more of its input taken than the process takes;
//! - who is refused hears so before anything of it is made.
//!
//! Absent on purpose: who may do this (as with everything on the socket: who may ask), and what is typed or shown in any log.

mod bridge;
mod wanted;

use davit_lifecycle::State;
use davit_rpc::console::{ConsoleInput, ConsoleOutput, Open, open::With};
use davit_rundir::{ControlError, ControlErrorCode};
use tokio::sync::mpsc;
use tonic::Status;

use crate::api::run_status;
use crate::runs::{Run, RunError, RunHandle, Runs, ShimError, View, sentence};

/// What a process more is called in refusals.
const EXEC: &str = "exec in";

/// Opens consoles of this host's runs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Consoles {
    runs: Runs,
}

impl Consoles {
    pub(crate) fn new(runs: &Runs) -> Self {
        Self { runs: runs.clone() }
    }

    /// Serves one console until `ended` was sent, or the client is gone: it has dropped `input`, or takes no `output`.
    ///
    /// # Errors
    /// A refusal; nothing was sent then.
    pub(crate) async fn open(
        &self,
        open: Open,
        input: mpsc::Receiver<ConsoleInput>,
        output: mpsc::Sender<ConsoleOutput>,
    ) -> Result<(), Status> {
        let operation = match &open.with {
            Some(With::Exec(_)) => EXEC,
            _ => "attach to",
        };
        let handle = self.running(operation, &open.run).await?;
        let view = handle.view();
        let run = view.run_id();
        let wanted = wanted::wanted(open, &view, self.runs.host()).await?;
        let shim = bridge::connect(&view.dir.socket_path(), &wanted).await;
        let shim = shim.map_err(|error| refusal(operation, &view, error))?;
        tracing::info!(%run, operation, "console opened");
        let why = bridge::carry(shim, input, &output, &handle).await;
        tracing::info!(%run, operation, why, "console closed");
        Ok(())
    }

    async fn running(&self, operation: &'static str, reference: &str) -> Result<RunHandle, Status> {
        let found = self.runs.find(reference).await;
        let found = found.map_err(|error| run_status(&error))?;
        let view = found.view();
        // Who attaches looks on, whatever becomes of the job.
        let looks_on = operation != EXEC && matches!(view.state, State::Paused | State::Stopping);
        match found {
            Run::Live(handle) if view.state == State::Running || looks_on => return Ok(handle),
            _ => {}
        }
        let (run, phase) = (view.run_id(), view.state.phase());
        if view.state == State::Paused {
            return Err(Status::failed_precondition(format!(
                "cannot {operation} run {run}: it is paused; `davit resume {run}` first"
            )));
        }
        Err(run_status(&RunError::WrongPhase {
            operation,
            run,
            phase,
        }))
    }
}

fn refusal(operation: &'static str, view: &View, error: ShimError) -> Status {
    let run = view.run_id();
    let source = match error {
        ShimError::Refused(source) => source,
        source => {
            return run_status(&RunError::Shim {
                operation,
                run,
                source,
            });
        }
    };
    let ControlError { code, message } = &source;
    match code {
        // It does not know the word.
        ControlErrorCode::Malformed => Status::failed_precondition(format!(
            "cannot {operation} run {run}: it was begun by a davit of before consoles ({message})"
        )),
        ControlErrorCode::OutOfRange => {
            Status::invalid_argument(format!("cannot {operation} run {run}: {message}"))
        }
        _ => run_status(&RunError::Refused {
            operation,
            run,
            source,
        }),
    }
}

/// A sentence of the error behind a broken connection.
fn broken(error: &std::io::Error) -> String {
    format!(
        "the connection to the run's shim broke: {}",
        sentence(error)
    )
}
