//! A run's log, followed to the run's end over connections that may break.
//!
//! ```text
//!  stream ─ log … ─► printed, its id kept ─ state ─► the ended run
//!     ▲        └── broke, refused for now ─► pause ─┐
//!     └────────────── Last-Event-ID ◄───────────────┘  at most RETURN_SECONDS_MAX without a word
//! ```
//!
//! Invariant: each line is printed once, in its order: a stream goes on after the last id printed, and what would come
//! twice all the same is left out.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use davit_rpc::local::LogRecord;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Call, Client, Pause};
use super::error::{Problem, ServerError};
use super::sse::{Event, Events};
use crate::error::CliError;
use crate::output::log::{LogFormat, Printer};
use crate::output::note;
use crate::output::tree::Tree;

/// How long a scheduler that went away is waited for.
const RETURN_SECONDS_MAX: u64 = 120;

/// What to follow and how to show it.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) run: String,
    /// Print only records of the first attempt after this one.
    pub(super) after_id: u64,
    /// `stdout`, `stderr`, or both.
    pub(super) stream: Option<String>,
    pub(super) format: LogFormat,
}

/// A record as the API has it.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    id: u64,
    time: String,
    stream: String,
    partial: bool,
    truncated: bool,
    newline: bool,
    line: Option<String>,
    line_base64: Option<String>,
}

impl Line {
    /// The same as the executor has it.
    pub(super) fn record(self) -> LogRecord {
        let time: Option<jiff::Timestamp> = self.time.parse().ok();
        let unix_ns = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
        let encoded = self.line_base64.unwrap_or_default();
        let line = self.line.map(String::into_bytes);
        LogRecord {
            id: self.id,
            unix_ns: unix_ns.unwrap_or_default(),
            stream: self.stream,
            partial: self.partial,
            truncated: self.truncated,
            newline: self.newline,
            line: line.unwrap_or_else(|| STANDARD.decode(encoded).unwrap_or_default()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Tried {
    attempt: u32,
}

/// Why a stream is over before the run is.
enum Broken {
    /// Going on makes no sense.
    Final(CliError),
    /// It may be resumed.
    Passing(Option<ServerError>),
}

impl From<CliError> for Broken {
    fn from(error: CliError) -> Self {
        Self::Final(error)
    }
}

/// Prints until the end; the answer is the ended run.
pub(super) async fn follow(client: &Client, following: Following) -> Result<Tree, CliError> {
    let mut follower = Follower {
        last: (1, following.after_id),
        printer: Printer::new(following.format),
        heard: Instant::now(),
        following,
    };
    let mut pause = Pause::default();
    let mut told = false;
    loop {
        let since = follower.heard;
        let source = match follower.once(client).await {
            Ok(run) => return Ok(run),
            Err(Broken::Final(error)) => return Err(error),
            Err(Broken::Passing(source)) => source,
        };
        if follower.heard > since {
            (pause, told) = (Pause::default(), false);
        }
        let limit = Duration::from_secs(RETURN_SECONDS_MAX);
        if follower.heard.elapsed() > limit {
            return Err(ServerError::Lost {
                seconds: RETURN_SECONDS_MAX,
                run: follower.following.run,
                source: source.map(Box::new),
            }
            .into());
        }
        let retry_after = match &source {
            Some(ServerError::Problem(problem)) => problem.retry_after_seconds,
            _ => None,
        };
        let asked = Duration::from_secs(retry_after.unwrap_or_default()).min(limit);
        if !told {
            note("the scheduler went away; the run goes on; waiting for the scheduler");
            told = true;
        }
        tokio::time::sleep(pause.next().max(asked)).await;
    }
}

struct Follower {
    following: Following,
    /// Attempt and id of the last record seen.
    last: (u32, u64),
    printer: Printer,
    /// When there was progress last.
    heard: Instant,
}

impl Follower {
    async fn once(&mut self, client: &Client) -> Result<Tree, Broken> {
        let (attempt, id) = self.last;
        let place = format!("{attempt}.{id}");
        let call = Call::get(&["runs", &self.following.run, "logs", "stream"])
            .header("last-event-id", &place)
            .header("accept", "text/event-stream");
        let opened = client.open(&call).await;
        let mut response = opened.map_err(|error| match error {
            ServerError::Problem(problem) => refused(problem),
            broken @ ServerError::Unreachable { .. } => Broken::Passing(Some(broken)),
            other => Broken::Final(other.into()),
        })?;
        let mut events = Events::default();
        let mut greeted = false;
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|error| Broken::Passing(Some(client.unreachable(error))))?;
            let Some(piece) = piece else {
                return Err(Broken::Passing(None));
            };
            let complete = events.push(&piece);
            let complete = complete.map_err(|_| CliError::Protocol("an end of its event"))?;
            // A greeting alone, or one with a problem behind it, is no progress; a heartbeat is.
            if greeted && complete.is_empty() {
                self.heard = Instant::now();
            }
            greeted = true;
            for event in complete {
                if let Some(run) = self.take(&event)? {
                    return Ok(run);
                }
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<Option<Tree>, Broken> {
        if event.name != "problem" {
            self.heard = Instant::now();
        }
        match event.name.as_str() {
            "log" => {
                let line: Line = read(event)?;
                let attempt = event.id.as_deref().map_or(1, attempt);
                if (attempt, line.id) > self.last {
                    self.last = (attempt, line.id);
                    self.print(line)?;
                }
                Ok(None)
            }
            "attempt" => {
                let Tried { attempt } = read(event)?;
                if attempt > self.last.0 {
                    self.last = (attempt, 0);
                    note(&format!("the run is tried again: attempt {attempt}"));
                }
                Ok(None)
            }
            "state" => Ok(Some(read(event)?)),
            "problem" => Err(refused(Box::new(read::<Problem>(event)?))),
            // A newer scheduler's.
            _ => Ok(None),
        }
    }

    fn print(&mut self, line: Line) -> Result<(), CliError> {
        let wanted = self.following.stream.as_ref();
        if wanted.is_none_or(|stream| *stream == line.stream) {
            self.printer.print(&line.record())?;
        }
        Ok(())
    }
}

/// A stream that was too slow, or a scheduler that is busy, goes on; another refusal is one.
fn refused(problem: Box<Problem>) -> Broken {
    let passing = problem.is_passing() || problem.status == 500 || problem.is("too-slow");
    let error = ServerError::Problem(problem);
    if passing {
        Broken::Passing(Some(error))
    } else {
        Broken::Final(error.into())
    }
}

/// The attempt that an event's id names.
fn attempt(id: &str) -> u32 {
    let (attempt, _) = id.split_once('.').unwrap_or(("1", id));
    attempt.parse().unwrap_or(1)
}

fn read<T: DeserializeOwned>(event: &Event) -> Result<T, CliError> {
    serde_json::from_str(&event.data).map_err(|source| {
        let asked = "GET /v1/runs/…/logs/stream".to_owned();
        ServerError::Answer { asked, source }.into()
    })
}

/// Prints what there is: attempt by attempt, in pages.
pub(super) async fn print_all(
    client: &Client,
    following: &Following,
    attempts: u32,
) -> Result<(), CliError> {
    let mut printer = Printer::new(following.format);
    for attempt in 1..=attempts {
        let mut after_id = if attempt == 1 { following.after_id } else { 0 };
        loop {
            let mut call = Call::get(&["runs", &following.run, "logs"])
                .query("attempt", attempt.to_string())
                .query("after_id", after_id.to_string())
                .query("limit", "1000");
            if let Some(stream) = &following.stream {
                call = call.query("stream", stream);
            }
            let answer = client.send(&call).await?;
            let page: Page = answer.read()?;
            for line in page.logs {
                printer.print(&line.record())?;
            }
            // Without a step there would be no end.
            if !page.more || page.next_after_id <= after_id {
                break;
            }
            after_id = page.next_after_id;
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Page {
    logs: Vec<Line>,
    next_after_id: u64,
    more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf_8_comes_as_it_was_written() {
        let text = r#"{"id":3,"time":"2027-01-15T08:00:00.000000001Z","stream":"stderr","partial":false,
            "truncated":false,"newline":true,"line":null,"line_base64":"/wA="}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        let record = line.record();
        assert_eq!(record.line, [0xff, 0]);
        assert_eq!(record.unix_ns, 1_800_000_000_000_000_001);
    }

    #[test]
    fn an_id_names_its_attempt() {
        assert_eq!((attempt("17"), attempt("2.17")), (1, 2));
    }
}
