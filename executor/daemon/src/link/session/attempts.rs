//! The attempts of a session: which task tells of which, and what the scheduler says to it.

use std::collections::{BTreeSet, HashMap};

use davit_rpc::link::{self, HostMessage};
use davit_rundir::Stamp;
use davit_types::{EndReason, RunKey, Usage};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::super::attempt::{self, Begin, Heard};
use super::super::deliver::Deliveries;
use super::super::heed::Want;
use super::super::place::{Ended, Event, Place, Report};
use super::super::reconcile::{Decision, decide};
use super::super::window::Windows;
use super::super::words::{self, LivePlace, Placed, WordError};
use super::Terms;
use crate::runs::{Assigned, Run, RunError, Runs, sentence};

/// What the session holds of an attempt's task.
struct Line {
    heard: watch::Sender<Heard>,
    wanted: watch::Sender<Option<Want>>,
    task: AbortHandle,
}

/// The other ends of a line.
struct Ears {
    heard: watch::Receiver<Heard>,
    wanted: watch::Receiver<Option<Want>>,
}

pub(super) struct Attempts {
    teller: Teller,
    lines: HashMap<RunKey, Line>,
    /// They end with the session; as many as there are attempts.
    tasks: JoinSet<RunKey>,
}

/// What every attempt's task has.
#[derive(Clone)]
struct Teller {
    runs: Runs,
    terms: Terms,
    windows: Windows,
    deliveries: Deliveries,
    out: mpsc::Sender<HostMessage>,
}

impl Attempts {
    pub(super) fn new(runs: &Runs, terms: Terms, out: mpsc::Sender<HostMessage>) -> Self {
        Self {
            teller: Teller {
                runs: runs.clone(),
                terms,
                windows: Windows::new(),
                deliveries: Deliveries::new(&runs.host().settings.link),
                out,
            },
            lines: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Begins, goes on with, or ends what the scheduler speaks of.
    pub(super) async fn reconcile(&mut self, places: Vec<link::Place>) {
        let held: BTreeSet<RunKey> = self.teller.runs.unsettled().into_iter().collect();
        for place in places {
            match words::placed(place) {
                Ok(placed) => {
                    let decision = decide(&held, placed.key, placed.said());
                    tracing::info!(key = %placed.key, ?decision, "an attempt of the scheduler's");
                    self.follow(decision, placed).await;
                }
                Err(error) => {
                    let problem = sentence(&error);
                    tracing::error!(problem, "a place of the scheduler's cannot be understood");
                }
            }
        }
    }

    async fn follow(&mut self, decision: Decision, placed: Placed) {
        let Placed { key, live } = placed;
        match (decision, live) {
            (Decision::GoOn, Some(live)) => self.go_on(key, live).await,
            (Decision::Begin, Some(live)) => {
                if let Some(assigned) = live.assign {
                    self.start(assigned, live.want);
                }
            }
            (Decision::TellLost, Some(live)) => self.tell_lost(key, live.place, live.log_last_id),
            (Decision::Forsake, _) => self.forget(key),
            _ => {}
        }
    }

    async fn go_on(&mut self, key: RunKey, live: LivePlace) {
        let run = match self.teller.runs.attempt(key).await {
            Ok(Some(run)) => run,
            Ok(None) => return,
            Err(error) => {
                let problem = sentence(&error);
                return tracing::error!(%key, problem, "cannot tell of a run");
            }
        };
        let secrets = &self.teller.runs.host().given;
        match live.assign.map(|assigned| assigned.given) {
            Some(given) if !given.is_nothing() && !run.view().is_over() => secrets.give(key, given),
            Some(_) => {}
            None if !run.view().is_over() => secrets.withhold(key),
            None => {}
        }
        let teller = self.teller.clone();
        let from = (live.place.step, live.log_last_id);
        self.spawn(key, from, live.want, move |ears| async move {
            teller.tell(run, live.place, live.log_last_id, ears).await;
        });
    }

    /// A run the scheduler gives now. One that it gave before is being told of already.
    pub(super) fn begin(&mut self, assigned: Assigned) {
        if self.lines.contains_key(&assigned.key) {
            return tracing::debug!(key = %assigned.key, "assigned once more");
        }
        self.start(assigned, None);
    }

    fn start(&mut self, assigned: Assigned, want: Option<Want>) {
        let teller = self.teller.clone();
        self.spawn(assigned.key, (0, 0), want, move |ears| {
            teller.accept(assigned, ears)
        });
    }

    fn spawn<F>(
        &mut self,
        key: RunKey,
        from: (u32, u64),
        want: Option<Want>,
        task: impl FnOnce(Ears) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (heard, hearing) = watch::channel(Heard {
            step: from.0,
            log_last_id: from.1,
            ..Heard::default()
        });
        let (wanted, wanting) = watch::channel(want);
        let work = task(Ears {
            heard: hearing,
            wanted: wanting,
        });
        let task = self.tasks.spawn(async move {
            work.await;
            key
        });
        let line = Line {
            heard,
            wanted,
            task,
        };
        self.lines.insert(key, line);
    }

    /// Takes away the line of a task that is done; returns when one is.
    pub(super) async fn finished(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(key)) => {
                self.lines.remove(&key);
            }
            // Told to end, or broken: the next session takes the attempt up again.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    /// What is wanted of an attempt; an older word counts for nothing.
    pub(super) fn want(&self, key: RunKey, want: Want) {
        if let Some(line) = self.lines.get(&key) {
            line.wanted.send_if_modified(|wanted| {
                let newer = wanted.is_none_or(|known| known.revision < want.revision);
                if newer {
                    *wanted = Some(want);
                }
                newer
            });
        }
    }

    /// Reports of an attempt are stored, or one was refused.
    pub(super) fn reports_stored(&mut self, ack: link::ReportAck) -> Result<(), WordError> {
        let key = words::key(ack.key.as_ref())?;
        let Some(refused) = ack.refused else {
            if let Some(line) = self.lines.get(&key) {
                line.heard
                    .send_modify(|heard| heard.step = heard.step.max(ack.step));
            }
            return Ok(());
        };
        tracing::warn!(%key, reason = refused.reason, "the scheduler refused a report");
        let place = refused
            .place
            .ok_or(WordError::Lacks("an attempt's place"))?;
        match words::placed(place)?.live {
            None => self.forget(key),
            Some(live) => {
                if let Some(line) = self.lines.get(&key) {
                    line.heard.send_modify(|heard| {
                        heard.step = live.place.step;
                        heard.log_last_id = live.log_last_id;
                        heard.refusals += 1;
                        heard.refused = Some((live.place, live.log_last_id));
                    });
                }
            }
        }
        Ok(())
    }

    /// The log of an attempt is stored so far.
    pub(super) fn log_stored(&self, key: RunKey, last_id: u64) {
        if let Some(line) = self.lines.get(&key) {
            line.heard
                .send_modify(|heard| heard.log_last_id = heard.log_last_id.max(last_id));
        }
    }

    /// Nothing is wanted of an attempt any more.
    pub(super) fn forget(&mut self, key: RunKey) {
        if let Some(line) = self.lines.remove(&key) {
            line.task.abort();
        }
        let runs = self.teller.runs.clone();
        // Its own task: what is begun here is not undone by the session's end.
        tokio::spawn(async move {
            if let Err(error) = runs.forsake(key).await {
                // It is held still, and told again in the next session.
                tracing::error!(%key, problem = sentence(&error), "cannot end a run that nobody wants");
            }
        });
    }

    /// An attempt that was accepted once, and is not here: nothing may be begun in its place.
    fn tell_lost(&mut self, key: RunKey, place: Place, log_last_id: u64) {
        let ended = Ended {
            reason: EndReason::ExecutorLost,
            exit_code: None,
            message: "its host does not have it any more".to_owned(),
            usage: Usage::default(),
            wall_ms: place.ledger_ms,
            log_last_id,
            extracts: Vec::new(),
        };
        let teller = self.teller.clone();
        self.spawn(
            key,
            (place.step, log_last_id),
            None,
            move |ears| async move {
                let event = Event::Ended(ended);
                teller.say(key, place.step + 1, event, ears).await;
            },
        );
    }
}

impl Teller {
    async fn accept(self, assigned: Assigned, ears: Ears) {
        let key = assigned.key;
        match self.runs.assign(assigned).await {
            Ok(run) => self.tell(run, Place::ASSIGNED, 0, ears).await,
            // It is not this host that says no.
            Err(error @ (RunError::ShuttingDown | RunError::AttemptKnown { .. })) => {
                tracing::warn!(%key, problem = sentence(&error), "an assignment comes to nothing");
            }
            Err(error) => {
                let message = sentence(&error);
                tracing::warn!(%key, problem = message, "declined a run");
                // Should it not arrive, the next session asks again.
                self.say(key, 1, Event::Declined { message }, ears).await;
            }
        }
    }

    async fn tell(self, run: Run, place: Place, log_last_id: u64, ears: Ears) {
        let told = attempt::tell(Begin {
            runs: self.runs,
            run,
            place,
            log_last_id,
            meter_ms: self.terms.meter_ms,
            pace: self.terms.pace,
            windows: self.windows,
            deliveries: self.deliveries,
            out: self.out,
            heard: ears.heard,
            wanted: ears.wanted,
        });
        // Where the session is over, the next one goes on.
        drop(told.await);
    }

    /// Says one thing of an attempt, and waits for its answer.
    async fn say(&self, key: RunKey, step: u32, event: Event, mut ears: Ears) {
        let mut share = self.windows.reports.share();
        share.room().await;
        share.sent(step.into());
        let report = Report {
            step,
            at_unix_ms: Stamp::now().unix_ns / 1_000_000,
            segment: None,
            event,
        };
        if self.out.send(words::report(key, report)).await.is_ok() {
            let is_answered = |heard: &Heard| heard.step >= step || heard.refusals > 0;
            // Where the session ends first, the next one goes on.
            drop(ears.heard.wait_for(is_answered).await);
        }
    }
}
