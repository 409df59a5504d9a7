//! The table itself: one function a state, one arm a reaction, no wildcard.
//!
//! An arm that lists several events and stays put says that they mean nothing there. Because no
//! match has a wildcard, a new event does not compile until every state has an answer to it.

use crate::{Action, Event, State, Step, Verdict};

use Action::{
    AbortPull, Cleanup, Kill, Prepare, Publish, Pull, RecordEnd, SignalStop, Start, Watch,
};

/// The next state and what to do, for `event` in `state`.
#[must_use]
pub const fn step(state: State, event: Event) -> Step {
    match state {
        State::Accepted => accepted(event),
        State::Pulling => pulling(event),
        State::Preparing => preparing(event),
        State::Unpreparing => unpreparing(event),
        State::Starting => starting(event),
        State::Unstarting => unstarting(event),
        State::Running => running(event),
        State::Paused => paused(event),
        State::Stopping => stopping(event),
        State::Closing => closing(event),
        State::Ended => to(State::Ended, &[]),
    }
}

const fn to(next: State, actions: &'static [Action]) -> Step {
    Step { next, actions }
}

/// The only way to an end: recorded, then told, then cleaned.
const fn end(verdict: Verdict) -> Step {
    const fn actions(verdict: Verdict) -> &'static [Action] {
        match verdict {
            Verdict::FromExit => &[RecordEnd(Verdict::FromExit), Publish, Cleanup],
            Verdict::PullFailed => &[RecordEnd(Verdict::PullFailed), Publish, Cleanup],
            Verdict::StartFailed => &[RecordEnd(Verdict::StartFailed), Publish, Cleanup],
            Verdict::Canceled => &[RecordEnd(Verdict::Canceled), Publish, Cleanup],
            Verdict::Lost => &[RecordEnd(Verdict::Lost), Publish, Cleanup],
        }
    }
    to(State::Closing, actions(verdict))
}

const fn accepted(event: Event) -> Step {
    match event {
        Event::Begin => to(State::Pulling, &[Publish, Pull]),
        Event::FoundCreated => to(State::Starting, &[Watch, Publish, Start]),
        Event::FoundRunning => to(State::Running, &[Watch, Publish]),
        Event::FoundPaused => to(State::Paused, &[Watch, Publish]),
        Event::FoundStopping => to(State::Stopping, &[Watch, Publish]),
        Event::FoundEnd => to(State::Closing, &[Publish, Cleanup]),
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::StopRequested | Event::CancelRequested => end(Verdict::Canceled),
        Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::Cleaned => to(State::Accepted, &[]),
    }
}

const fn pulling(event: Event) -> Step {
    match event {
        Event::ImageReady => to(State::Preparing, &[Publish, Prepare]),
        Event::ImageFailed => end(Verdict::PullFailed),
        Event::StopRequested | Event::CancelRequested => to(
            State::Closing,
            &[AbortPull, RecordEnd(Verdict::Canceled), Publish, Cleanup],
        ),
        // Nothing exists yet that could exit or be lost.
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::Exited
        | Event::ShimLost
        | Event::Cleaned => to(State::Pulling, &[]),
    }
}

const fn preparing(event: Event) -> Step {
    match event {
        Event::Prepared => to(State::Starting, &[Watch, Publish, Start]),
        Event::PrepareFailed => end(Verdict::StartFailed),
        // A create in flight cannot be taken back: let it return, then remove what it made.
        Event::StopRequested | Event::CancelRequested => to(State::Unpreparing, &[Publish]),
        // The shim is not watched before the task exists.
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::Exited
        | Event::ShimLost
        | Event::Cleaned => to(State::Preparing, &[]),
    }
}

const fn unpreparing(event: Event) -> Step {
    match event {
        Event::Prepared | Event::PrepareFailed => end(Verdict::Canceled),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::StopRequested
        | Event::CancelRequested
        | Event::Exited
        | Event::ShimLost
        | Event::Cleaned => to(State::Unpreparing, &[]),
    }
}

const fn starting(event: Event) -> Step {
    match event {
        Event::Started => to(State::Running, &[Publish]),
        Event::StartFailed => end(Verdict::StartFailed),
        Event::StopRequested | Event::CancelRequested => to(State::Unstarting, &[Publish]),
        // A short job is over before the answer to its start is here.
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Paused
        | Event::Resumed
        | Event::Cleaned => to(State::Starting, &[]),
    }
}

const fn unstarting(event: Event) -> Step {
    match event {
        // It runs after all: end it the way it was asked for.
        Event::Started => to(State::Stopping, &[Publish, SignalStop]),
        Event::StartFailed => end(Verdict::Canceled),
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Paused
        | Event::Resumed
        | Event::StopRequested
        | Event::CancelRequested
        | Event::Cleaned => to(State::Unstarting, &[]),
    }
}

const fn running(event: Event) -> Step {
    match event {
        Event::Paused => to(State::Paused, &[Publish]),
        Event::StopRequested => to(State::Stopping, &[Publish, SignalStop]),
        Event::CancelRequested => to(State::Stopping, &[Publish, Kill]),
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Resumed
        | Event::Cleaned => to(State::Running, &[]),
    }
}

const fn paused(event: Event) -> Step {
    match event {
        Event::Resumed => to(State::Running, &[Publish]),
        Event::StopRequested => to(State::Stopping, &[Publish, SignalStop]),
        Event::CancelRequested => to(State::Stopping, &[Publish, Kill]),
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Cleaned => to(State::Paused, &[]),
    }
}

const fn stopping(event: Event) -> Step {
    match event {
        // Asked again: the shim takes the shorter grace.
        Event::StopRequested => to(State::Stopping, &[SignalStop]),
        Event::CancelRequested => to(State::Stopping, &[Kill]),
        Event::Exited => end(Verdict::FromExit),
        Event::ShimLost => end(Verdict::Lost),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::Cleaned => to(State::Stopping, &[]),
    }
}

const fn closing(event: Event) -> Step {
    match event {
        Event::Cleaned => to(State::Ended, &[Publish]),
        Event::Begin
        | Event::FoundCreated
        | Event::FoundRunning
        | Event::FoundPaused
        | Event::FoundStopping
        | Event::FoundEnd
        | Event::ImageReady
        | Event::ImageFailed
        | Event::Prepared
        | Event::PrepareFailed
        | Event::Started
        | Event::StartFailed
        | Event::Paused
        | Event::Resumed
        | Event::StopRequested
        | Event::CancelRequested
        | Event::Exited
        | Event::ShimLost => to(State::Closing, &[]),
    }
}
