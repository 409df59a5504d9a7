//! What the owner's tasks report, and which event of the table it is.
//!
//! A report may come when the table has moved on: an exit overtakes the start that led to it, and a start that
//! failed is told by whoever tried it. Which of two reports counts is decided here, so that the table need not
//! know that they race.

use std::sync::Arc;

use davit_lifecycle::{Event, State};
use davit_rundir::{ExitRecord, Stamp, StateRecord};
use davit_types::Extracted;
use tokio::sync::oneshot;

use super::Owner;
use crate::images::ResolvedImage;
use crate::runs::RunError;
use crate::runs::launch::Prepared;
use crate::runs::recovery::LostHow;

/// What one of the owner's tasks reports.
#[derive(Debug)]
pub(in crate::runs) enum Happened {
    ImageReady(Box<ResolvedImage>),
    ImageFailed(String),
    Prepared(Prepared),
    PrepareFailed(String),
    Started(Option<Box<StateRecord>>),
    StartFailed(String),
    /// The exit will tell.
    StartUnknown,
    /// The shim did what it was asked; the asker hears of it once the view shows it.
    Controlled(Box<StateRecord>, oneshot::Sender<Result<(), RunError>>),
    Exited(Box<ExitRecord>),
    /// As [`Self::Exited`], but nobody says that the record is durable.
    FoundExit(Box<ExitRecord>),
    Lost(LostHow),
    /// What was asked for of its files.
    Collected(Vec<Extracted>),
    Cleaned,
}

impl Owner {
    /// Takes in what a task reports.
    pub(super) async fn note(&mut self, happened: Happened) {
        let event = match happened {
            Happened::ImageReady(image) => {
                self.view.timings.pulled = Some(Stamp::now());
                self.view.image_digest = Some(image.digest.as_str().into());
                self.image = Some(*image);
                Event::ImageReady
            }
            Happened::ImageFailed(problem) => self.failed(problem, Event::ImageFailed),
            Happened::Prepared(prepared) => {
                self.view.timings.prepared = Some(prepared.prepared);
                self.view.timings.created = Some(prepared.created);
                self.view.timings.warm = prepared.name.slot().is_some();
                self.view.container = Some(prepared.name);
                Event::Prepared
            }
            Happened::PrepareFailed(problem) => self.failed(problem, Event::PrepareFailed),
            Happened::Started(state) => {
                // Of a short job the end is heard first, and has told when it began.
                if self.view.timings.started.is_none() {
                    let started = state.as_ref().and_then(|state| state.started);
                    self.view.timings.started = started.or(Some(Stamp::now()));
                    self.host.metrics.started(&self.view.timings);
                }
                self.keep_state(state);
                if self.exit.is_some() {
                    Event::Exited
                } else {
                    Event::Started
                }
            }
            Happened::StartFailed(problem) => self.failed(problem, Event::StartFailed),
            Happened::StartUnknown if self.exit.is_some() => Event::Exited,
            Happened::StartUnknown => return,
            Happened::Controlled(state, done) => return self.controlled(state, done).await,
            Happened::Exited(exit) => {
                self.exit_told = true;
                return self.exited(exit).await;
            }
            Happened::FoundExit(exit) => return self.exited(exit).await,
            Happened::Lost(how) => {
                self.recovery.lost = Some(how);
                Event::ShimLost
            }
            Happened::Collected(collected) => {
                self.collected = Some(collected);
                match self.collecting.take() {
                    Some(collecting) => collecting.then,
                    None => return,
                }
            }
            Happened::Cleaned => Event::Cleaned,
        };
        self.apply(event).await;
    }

    async fn exited(&mut self, exit: Box<ExitRecord>) {
        let started = exit.started.is_some();
        self.exit = Some(exit);
        // Where it ended instead of starting, the start under way reports why.
        if started || !matches!(self.view.state, State::Starting | State::Unstarting) {
            self.apply(Event::Exited).await;
        }
    }

    async fn controlled(
        &mut self,
        state: Box<StateRecord>,
        done: oneshot::Sender<Result<(), RunError>>,
    ) {
        let paused = state.is_paused();
        self.keep_state(Some(state));
        match (self.view.state, paused) {
            (State::Running, true) => self.apply(Event::Paused).await,
            (State::Paused, false) => self.apply(Event::Resumed).await,
            // New figures of the same state, e.g. another deadline.
            _ => self.publish(),
        }
        // The asker may have gone.
        drop(done.send(Ok(())));
    }

    fn failed(&mut self, problem: String, event: Event) -> Event {
        self.failure = Some(problem);
        event
    }

    fn keep_state(&mut self, state: Option<Box<StateRecord>>) {
        if let Some(state) = state {
            self.view.shim = Some(Arc::from(state));
        }
    }
}
