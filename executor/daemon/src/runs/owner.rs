//! The owner of one run: the only task that changes its state.
//!
//! ```text
//!  handles ──commands──► ┌────────────────────────┐ ──watch──► views
//!  pull, prepare, start ─┤ happened → event       │
//!  vigil, control ───────┤ event → step (table)   ├─► end.json
//!  cleanup ──────────────┤ actions → spawned work │
//!                        └────────────────────────┘
//! ```
//!
//! What takes time runs in tasks of its own and reports back through one queue; the loop itself waits
//! only for the verdict to become durable, because nobody may hear of an end before that. All tasks
//! belong to the owner and go with it: when the executor goes down the job goes on in its shim.

mod closing;
mod collecting;
mod reports;

use std::sync::Arc;

use davit_lifecycle::{Action, Event, State, step};
use davit_rundir::{
    ControlRequest, EndRecord, ExitRecord, LaunchRecord, RunDir, SpecRecord, StateRecord,
};
use davit_types::Extracted;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use self::collecting::Collecting;
use super::handle::{COMMANDS_WAITING_MAX, Command, ControlOrder, StopOrder};
use super::host::Host;
use super::recovery::{LostHow, Recovery};
use super::vigil::{self, Outcome};
use super::{RunError, RunHandle, View, work};
use crate::files::collect::Progress;
use crate::files::intake::{Cancel, Upload};
use crate::images::{Credentials, PullProgress, ResolvedImage};
use crate::warm::Busy;
pub(super) use reports::Happened;

/// Reports of a run's own tasks waiting for its loop.
const HAPPENED_WAITING_MAX: usize = 16;

/// What an owner begins with.
pub(super) struct Begin {
    pub(super) dir: RunDir,
    pub(super) spec: Arc<SpecRecord>,
    pub(super) recovery: Recovery,
    /// What the shim said, of a run that is adopted.
    pub(super) shim: Option<StateRecord>,
    /// Its other records, of a run that was found.
    pub(super) launch: Option<LaunchRecord>,
    pub(super) exit: Option<ExitRecord>,
    pub(super) end: Option<EndRecord>,
    /// For the pull, kept nowhere else.
    pub(super) credentials: Option<Credentials>,
    /// The files it comes with, on their way.
    pub(super) files: Option<Upload>,
}

/// The owner itself; see the module.
pub(super) struct Owner {
    host: Arc<Host>,
    view: View,
    published: watch::Sender<View>,
    progress: watch::Sender<PullProgress>,
    commands: mpsc::Receiver<Command>,
    happened: mpsc::Receiver<Happened>,
    report: mpsc::Sender<Happened>,
    controls: mpsc::Sender<ControlOrder>,
    tasks: JoinSet<()>,
    pull: Option<AbortHandle>,
    recovery: Recovery,
    credentials: Option<Credentials>,
    files: Option<Upload>,
    /// Ends the upload of its files, if it has one.
    upload: Option<Cancel>,
    collecting: Option<Collecting>,
    collecting_progress: watch::Sender<Progress>,
    /// What was collected of its files, once that is done.
    collected: Option<Vec<Extracted>>,
    stop: StopOrder,
    /// Orders for a job on its way up: its first line may be read before its start is confirmed.
    held: Vec<ControlOrder>,
    /// Keeps the image from eviction until the container record does.
    image: Option<ResolvedImage>,
    exit: Option<Box<ExitRecord>>,
    failure: Option<String>,
    /// Whether its shim told of the exit: then its record is durable and its cgroup was empty.
    exit_told: bool,
    /// While it launches or cleans up, other work waits.
    busy: Option<Busy>,
}

impl Owner {
    /// An owner and the handle on it; it does nothing before [`Self::run`].
    pub(super) fn new(host: Arc<Host>, begin: Begin) -> (Self, RunHandle) {
        let mut view = View::accepted(begin.dir, begin.spec);
        view.shim = begin.shim.map(Arc::new);
        view.launched(begin.launch.as_ref());
        view.end = begin.end.map(Arc::new);
        // Not the exit of a launch that is thrown away.
        let exit = begin.exit.filter(|_| begin.recovery.event == Event::Exited);
        let (published, watched) = watch::channel(view.clone());
        let (progress, progress_watched) = watch::channel(PullProgress::default());
        let (collecting_progress, collecting) = watch::channel(Progress::default());
        let (commands, commands_received) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (report, happened) = mpsc::channel(HAPPENED_WAITING_MAX);
        let (controls, control_orders) = mpsc::channel(COMMANDS_WAITING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(work::control(
            view.dir.clone(),
            control_orders,
            report.clone(),
        ));
        let handle = RunHandle {
            run: view.run_id(),
            commands,
            view: watched,
            progress: progress_watched,
            collecting,
        };
        let owner = Self {
            host,
            view,
            published,
            progress,
            commands: commands_received,
            happened,
            report,
            controls,
            tasks,
            pull: None,
            recovery: begin.recovery,
            credentials: begin.credentials,
            upload: begin.files.as_ref().map(Upload::cancel),
            files: begin.files,
            collecting: None,
            collecting_progress,
            collected: None,
            stop: StopOrder::default(),
            held: Vec::new(),
            image: None,
            exit: exit.map(Box::new),
            failure: None,
            exit_told: false,
            busy: None,
        };
        (owner, handle)
    }

    /// Drives the run to its end; returns when nothing of it is left but the directory.
    pub(super) async fn run(&mut self) {
        self.begin().await;
        while self.view.state != State::Ended {
            tokio::select! {
                Some(happened) = self.happened.recv() => self.note(happened).await,
                Some(command) = self.commands.recv() => self.obey(command).await,
            }
        }
    }

    async fn begin(&mut self) {
        if self.recovery.lost != Some(LostHow::ShimGone) {
            return self.apply(self.recovery.event).await;
        }
        // Nothing may run on unwatched behind a verdict that says it is lost.
        let name = self.view.container_name();
        match vigil::forsaken(&self.host, &self.view.dir.clone(), &name).await {
            Outcome::Exited(exit) => self.note(Happened::Exited(exit)).await,
            Outcome::Found(exit) => self.note(Happened::FoundExit(exit)).await,
            Outcome::Lost(how) => self.note(Happened::Lost(how)).await,
        }
    }

    async fn obey(&mut self, command: Command) {
        if let (Some(upload), Command::Stop(_) | Command::Cancel) = (&self.upload, &command) {
            upload.cancel();
        }
        match command {
            Command::Stop(order) => {
                self.stop = order;
                self.apply(Event::StopRequested).await;
            }
            Command::Cancel => {
                // Should the job only now be on its way up, it is stopped with no grace at all.
                self.stop = StopOrder {
                    signal: self.stop.signal,
                    grace_ms: 0,
                };
                self.apply(Event::CancelRequested).await;
            }
            Command::Control(order) => self.pass_on(order),
        }
    }

    /// To the one task that asks the shim, in order.
    fn pass_on(&mut self, order: ControlOrder) {
        let operation = order.kind.operation();
        let run = self.view.run_id();
        let busy = RunError::Busy { operation, run };
        let (order, error) = match self.view.state {
            State::Running | State::Paused => match self.controls.try_send(order) {
                Ok(()) => return,
                Err(error) => (error.into_inner(), busy),
            },
            State::Starting if self.held.len() < COMMANDS_WAITING_MAX => {
                return self.held.push(order);
            }
            State::Starting => (order, busy),
            state => {
                let phase = state.phase();
                let wrong = RunError::WrongPhase {
                    operation,
                    run,
                    phase,
                };
                (order, wrong)
            }
        };
        // Nobody may wait for the answer any more.
        drop(order.done.send(Err(error)));
    }

    async fn apply(&mut self, event: Event) {
        if self.waits_for_files(event) {
            return;
        }
        let row = step(self.view.state, event);
        if row.next != self.view.state || !row.actions.is_empty() {
            tracing::debug!(key = %self.view.dir.key(), from = %self.view.state, ?event, to = %row.next);
        }
        self.view.state = row.next;
        self.note_busy();
        for action in row.actions {
            self.act(*action).await;
        }
        if self.view.state != State::Starting {
            for order in std::mem::take(&mut self.held) {
                self.pass_on(order);
            }
        }
    }

    fn note_busy(&mut self) {
        let busy = match self.view.state {
            State::Running | State::Paused | State::Stopping | State::Ended => false,
            State::Accepted
            | State::Pulling
            | State::Preparing
            | State::Unpreparing
            | State::Starting
            | State::Unstarting
            | State::Closing => true,
        };
        if busy != self.busy.is_some() {
            self.busy = busy.then(|| self.host.warm.busy());
        }
    }

    async fn act(&mut self, action: Action) {
        let dir = self.view.dir.clone();
        let host = Arc::clone(&self.host);
        let report = self.report.clone();
        match action {
            Action::Pull => {
                self.view.timings.begun = Some(davit_rundir::Stamp::now());
                self.pull();
            }
            Action::AbortPull => {
                if let Some(pull) = self.pull.take() {
                    pull.abort();
                }
            }
            Action::Prepare => self.prepare(),
            Action::Watch => {
                let name = self.view.container_name();
                self.tasks.spawn(work::watch(host, dir, name, report));
            }
            Action::Start => {
                let name = self.view.container_name();
                self.tasks.spawn(work::start(host, dir, name, report));
            }
            Action::SignalStop => {
                let signal = self.stop.signal.map(|signal| signal.number());
                let grace_ms = self.stop.grace_ms;
                let request = ControlRequest::Stop { signal, grace_ms };
                self.tasks.spawn(work::order(dir, request));
            }
            Action::Kill => {
                self.tasks.spawn(work::order(dir, ControlRequest::Cancel));
            }
            Action::RecordEnd(verdict) => self.record_end(verdict).await,
            Action::Publish => self.publish(),
            Action::Cleanup => {
                let name = self.view.container_name();
                self.tasks
                    .spawn(work::clean(host, name, self.exit_told, report));
            }
        }
    }

    fn pull(&mut self) {
        let work = work::Pull {
            host: Arc::clone(&self.host),
            dir: self.view.dir.clone(),
            spec: Arc::clone(&self.view.spec),
            clear_first: self.recovery.clear,
            credentials: self.credentials.take(),
            progress: self.progress.clone(),
        };
        self.pull = Some(self.tasks.spawn(work.run(self.report.clone())));
    }

    fn prepare(&mut self) {
        self.pull = None;
        if let Some(files) = self.fetched() {
            self.upload = Some(files.cancel());
            self.files = Some(files);
        }
        let image = self.image.clone();
        let image =
            image.expect("the table prepares only after ImageReady, which brings the image");
        let work = work::Prepare {
            host: Arc::clone(&self.host),
            dir: self.view.dir.clone(),
            spec: Arc::clone(&self.view.spec),
            image,
            anew: self.recovery.clear,
            files: self.files.take(),
        };
        self.tasks.spawn(work.run(self.report.clone()));
    }

    /// The files of a scheduler's run, on their way from there.
    fn fetched(&self) -> Option<Upload> {
        let scheduled = self.view.spec.scheduled.as_ref()?;
        let files = scheduled.files.clone()?;
        Some(self.host.fetches.begin(self.view.dir.key(), files))
    }

    fn publish(&self) {
        self.published.send_replace(self.view.clone());
    }
}
