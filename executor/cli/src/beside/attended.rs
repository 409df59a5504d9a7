//! A run that is followed, and attached to: our input for its job, and our terminal where the job has one.
//!
//! ```text
//!  stay: dial ─► carry ─► the job ended ──────────────┐
//!          ▲        ├── broke ──┐                     ├─► attended ◄─ ended: log and state, by whoever follows
//!          └─ pause ┴── not now ┘   the user left ────┘
//! ```

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use davit_rpc::console::{Attach, Ended, Open, open::With};
use tokio::time::timeout;

use super::carry::{Over, Sides, carry};
use super::screen::Screen;
use super::typing::{Came, Typing};
use super::{Dial, Line, Refusal, tell_dropped};
use crate::args::TerminalArgs;
use crate::error::CliError;
use crate::output::note;
use crate::terminal::{self, DetachKeys, Raw, Resizes};

/// The first and the longest pause before a job that cannot be attached to yet is asked for again.
const PAUSE_MS_FIRST: u64 = 50;
const PAUSE_MS_MAX: u64 = 1_000;
/// How long somebody who went away is waited for.
const RETURN_SECONDS_MAX: u64 = 120;
/// How long the last output of a job may take once its end is known.
const LAST_OUTPUT_MS_MAX: u64 = 10_000;

/// What is to be had of a job.
#[derive(Debug)]
pub(crate) struct Attended {
    pub(crate) run: String,
    /// Our standard input is its.
    pub(crate) stdin: bool,
    pub(crate) place: Place,
    pub(crate) keys: DetachKeys,
    /// A line that is open already.
    pub(crate) first: Option<Line>,
    /// What the job wrote before is not missed.
    pub(crate) later: bool,
}

/// What becomes of a job's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Whoever follows its log shows it.
    Log,
    /// It is shown here: the job is typed at, at a terminal.
    Terminal,
}

/// What was shown of the job's output, by whoever was to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All that was wanted.
    Whole,
    /// Nothing: it was never there.
    Nothing,
    /// Not all: something is missing, in the middle or at the end.
    Holes,
}

/// How attending ended.
enum Stayed {
    /// There is nothing more to attend to.
    Over(Shown),
    /// The user left.
    Left,
}

/// Waits for the end of a run that is followed, and attends to it meanwhile.
///
/// # Errors
/// What follows fails; [`CliError::Detached`].
pub(crate) async fn attended<T>(
    ended: impl Future<Output = Result<T, CliError>>,
    dial: &mut impl Dial,
    attended: Attended,
) -> Result<(T, Shown), CliError> {
    let (run, place) = (attended.run.clone(), attended.place);
    let is_over = Cell::new(false);
    let mut ended = pin!(ended);
    let mut staying = pin!(stay(dial, attended, &is_over));
    let stayed = tokio::select! {
        ended = &mut ended => {
            is_over.set(true);
            let ended = ended?;
            if place == Place::Log {
                return Ok((ended, Shown::Whole));
            }
            let limit = Duration::from_millis(LAST_OUTPUT_MS_MAX);
            let last = timeout(limit, &mut staying).await;
            return match last {
                Ok(Ok(Stayed::Over(shown))) => Ok((ended, shown)),
                Ok(Ok(Stayed::Left)) => Err(CliError::Detached { run }),
                // The end is known, whatever became of the way there.
                Ok(Err(error)) => {
                    error.print();
                    Ok((ended, Shown::Holes))
                }
                Err(_) => Ok((ended, Shown::Holes)),
            };
        }
        stayed = &mut staying => stayed,
    };
    let shown = match stayed {
        Ok(Stayed::Left) => return Err(CliError::Detached { run }),
        // Whoever follows the log shows all of it.
        Ok(Stayed::Over(_)) if place == Place::Log => Shown::Whole,
        Ok(Stayed::Over(shown)) => shown,
        Err(error) if place == Place::Terminal => return Err(error),
        Err(error) => {
            note(&format!("the run goes on without this side: {error}"));
            Shown::Whole
        }
    };
    Ok((ended.await?, shown))
}

async fn stay(
    dial: &mut impl Dial,
    mut attended: Attended,
    is_over: &Cell<bool>,
) -> Result<Stayed, CliError> {
    let mut screen = Screen::new(attended.place == Place::Terminal);
    if attended.later {
        screen.begin_later();
    }
    let mut resizes = Resizes::begin()?;
    let mut typing = None;
    // Until this returns, whichever lines come and go.
    let mut raw = None;
    let mut patience = Patience::default();
    loop {
        let opened = match attended.first.take() {
            Some(line) => Some(Ok(line)),
            None => or_left(&mut typing, dial.dial(attended.open())).await,
        };
        let Some(opened) = opened else {
            return Ok(Stayed::Left);
        };
        match opened {
            Ok(line) => {
                patience = Patience::default();
                attended.sit_down(&line, &mut raw, &mut typing)?;
                let sides = Sides {
                    typing: typing.as_mut(),
                    resizes: Some(&mut resizes),
                    screen: &mut screen,
                    signals: None,
                };
                match carry(line, sides).await? {
                    Over::Left => return Ok(Stayed::Left),
                    Over::Ended(ended) => return attended.over(&ended, &screen),
                    // Without a line to carry them there are no signals here.
                    Over::Broke(_) | Over::Signaled(_) => screen.begin_again(),
                }
            }
            Err(Refusal::Never(error)) => return Err(error),
            Err(Refusal::Away(error)) => patience.is_tried(error)?,
            Err(Refusal::NotNow(_)) => {}
        }
        if is_over.get() {
            return Ok(Stayed::Over(screen.shown(false, false)));
        }
        let pause = tokio::time::sleep(patience.pause());
        if or_left(&mut typing, pause).await.is_none() {
            return Ok(Stayed::Left);
        }
    }
}

impl Attended {
    /// How `davit run` is at the side of its job, if it is.
    pub(crate) fn of_run(run: &str, interactive: bool, terminal: &TerminalArgs) -> Option<Self> {
        // Without input a terminal wants nothing but its size.
        let wanted = interactive || (terminal.tty && terminal::size().is_some());
        wanted.then(|| Self {
            run: run.to_owned(),
            stdin: interactive,
            place: terminal.place(interactive),
            keys: terminal.keys().clone(),
            first: None,
            later: false,
        })
    }

    fn open(&self) -> Open {
        Open {
            run: self.run.clone(),
            with: Some(With::Attach(Attach { stdin: self.stdin })),
            window_size: terminal::size(),
        }
    }

    /// Our terminal becomes the job's, where it has one that is typed at.
    fn sit_down(
        &self,
        line: &Line,
        raw: &mut Option<Raw>,
        typing: &mut Option<Typing>,
    ) -> Result<(), CliError> {
        if !self.stdin || typing.is_some() {
            return Ok(());
        }
        *typing = Some(if line.tty {
            terminal::required("--interactive")?;
            *raw = Some(Raw::begin()?);
            Typing::of_terminal(Some(self.keys.clone()))
        } else {
            Typing::of_stream()
        });
        Ok(())
    }

    fn over(&self, ended: &Ended, screen: &Screen) -> Result<Stayed, CliError> {
        if self.place == Place::Terminal {
            tell_dropped(ended);
        }
        let dropped = ended.dropped_bytes > 0;
        match ended.reason.as_str() {
            "exited" => Ok(Stayed::Over(screen.shown(true, dropped))),
            "run_ended" => Ok(Stayed::Over(screen.shown(false, false))),
            reason => {
                let message = match ended.message.as_str() {
                    "" => format!("the console ended: {reason}"),
                    message => message.to_owned(),
                };
                let run = self.run.clone();
                Err(CliError::Ousted { run, message })
            }
        }
    }
}

/// Waits, and listens for the keys that leave; `None` if they came.
async fn or_left<T>(typing: &mut Option<Typing>, waited: impl Future<Output = T>) -> Option<T> {
    let mut waited = pin!(waited);
    loop {
        let came = async {
            match typing.as_mut() {
                Some(typing) if typing.is_wanted() => typing.next().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            waited = &mut waited => return Some(waited),
            came = came => match came {
                Came::Detach => return None,
                Came::Bytes | Came::End | Came::Bell => {}
            },
        }
    }
}

/// How long is waited for whom.
#[derive(Debug, Default)]
struct Patience {
    earlier: u32,
    since: Option<Instant>,
}

impl Patience {
    fn pause(&mut self) -> Duration {
        let ms = PAUSE_MS_FIRST << self.earlier.min(8);
        self.earlier = self.earlier.saturating_add(1);
        Duration::from_millis(ms.min(PAUSE_MS_MAX))
    }

    /// Nobody answers; `error` when that is so for too long.
    fn is_tried(&mut self, error: CliError) -> Result<(), CliError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        match since.elapsed() > Duration::from_secs(RETURN_SECONDS_MAX) {
            true => Err(error),
            false => Ok(()),
        }
    }
}
