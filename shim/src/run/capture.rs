//! The job's output: from its pipes into the log, byte for byte.
//!
//! ```text
//!  job ─stdout─► pipe ─► pump ─┐ Redactor, if there are secrets, and LineSplitter each
//!  job ─stderr─► pipe ─► pump ─┴─► Sink: one read, one batch, one write ─► log.NNN
//! ```
//!
//! Invariants:
//! - what was read is readable in the log before the next read; a line is never kept back, a prompt without
//!   newline for at most [`PROMPT_MS_MAX`];
//! - nothing is ever queued: a job that writes faster than the disk waits in its own write(2);
//! - with secrets nothing but what may yet become one waits longer, and none is ever logged;
//! - a full disk stops the log, not the job: pipes are drained, what is lost is counted by the log.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use davit_rundir::log::{LineSplitter, LogError, LogWriter, Stream};
use davit_rundir::{LogTotals, RunDir, Stamp};
use davit_types::IdRange;
use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::consoles::Taps;
use crate::error::chain;
use crate::io::null;
use crate::lock;
use crate::polled::polled;
use crate::runtime::Stdio3;
use crate::secrets::{Patterns, Redactor};

/// Bytes read at once: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// Bytes of stderr quoted when a container cannot be made.
const SAID_BYTES_MAX: usize = 512;

/// How long an unfinished line waits for its end before it is logged as partial.
const PROMPT_MS_MAX: u64 = 200;

/// How long the pipes may stay open after the last process of the cgroup has gone: only somebody outside
/// who was handed the pipe can hold it.
const DRAIN_SECONDS_MAX: u64 = 5;

/// The log and the one buffer, shared by both streams: the shim has one thread.
struct Sink {
    log: LogWriter,
    buffer: Vec<u8>,
    /// Who looks on.
    taps: Arc<Taps>,
    /// What it is without secrets, where there are any.
    redacted: Vec<u8>,
    /// The last write failed: said once, not at every line.
    failing: bool,
}

impl Sink {
    /// Tells about the first error of a row, and about its end.
    fn note(&mut self, result: Result<(), LogError>) {
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                log::info!("log: writing works again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                log::error!("log: {}; output is dropped and counted", chain(&error));
            }
            _ => {}
        }
    }
}

/// The read ends of a job that has not been created yet, or whose output is being logged.
pub(crate) struct Capture {
    sink: Arc<Mutex<Sink>>,
    pipes: Vec<(Stream, OwnedFd)>,
    secrets: Option<Arc<Patterns>>,
    pumps: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// Why output cannot be captured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error("cannot make a pipe")]
    Pipe(#[source] Errno),
    #[error("cannot make a null device")]
    Null(#[source] Errno),
    #[error("cannot make empty streams")]
    Streams(#[source] crate::io::IoError),
    #[error("cannot begin the log")]
    Log(#[from] LogError),
    #[error("cannot watch a pipe")]
    Watch(#[source] std::io::Error),
}

/// The read ends of a job that has no log yet.
pub(crate) struct Pipes {
    all: Vec<(Stream, OwnedFd)>,
}

impl Pipes {
    /// Makes both; returns the job's ends of the streams as well (stdin is empty). With a user namespace they belong to
    /// its root, `ids.first`: nobody else could open `/dev/stdout` again, nor could the runtime give them to its user.
    pub(crate) fn make(ids: Option<IdRange>) -> Result<(Self, Stdio3), CaptureError> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(CaptureError::Pipe);
        let (stdout, job_stdout) = pipe()?;
        let (stderr, job_stderr) = pipe()?;
        for end in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(end, true).map_err(CaptureError::Pipe)?;
            if let Some(IdRange { first, .. }) = ids {
                let (user, group) = (Uid::from_raw(first), Gid::from_raw(first));
                rustix::fs::fchown(end, Some(user), Some(group)).map_err(CaptureError::Pipe)?;
            }
        }
        let stdio = Stdio3 {
            stdin: null().map_err(CaptureError::Null)?.into(),
            stdout: Stdio::from(job_stdout),
            stderr: Stdio::from(job_stderr),
        };
        let all = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
        Ok((Self { all }, stdio))
    }

    /// Of a job with a terminal, whose output comes from there once it is there.
    pub(crate) const fn none() -> Self {
        Self { all: Vec::new() }
    }

    /// What was written to stderr by now, as far as it is of use in a message.
    pub(crate) fn said(&self) -> String {
        let mut bytes = [0; SAID_BYTES_MAX];
        let stderr = self
            .all
            .iter()
            .find(|(stream, _)| *stream == Stream::Stderr);
        let read = stderr.map(|(_, pipe)| rustix::io::read(pipe, &mut bytes));
        let count = read.and_then(Result::ok).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
    }
}

impl Capture {
    /// Begins the log of what will come through `pipes`, without `secrets`.
    pub(crate) fn begin(
        dir: &RunDir,
        log_bytes_max: u64,
        pipes: Pipes,
        secrets: Option<Arc<Patterns>>,
        taps: Arc<Taps>,
    ) -> Result<Self, CaptureError> {
        Ok(Self {
            sink: Arc::new(Mutex::new(Sink {
                log: LogWriter::create(dir, log_bytes_max)?,
                buffer: Vec::new(),
                taps,
                redacted: Vec::new(),
                failing: false,
            })),
            pipes: pipes.all,
            secrets,
            pumps: Vec::new(),
            stop: watch::Sender::new(false),
        })
    }

    /// The job's terminal is there: all its output comes from it.
    pub(crate) fn read_terminal(&mut self, master: OwnedFd) -> Result<(), CaptureError> {
        rustix::io::ioctl_fionbio(&master, true).map_err(CaptureError::Pipe)?;
        self.pipes.push((Stream::Stdout, master));
        Ok(())
    }

    /// Begins to read.
    pub(crate) fn start(&mut self) -> Result<(), CaptureError> {
        for (stream, pipe) in self.pipes.drain(..) {
            let pump = Pump {
                pipe: polled(pipe).map_err(CaptureError::Watch)?,
                lines: Lines {
                    stream,
                    splitter: LineSplitter::new(),
                    redactor: self.secrets.clone().map(Redactor::new),
                    sink: self.sink.clone(),
                },
            };
            self.pumps
                .push(tokio::spawn(pump.run(self.stop.subscribe())));
        }
        Ok(())
    }

    /// Reads to the end of both streams, within bounds, and makes the log durable.
    pub(crate) async fn finish(mut self) -> LogTotals {
        let bound = Duration::from_secs(DRAIN_SECONDS_MAX);
        let deadline = tokio::time::Instant::now() + bound;
        for pump in &mut self.pumps {
            if tokio::time::timeout_at(deadline, &mut *pump).await.is_err() {
                log::warn!("a pipe is still held open {DRAIN_SECONDS_MAX} s after the end");
                // Only now: a stop before would lose what is still in the pipe.
                self.stop.send_replace(true);
                if let Err(error) = pump.await {
                    log::error!("log pump: {error}");
                }
            }
        }
        let mut sink = lock(&self.sink);
        sink.taps.end();
        let synced = sink.log.sync();
        sink.note(synced);
        sink.log.totals()
    }
}

/// One stream: its pipe and what is known of its last line.
struct Pump {
    pipe: AsyncFd<OwnedFd>,
    lines: Lines,
}

struct Lines {
    stream: Stream,
    splitter: LineSplitter,
    redactor: Option<Redactor>,
    sink: Arc<Mutex<Sink>>,
}

/// What one read brought.
#[derive(PartialEq, Eq)]
enum Got {
    Bytes,
    Nothing,
    End,
}

impl Pump {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let unfinished = self.lines.splitter.pending_bytes() > 0;
            let got = tokio::select! {
                ready = self.pipe.readable() => match ready {
                    Ok(mut ready) => {
                        let got = self.lines.read_from(ready.get_inner());
                        if got == Got::Nothing {
                            ready.clear_ready();
                        }
                        got
                    }
                    Err(error) => {
                        log::error!("log pump: {error}");
                        break;
                    }
                },
                () = tokio::time::sleep(Duration::from_millis(PROMPT_MS_MAX)), if unfinished => {
                    self.lines.log_prompt();
                    Got::Nothing
                }
                // An error means that the sender is gone, and with it everybody who wants this output.
                _stopped = stop.wait_for(|stop| *stop) => break,
            };
            match got {
                Got::End => break,
                Got::Nothing => {}
                // Let deadlines and requests in between, however fast the job writes.
                Got::Bytes => tokio::task::yield_now().await,
            }
        }
        self.lines.finish();
    }
}

impl Lines {
    fn read_from(&mut self, pipe: &OwnedFd) -> Got {
        let mut sink = lock(&self.sink);
        let sink = &mut *sink;
        // Not zeroed first: a quiet job's few bytes should not cost sixteen pages.
        sink.buffer.clear();
        sink.buffer.reserve_exact(READ_BYTES);
        match rustix::io::read(pipe, spare_capacity(&mut sink.buffer)) {
            Ok(0) => return Got::End,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Got::Nothing,
            // A terminal that nobody has open any more, and nothing that was written to it is left.
            Err(Errno::IO) => return Got::End,
            Err(errno) => {
                log::error!("cannot read the job's {}: {errno}", self.stream.as_str());
                return Got::End;
            }
        };
        let Sink {
            log,
            buffer,
            redacted,
            taps,
            ..
        } = sink;
        let bytes = match &mut self.redactor {
            Some(redactor) => {
                redacted.clear();
                redactor.push(buffer, redacted);
                redacted
            }
            None => buffer,
        };
        taps.give(self.stream, bytes);
        let unix_ns = Stamp::now().unix_ns;
        let mut failed = None;
        let stream = self.stream;
        self.splitter.push(bytes, |line, newline, partial| {
            if let Err(error) = log.append(stream, line, newline, partial, unix_ns) {
                failed.get_or_insert(error);
            }
        });
        let flushed = match failed {
            Some(error) => Err(error),
            None => log.flush(),
        };
        sink.note(flushed);
        Got::Bytes
    }

    fn log_prompt(&mut self) {
        let mut sink = lock(&self.sink);
        let mut result = Ok(None);
        let (log, stream) = (&mut sink.log, self.stream);
        self.splitter.flush(|line, newline, partial| {
            result = log.append(stream, line, newline, partial, Stamp::now().unix_ns);
        });
        let flushed = result.and_then(|_id| sink.log.flush());
        sink.note(flushed);
    }

    fn finish(mut self) {
        let mut sink = lock(&self.sink);
        let (mut result, mut rest) = (Ok(None), Vec::new());
        if let Some(redactor) = &mut self.redactor {
            redactor.finish(&mut rest);
        }
        sink.taps.give(self.stream, &rest);
        let (log, stream) = (&mut sink.log, self.stream);
        let mut append = |line: &[u8], newline, partial| {
            let appended = log.append(stream, line, newline, partial, Stamp::now().unix_ns);
            if result.is_ok() {
                result = appended;
            }
        };
        self.splitter.push(&rest, &mut append);
        self.splitter.finish(append);
        let flushed = result.and_then(|_id| sink.log.flush());
        sink.note(flushed);
    }
}
