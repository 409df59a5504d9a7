//! The console of a process that it has begun, and that ends with it.
//!
//! ```text
//!  client ─► Input, 64 KiB ─► pipe ─► process ─► pipes ─► one frame ─► client
//!     gone ──────────────► cgroup.kill ─► process ended ─► rest of its cgroup killed ─► ended
//! ```
//!
//! Nothing is dropped and nothing queued: a client that does not read lets the process wait in its own write(2), and nobody
//! else.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ConsoleEnded, ConsoleFrame, ConsoleReason};
use davit_types::ExitStatus;
use tokio::time::Instant;

use super::streams::{Input, Outputs, Polled, resize};
use super::wire::{FramesIn, FramesOut};
use crate::cgroup::ContainerCgroup;
use crate::error::chain;
use crate::reaper::{Child, ChildError, Exit, ProcessHandle};
use crate::run::Run;

/// How long a client may take to read what is left when the process has ended, seconds.
const DRAIN_SECONDS_MAX: u64 = 30;
/// How long after a process that was killed its run's end is waited for, which may be why, milliseconds.
const RUN_END_MS_MAX: u64 = 250;

/// A process that was begun for a console.
pub(crate) struct Begun {
    pub(crate) child: Child,
    /// The write end of what it reads.
    pub(crate) input: Option<Polled>,
    pub(crate) outputs: Outputs,
    /// The shim's side of its terminal.
    pub(crate) terminal: Option<Polled>,
    /// Its own, below the run's.
    pub(crate) cgroup: Arc<ContainerCgroup>,
    /// Says that it has ended.
    pub(crate) over: Over,
}

/// Tells the container, when dropped, that an exec has ended.
pub(crate) struct Over(Option<Box<dyn FnOnce() + Send>>);

impl Over {
    pub(crate) fn new(tell: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell();
        }
    }
}

/// How a turn of the loop leaves the client.
enum Client {
    There,
    Gone,
    /// It said what it may not.
    Wrong(&'static str),
}

/// Until the process has ended and all of it is told.
pub(super) async fn serve(run: &Run, mut from: FramesIn, mut to: FramesOut, begun: Begun) {
    let Begun {
        child,
        input,
        outputs,
        terminal,
        cgroup,
        over,
    } = begun;
    let session = Session {
        handle: child.handle.clone(),
        input: Input::new(input),
        outputs,
        terminal,
    };
    let mut waiting = Box::pin(async move {
        let exit = child.wait().await;
        drop(over);
        exit
    });
    let opened = ConsoleFrame::Opened {
        tty: session.terminal.is_some(),
    };
    let told = match pushed(&mut to, &opened) {
        Client::There => session.run(&mut from, &mut to, &mut waiting, &cgroup).await,
        Client::Gone | Client::Wrong(_) => Told::Nobody { ended: false },
    };
    let ended = match told {
        Told::Ended(Some(exit), wrong) => ended(run, exit, wrong).await,
        Told::Ended(None, _) => failed("the process's end is not known"),
        Told::Nobody { ended } => {
            kill(&cgroup);
            if !ended {
                drop(waiting.await);
            }
            return cgroup.remove().await;
        }
    };
    if to.push(&ConsoleFrame::Ended(ended)).is_ok() {
        let bound = Duration::from_secs(DRAIN_SECONDS_MAX);
        if tokio::time::timeout(bound, to.send_all()).await.is_err() {
            log::info!("the end of an exec was not read within {DRAIN_SECONDS_MAX} s");
        }
    }
    cgroup.remove().await;
}

struct Session {
    handle: ProcessHandle,
    input: Input,
    outputs: Outputs,
    terminal: Option<Polled>,
}

/// What is to be told in the end.
enum Told {
    /// How the process ended, if that is known, and what the client did wrong.
    Ended(Option<Exit>, Option<&'static str>),
    /// There is no client any more, and the process has ended or not.
    Nobody { ended: bool },
}

impl Session {
    async fn run(
        mut self,
        from: &mut FramesIn,
        to: &mut FramesOut,
        waiting: &mut (impl Future<Output = Result<Exit, ChildError>> + Unpin),
        cgroup: &ContainerCgroup,
    ) -> Told {
        let mut exit: Option<Option<Exit>> = None;
        let mut wrong = None;
        let mut due = Instant::now();
        loop {
            let drained = self.outputs.are_over() || Instant::now() >= due;
            if let Some(exit) = exit.filter(|_| drained && !to.has_unsent()) {
                return Told::Ended(exit, wrong);
            }
            let client = tokio::select! {
                frame = from.next() => match frame {
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => Client::Gone,
                    Err(error) => {
                        log::info!("console: {error}");
                        Client::Gone
                    }
                },
                taken = self.input.write_some(), if self.input.has_pending() => {
                    pushed(to, &ConsoleFrame::Taken(taken))
                }
                sent = to.send_some(), if to.has_unsent() => match sent {
                    Ok(()) => Client::There,
                    Err(_) => Client::Gone,
                },
                output = self.outputs.next(), if !to.has_unsent() && !self.outputs.are_over() => {
                    output.map_or(Client::There, |frame| pushed(to, &frame))
                }
                ended = &mut *waiting, if exit.is_none() => {
                    // What it has left behind has its streams, and nobody to read them.
                    kill(cgroup);
                    due = Instant::now() + Duration::from_secs(DRAIN_SECONDS_MAX);
                    exit = Some(known(ended));
                    Client::There
                }
                () = tokio::time::sleep_until(due), if exit.is_some() => {
                    if to.has_unsent() { Client::Gone } else { Client::There }
                }
            };
            match client {
                Client::There => {}
                Client::Gone => {
                    let ended = exit.is_some();
                    return Told::Nobody { ended };
                }
                Client::Wrong(what) => {
                    wrong.get_or_insert(what);
                    kill(cgroup);
                }
            }
        }
    }

    fn take(&mut self, frame: ConsoleFrame) -> Client {
        match frame {
            ConsoleFrame::Stdin(bytes) => {
                if !self.input.push(&bytes) {
                    return Client::Wrong("more input than it may send, or after its end");
                }
            }
            // There the client types it.
            ConsoleFrame::StdinEnd if self.terminal.is_some() => {}
            ConsoleFrame::StdinEnd => self.input.end(),
            ConsoleFrame::Window(window) => {
                if let Some(terminal) = &self.terminal {
                    resize(terminal, window);
                }
            }
            ConsoleFrame::Signal(signal) => {
                if let Err(errno) = self.handle.signal(signal.into()) {
                    log::debug!("signal {signal} to an exec: {errno}");
                }
            }
            _ => return Client::Wrong("a frame that is the shim's to send, or a second open"),
        }
        Client::There
    }
}

fn known(exit: Result<Exit, ChildError>) -> Option<Exit> {
    exit.inspect_err(|error| log::error!("exec: {}", chain(error)))
        .ok()
}

fn pushed(to: &mut FramesOut, frame: &ConsoleFrame) -> Client {
    match to.push(frame) {
        Ok(()) => Client::There,
        Err(error) => {
            log::error!("console: {error}");
            Client::Gone
        }
    }
}

fn kill(cgroup: &ContainerCgroup) {
    if let Err(error) = cgroup.kill() {
        log::warn!("{}", chain(&error));
    }
}

async fn ended(run: &Run, exit: Exit, wrong: Option<&'static str>) -> ConsoleEnded {
    let exit_code = Some(exit.status.shell_code());
    if let Some(wrong) = wrong {
        return ConsoleEnded {
            exit_code,
            ..failed(wrong)
        };
    }
    let killed = exit.status == ExitStatus::Signal(9);
    let bound = Duration::from_millis(RUN_END_MS_MAX);
    let with_run = killed && run.ends_within(bound).await;
    ConsoleEnded {
        exit_code,
        reason: if with_run {
            ConsoleReason::RunEnded
        } else {
            ConsoleReason::Exited
        },
        message: String::new(),
        dropped_bytes: 0,
    }
}

fn failed(why: &str) -> ConsoleEnded {
    ConsoleEnded {
        exit_code: None,
        reason: ConsoleReason::Error,
        message: why.to_owned(),
        dropped_bytes: 0,
    }
}
