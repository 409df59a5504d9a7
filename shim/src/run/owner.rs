//! The one task that owns a run from its creation to its record.
//!
//! ```text
//!            ┌────────── Resume / Stop ──────────┐
//!            ▼                                   │
//!  Created ─started─► Running ─Pause─► Freezing ─► Paused
//!     │                  │ deadline, grace over     │ pause limit
//!     └──── Stop ────────┴───────────► kill ◄───────┘
//!                                       │
//!  init ends ─► kill the rest ─► empty ─► pipes drained ─► figures ─► exit.json ─► end
//! ```
//!
//! Decisions:
//! - Stop on a paused job sends the signal first and thaws then: the signal is the first thing the job sees, and the
//!   grace is its own time. The pause ends.
//! - While a stop is under way the job cannot be paused: its grace must not be spent frozen.
//! - The first reason to kill stays: a deadline in the grace period of a stop is still a stop.
//! - Kill is cgroup.kill, which reaches frozen, stopped and forking processes alike.

use std::sync::Arc;
use std::time::Duration;

use davit_cgroup::{Events, Watch};
use davit_rundir::{ControlError, ControlErrorCode, KillReason, Stamp, StateRecord};
use davit_types::{Usage, limits};
use tokio::sync::{mpsc, oneshot};

use super::books::Books;
use super::capture::Capture;
use super::timer::BootTimer;
use super::traffic::NetworkNamespace;
use super::{Shared, refused};
use crate::cgroup::{AsyncWatch, ContainerCgroup};
use crate::error::chain;
use crate::lock;
use crate::reaper::{Exit, ProcessHandle, Reaper};
use crate::runtime::Runtime;

/// How long freezing may take; a process in an uninterruptible sleep delays it.
const FREEZE_MS_MAX: u64 = 10_000;

/// How long thawing is waited for; the kernel does it at once.
const THAW_MS_MAX: u64 = 250;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<StateRecord, ControlError>>;

/// What the owner can be asked.
pub(crate) enum Command {
    Pause(Reply),
    Resume(Reply),
    Stop {
        signal: Option<i32>,
        grace_ms: u64,
        reply: Reply,
    },
    Extend {
        timeout_ms: u64,
        reply: Reply,
    },
}

/// How a signal reaches the job.
pub(crate) enum Signaller {
    /// It is a process of this kernel.
    Pidfd,
    /// The OCI runtime has a kernel of its own.
    Runtime {
        runtime: Runtime,
        reaper: Reaper,
        id: String,
    },
}

/// A freeze under way.
pub(super) struct Freezing {
    watch: AsyncWatch<Watch<Events>>,
    pub(super) waiters: Vec<Reply>,
}

/// See the module.
pub(crate) struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) cgroup: Arc<ContainerCgroup>,
    pub(super) used_before: Usage,
    pub(super) capture: Capture,
    pub(super) init: ProcessHandle,
    pub(super) signaller: Signaller,
    pub(super) timer: BootTimer,
    pub(super) freezing: Option<Freezing>,
    pub(super) namespace: Option<NetworkNamespace>,
}

pub(super) fn answer(reply: Reply, result: Result<StateRecord, ControlError>) {
    if reply.send(result).is_err() {
        log::debug!("nobody waits for the answer any more");
    }
}

impl Owner {
    pub(super) fn new(
        shared: Arc<Shared>,
        cgroup: Arc<ContainerCgroup>,
        used_before: Usage,
        capture: Capture,
        init: ProcessHandle,
        signaller: Signaller,
    ) -> std::io::Result<Self> {
        Ok(Self {
            shared,
            cgroup,
            used_before,
            capture,
            init,
            signaller,
            timer: BootTimer::new()?,
            freezing: None,
            namespace: None,
        })
    }

    /// Holds the run until `exit` says that the init has ended, then records the end.
    pub(super) async fn run(
        mut self,
        mut exit: oneshot::Receiver<Exit>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        loop {
            let due = self.books(|books| books.next_due());
            if let Err(error) = self.timer.set(due.map(|(at, _)| at)) {
                log::error!("cannot set the deadline timer: {error}");
            }
            tokio::select! {
                biased;
                exit = &mut exit => {
                    match exit {
                        Ok(exit) => self.finish(exit).await,
                        Err(_closed) => log::error!("the init is no longer watched"),
                    }
                    return;
                }
                () = self.timer.fired() => self.on_time(),
                () = frozen_changed(&mut self.freezing) => self.on_frozen(),
                Some(command) = commands.recv() => self.on_command(command).await,
                () = self.shared.changed.notified() => {}
            }
        }
    }

    /// Reads or changes the books.
    fn books<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = lock(&self.shared.books);
        // Set before the owner is made, never taken away.
        look(books.as_mut().expect("an owned run has books"))
    }

    /// Changes the books and writes them down.
    fn change(&self, change: impl FnOnce(&mut Books)) -> StateRecord {
        let record = self.books(|books| {
            change(books);
            books.record.clone()
        });
        self.shared.save(&record);
        record
    }

    fn on_time(&mut self) {
        let now = Stamp::now();
        let Some((_, due)) = self
            .books(|books| books.next_due())
            .filter(|(at, _)| *at <= now.boot_ns)
        else {
            return;
        };
        match due.kill_reason() {
            Some(reason) => {
                log::info!("{due:?}: killing the job");
                self.kill(reason);
            }
            None => self.give_up_freezing("the job did not freeze in time"),
        }
    }

    /// Kills everything; why is readable in state.json first.
    fn kill(&mut self, reason: KillReason) {
        if self.books(|books| books.record.kill.is_none()) {
            self.change(|books| books.record.kill = Some(reason));
        }
        if let Err(error) = self.cgroup.kill() {
            log::error!("{}; killing the init alone", chain(&error));
            if let Err(errno) = self.init.signal(libc::SIGKILL) {
                log::error!("cannot kill the init: {errno}");
            }
        }
        self.books(|books| books.kill_sent = true);
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Pause(reply) => self.on_pause(reply),
            Command::Resume(reply) => {
                let result = self.on_resume().await;
                answer(reply, result);
            }
            Command::Stop {
                signal,
                grace_ms,
                reply,
            } => {
                let result = self.on_stop(signal, grace_ms).await;
                answer(reply, result);
            }
            Command::Extend { timeout_ms, reply } => {
                let result = self.on_extend(timeout_ms);
                answer(reply, result);
            }
        }
    }

    fn on_pause(&mut self, reply: Reply) {
        if let Some(freezing) = &mut self.freezing {
            freezing.waiters.push(reply);
            return;
        }
        let books = self.books(|books| books.clone());
        let refusal = if books.record.is_paused() {
            return answer(reply, Ok(books.record));
        } else if books.record.started.is_none() {
            Some((ControlErrorCode::NotRunning, "the job has not started yet"))
        } else if books.record.kill.is_some() {
            Some((ControlErrorCode::NotRunning, "the job is being stopped"))
        } else if !books.may_pause() {
            Some((ControlErrorCode::OutOfRange, "the job was paused too often"))
        } else {
            None
        };
        if let Some((code, why)) = refusal {
            return answer(reply, Err(refused(code, why)));
        }
        let watch = match self
            .cgroup
            .inner()
            .freeze()
            .and_then(|()| self.cgroup.events())
        {
            Ok(watch) => watch,
            Err(error) => {
                return answer(
                    reply,
                    Err(refused(ControlErrorCode::Failed, &chain(&error))),
                );
            }
        };
        self.freezing = Some(Freezing {
            watch,
            waiters: vec![reply],
        });
        let due = Stamp::now().boot_ns + FREEZE_MS_MAX * 1_000_000;
        self.books(|books| books.freeze_due_ns = Some(due));
        // It may be frozen already: then nothing will change any more.
        self.on_frozen();
    }

    fn on_frozen(&mut self) {
        let Some(freezing) = &mut self.freezing else {
            return;
        };
        match freezing.watch.read() {
            Ok(events) if events.frozen => {}
            Ok(_) => return,
            Err(error) => {
                let why = chain(&error);
                return self.give_up_freezing(&why);
            }
        }
        let waiters = self.freezing.take().map_or(Vec::new(), |f| f.waiters);
        let record = self.change(|books| books.paused(Stamp::now()));
        for reply in waiters {
            answer(reply, Ok(record.clone()));
        }
    }

    fn give_up_freezing(&mut self, why: &str) {
        self.books(|books| books.freeze_due_ns = None);
        let Some(freezing) = self.freezing.take() else {
            return;
        };
        if let Err(error) = self.cgroup.inner().thaw() {
            log::error!("{}", chain(&error));
        }
        for reply in freezing.waiters {
            answer(reply, Err(refused(ControlErrorCode::Failed, why)));
        }
    }

    async fn on_resume(&mut self) -> Result<StateRecord, ControlError> {
        if self.freezing.is_some() {
            self.give_up_freezing("the job was resumed meanwhile");
        }
        let record = self.books(|books| books.record.clone());
        if record.started.is_none() {
            let why = "the job has not started yet";
            return Err(refused(ControlErrorCode::NotRunning, why));
        }
        if !record.is_paused() {
            return Ok(record);
        }
        self.cgroup
            .inner()
            .thaw()
            .map_err(|error| refused(ControlErrorCode::Failed, &chain(&error)))?;
        let record = self.change(|books| books.resumed(Stamp::now()));
        let bound = Duration::from_millis(THAW_MS_MAX);
        if !self.cgroup.wait_for(bound, |events| !events.frozen).await {
            log::warn!("the cgroup still says frozen after {THAW_MS_MAX} ms");
        }
        Ok(record)
    }

    async fn on_stop(
        &mut self,
        signal: Option<i32>,
        grace_ms: u64,
    ) -> Result<StateRecord, ControlError> {
        let signal = signal.unwrap_or(self.shared.launch.stop_signal.number());
        if !(1..=64).contains(&signal) {
            let why = format!("signal {signal} is not within 1…64");
            return Err(refused(ControlErrorCode::OutOfRange, &why));
        }
        if grace_ms > limits::STOP_GRACE_MS_MAX {
            let why = format!(
                "grace_ms {grace_ms} is more than {}",
                limits::STOP_GRACE_MS_MAX
            );
            return Err(refused(ControlErrorCode::OutOfRange, &why));
        }
        let started = self.books(|books| books.record.started.is_some());
        if grace_ms == 0 || !started {
            // A job that never ran has nothing to clean up.
            self.kill(KillReason::Canceled);
            return Ok(self.books(|books| books.record.clone()));
        }
        let due = Stamp::now().boot_ns + grace_ms * 1_000_000;
        let record = self.change(|books| {
            books.record.kill.get_or_insert(KillReason::Canceled);
            // A second stop may shorten the grace, never lengthen it.
            books.grace_due_ns = Some(books.grace_due_ns.map_or(due, |old| old.min(due)));
        });
        self.signal(signal).await;
        if self.freezing.is_some() || record.is_paused() {
            return self.on_resume().await;
        }
        Ok(record)
    }

    async fn signal(&self, signal: i32) {
        match &self.signaller {
            Signaller::Pidfd => {
                if let Err(errno) = self.init.signal(signal) {
                    log::info!("signal {signal} to the init: {errno}");
                }
            }
            Signaller::Runtime {
                runtime,
                reaper,
                id,
            } => {
                if let Err(error) = runtime.kill(reaper, id, signal, false).await {
                    log::warn!("{}", chain(&error));
                }
            }
        }
    }

    fn on_extend(&mut self, timeout_ms: u64) -> Result<StateRecord, ControlError> {
        if !(1..=limits::TIMEOUT_SECONDS_MAX * 1000).contains(&timeout_ms) {
            let why = format!(
                "timeout_ms {timeout_ms} is not within 1…{}",
                limits::TIMEOUT_SECONDS_MAX * 1000
            );
            return Err(refused(ControlErrorCode::OutOfRange, &why));
        }
        if self.books(|books| books.record.kill.is_some()) {
            let why = "the job is being stopped";
            return Err(refused(ControlErrorCode::NotRunning, why));
        }
        if !self.books(|books| books.extend(timeout_ms, Stamp::now())) {
            let why = format!("the job has run for {timeout_ms} ms already");
            return Err(refused(ControlErrorCode::OutOfRange, &why));
        }
        Ok(self.change(|_| {}))
    }
}

async fn frozen_changed(freezing: &mut Option<Freezing>) {
    match freezing {
        Some(freezing) => freezing.watch.changed().await,
        None => std::future::pending().await,
    }
}
