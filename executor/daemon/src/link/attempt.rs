//! One attempt in one session: its reports, its log, what is wanted of it.
//!
//! ```text
//!  run directory ─► facts ─┐
//!  heard: acknowledgements ├─► reports::next ─► outgoing ─► …
//!  shipper: lines ─────────┘         │
//!  delivery: files that came out ────┤
//!  wanted ─► heed ─► done            └─► the end acknowledged ─► settled.json
//! ```
//!
//! It keeps nothing that the next session could miss. What it hears is a state, not a queue: nobody ever waits for it.

use std::time::Duration;

use davit_rpc::link::HostMessage;
use davit_rundir::Stamp;
use davit_types::RunKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::deliver::{Deliveries, Delivery};
use super::facts;
use super::heed::{self, Want};
use super::place::{Place, Stage};
use super::reports::{self, Facts, Meter};
use super::ship::{Pace, Shipper};
use super::window::{Share, Windows};
use super::words;
use crate::runs::{Run, Runs, View, sentence};

/// Reports of one attempt, sent and not acknowledged.
const REPORTS_UNACKED_MAX: u32 = 16;
/// Pause after the scheduler refused a report: what it says to those that followed is heard with it, milliseconds.
const REFUSED_PAUSE_MS: u64 = 1_000;
/// Pause before a run directory that cannot be read is read again, milliseconds.
const UNREADABLE_PAUSE_MS: u64 = 5_000;
/// A pause is recorded within this time, milliseconds: what is younger is not metered.
const SETTLED_AFTER_MS: u64 = 1_000;
/// Shortest wait between two looks at the meter, milliseconds.
const METER_WAIT_MS_MIN: u64 = 20;

/// What the session has heard of the attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Reports up to this one are stored.
    pub(super) step: u32,
    /// Lines up to this one are stored.
    pub(super) log_last_id: u64,
    /// Refusals so far.
    pub(super) refusals: u32,
    /// Where the attempt stands after the last of them.
    pub(super) refused: Option<(Place, u64)>,
}

/// What an attempt begins with.
pub(super) struct Begin {
    pub(super) runs: Runs,
    pub(super) run: Run,
    pub(super) place: Place,
    pub(super) log_last_id: u64,
    pub(super) meter_ms: u64,
    pub(super) pace: Pace,
    pub(super) windows: Windows,
    pub(super) deliveries: Deliveries,
    pub(super) out: mpsc::Sender<HostMessage>,
    pub(super) heard: watch::Receiver<Heard>,
    pub(super) wanted: watch::Receiver<Option<Want>>,
}

/// The session, or the executor, is over.
#[derive(Debug)]
pub(super) struct Gone;

struct Attempt {
    key: RunKey,
    begin: Begin,
    place: Place,
    shipper: Shipper,
    delivery: Delivery,
    changes: Option<watch::Receiver<View>>,
    done: watch::Receiver<u32>,
    facts: Option<Facts>,
    refusals: u32,
    reports: Share,
    log_batches: Share,
    /// A report is due, and the session has no room for it.
    is_report_held_up: bool,
    /// The same of a log batch.
    is_log_held_up: bool,
}

/// Tells the scheduler everything of the attempt; returns once its end is stored there, durably so here.
pub(super) async fn tell(begin: Begin) -> Result<(), Gone> {
    let key = begin.run.view().dir.key();
    let (done_send, done) = watch::channel(0);
    // Ends with this future.
    let mut tasks = JoinSet::new();
    let mut changes = None;
    if let Run::Live(handle) = &begin.run {
        changes = Some(handle.changes());
        tasks.spawn(heed::heed(handle.clone(), begin.wanted.clone(), done_send));
    }
    let mut attempt = Attempt {
        key,
        place: begin.place,
        shipper: shipper(&begin, begin.log_last_id),
        delivery: Delivery::new(begin.deliveries.clone()),
        changes,
        done,
        facts: None,
        refusals: 0,
        reports: begin.windows.reports.share(),
        log_batches: begin.windows.log_batches.share(),
        is_report_held_up: false,
        is_log_held_up: false,
        begin,
    };
    attempt.drive().await?;
    while let Err(error) = attempt.begin.runs.settle_end(key).await {
        tracing::error!(%key, problem = sentence(&error), "cannot note that an end is stored");
        tokio::time::sleep(Duration::from_millis(UNREADABLE_PAUSE_MS)).await;
    }
    tracing::info!(%key, "the scheduler has stored the end");
    Ok(())
}

fn shipper(begin: &Begin, after_id: u64) -> Shipper {
    Shipper::new(&begin.runs, begin.run.clone(), after_id, begin.pace)
}

impl Attempt {
    async fn drive(&mut self) -> Result<(), Gone> {
        loop {
            self.look().await;
            self.say().await?;
            let heard = *self.begin.heard.borrow();
            let refused = heard.refusals != self.refusals;
            if self.place.stage == Stage::Over && heard.step >= self.place.step && !refused {
                return Ok(());
            }
            self.wait().await?;
            self.listen().await;
        }
    }

    /// The run as it is now.
    fn view(&self) -> View {
        match &self.changes {
            Some(changes) => changes.borrow().clone(),
            None => self.begin.run.view(),
        }
    }

    /// Reads the facts, unless nothing has changed since.
    async fn look(&mut self) {
        if self.facts.is_none() {
            // Before the facts are read: what a revision led to is among them when it is told that the revision is heeded.
            let heeded = *self.done.borrow_and_update();
            match facts::gather(&self.view()).await {
                Ok(facts) => self.facts = Some(Facts { heeded, ..facts }),
                Err(error) => {
                    let problem = sentence(&error);
                    tracing::error!(key = %self.key, problem, "cannot read what to report");
                    tokio::time::sleep(Duration::from_millis(UNREADABLE_PAUSE_MS)).await;
                }
            }
        }
        if let Some(facts) = &mut self.facts {
            facts.log_last_id = self.shipper.stored_whole();
            if let Some(end) = &facts.end {
                let kept_in = self.begin.run.view().dir.files_path();
                let wanted = *self.begin.wanted.borrow_and_update();
                let wanted = wanted.map_or((0, false), |w| (w.revision, w.stop.is_some()));
                self.delivery
                    .go_on(self.key, &kept_in, &end.collected, wanted);
                facts.extracts = self.delivery.told();
            }
        }
    }

    fn meter(&self) -> Meter {
        let late_ms = SETTLED_AFTER_MS.min(self.begin.meter_ms / 4);
        let late_ns = late_ms * 1_000_000;
        let now = Stamp::now();
        Meter {
            settled: Stamp {
                boot_ns: now.boot_ns.saturating_sub(late_ns),
                unix_ns: now.unix_ns.saturating_sub(late_ns),
            },
            every_ms: self.begin.meter_ms - late_ms,
        }
    }

    /// Sends what is due.
    async fn say(&mut self) -> Result<(), Gone> {
        let meter = self.meter();
        self.is_report_held_up = false;
        while let Some(facts) = &self.facts
            && self
                .place
                .step
                .saturating_sub(self.begin.heard.borrow().step)
                < REPORTS_UNACKED_MAX
            && let Some(report) = reports::next(&self.place, facts, meter)
        {
            if !self.reports.has_room() {
                self.is_report_held_up = true;
                break;
            }
            self.reports.sent(report.step.into());
            self.place = self.place.after(&report);
            self.send(words::report(self.key, report)).await?;
        }
        self.reports.spare();
        self.is_log_held_up = false;
        while let Some(last_id) = self.shipper.due() {
            if !self.log_batches.has_room() {
                self.is_log_held_up = true;
                break;
            }
            self.log_batches.sent(last_id);
            let batch = self.shipper.take();
            self.send(words::log(self.key, batch)).await?;
        }
        self.log_batches.spare();
        Ok(())
    }

    async fn send(&self, message: HostMessage) -> Result<(), Gone> {
        self.begin.out.send(message).await.map_err(|_| Gone)
    }

    /// Returns when there may be something to say.
    async fn wait(&mut self) -> Result<(), Gone> {
        let meter = self.meter();
        let meter_in_ms = self
            .facts
            .as_ref()
            .and_then(|facts| reports::meter_in_ms(&self.place, facts, meter));
        let metered = async {
            match meter_in_ms {
                Some(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms.max(METER_WAIT_MS_MIN))).await;
                }
                None => std::future::pending().await,
            }
        };
        let changes = &mut self.changes;
        let changed = async {
            match changes {
                Some(changes) => changes.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed => {
                self.facts = None;
                if changed.is_err() {
                    self.owner_gone()?;
                }
            }
            heard = self.begin.heard.changed() => heard.map_err(|_| Gone)?,
            Ok(()) = self.done.changed() => self.facts = None,
            () = self.shipper.turn(self.is_log_held_up) => {}
            () = self.reports.room(), if self.is_report_held_up => {}
            () = self.log_batches.room(), if self.is_log_held_up => {}
            () = metered => self.facts = None,
            () = self.delivery.done() => {}
            Ok(()) = self.begin.wanted.changed() => {}
        }
        Ok(())
    }

    /// Its owner is gone: with the verdict told, or with the executor.
    fn owner_gone(&mut self) -> Result<(), Gone> {
        let view = self.view();
        if !view.is_over() {
            return Err(Gone);
        }
        self.begin.run = Run::Ended(Box::new(view));
        self.changes = None;
        Ok(())
    }

    /// Takes in what was heard; after a refusal everything is worked out anew.
    async fn listen(&mut self) {
        let heard = *self.begin.heard.borrow_and_update();
        self.reports.answered(heard.step.into());
        self.log_batches.answered(heard.log_last_id);
        if heard.refusals == self.refusals {
            return self.shipper.stored(heard.log_last_id);
        }
        tokio::time::sleep(Duration::from_millis(REFUSED_PAUSE_MS)).await;
        let heard = *self.begin.heard.borrow_and_update();
        self.refusals = heard.refusals;
        self.reports.all_answered();
        self.log_batches.all_answered();
        if let Some((place, log_last_id)) = heard.refused {
            self.place = place;
            self.shipper = shipper(&self.begin, log_last_id);
            self.facts = None;
        }
    }
}
