//! What is spoken on `shim.sock` after [`crate::ControlRequest::Console`] was answered: frames, both ways.
//!
//! ```text
//!  length, 4 bytes, little-endian │ kind, 1 byte │ payload
//!
//!  executor ── O open ── I input, E its end, W window, S signal ──────────────────────► shim
//!           ◄── R refused │ G opened ── 1 stdout, 2 stderr, C input taken ── X ended ──
//! ```
//!
//! Invariants:
//! - the first frame each way is the first in the picture, and `ended` or `refused` the last;
//! - no more than [`CONSOLE_WINDOW_BYTES`] of input are under way: what the process has taken is told with C. A process that
//!   does not read therefore keeps neither a signal nor the end of the connection from the shim;
//! - a frame of data has at most [`CONSOLE_DATA_BYTES_MAX`], and any other at most [`CONSOLE_FRAME_BYTES_MAX`].

use serde::{Deserialize, Serialize};

use crate::ControlError;

/// Bytes of input or output in one frame.
pub const CONSOLE_DATA_BYTES_MAX: usize = 16 * 1024;
/// Bytes of any other payload: a process with all that it may be given.
pub const CONSOLE_FRAME_BYTES_MAX: usize = 512 * 1024;
/// Bytes of input that were sent and not taken.
pub const CONSOLE_WINDOW_BYTES: usize = 64 * 1024;
/// Bytes before the payload.
pub const CONSOLE_HEADER_BYTES: usize = 5;

/// What a console is to be beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case")]
pub enum ConsoleOpen {
    /// The job itself.
    Attach(ConsoleAttach),
    /// A process more.
    Exec(ConsoleExec),
}

/// Beside the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleAttach {
    /// With its input, in whoever's place.
    pub stdin: bool,
    /// Of the client's terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<ConsoleWindow>,
}

/// A process to be begun in the job's container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleExec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Over those that the job has.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// The job's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The job's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<ConsoleUser>,
    /// With a terminal of its own.
    pub tty: bool,
    /// With an input; without one it reads the end of it.
    pub stdin: bool,
    /// Of the client's terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<ConsoleWindow>,
}

/// Whom a process runs as, by the container's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// Home directory, if known.
    pub home: Option<String>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleWindow {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// The end of a console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleEnded {
    /// The process's, 128 + n when signal n ended it; absent where it is not known.
    pub exit_code: Option<u8>,
    /// Why.
    pub reason: ConsoleReason,
    /// For people; may be empty.
    pub message: String,
    /// Output that was not taken in time.
    pub dropped_bytes: u64,
}

/// Why a console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleReason {
    /// The process ended by itself.
    Exited,
    /// The run ended, and with it the process.
    RunEnded,
    /// Somebody else has the input now.
    TakenOver,
    /// The client did not take what it was sent.
    TooSlow,
    /// The client was not understood, or the shim failed.
    Error,
}

impl ConsoleReason {
    /// As clients are told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::RunEnded => "run_ended",
            Self::TakenOver => "taken_over",
            Self::TooSlow => "too_slow",
            Self::Error => "error",
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleFrame {
    /// O: what is wanted.
    Open(Box<ConsoleOpen>),
    /// I: what the process is to read.
    Stdin(Vec<u8>),
    /// E: it reads an end after that.
    StdinEnd,
    /// W: the client's terminal has another size.
    Window(ConsoleWindow),
    /// S: a signal to the process.
    Signal(u8),
    /// R: there is no console.
    Refused(ControlError),
    /// G: there is one, with a terminal or not.
    Opened {
        /// The process has a terminal.
        tty: bool,
    },
    /// 1: what the process wrote.
    Stdout(Vec<u8>),
    /// 2: what it wrote as errors.
    Stderr(Vec<u8>),
    /// C: so many bytes of input were taken.
    Taken(u32),
    /// X: the end.
    Ended(ConsoleEnded),
}

/// A frame that is none.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleFrameError {
    /// Nobody knows its kind.
    #[error("a console's frame is of the unknown kind {0:#04x}")]
    Kind(u8),
    /// It is too long.
    #[error("a console's frame has {bytes} bytes, at most {bytes_max} allowed")]
    TooLong {
        /// As it says.
        bytes: usize,
        /// What its kind may have.
        bytes_max: usize,
    },
    /// It has not the length of its kind.
    #[error("a console's frame of kind {kind:?} cannot have {bytes} bytes")]
    Length {
        /// Its kind.
        kind: char,
        /// What it has.
        bytes: usize,
    },
    /// It is not of its kind.
    #[error("a console's frame is not understood")]
    Json(#[from] serde_json::Error),
}

impl ConsoleFrame {
    /// Appends its bytes to `out`.
    ///
    /// # Errors
    /// [`ConsoleFrameError::TooLong`], and nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ConsoleFrameError> {
        let json;
        let short;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Stdin(bytes) => (b'I', bytes),
            Self::Stdout(bytes) => (b'1', bytes),
            Self::Stderr(bytes) => (b'2', bytes),
            Self::StdinEnd => (b'E', &[]),
            Self::Window(window) => {
                short = [window.rows.to_le_bytes(), window.columns.to_le_bytes()].concat();
                (b'W', &short)
            }
            Self::Signal(signal) => (b'S', std::slice::from_ref(signal)),
            Self::Opened { tty } => {
                short = vec![u8::from(*tty)];
                (b'G', &short)
            }
            Self::Taken(bytes) => {
                short = bytes.to_le_bytes().to_vec();
                (b'C', &short)
            }
            Self::Open(open) => {
                json = serde_json::to_vec(open)?;
                (b'O', &json)
            }
            Self::Refused(error) => {
                json = serde_json::to_vec(error)?;
                (b'R', &json)
            }
            Self::Ended(ended) => {
                json = serde_json::to_vec(ended)?;
                (b'X', &json)
            }
        };
        check_length(kind, payload.len())?;
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.push(kind);
        out.extend_from_slice(payload);
        Ok(())
    }

    /// The frame that `bytes` begin with, and its length; `None` if there is more of it to come.
    ///
    /// # Errors
    /// [`ConsoleFrameError`], as soon as its header tells.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ConsoleFrameError> {
        let Some((header, rest)) = bytes.split_first_chunk::<CONSOLE_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        check_length(kind, length)?;
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let wrong = || ConsoleFrameError::Length {
            kind: char::from(kind),
            bytes: length,
        };
        let frame = match kind {
            b'I' => Self::Stdin(payload.to_vec()),
            b'1' => Self::Stdout(payload.to_vec()),
            b'2' => Self::Stderr(payload.to_vec()),
            b'E' => Self::StdinEnd,
            b'W' => {
                let [a, b, c, d] = payload.try_into().map_err(|_| wrong())?;
                Self::Window(ConsoleWindow {
                    rows: u16::from_le_bytes([a, b]),
                    columns: u16::from_le_bytes([c, d]),
                })
            }
            b'S' => {
                let [signal] = payload.try_into().map_err(|_| wrong())?;
                Self::Signal(signal)
            }
            b'G' => {
                let [tty] = payload.try_into().map_err(|_| wrong())?;
                Self::Opened { tty: tty != 0 }
            }
            b'C' => Self::Taken(u32::from_le_bytes(payload.try_into().map_err(|_| wrong())?)),
            b'O' => Self::Open(serde_json::from_slice(payload)?),
            b'R' => Self::Refused(serde_json::from_slice(payload)?),
            _ => Self::Ended(serde_json::from_slice(payload)?),
        };
        Ok(Some((frame, CONSOLE_HEADER_BYTES + length)))
    }
}

const fn check_length(kind: u8, bytes: usize) -> Result<(), ConsoleFrameError> {
    let bytes_max = match kind {
        b'I' | b'1' | b'2' => CONSOLE_DATA_BYTES_MAX,
        b'O' | b'R' | b'X' => CONSOLE_FRAME_BYTES_MAX,
        b'E' | b'W' | b'S' | b'G' | b'C' => 4,
        _ => return Err(ConsoleFrameError::Kind(kind)),
    };
    if bytes > bytes_max {
        return Err(ConsoleFrameError::TooLong { bytes, bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ControlErrorCode;
    use proptest::prelude::*;

    fn frames() -> Vec<ConsoleFrame> {
        let window = ConsoleWindow {
            rows: 50,
            columns: 300,
        };
        vec![
            ConsoleFrame::Open(Box::new(ConsoleOpen::Attach(ConsoleAttach {
                stdin: true,
                window: None,
            }))),
            ConsoleFrame::Open(Box::new(ConsoleOpen::Exec(ConsoleExec {
                argv: vec!["ls".to_owned()],
                env: vec![("A".to_owned(), "b=c".to_owned())],
                workdir: Some("/".to_owned()),
                user: None,
                tty: true,
                stdin: false,
                window: Some(window),
            }))),
            ConsoleFrame::Stdin(vec![7; CONSOLE_DATA_BYTES_MAX]),
            ConsoleFrame::StdinEnd,
            ConsoleFrame::Window(window),
            ConsoleFrame::Signal(15),
            ConsoleFrame::Refused(ControlError {
                code: ControlErrorCode::NotRunning,
                message: "no".to_owned(),
            }),
            ConsoleFrame::Opened { tty: true },
            ConsoleFrame::Stdout(Vec::new()),
            ConsoleFrame::Stderr(b"x".to_vec()),
            ConsoleFrame::Taken(70_000),
            ConsoleFrame::Ended(ConsoleEnded {
                exit_code: Some(137),
                reason: ConsoleReason::RunEnded,
                message: String::new(),
                dropped_bytes: 5,
            }),
        ]
    }

    #[test]
    fn frames_come_back_as_they_went_and_never_too_early() {
        let mut bytes = Vec::new();
        for frame in frames() {
            frame.encode(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        for frame in frames() {
            let (back, length) = ConsoleFrame::decode(rest).unwrap().unwrap();
            assert_eq!(back, frame);
            for part in [0, 1, CONSOLE_HEADER_BYTES, length - 1] {
                if part < length {
                    assert!(ConsoleFrame::decode(&rest[..part]).unwrap().is_none());
                }
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_header() {
        let long = ConsoleFrame::Stdin(vec![0; CONSOLE_DATA_BYTES_MAX + 1]);
        let mut bytes = Vec::new();
        assert!(long.encode(&mut bytes).is_err() && bytes.is_empty());
        for header in [
            [0xff, 0xff, 0xff, 0xff, b'I'],
            [1, 0, 0, 0, b'?'],
            [0xff, 0xff, 0xff, 0x7f, b'O'],
        ] {
            assert!(ConsoleFrame::decode(&header).is_err(), "{header:?}");
        }
        assert!(ConsoleFrame::decode(&[1, 0, 0, 0, b'W', 0]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(ConsoleFrame::decode(&bytes));
        }
    }
}
