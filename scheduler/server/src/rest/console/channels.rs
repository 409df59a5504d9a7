//! The words of Kubernetes' remote commands over WebSocket: each message begins with the number of a channel.
//!
//! As `k8s.io/apimachinery/pkg/util/remotecommand` and `k8s.io/kubelet/pkg/cri/streaming/remotecommand` have them. Version 5
//! is version 4 and a word for the end of a channel.

use axum::body::Bytes;
use davit_rpc::console::console_input::Input;
use davit_rpc::console::{Ended, StdinEnd, WindowSize};
use serde::{Deserialize, Serialize};

use crate::consoles::PIECE_BYTES_MAX;

/// Versions that are spoken, the best first.
pub(in crate::rest) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
/// One document, when it is over.
pub(super) const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Ends the channel whose number follows; from version 5 on.
const CLOSE: u8 = 255;
/// Bytes of a size.
const RESIZE_BYTES_MAX: usize = 256;

/// What a client may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// It asked for the input.
    pub(super) stdin: bool,
    /// There is a terminal.
    pub(super) tty: bool,
    /// It may end a channel.
    pub(super) ends_channels: bool,
}

/// A terminal's size, as a client tells it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// What a message of the client's means, in pieces of a size that a host takes; what is wrong with it, else.
pub(super) fn heard(message: &Bytes, manners: Manners) -> Result<Vec<Input>, &'static str> {
    let Some((channel, rest)) = message.split_first() else {
        return Err("a message without the number of its channel");
    };
    match *channel {
        STDIN if !manners.stdin => Err("input, which was not asked for: stdin=true"),
        STDIN => {
            let pieces = rest.chunks(PIECE_BYTES_MAX);
            Ok(pieces.map(|piece| Input::Stdin(piece.to_vec())).collect())
        }
        RESIZE => resize(rest).map(|size| match manners.tty {
            true => vec![Input::WindowSize(size)],
            false => Vec::new(),
        }),
        CLOSE if manners.ends_channels => match rest {
            // A terminal has no end of input: who types it sends what the terminal takes for one.
            [STDIN] if manners.stdin && !manners.tty => Ok(vec![Input::StdinEnd(StdinEnd {})]),
            [_] => Ok(Vec::new()),
            _ => Err("the end of a channel without its number"),
        },
        _ => Err("a channel that clients do not write to: 0 is the input, 4 the size"),
    }
}

fn resize(text: &[u8]) -> Result<WindowSize, &'static str> {
    let wrong = "a size that is not {\"Width\": columns, \"Height\": rows}, 1 to 65535 each";
    let known = Some(text).filter(|text| text.len() <= RESIZE_BYTES_MAX);
    let size: Size = known
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or(wrong)?;
    if size.width == 0 || size.height == 0 {
        return Err(wrong);
    }
    Ok(WindowSize {
        rows: size.height.into(),
        columns: size.width.into(),
    })
}

/// A message of ours.
pub(super) fn told(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(1 + bytes.len());
    message.push(channel);
    message.extend_from_slice(bytes);
    message.into()
}

#[derive(Serialize)]
struct Metadata {}

/// `metav1.Status`, as far as it is used here.
#[derive(Serialize)]
pub(super) struct Status {
    metadata: Metadata,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct Cause {
    reason: String,
    message: String,
}

fn cause(reason: impl Into<String>, message: impl Into<String>) -> Option<Details> {
    let cause = Cause {
        reason: reason.into(),
        message: message.into(),
    };
    Some(Details {
        causes: vec![cause],
    })
}

impl Status {
    /// How what the client was at the side of ended.
    pub(super) fn of(ended: &Ended) -> Self {
        let mut message = ended.message.clone();
        if ended.dropped_bytes > 0 {
            let note = format!("{} bytes of output were dropped", ended.dropped_bytes);
            message = if message.is_empty() {
                note
            } else {
                format!("{message}; {note}")
            };
        }
        let well =
            ended.exit_code == Some(0) || (ended.exit_code.is_none() && ended.reason == "detached");
        if well {
            return Self {
                metadata: Metadata {},
                status: "Success",
                message,
                reason: None,
                details: None,
                code: None,
            };
        }
        match ended.exit_code {
            Some(code) => Self {
                metadata: Metadata {},
                status: "Failure",
                message: format!("command terminated with exit code {code}"),
                reason: Some("NonZeroExitCode"),
                details: cause("ExitCode", code.to_string()),
                code: None,
            },
            None => Self::failed(500, "InternalError", &ended.reason, message),
        }
    }

    /// There is no end to be told of.
    pub(super) fn failed(
        code: u16,
        reason: &'static str,
        why: &str,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            metadata: Metadata {},
            status: "Failure",
            details: cause(why, message.clone()),
            message,
            reason: Some(reason),
            code: Some(code),
        }
    }

    /// The last message before the end.
    pub(super) fn told(&self) -> Bytes {
        told(STATUS, &serde_json::to_vec(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
