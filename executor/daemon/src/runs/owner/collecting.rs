//! Before the end of a job is recorded, what was asked for of its files is collected: who hears of the end hears of them.
//!
//! The run is what it was meanwhile (running, say). Collecting has bounds of its own, so the end does not wait for ever;
//! a cancel gives it up. An executor that dies with it leaves no `end.json`: the next one finds the exit, and collects
//! again.

use std::sync::Arc;

use davit_lifecycle::{Action, Event, Verdict, step};

use super::Owner;
use crate::files::collect::Halt;
use crate::runs::work;

/// Files are being collected.
pub(super) struct Collecting {
    /// What happened to the run, to be heeded afterwards.
    pub(super) then: Event,
    halt: Halt,
}

impl Owner {
    /// Whether `event` has to wait for the run's files, or has nothing to say while they are collected. Begins to
    /// collect them, where it is the end of the job.
    pub(super) fn waits_for_files(&mut self, event: Event) -> bool {
        if let Some(collecting) = &self.collecting {
            if event == Event::CancelRequested {
                collecting.halt.cancel();
            }
            return true;
        }
        if self.view.spec.spec.extracts.is_empty() || self.collected.is_some() {
            return false;
        }
        let ends_job = step(self.view.state, event)
            .actions
            .iter()
            .any(|action| matches!(action, Action::RecordEnd(Verdict::FromExit | Verdict::Lost)));
        if !ends_job || !self.began() {
            return false;
        }
        let halt = Halt::new();
        self.tasks.spawn(work::collect(
            Arc::clone(&self.host),
            self.view.dir.clone(),
            Arc::clone(&self.view.spec),
            self.view.container_name(),
            halt.clone(),
            self.collecting_progress.clone(),
            self.report.clone(),
        ));
        self.collecting = Some(Collecting { then: event, halt });
        true
    }

    /// Whether the job was let go, as far as anybody knows.
    fn began(&self) -> bool {
        let exit = self.exit.as_ref().and_then(|exit| exit.started);
        let shim = self.view.shim.as_ref().and_then(|shim| shim.started);
        exit.or(shim).is_some()
    }
}
