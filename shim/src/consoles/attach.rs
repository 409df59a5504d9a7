//! The console of a client beside the job itself: it looks on, and types where it has the input.
//!
//! A client that is slow, or goes, costs the job nothing: see [`super::taps`]. Input that the job has not taken when its
//! client goes is lost with it; the job's input stays open.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{
    ConsoleAttach, ConsoleEnded, ConsoleFrame, ConsoleReason, ControlError, ControlErrorCode,
};

use super::job::Hold;
use super::refusal;
use super::streams::{Input, Polled, resize};
use super::taps::Tap;
use super::wire::{FramesIn, FramesOut};
use crate::run::Run;

/// How long a client may take to read what is left when the job has ended, seconds.
const DRAIN_SECONDS_MAX: u64 = 30;

/// One client.
pub(super) struct Attached<'a> {
    run: &'a Run,
    tap: Arc<Tap>,
    input: Input,
    hold: Option<Hold>,
    terminal: Option<Polled>,
}

/// What a turn of the loop comes to.
enum Turn {
    On,
    /// The job wrote nothing more.
    Silent,
    Gone,
    Ended(ConsoleReason, &'static str),
}

impl<'a> Attached<'a> {
    /// Beside the job of `run`, as `wanted`.
    pub(super) fn new(run: &'a Run, wanted: ConsoleAttach) -> Result<Self, ControlError> {
        let streams = run.streams();
        let has = streams.wanted();
        if !has.stdin && !has.tty {
            let why = "the run was submitted without stdin and tty: its log is all there is";
            return Err(refusal(ControlErrorCode::Unsupported, why));
        }
        if wanted.stdin && !has.stdin {
            let why = "the run was submitted without stdin";
            return Err(refusal(ControlErrorCode::Unsupported, why));
        }
        if run.is_over() {
            return Err(refusal(ControlErrorCode::NotRunning, "the job is over"));
        }
        let terminal = streams.terminal();
        let (input, hold) = match wanted.stdin.then(|| streams.take_input()) {
            Some(Some((input, hold))) => (Some(input), Some(hold)),
            Some(None) => {
                let why = "the job's input has ended: attach without it";
                return Err(refusal(ControlErrorCode::NotRunning, why));
            }
            None => (None, None),
        };
        if let (Some(terminal), Some(window)) = (&terminal, wanted.window) {
            resize(terminal, window);
        }
        Ok(Self {
            run,
            tap: streams.taps.add(),
            input: Input::new(input),
            hold,
            terminal,
        })
    }

    /// Until the job has ended, the client is gone, or somebody else has the input.
    pub(super) async fn serve(mut self, mut from: FramesIn, mut to: FramesOut) {
        let opened = ConsoleFrame::Opened {
            tty: self.terminal.is_some(),
        };
        if to.push(&opened).is_err() {
            return;
        }
        let Some((reason, message)) = self.until_end(&mut from, &mut to).await else {
            return;
        };
        let exit_code = match reason {
            ConsoleReason::Exited => self.run.exit_code().await,
            _ => None,
        };
        let ended = ConsoleFrame::Ended(ConsoleEnded {
            exit_code,
            reason,
            message: message.to_owned(),
            dropped_bytes: self.tap.dropped_bytes(),
        });
        if to.push(&ended).is_ok() {
            let bound = Duration::from_secs(DRAIN_SECONDS_MAX);
            drop(tokio::time::timeout(bound, to.send_all()).await);
        }
    }

    async fn until_end(
        &mut self,
        from: &mut FramesIn,
        to: &mut FramesOut,
    ) -> Option<(ConsoleReason, &'static str)> {
        let mut silent = false;
        loop {
            if silent && !to.has_unsent() {
                return Some((ConsoleReason::Exited, ""));
            }
            match self.turn(from, to, silent).await {
                Turn::On => {}
                Turn::Silent => silent = true,
                Turn::Gone => return None,
                Turn::Ended(reason, message) => return Some((reason, message)),
            }
        }
    }

    async fn turn(&mut self, from: &mut FramesIn, to: &mut FramesOut, silent: bool) -> Turn {
        let pushed = |to: &mut FramesOut, frame: &ConsoleFrame| match to.push(frame) {
            Ok(()) => Turn::On,
            Err(_) => Turn::Gone,
        };
        tokio::select! {
            frame = from.next() => match frame {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => Turn::Gone,
                Err(error) => {
                    log::info!("console: {error}");
                    Turn::Gone
                }
            },
            taken = self.input.write_some(), if self.input.has_pending() => {
                pushed(to, &ConsoleFrame::Taken(taken))
            }
            sent = to.send_some(), if to.has_unsent() => match sent {
                Ok(()) => Turn::On,
                Err(_) => Turn::Gone,
            },
            frame = self.tap.next(), if !to.has_unsent() && !silent => match frame {
                Some(frame) => pushed(to, &frame),
                None => Turn::Silent,
            },
            () = taken_over(&mut self.hold) => {
                Turn::Ended(ConsoleReason::TakenOver, "another console has the job's input now")
            }
            () = tokio::time::sleep(Duration::from_secs(DRAIN_SECONDS_MAX)), if silent => Turn::Gone,
        }
    }

    fn take(&mut self, frame: ConsoleFrame) -> Turn {
        let wrong = |what| Turn::Ended(ConsoleReason::Error, what);
        match frame {
            ConsoleFrame::Stdin(_) | ConsoleFrame::StdinEnd if self.hold.is_none() => {
                wrong("this console has not the job's input")
            }
            ConsoleFrame::Stdin(bytes) if self.input.push(&bytes) => Turn::On,
            ConsoleFrame::Stdin(_) => wrong("more input than it may send, or after its end"),
            // There the client types it.
            ConsoleFrame::StdinEnd if self.terminal.is_some() => Turn::On,
            ConsoleFrame::StdinEnd => {
                self.run.streams().close_input();
                self.input.end();
                Turn::On
            }
            ConsoleFrame::Window(window) => {
                if let Some(terminal) = &self.terminal {
                    resize(terminal, window);
                }
                Turn::On
            }
            ConsoleFrame::Signal(_) => wrong("the job itself is signalled by stop only"),
            _ => wrong("a frame that is the shim's to send, or a second open"),
        }
    }
}

async fn taken_over(hold: &mut Option<Hold>) {
    match hold {
        Some(hold) => hold.taken_over().await,
        None => std::future::pending().await,
    }
}
