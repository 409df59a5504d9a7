//! A console through a scheduler: a WebSocket with the words of Kubernetes' remote commands, `v5.channel.k8s.io`.
//!
//! ```text
//!  Line ── 0 stdin, 4 size, 255 end ──► scheduler
//!       ◄── 1 stdout, 2 stderr, 3 status ──┘
//! ```
//!
//! Over the same HTTP client as every other request, so certificates, proxy and token are what they are there, and a
//! redirect is a refusal; over a connection of its own, which may come to another replica each time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::{Ended, Open, WindowSize};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use reqwest::Upgraded;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use uuid::Uuid;

use super::ServerError;
use super::client::{Call, Client};
use crate::beside::{Line, MESSAGES_WAITING_MAX};
use crate::error::CliError;

const PROTOCOL: &str = "v5.channel.k8s.io";
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The scheduler has a heartbeat every five seconds.
const SILENCE_MS_MAX: u64 = 30_000;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

type Socket = WebSocketStream<Upgraded>;

/// Opens the WebSocket of `call`; what is at its side has a terminal or not, as the caller knows.
pub(super) async fn open(
    client: &Client,
    call: Call,
    open: &Open,
    tty: bool,
) -> Result<Line, CliError> {
    let key = STANDARD.encode(Uuid::new_v4().as_bytes());
    let call = call
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", PROTOCOL)
        .header("sec-websocket-key", &key);
    let response = client.upgrade(&call).await?;
    let said = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    let is_ours = said("sec-websocket-accept") == Some(&derive_accept_key(key.as_bytes()))
        && said("sec-websocket-protocol") == Some(PROTOCOL);
    if !is_ours {
        return Err(ServerError::NoConsole(
            "what answers speaks another protocol: is a proxy in between?",
        )
        .into());
    }
    let upgraded = response.upgrade().await;
    let upgraded = upgraded.map_err(|error| client.unreachable(error))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    Ok(line(socket, open.window_size, tty))
}

fn line(socket: Socket, window: Option<WindowSize>, tty: bool) -> Line {
    let (sink, stream) = socket.split();
    let (input, inputs) = mpsc::channel(MESSAGES_WAITING_MAX);
    let (sender, output) = mpsc::channel(MESSAGES_WAITING_MAX);
    tokio::spawn(say(inputs, window, sink));
    tokio::spawn(hear(stream, sender));
    Line {
        tty,
        input,
        output,
        signals: false,
    }
}

/// Until nobody types any more, or the connection is over, which is heard.
async fn say(
    mut inputs: mpsc::Receiver<Input>,
    window: Option<WindowSize>,
    mut sink: SplitSink<Socket, Message>,
) {
    let mut next = window.map(Input::WindowSize);
    loop {
        let input = match next.take() {
            Some(input) => input,
            None => match inputs.recv().await {
                Some(input) => input,
                None => break,
            },
        };
        if let Some(message) = written(&input)
            && sink.send(Message::Binary(message)).await.is_err()
        {
            return;
        }
    }
    // The scheduler notices, whether or not this arrives.
    drop(sink.close().await);
}

/// Signals have no word there.
fn written(input: &Input) -> Option<Bytes> {
    let size;
    let (channel, bytes): (u8, &[u8]) = match input {
        Input::Stdin(bytes) => (STDIN, bytes),
        Input::StdinEnd(_) => (CLOSE, &[STDIN]),
        Input::WindowSize(window) => {
            let (width, height) = (window.columns, window.rows);
            size = format!("{{\"Width\":{width},\"Height\":{height}}}");
            (RESIZE, size.as_bytes())
        }
        Input::Signal(_) | Input::Open(_) => return None,
    };
    let mut message = Vec::with_capacity(1 + bytes.len());
    message.push(channel);
    message.extend_from_slice(bytes);
    Some(message.into())
}

/// Until the end is told, the connection is over, or nobody wants to hear it.
async fn hear(mut stream: SplitStream<Socket>, output: mpsc::Sender<Result<Output, CliError>>) {
    let silence = Duration::from_millis(SILENCE_MS_MAX);
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(silence, stream.next()) => next,
            () = output.closed() => return,
        };
        let said = match next {
            Err(_) => Err("it fell silent"),
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => Err("the connection to it broke"),
            Ok(Some(Ok(Message::Binary(message)))) => match read(message) {
                Some(said) => Ok(said),
                None => continue,
            },
            Ok(Some(Ok(_))) => continue,
        };
        let said = said.map_err(|why| ServerError::ConsoleBroke(why.to_owned()).into());
        let said = match said {
            // The way to the host is not the host's word.
            Ok(Output::Ended(ended)) if ended.reason == "host" => {
                Err(ServerError::ConsoleBroke(ended.message).into())
            }
            said => said,
        };
        let is_last = matches!(said, Err(_) | Ok(Output::Ended(_)));
        if output.send(said).await.is_err() || is_last {
            return;
        }
    }
}

fn read(message: Bytes) -> Option<Output> {
    let (channel, rest) = message.split_first()?;
    match *channel {
        STDOUT => Some(Output::Stdout(rest.to_vec())),
        STDERR => Some(Output::Stderr(rest.to_vec())),
        STATUS => Some(Output::Ended(ended(rest))),
        _ => None,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    status: String,
    message: String,
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

/// The end, as the last document tells it.
fn ended(text: &[u8]) -> Ended {
    let unreadable = |_| Status {
        message: "the scheduler's last words cannot be read".to_owned(),
        ..Status::default()
    };
    let status: Status = serde_json::from_slice(text).unwrap_or_else(unreadable);
    let cause = status.details.causes.into_iter().next();
    let cause = cause.unwrap_or_default();
    let exited = |exit_code, message| Ended {
        exit_code: Some(exit_code),
        reason: "exited".to_owned(),
        message,
        dropped_bytes: dropped(&status.message),
    };
    if status.status == "Success" {
        return exited(0, String::new());
    }
    match cause.message.parse::<u8>() {
        Ok(code) if cause.reason == "ExitCode" => exited(code.into(), String::new()),
        _ => Ended {
            exit_code: None,
            reason: match cause.reason.as_str() {
                "" => "error".to_owned(),
                reason => reason.to_owned(),
            },
            message: status.message,
            dropped_bytes: 0,
        },
    }
}

/// What a client of Kubernetes' is told in words.
fn dropped(message: &str) -> u64 {
    let count = message.strip_suffix(" bytes of output were dropped");
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_with_its_exact_code() {
        let told = |text: &str| {
            let ended = ended(text.as_bytes());
            (
                ended.exit_code,
                ended.reason,
                ended.message,
                ended.dropped_bytes,
            )
        };
        let exited = |code, dropped| (Some(code), "exited".to_owned(), String::new(), dropped);
        assert_eq!(told(r#"{"metadata":{},"status":"Success"}"#), exited(0, 0));
        let dropped = r#"{"status":"Success","message":"17 bytes of output were dropped"}"#;
        assert_eq!(told(dropped), exited(0, 17));
        let code = r#"{"status":"Failure","message":"command terminated with exit code 137",
            "reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#;
        assert_eq!(told(code), exited(137, 0));
        let taken = r#"{"status":"Failure","message":"another console has it","code":500,
            "details":{"causes":[{"reason":"taken_over","message":"another console has it"}]}}"#;
        let (exit_code, reason, message, _) = told(taken);
        assert_eq!((exit_code, reason.as_str()), (None, "taken_over"));
        assert_eq!(message, "another console has it");
        assert_eq!(told("?").0, None);
    }

    #[test]
    fn what_is_said_begins_with_its_channel() {
        let said = |input| written(&input).map(|bytes| bytes.to_vec());
        assert_eq!(said(Input::Stdin(b"ls".to_vec())), Some(b"\0ls".to_vec()));
        let end = Input::StdinEnd(davit_rpc::console::StdinEnd {});
        assert_eq!(said(end), Some(vec![255, 0]));
        let size = WindowSize {
            rows: 40,
            columns: 132,
        };
        let written = said(Input::WindowSize(size));
        assert_eq!(written, Some(b"\x04{\"Width\":132,\"Height\":40}".to_vec()));
        assert_eq!(said(Input::Signal("TERM".to_owned())), None);
    }
}
