//! Consoles: a client at the side of a process of a run, over the connection that the run's host holds to this replica.
//!
//! ```text
//!  client ══ WebSocket ══ rest ── open ──► place taken ─► OpenConsole{id} ─► the host's session
//!                          ▲                                                        │
//!                          │                 claim(host, id) ◄── Link.Console ◄═════╛ dials, on the same connection
//!                          └──── Console: frames both ways, at most a few of each wait ────┘
//! ```
//!
//! A host dials over the connection of its session, so its console is with the replica that ordered it, whatever stands
//! between. A client may be with another replica, which cannot reach the host: it is told so, and asks again.
//!
//! Invariants:
//! - an id is good for one call, of one host, while somebody waits for it;
//! - each wait and each queue is bounded, and nothing is read that has no place to go: who does not take holds up the other,
//!   and its own console only;
//! - a console ends with its client, with its host's session, and with what it is at the side of;
//! - nothing of it is stored, and nothing that goes over it is logged, arguments included.
//!
//! Absent on purpose: a way from one replica to another, taking a console up again after a break.

mod error;
mod places;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::{ConsoleInput, ConsoleOutput, Open};
use davit_rpc::link as proto;
use davit_rpc::link::console_from_host::Message as Said;
use davit_rpc::link::scheduler_message::Message;
use davit_types::{RunKey, Tenant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::Streaming;
use uuid::Uuid;

pub use error::{Bound, ConsoleError};
use places::{Place, Places};

use crate::link::{Peer, Sessions, told_key};

/// Consoles of one replica, those on their way included.
pub const CONSOLES_MAX: usize = 1_024;
/// Of them, one tenant's.
pub const TENANT_CONSOLES_MAX: usize = 256;
/// Of them, at one host. Its connection has room for what all of them leave unread.
pub const HOST_CONSOLES_MAX: usize = 64;
/// Of them, at one run.
pub const RUN_CONSOLES_MAX: usize = 16;
/// How long a host may take to dial.
pub const DIAL_MS_MAX: u64 = 10_000;
/// How long it may take then, until the process is there.
pub const OPENED_MS_MAX: u64 = 10_000;
/// Messages that wait for a host to take them.
const INPUT_MESSAGES_MAX: usize = 4;
/// Bytes of one piece of input or output.
pub const PIECE_BYTES_MAX: usize = 64 << 10;
/// Characters of a host's reason that are passed on.
const REASON_CHARS_MAX: usize = 512;

/// Both ways of a host's call.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) from_host: Streaming<proto::ConsoleFromHost>,
    pub(crate) to_host: mpsc::Sender<proto::ConsoleToHost>,
}

impl Wire {
    /// The ways of a call, and what the host is sent.
    pub(crate) fn new(
        from_host: Streaming<proto::ConsoleFromHost>,
    ) -> (Self, mpsc::Receiver<proto::ConsoleToHost>) {
        let (to_host, queue) = mpsc::channel(INPUT_MESSAGES_MAX);
        (Self { from_host, to_host }, queue)
    }
}

/// Somebody who waits for a host to dial.
#[derive(Debug)]
struct Waiting {
    host: Uuid,
    answer: oneshot::Sender<Wire>,
}

#[derive(Debug)]
struct Inner {
    replica: Uuid,
    sessions: Sessions,
    places: Places,
    waiting: Mutex<HashMap<Uuid, Waiting>>,
}

/// All consoles of a replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Consoles(Arc<Inner>);

/// For whom, and at whose side.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: Tenant,
    pub(crate) key: RunKey,
    pub(crate) host: Uuid,
}

/// Takes the entry away again, whatever became of it.
struct Entry<'a> {
    consoles: &'a Consoles,
    id: Uuid,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        held(&self.consoles.0.waiting).remove(&self.id);
    }
}

impl Consoles {
    /// None yet; hosts are found among `sessions`, which are this replica's.
    #[must_use]
    pub fn new(replica: Uuid, sessions: Sessions) -> Self {
        Self(Arc::new(Inner {
            replica,
            sessions,
            places: Places::default(),
            waiting: Mutex::default(),
        }))
    }

    /// How many there are, those on their way included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.places.count()
    }

    /// Whether the host is connected here.
    pub(crate) fn reaches(&self, host: Uuid) -> bool {
        self.0.sessions.of(host).is_some()
    }

    /// Whose these are.
    pub(crate) fn replica(&self) -> Uuid {
        self.0.replica
    }

    /// Lets the run's host open a console. Given up, nothing is left of it.
    pub(crate) async fn open(&self, asked: Asked, open: Open) -> Result<Console, ConsoleError> {
        let run = asked.key.run;
        let place = self.0.places.take(&asked)?;
        let gone = || ConsoleError::HostGone { run };
        let peer = self.0.sessions.of(asked.host).ok_or_else(gone)?;
        let wire = tokio::select! {
            _ = peer.closed() => return Err(gone()),
            wire = self.dialled(&peer, &asked) => wire?,
        };
        let mut console = Console {
            tty: false,
            input: wire.to_host,
            output: wire.from_host,
            session: peer.clone(),
            _place: place,
        };
        tokio::select! {
            _ = peer.closed() => return Err(gone()),
            opened = console.begin(asked.key, open) => opened?,
        }
        Ok(console)
    }

    /// Asks the host to dial, and waits until it has.
    async fn dialled(&self, peer: &Peer, asked: &Asked) -> Result<Wire, ConsoleError> {
        let run = asked.key.run;
        let id = Uuid::new_v4();
        let (answer, dialled) = oneshot::channel();
        let host = asked.host;
        held(&self.0.waiting).insert(id, Waiting { host, answer });
        let _entry = Entry { consoles: self, id };
        let order = proto::OpenConsole {
            console_id: id.to_string(),
            key: Some(told_key(asked.key)),
        };
        if !peer.send(Message::OpenConsole(order)) {
            return Err(ConsoleError::HostGone { run });
        }
        let late = |_| ConsoleError::Late {
            run,
            wanted: "dial",
            waited_ms: DIAL_MS_MAX,
        };
        let wire = timeout(Duration::from_millis(DIAL_MS_MAX), dialled).await;
        wire.map_err(late)?
            .map_err(|_| ConsoleError::HostGone { run })
    }

    /// Gives a host's call to who waits for it; whether somebody waits for this id and this host.
    pub(crate) fn give(&self, host: Uuid, id: &str, wire: Wire) -> bool {
        let Ok(id) = Uuid::try_parse(id) else {
            return false;
        };
        let mut waiting = held(&self.0.waiting);
        // Another host's guess uses up nothing.
        if waiting.get(&id).is_none_or(|known| known.host != host) {
            return false;
        }
        let known = waiting.remove(&id);
        known.is_some_and(|known| known.answer.send(wire).is_ok())
    }
}

/// An open console. Dropped, it is over: its host's call ends.
pub(crate) struct Console {
    /// Whether what it is at the side of has a terminal.
    pub(crate) tty: bool,
    input: mpsc::Sender<proto::ConsoleToHost>,
    output: Streaming<proto::ConsoleFromHost>,
    session: Peer,
    _place: Place,
}

/// The way to the host.
pub(crate) struct ToHost(mpsc::Sender<proto::ConsoleToHost>);

impl ToHost {
    /// Passes something on when there is room. Where the host takes no more it waits for ever: its last words are still to
    /// be heard, and they end the console.
    pub(crate) async fn say(&self, input: Input) {
        if self.0.send(message(input)).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The way from the host.
pub(crate) struct FromHost<'a> {
    output: &'a mut Streaming<proto::ConsoleFromHost>,
}

impl FromHost<'_> {
    /// The next piece, or why there is none. May be given up and called again.
    pub(crate) async fn next(&mut self) -> Result<Output, String> {
        match self.output.message().await {
            Ok(Some(said)) => match said.message {
                Some(Said::Output(ConsoleOutput {
                    output: Some(output),
                })) => checked(output),
                Some(Said::Refused(refused)) => Err(shortened(refused.message)),
                Some(Said::ConsoleId(_) | Said::Output(_)) | None => {
                    Err("its host said what has no place there".to_owned())
                }
            },
            Ok(None) => Err("its host ended it without a word".to_owned()),
            Err(_) => Err("the connection to its host broke".to_owned()),
        }
    }
}

fn checked(output: Output) -> Result<Output, String> {
    match &output {
        Output::Stdout(bytes) | Output::Stderr(bytes) if bytes.len() > PIECE_BYTES_MAX => {
            Err("its host sent too much at once".to_owned())
        }
        Output::Opened(_) => Err("its host opened it twice".to_owned()),
        Output::Stdout(_) | Output::Stderr(_) | Output::Ended(_) => Ok(output),
    }
}

fn message(input: Input) -> proto::ConsoleToHost {
    proto::ConsoleToHost {
        input: Some(ConsoleInput { input: Some(input) }),
    }
}

impl Console {
    /// Both ways, and the host's session, which ends them when it is over.
    pub(crate) fn ways(&mut self) -> (ToHost, FromHost<'_>, impl Future<Output = ()>) {
        let session = self.session.clone();
        let over = async move { drop(session.closed().await) };
        let output = &mut self.output;
        (ToHost(self.input.clone()), FromHost { output }, over)
    }

    /// Says what is wanted, and waits until it is there.
    async fn begin(&mut self, key: RunKey, open: Open) -> Result<(), ConsoleError> {
        let run = key.run;
        let waited_ms = OPENED_MS_MAX;
        // The first message: there is room.
        let told = self.input.send(message(Input::Open(open))).await;
        told.map_err(|_| ConsoleError::HostGone { run })?;
        let first = timeout(Duration::from_millis(waited_ms), self.output.message()).await;
        let first = first.map_err(|_| ConsoleError::Late {
            run,
            wanted: "open",
            waited_ms,
        })?;
        match first {
            Ok(Some(said)) => match said.message {
                Some(Said::Output(ConsoleOutput {
                    output: Some(Output::Opened(opened)),
                })) => {
                    self.tty = opened.tty;
                    Ok(())
                }
                Some(Said::Refused(refused)) => Err(ConsoleError::Refused {
                    run,
                    code: i32::try_from(refused.code).unwrap_or_default().into(),
                    message: shortened(refused.message),
                }),
                _ => Err(ConsoleError::OutOfPlace { run }),
            },
            Ok(None) | Err(_) => Err(ConsoleError::HostGone { run }),
        }
    }
}

fn shortened(mut reason: String) -> String {
    if let Some((at, _)) = reason.char_indices().nth(REASON_CHARS_MAX) {
        reason.truncate(at);
    }
    reason
}

/// A lock whose holder panicked guards nothing half-written here: every change is one call.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
