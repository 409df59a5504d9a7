//! A console as its client sees it: a WebSocket, with the words of Kubernetes' remote commands.
//!
//! ```text
//!  client ── 0 stdin, 4 size, 255 end ──► heard ──► host          one message at a time, each way:
//!         ◄── 1 stdout, 2 stderr ──────── told ◄── host           the next is read when this one is taken
//!         ◄── 3 status, close ─────────── ended, broken, revoked, silent
//! ```
//!
//! Invariants: a client that does not read is sent nothing more, and the host is not read either, until the connection gives
//! it up; one that is not heard of is over, unless it is the host that takes nothing; the token is asked for again at every
//! heartbeat.

mod channels;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use davit_rpc::console::Ended;
use davit_rpc::console::console_output::Output;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Api;
use crate::consoles::{Console, FromHost, ToHost};
use crate::service::access::{self, Caller, Scope};
pub(super) use channels::PROTOCOLS;
use channels::{Manners, STDERR, STDOUT, Status, heard, told};

/// Bytes of one message of a client's.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes that are read from a client at once.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Pings in a row that a client may leave without an answer.
const PINGS_UNANSWERED_MAX: u32 = 12;
/// How long the last words may take, and then the client's.
const CLOSE_MS_MAX: u64 = 5_000;

/// What a client wants to hear, and may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// Why it is over.
enum Over {
    /// What was at its side ended.
    Ended(Ended),
    /// The client went away.
    Left,
    /// The client does not answer.
    Silent,
    /// The client said what has no place there.
    Odd(&'static str),
    /// The token opens nothing any more.
    Revoked,
    /// The host's side broke.
    Broke(String),
}

/// Whether a client is heard of.
#[derive(Default)]
struct Pulse {
    unanswered: AtomicU32,
    /// It is not listened to, since its host takes nothing.
    held_up: AtomicBool,
}

type Sink = SplitSink<WebSocket, Message>;

/// Carries both ways until one of them is over; why that is.
pub(super) async fn carry(
    api: Arc<Api>,
    caller: Caller,
    mut console: Console,
    wishes: Wishes,
    socket: WebSocket,
) -> &'static str {
    let protocol = socket
        .protocol()
        .map(|protocol| protocol.as_bytes().to_vec());
    let manners = Manners {
        stdin: wishes.stdin,
        tty: console.tty,
        ends_channels: protocol.as_deref() == Some(PROTOCOLS[0].as_bytes()),
    };
    let (mut sink, mut stream) = socket.split();
    let pulse = Pulse::default();
    let over = {
        let (to_host, mut from_host, session_over) = console.ways();
        tokio::select! {
            biased;
            over = outward(&api, &caller, &mut from_host, &mut sink, wishes, &pulse) => over,
            over = inward(&mut stream, &to_host, manners, &pulse) => over,
            () = session_over => Over::Broke("its host's session is over".to_owned()),
        }
    };
    // The host hears of the end first: the client may take its time.
    drop(console);
    let (name, last) = last_words(over);
    if let Some(last) = last {
        let limit = Duration::from_millis(CLOSE_MS_MAX);
        // Whoever does not take them does without.
        drop(timeout(limit, close(&mut sink, &mut stream, last)).await);
    }
    name
}

/// What the client hears, and when it is asked whether it is there.
async fn outward(
    api: &Api,
    caller: &Caller,
    from_host: &mut FromHost<'_>,
    sink: &mut Sink,
    wishes: Wishes,
    pulse: &Pulse,
) -> Over {
    let mut heartbeat = interval(Duration::from_millis(api.settings.heartbeat_ms));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let said = tokio::select! {
            said = from_host.next() => said,
            _ = heartbeat.tick() => match beat(api, caller, sink, pulse).await {
                Ok(()) => continue,
                Err(over) => return over,
            },
        };
        let message = match said {
            Ok(Output::Stdout(bytes)) if wishes.stdout => told(STDOUT, &bytes),
            Ok(Output::Stderr(bytes)) if wishes.stderr => told(STDERR, &bytes),
            Ok(Output::Stdout(_) | Output::Stderr(_) | Output::Opened(_)) => continue,
            Ok(Output::Ended(ended)) => return Over::Ended(ended),
            Err(problem) => return Over::Broke(problem),
        };
        if sink.send(Message::Binary(message)).await.is_err() {
            return Over::Left;
        }
    }
}

/// Whether client and token are still there.
async fn beat(api: &Api, caller: &Caller, sink: &mut Sink, pulse: &Pulse) -> Result<(), Over> {
    match access::again(&api.service, caller).await {
        Ok(Some(caller)) if caller.may(Scope::RunsExec).is_ok() => {}
        Ok(_) => return Err(Over::Revoked),
        // The next one will tell.
        Err(error) => tracing::warn!(%error, "a console's token was not looked up"),
    }
    if pulse.held_up.load(Ordering::Relaxed) {
        pulse.unanswered.store(0, Ordering::Relaxed);
    } else if pulse.unanswered.fetch_add(1, Ordering::Relaxed) >= PINGS_UNANSWERED_MAX {
        return Err(Over::Silent);
    }
    let sent = sink.send(Message::Ping(Bytes::new())).await;
    sent.map_err(|_| Over::Left)
}

/// What the client says.
async fn inward(
    stream: &mut SplitStream<WebSocket>,
    to_host: &ToHost,
    manners: Manners,
    pulse: &Pulse,
) -> Over {
    let mut has_ended = false;
    loop {
        let Some(Ok(said)) = stream.next().await else {
            return Over::Left;
        };
        pulse.unanswered.store(0, Ordering::Relaxed);
        let message = match said {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return Over::Left,
        };
        let pieces = match heard(&message, manners) {
            Ok(pieces) => pieces,
            Err(problem) => return Over::Odd(problem),
        };
        for piece in pieces {
            use davit_rpc::console::console_input::Input;
            match &piece {
                Input::Stdin(_) if has_ended => return Over::Odd("input after its end"),
                Input::StdinEnd(_) if has_ended => continue,
                Input::StdinEnd(_) => has_ended = true,
                _ => {}
            }
            pulse.held_up.store(true, Ordering::Relaxed);
            to_host.say(piece).await;
            pulse.held_up.store(false, Ordering::Relaxed);
        }
    }
}

/// The last two messages.
struct Last {
    status: Status,
    code: u16,
}

fn last_words(over: Over) -> (&'static str, Option<Last>) {
    let failed = |code, close, reason, why, message: String| {
        let status = Status::failed(code, reason, why, message);
        Some(Last {
            status,
            code: close,
        })
    };
    match over {
        Over::Ended(ended) => {
            let last = Last {
                status: Status::of(&ended),
                code: close_code::NORMAL,
            };
            ("ended", Some(last))
        }
        Over::Left => ("the client left", None),
        Over::Silent => ("the client is silent", None),
        Over::Odd(problem) => {
            let (code, close) = (400, close_code::POLICY);
            let last = failed(code, close, "BadRequest", "protocol", problem.to_owned());
            ("the client broke the protocol", last)
        }
        Over::Revoked => {
            let told = "the token opens nothing any more".to_owned();
            let last = failed(401, close_code::POLICY, "Unauthorized", "token", told);
            ("the token is over", last)
        }
        Over::Broke(problem) => {
            let last = failed(500, close_code::ERROR, "InternalError", "host", problem);
            ("the host's side broke", last)
        }
    }
}

/// Says the last words, and waits until the client has heard them.
async fn close(sink: &mut Sink, stream: &mut SplitStream<WebSocket>, last: Last) {
    let close = CloseFrame {
        code: last.code,
        reason: "".into(),
    };
    for message in [
        Message::Binary(last.status.told()),
        Message::Close(Some(close)),
    ] {
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // What is still under way from the client would reset the connection, and take the last words with it.
    while let Some(Ok(_)) = stream.next().await {}
}
