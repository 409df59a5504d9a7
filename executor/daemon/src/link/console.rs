//! Consoles that the scheduler asks for: each a call of its own, over the session's connection.
//!
//! ```text
//!  OpenConsole{id, attempt} ─► dial: id ─► Open ─► Side::open: the attempt is ours and live ─┬─ opened … ended
//!                                  │                                                         └─ refused
//!       the scheduler's pieces ────┴──► input  (bounded) ──► the process
//!       the scheduler ◄─── output (bounded) ◄─────────────── the process
//! ```
//!
//! Invariants: a console is at the side of the attempt that was named, or is refused; what one side does not take is not read
//! from the other; a console ends with its call, and its call with the session. The scheduler's word for the run is not used:
//! the order named it.
//!
//! Absent on purpose: taking one up again, any word of what goes over it in the log.

#[cfg(test)]
mod tests;

use std::time::Duration;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::{ConsoleInput, ConsoleOutput, Open};
use davit_rpc::link::console_from_host::Message as Said;
use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::{ConsoleFromHost, ConsoleRefused, ConsoleToHost};
use davit_types::RunKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::consoles::Consoles;
use crate::runs::{Runs, sentence};

/// Consoles at once; more are refused. The scheduler asks for no more.
pub(super) const CONSOLES_MAX: usize = 64;
/// Pieces that wait for the process, and as many for the scheduler.
const PIECES_MAX: usize = 4;
/// How long the scheduler may take to answer a call, and to say then what is wanted.
const OPEN_MS_MAX: u64 = 10_000;
/// How long what is at the process's side may go on after its client went, and the scheduler after the end.
const CLOSE_MS_MAX: u64 = 10_000;

/// What a call shows.
pub(super) type Bearer = MetadataValue<Ascii>;

/// Who puts a console at the side of an attempt's process.
pub(super) trait Side: Clone + Send + Sync + 'static {
    /// Serves one console until `ended` was sent, or the client is gone: `input` is over, or takes no `output`.
    fn open(
        &self,
        key: RunKey,
        open: Open,
        input: mpsc::Receiver<ConsoleInput>,
        output: mpsc::Sender<ConsoleOutput>,
    ) -> impl Future<Output = Result<(), Status>> + Send;
}

/// This host's own runs.
#[derive(Clone, Debug)]
pub(super) struct Local {
    runs: Runs,
}

impl Local {
    pub(super) fn new(runs: &Runs) -> Self {
        Self { runs: runs.clone() }
    }
}

impl Side for Local {
    async fn open(
        &self,
        key: RunKey,
        open: Open,
        input: mpsc::Receiver<ConsoleInput>,
        output: mpsc::Sender<ConsoleOutput>,
    ) -> Result<(), Status> {
        let found = self.runs.attempt(key).await;
        let found = found.map_err(|error| Status::unavailable(sentence(&error)))?;
        let view = found.map(|run| run.view());
        if view.is_none_or(|view| view.spec.scheduled.is_none() || view.is_over()) {
            let run = key.run;
            return Err(Status::not_found(format!("run {run} is not live here")));
        }
        Consoles::new(&self.runs).open(open, input, output).await
    }
}

/// The consoles of a session.
pub(super) struct Calls<S> {
    side: S,
    client: LinkClient<Channel>,
    /// The latest token.
    bearer: watch::Receiver<Bearer>,
    /// They end with the session.
    tasks: JoinSet<()>,
}

impl<S: Side> Calls<S> {
    pub(super) fn new(
        side: S,
        client: LinkClient<Channel>,
        bearer: watch::Receiver<Bearer>,
    ) -> Self {
        Self {
            side,
            client,
            bearer,
            tasks: JoinSet::new(),
        }
    }

    /// Dials for a console.
    pub(super) fn dial(&mut self, id: String, key: RunKey) {
        let is_full = self.tasks.len() >= CONSOLES_MAX;
        let (side, client) = (self.side.clone(), self.client.clone());
        let bearer = self.bearer.borrow().clone();
        self.tasks.spawn(async move {
            let limit = Duration::from_millis(OPEN_MS_MAX);
            let call = match timeout(limit, Call::dial(client, bearer, id)).await {
                Ok(Ok(call)) => call,
                // Whoever wanted it has been told, or will be.
                Ok(Err(problem)) => return tracing::warn!(%key, problem, "no console"),
                Err(_) => return tracing::warn!(%key, "the scheduler does not say which console"),
            };
            if is_full {
                let why = format!("{CONSOLES_MAX} consoles are open at this host already");
                return call.refuse(Status::resource_exhausted(why)).await;
            }
            call.serve(side, key).await;
        });
    }

    /// Takes away a task that is done; returns when one is.
    pub(super) async fn finished(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

/// A call that the scheduler answered.
struct Call {
    open: Open,
    to: mpsc::Sender<ConsoleFromHost>,
    from: Streaming<ConsoleToHost>,
}

impl Call {
    async fn dial(
        mut client: LinkClient<Channel>,
        bearer: Bearer,
        id: String,
    ) -> Result<Self, String> {
        let (to, outgoing) = mpsc::channel(PIECES_MAX);
        // The first message: there is room.
        drop(to.send(said(Said::ConsoleId(id))).await);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", bearer);
        let answered = client.console(request).await;
        let mut from = answered.map_err(|status| broken(&status))?.into_inner();
        let first = from.message().await.map_err(|status| broken(&status))?;
        match first.and_then(|message| message.input?.input) {
            Some(Input::Open(open)) => Ok(Self { open, to, from }),
            Some(_) => Err("the scheduler does not begin with what is wanted".to_owned()),
            None => Err("nobody wants it any more".to_owned()),
        }
    }

    async fn refuse(mut self, status: Status) {
        let refused = ConsoleRefused {
            code: code(status.code()),
            message: status.message().to_owned(),
        };
        if self.to.send(said(Said::Refused(refused))).await.is_ok() {
            drop(self.to);
            hung_up(&mut self.from).await;
        }
    }

    /// Carries both ways until one of them is over.
    async fn serve(mut self, side: impl Side, key: RunKey) {
        let (input, typed) = mpsc::channel(PIECES_MAX);
        let (output, mut shown) = mpsc::channel(PIECES_MAX);
        let mut open = std::mem::take(&mut self.open);
        open.run = key.run.to_string();
        let mut process = std::pin::pin!(side.open(key, open, typed, output));
        let served = {
            let to = &self.to;
            let mut inward = std::pin::pin!(inward(&mut self.from, input));
            let mut outward = std::pin::pin!(async {
                while let Some(output) = shown.recv().await {
                    if to.send(said(Said::Output(output))).await.is_err() {
                        return;
                    }
                }
            });
            let mut has_said_all = false;
            let served = loop {
                tokio::select! {
                    served = &mut process => break Some(served),
                    () = &mut inward => break None,
                    () = to.closed() => break None,
                    () = &mut outward, if !has_said_all => has_said_all = true,
                }
            };
            if served.is_some() && !has_said_all {
                outward.await;
            }
            served
        };
        match served {
            Some(Ok(())) => {
                drop(self.to);
                // Whoever hangs up now takes back what was not sent yet.
                hung_up(&mut self.from).await;
            }
            Some(Err(status)) => self.refuse(status).await,
            None => {
                // The client is gone, which the process's side hears by this.
                drop(shown);
                let limit = Duration::from_millis(CLOSE_MS_MAX);
                if timeout(limit, process).await.is_err() {
                    tracing::warn!(%key, "a console goes on without its client; it is let go");
                }
            }
        }
    }
}

/// What the client says, for as long as it is there.
async fn inward(from: &mut Streaming<ConsoleToHost>, input: mpsc::Sender<ConsoleInput>) {
    while let Ok(Some(message)) = from.message().await {
        let Some(said) = message.input else { continue };
        if input.send(said).await.is_err() {
            // The process's side takes no more: its own words end the console.
            return std::future::pending().await;
        }
    }
}

/// Waits until the scheduler has ended the call, for some time.
async fn hung_up(from: &mut Streaming<ConsoleToHost>) {
    let limit = Duration::from_millis(CLOSE_MS_MAX);
    drop(
        timeout(limit, async {
            while let Ok(Some(_)) = from.message().await {}
        })
        .await,
    );
}

fn said(message: Said) -> ConsoleFromHost {
    ConsoleFromHost {
        message: Some(message),
    }
}

fn code(code: Code) -> u32 {
    // They are 0 to 16.
    u32::try_from(i32::from(code)).unwrap_or_default()
}

fn broken(status: &Status) -> String {
    format!("{} ({:?})", status.message(), status.code())
}
