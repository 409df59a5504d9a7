//! The streams of one process, when containerd's client wants them (a run of davit keeps its own: `run::capture`).
//!
//! ```text
//!              stdout URI        what the container gets            what the shim keeps
//!  no terminal (empty)           /dev/null                          –
//!              /path (FIFO)      the FIFO itself, write end         a read end (no EPIPE between two clients)
//!              file:///path      the file, appending                –
//!              binary:///path    a pipe whose other end a logger    the logger process
//!                                process holds
//!  stdin       /path (FIFO)      a pipe, from Start on fed from     a write end of the FIFO until CloseIO (no
//!                                the FIFO                           early EOF), and the copy
//!  terminal    any of the above  a pty                              the pty's master, and copies both ways
//! ```
//!
//! Output is not copied without a terminal: no byte passes through the shim, and the client sees EOF exactly
//! when the last process of the container that holds the stream is gone. Input is, because of when: the client's
//! write end opens when ours does, and a client that meets the end of its input before Create is answered
//! (`echo x | ctr run …`) never says CloseIO. At Start it has the answer.
//!
//! Invariant: an output FIFO is handed over only when its reader is there, because a FIFO forgets its
//! content when the last of both ends closes.

mod console;
mod exec;
mod fifo;
mod input;
mod log_process;
mod null;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Uid};

use crate::lock;
use crate::reaper::Reaper;
use crate::runtime::Stdio3;
use console::Console;
pub(crate) use console::ConsoleSocket;
pub(crate) use exec::{ExecStreams, ours};
use input::{Input, Sink};
use log_process::LogProcess;
use null::null_stream;
pub(crate) use null::{null, null_streams};

/// Where the streams of a process go, exactly as the client said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StdioPaths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Who owns the container's ends, and whose output a logger gets.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) id: String,
    pub(crate) namespace: String,
}

/// Why a stream could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IoError {
    #[error("cannot {operation} {path}")]
    Io {
        operation: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("stream `{0}` has an unknown scheme; known are a path, file:// and binary://")]
    UnknownScheme(String),
    #[error("nobody opened {0} for reading within {seconds} s", seconds = fifo::READER_SECONDS_MAX)]
    NoReader(String),
    #[error("log process {path} was not ready: {problem}")]
    Logger { path: String, problem: String },
    #[error("the OCI runtime sent no console")]
    NoConsole,
}

fn failed(operation: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> IoError {
    let path = path.into();
    move |source| IoError::Io {
        operation,
        path,
        source,
    }
}

/// A parsed output URI.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Null,
    Fifo(PathBuf),
    File(PathBuf),
    Logger {
        program: PathBuf,
        arguments: Vec<String>,
        /// `binary-v2://`: the logger must say that it is ready.
        must_report: bool,
    },
}

impl Target {
    fn parse(uri: &str) -> Result<Self, IoError> {
        if uri.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Ok(Self::Fifo(PathBuf::from(uri)));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "fifo" => Ok(Self::Fifo(PathBuf::from(path))),
            "file" => Ok(Self::File(PathBuf::from(path))),
            "binary" | "binary-v2" => Ok(Self::Logger {
                program: PathBuf::from(percent_decoded(path)),
                arguments: query
                    .split('&')
                    .filter(|pair| !pair.is_empty())
                    .flat_map(|pair| {
                        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                        [percent_decoded(key), percent_decoded(value)]
                    })
                    .collect(),
                must_report: scheme == "binary-v2",
            }),
            _ => Err(IoError::UnknownScheme(uri.to_owned())),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (hex, bytes[at]) {
            (Some(byte), _) => {
                decoded.push(byte);
                at += 2;
            }
            (None, b'+') => decoded.push(b' '),
            (None, byte) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What the shim keeps of a process's streams until the process is deleted.
#[derive(Default)]
pub(crate) struct Streams {
    input: Mutex<Option<Input>>,
    /// Read ends of the output FIFOs.
    output_holds: Mutex<Vec<OwnedFd>>,
    logger: Mutex<Option<LogProcess>>,
    console: Mutex<Option<Console>>,
}

/// Container ends of stdout and stderr.
struct Outputs {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    /// Opens the streams of a process without a terminal: what to give it, and what to keep.
    pub(crate) async fn open(
        paths: &StdioPaths,
        owner: &Owner,
        reaper: &Reaper,
    ) -> Result<(Stdio3, Self), IoError> {
        let kept = Self::default();
        let outputs = kept.outputs(paths, owner, reaper).await?;
        let stdin = kept.stdin(&paths.stdin)?;
        // The container's end of each, before it is handed over.
        for stream in [&stdin, &outputs.stdout, &outputs.stderr] {
            give_to(stream.as_ref(), owner)?;
        }
        let stdio = |stream: Option<OwnedFd>| match stream {
            Some(stream) => Ok(Stdio::from(stream)),
            None => null_stream(),
        };
        let streams = Stdio3 {
            stdin: stdio(stdin)?,
            stdout: stdio(outputs.stdout)?,
            stderr: stdio(outputs.stderr)?,
        };
        Ok((streams, kept))
    }

    /// Takes the pty's master from `socket` and begins to copy between it and the client's streams.
    pub(crate) async fn open_console(
        paths: &StdioPaths,
        owner: &Owner,
        reaper: &Reaper,
        socket: ConsoleSocket,
    ) -> Result<Self, IoError> {
        let kept = Self::default();
        let master = socket.receive()?;
        let output = kept.outputs(paths, owner, reaper).await?.stdout;
        let console = Console::copy(master, output)?;
        if !paths.stdin.is_empty() {
            let input = Input::new(&paths.stdin, Sink::Console(console.master()));
            *lock(&kept.input) = Some(input);
        }
        *lock(&kept.console) = Some(console);
        Ok(kept)
    }

    async fn outputs(
        &self,
        paths: &StdioPaths,
        owner: &Owner,
        reaper: &Reaper,
    ) -> Result<Outputs, IoError> {
        match Target::parse(&paths.stdout)? {
            Target::File(path) => {
                let file = append_to(&path)?;
                let again = file
                    .try_clone()
                    .map_err(failed("duplicate", &paths.stdout))?;
                Ok(Outputs {
                    stdout: Some(file.into()),
                    stderr: Some(again.into()),
                })
            }
            Target::Logger {
                program,
                arguments,
                must_report,
            } => {
                let (process, outputs) =
                    LogProcess::spawn(&program, &arguments, must_report, owner, reaper).await?;
                *lock(&self.logger) = Some(process);
                Ok(outputs)
            }
            stdout => Ok(Outputs {
                stdout: self.output(stdout).await?,
                stderr: if paths.terminal {
                    None
                } else {
                    self.output(Target::parse(&paths.stderr)?).await?
                },
            }),
        }
    }

    async fn output(&self, target: Target) -> Result<Option<OwnedFd>, IoError> {
        match target {
            Target::Null => Ok(None),
            Target::File(path) => Ok(Some(append_to(&path)?.into())),
            Target::Fifo(path) => {
                let (write_end, hold) = fifo::open_output(&path).await?;
                lock(&self.output_holds).push(hold);
                Ok(Some(write_end))
            }
            Target::Logger { program, .. } => {
                Err(IoError::UnknownScheme(program.display().to_string()))
            }
        }
    }

    fn stdin(&self, path: &str) -> Result<Option<OwnedFd>, IoError> {
        if path.is_empty() {
            return Ok(None);
        }
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| failed("make a pipe for", path)(errno.into()))?;
        *lock(&self.input) = Some(Input::new(path, Sink::Pipe(write_end)));
        Ok(Some(read_end))
    }

    /// The process runs: its client's input may flow.
    pub(crate) fn start_input(&self) -> Result<(), IoError> {
        match &mut *lock(&self.input) {
            Some(input) => input.start(),
            None => Ok(()),
        }
    }

    /// Lets the process see EOF on stdin once the client has closed its end too.
    pub(crate) fn close_stdin(&self) {
        if let Some(input) = &mut *lock(&self.input) {
            input.close();
        }
    }

    /// Sets the size of the terminal; nothing without one.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), IoError> {
        match &*lock(&self.console) {
            Some(console) => console
                .resize(columns, rows)
                .map_err(failed("resize", "the terminal")),
            None => Ok(()),
        }
    }

    /// Waits, within bounds, until all output has reached its reader; then lets go of everything.
    pub(crate) async fn finish(&self) {
        let console = lock(&self.console).take();
        if let Some(console) = console {
            console.drained().await;
        }
        lock(&self.input).take();
        lock(&self.output_holds).clear();
        let logger = lock(&self.logger).take();
        if let Some(logger) = logger {
            logger.finish().await;
        }
    }
}

fn append_to(path: &Path) -> Result<File, IoError> {
    let shown = path.display().to_string();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed("create the directory of", &shown))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed("open", shown))
}

/// Makes the container's user the owner of a stream, so that it can open `/dev/stdout` again.
fn give_to(stream: Option<&OwnedFd>, owner: &Owner) -> Result<(), IoError> {
    match stream {
        Some(fd) if (owner.uid, owner.gid) != (0, 0) => rustix::fs::fchown(
            fd.as_fd(),
            Some(Uid::from_raw(owner.uid)),
            Some(Gid::from_raw(owner.gid)),
        )
        .map_err(|errno| failed("change the owner of", "a stream")(errno.into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_apart() {
        assert_eq!(Target::parse("").unwrap(), Target::Null);
        assert_eq!(
            Target::parse("/run/f").unwrap(),
            Target::Fifo("/run/f".into())
        );
        assert_eq!(
            Target::parse("file:///l").unwrap(),
            Target::File("/l".into())
        );
        assert_eq!(
            Target::parse("binary:///bin/log%20ger?dir=/a+b&x").unwrap(),
            Target::Logger {
                program: "/bin/log ger".into(),
                arguments: vec!["dir".into(), "/a b".into(), "x".into(), String::new()],
                must_report: false,
            }
        );
        assert!(matches!(
            Target::parse("http://x"),
            Err(IoError::UnknownScheme(uri)) if uri == "http://x"
        ));
    }

    #[test]
    fn broken_percent_signs_stay_as_they_are() {
        assert_eq!(percent_decoded("%"), "%");
        assert_eq!(percent_decoded("%zz%41"), "%zzA");
        assert_eq!(percent_decoded("é%"), "é%");
    }
}
