//! A run's log as server-sent events.
//!
//! ```text
//!  look at the run ─► attempt there? ─no─► wait ──┐          every heartbeat: is the token still valid?
//!      ▲                  │yes                    │
//!      │              follow it: log, log, log …  │
//!      │                  │ it is over            │
//!      └── tried again: `attempt` ◄───────────────┴── the run is over: `state`, end
//! ```
//!
//! Invariants: every line of an attempt comes before what follows it; `state` comes last and once; a resumed stream
//! begins with the line after the one named. A reader that is too slow is cut off by the log and told where to resume; one
//! that reads nothing is cut off by the connection. As many streams as [`STREAMS_MAX`](super::STREAMS_MAX).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use davit_types::Attempt;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};

use super::Api;
use super::answer::Answer;
use super::params::RunPath;
use super::problem::Problem;
use super::routes::LineView;
use super::views::run_view::RunView;
use crate::logs::LogFollower;
use crate::service::access::{self, Caller};
use crate::service::runs::{self, Shown};

/// How often a run is looked at that has no attempt to follow.
const LOOK_MS: u64 = 250;
/// After what time a client that lost its connection tries again.
const RETRY_MS: u64 = 1_000;
/// Lines that are there are sent together until they have so many bytes.
const PIECE_BYTES: usize = 16 * 1_024;

/// Where a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) attempt: Attempt,
    pub(super) after_id: u64,
}

impl Place {
    /// `<id>` for the first attempt, `<attempt>.<id>` for later ones.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (attempt, id) = text.split_once('.').unwrap_or(("1", text));
        Some(Self {
            attempt: Attempt::new(attempt.parse().ok()?)?,
            after_id: id.parse().ok()?,
        })
    }

    fn id(self) -> String {
        if self.attempt == Attempt::FIRST {
            self.after_id.to_string()
        } else {
            format!("{}.{}", self.attempt, self.after_id)
        }
    }
}

/// The response whose body is the stream.
pub(super) fn respond(api: Arc<Api>, caller: Caller, path: RunPath, place: Place) -> Answer {
    let permit = Arc::clone(&api.streams).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many logs are followed already"))?;
    let mut heartbeat = tokio::time::interval(Duration::from_millis(api.settings.heartbeat_ms));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let guard = api.metrics.stream();
    let stream = Stream {
        api,
        caller,
        path,
        place,
        heartbeat,
        phase: Phase::Begin,
        _permit: permit,
        _guard: guard,
    };
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(event), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

enum Phase {
    /// Nothing was sent.
    Begin,
    /// The attempt of the place has not been seen.
    Before,
    /// It is followed.
    Following(LogFollower),
    /// Its log is over.
    After,
    /// The stream is.
    Over,
}

struct Stream {
    api: Arc<Api>,
    caller: Caller,
    path: RunPath,
    place: Place,
    heartbeat: Interval,
    phase: Phase,
    _permit: OwnedSemaphorePermit,
    _guard: super::metrics::StreamGuard,
}

#[derive(Serialize)]
struct AttemptEvent {
    attempt: u32,
}

fn event(id: Option<String>, name: &str, data: &str) -> Bytes {
    let mut text = String::new();
    put_event(&mut text, id, name, data);
    Bytes::from(text)
}

fn put_event(text: &mut String, id: Option<String>, name: &str, data: &str) {
    if let Some(id) = id {
        text.extend(["id: ", &id, "\n"]);
    }
    text.extend(["event: ", name, "\ndata: ", data, "\n\n"]);
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Stream {
    /// The next piece of the body.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let done = match &mut self.phase {
                Phase::Over => return None,
                Phase::Begin => {
                    self.phase = Phase::Before;
                    return Some(Bytes::from(format!("retry: {RETRY_MS}\n\n")));
                }
                Phase::Before | Phase::After => self.look().await,
                Phase::Following(follower) => {
                    let record = tokio::select! {
                        record = follower.next() => record,
                        _ = self.heartbeat.tick() => return Some(self.beat().await),
                    };
                    match record {
                        Ok(Some(record)) => {
                            let mut lines = String::new();
                            let mut next = Some(record);
                            while let Some(record) = next {
                                self.place.after_id = record.id;
                                let line = json(&LineView::from(record));
                                put_event(&mut lines, Some(self.place.id()), "log", &line);
                                let room = lines.len() < PIECE_BYTES;
                                next = room.then(|| follower.at_hand()).flatten();
                            }
                            return Some(Bytes::from(lines));
                        }
                        Ok(None) => {
                            self.phase = Phase::After;
                            Ok(None)
                        }
                        Err(error) => Err(error.into()),
                    }
                }
            };
            match done {
                Ok(Some(bytes)) => return Some(bytes),
                Ok(None) => {}
                Err(problem) => return Some(self.fail(&problem)),
            }
        }
    }

    /// Decides from the run what comes next.
    async fn look(&mut self) -> Result<Option<Bytes>, Problem> {
        let service = &self.api.service;
        let shown = runs::show(service, &self.caller, self.path.run, self.path.runner).await?;
        let (live, ours) = (shown.attempt(), self.place.attempt.number());
        if matches!(self.phase, Phase::Before) && live >= ours {
            let Place { attempt, after_id } = self.place;
            let follower = self.api.logs.follow(self.path.run, attempt, after_id)?;
            self.phase = Phase::Following(follower);
            return Ok(None);
        }
        if let (Phase::After, Some(next)) = (&self.phase, Attempt::new(ours + 1))
            && live > ours
        {
            self.place = Place {
                attempt: next,
                after_id: 0,
            };
            self.phase = Phase::Before;
            let data = json(&AttemptEvent { attempt: ours + 1 });
            return Ok(Some(event(Some(self.place.id()), "attempt", &data)));
        }
        if shown.view.ended.is_some() {
            self.phase = Phase::Over;
            return Ok(Some(self.state(&shown)));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => Ok(None),
            _ = self.heartbeat.tick() => Ok(Some(self.beat().await)),
        }
    }

    fn state(&self, shown: &Shown) -> Bytes {
        let run = RunView::new(&self.api.service, shown);
        event(None, "state", &json(&run))
    }

    /// A comment, if the token still opens the stream.
    async fn beat(&mut self) -> Bytes {
        match access::again(&self.api.service, &self.caller).await {
            Ok(Some(_)) => Bytes::from_static(b":\n\n"),
            Ok(None) => self.fail(&Problem::unauthorized()),
            Err(error) => self.fail(&error.into()),
        }
    }

    /// The last event of a stream that cannot go on.
    fn fail(&mut self, problem: &Problem) -> Bytes {
        self.phase = Phase::Over;
        event(None, "problem", &problem.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_id() {
        for text in ["0", "17", "2.17"] {
            assert_eq!(Place::parse(text).map(Place::id).as_deref(), Some(text));
        }
        for text in ["", "-1", "0.1", "1.", "x", "1.2.3", "99999999999999999999"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
