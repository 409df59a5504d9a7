//! Runs as they are shown.

use std::collections::BTreeMap;

use davit_types::{EndReason, RunStatus};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extracts::{self, ExtractView};
use super::measured::{Measured, measured};
use super::security::SecurityView;
use super::uploads::RunFilesView;
use super::{Money, time};
use crate::service::runs::Shown;
use crate::service::{Explained, Service};
use crate::store::{ActiveState, AttemptRow, RULE_CEIL_SECOND};

/// Exactly these five.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Status {
    Pending,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::rest) enum Reason {
    /// The program ended by itself.
    Exited,
    /// Killed at its deadline; exit code 124.
    TimedOut,
    /// Killed by the kernel for memory.
    OomKilled,
    /// It could not fork any more.
    PidsLimit,
    /// A signal that davit did not send.
    Signaled,
    /// Stopped by the user.
    Canceled,
    /// The image could not be had.
    ImagePullFailed,
    /// The container could not be started.
    StartFailed,
    /// Its disk allowance was used up.
    DiskFull,
    /// The host lost it: there is no exit code.
    ExecutorLost,
}

macro_rules! same_words {
    ($ours:ident, $theirs:ident: $($word:ident),*) => {
        impl From<$theirs> for $ours {
            fn from(word: $theirs) -> Self {
                match word { $($theirs::$word => Self::$word),* }
            }
        }
    };
}
same_words!(Status, RunStatus: Pending, Running, Succeeded, Failed, Canceled);
same_words!(Reason, EndReason: Exited, TimedOut, OomKilled, PidsLimit, Signaled, Canceled,
    ImagePullFailed, StartFailed, DiskFull, ExecutorLost);

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Canceled => Self::Canceled,
        }
    }
}

/// What a run used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct UsageView {
    /// Executing and not paused, over all attempts, milliseconds.
    active_ms: u64,
    /// The same rounded by `rule`.
    billed_seconds: u64,
    /// How it is rounded.
    rule: &'static str,
    /// The last attempt's measurements; only where one run is shown.
    measured: Option<Measured>,
}

/// An attempt that is over.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct AttemptView {
    attempt: u32,
    executor: Option<String>,
    started_at: Option<String>,
    completed_at: String,
    end_reason: Reason,
    exit_code: Option<u8>,
    /// A sentence.
    message: String,
    /// Container start to end, milliseconds.
    duration_ms: u64,
    /// Whether its usage and its log are known to be whole.
    complete: bool,
    measured: Option<Measured>,
}

/// Why a run waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct WaitingView {
    /// A word.
    #[schema(example = "full")]
    reason: String,
    /// A sentence.
    message: String,
    /// What is short: `cpu`, `memory`, `pids` or `disk`.
    scarce: Option<String>,
    /// How many runs come before it.
    ahead: Option<u64>,
    /// Whether there are more than that.
    or_more: bool,
    /// How many executors say what.
    executors: BTreeMap<String, u64>,
}

impl From<Explained> for WaitingView {
    fn from(explained: Explained) -> Self {
        Self {
            reason: explained.reason,
            message: explained.message,
            scarce: explained.scarce,
            ahead: explained.position.map(|position| position.ahead),
            or_more: explained.position.is_some_and(|position| position.or_more),
            executors: explained.hosts,
        }
    }
}

/// What is wanted of a live run and has not happened yet, or holds.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(in crate::rest) struct WantedView {
    /// It is to end.
    stop: bool,
    /// It is to be frozen.
    paused: bool,
}

/// A run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunView {
    id: Uuid,
    runner_id: Option<Uuid>,
    status: Status,
    /// What the kernel told; 124 after a timeout; 128 + n after signal n. `null` while it lives, and when nobody knows.
    exit_code: Option<u8>,
    end_reason: Option<Reason>,
    /// A sentence about its end.
    end_message: Option<String>,
    image: String,
    image_digest: Option<String>,
    command: Option<String>,
    argv: Vec<String>,
    entrypoint: Option<String>,
    /// As it was asked for: the image's, when absent.
    workdir: Option<String>,
    /// The same.
    user: Option<String>,
    /// As it was asked for: the last part of its id, when absent.
    hostname: Option<String>,
    /// Nothing can be written to its root file system.
    read_only_root: bool,
    labels: BTreeMap<String, String>,
    /// Names of the variables whose values are taken out of the log.
    secret_env: Vec<String>,
    /// Names of the files in /run/secrets.
    secret_files: Vec<String>,
    /// The files it came with.
    files: Option<RunFilesView>,
    /// What comes out of it; what became of each only where one run is shown.
    extracts: Vec<ExtractView>,
    /// Its input stays open for clients that attach.
    stdin: bool,
    /// It has a terminal.
    tty: bool,
    region: String,
    instance_type: String,
    priority: i32,
    timeout_seconds: u64,
    /// Name of its host.
    executor: Option<String>,
    /// The live attempt or the last; 0 before the first.
    attempt: u32,
    created_at: String,
    started_at: Option<String>,
    /// Since when it is frozen.
    paused_at: Option<String>,
    completed_at: Option<String>,
    updated_at: String,
    /// The last attempt's start to its end, milliseconds.
    duration_ms: Option<u64>,
    wanted: WantedView,
    usage: UsageView,
    cost: Money,
    /// Attempts that are over; only where one run is shown.
    attempts: Vec<AttemptView>,
    /// What the live attempt or the last is locked in with; only where one run is shown, and it started.
    security: Option<SecurityView>,
    /// Why it waits; only where one run is shown.
    waiting: Option<WaitingView>,
}

/// One run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunReply {
    pub(in crate::rest) run: RunView,
}

/// Runs that were made together.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct BatchReply {
    /// Their ids, in the order of the request.
    pub(in crate::rest) run_ids: Vec<Uuid>,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunsReply {
    pub(in crate::rest) runs: Vec<RunView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

/// What would become of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct ExplainReply {
    pub(in crate::rest) explanation: WaitingView,
}

/// The instants of a run.
struct Instants {
    started_ms: Option<u64>,
    paused_ms: Option<u64>,
    ended_ms: Option<u64>,
    updated_ms: u64,
}

fn instants(shown: &Shown) -> Instants {
    let created_ms = shown.view.base.created_ms;
    match (&shown.view.ended, &shown.view.active) {
        (Some(ended), _) => Instants {
            started_ms: ended.started_ms,
            paused_ms: None,
            ended_ms: Some(ended.ended_ms),
            updated_ms: ended.ended_ms.max(created_ms),
        },
        (None, Some(active)) => Instants {
            started_ms: active.started_ms,
            paused_ms: active.paused_at_ms,
            ended_ms: None,
            updated_ms: [active.assigned_ms, active.started_ms, active.paused_at_ms]
                .into_iter()
                .flatten()
                .fold(created_ms, u64::max),
        },
        (None, None) => Instants {
            started_ms: None,
            paused_ms: None,
            ended_ms: None,
            updated_ms: created_ms,
        },
    }
}

impl RunView {
    pub(in crate::rest) fn new(service: &Service, shown: &Shown) -> Self {
        let base = &shown.view.base;
        let (active, ended) = (shown.view.active.as_ref(), shown.view.ended.as_ref());
        let request = &shown.plan.request;
        let at = instants(shown);
        let desired = active.map(|active| active.desired).unwrap_or_default();
        let timeout = desired.timeout_seconds.or(request.timeout_seconds);
        let paused = active.is_some_and(|active| active.state == ActiveState::Paused);
        let digest = match (ended, active) {
            (Some(ended), _) => ended.image_digest.clone(),
            (None, active) => active.and_then(|active| active.image_digest.clone()),
        };
        Self {
            id: *base.run.as_uuid(),
            runner_id: base.runner,
            status: shown.status().into(),
            exit_code: ended.and_then(|ended| ended.exit_code),
            end_reason: ended.map(|ended| ended.end_reason.into()),
            end_message: ended.map(|ended| ended.message.clone()),
            image: request.image.clone(),
            image_digest: digest,
            command: request.command.clone(),
            argv: request.argv.clone(),
            entrypoint: request.entrypoint.clone(),
            workdir: request.workdir.clone(),
            user: request.user.clone(),
            hostname: request.hostname.clone(),
            read_only_root: request.read_only_root,
            labels: request.labels.clone(),
            secret_env: request.secret_env.clone(),
            secret_files: request.secret_files.clone(),
            files: shown.plan.files.as_ref().map(RunFilesView::from),
            extracts: extracts::views(shown),
            stdin: request.stdin,
            tty: request.tty,
            region: base.region.clone(),
            instance_type: base.instance_type.clone(),
            priority: base.priority,
            timeout_seconds: timeout.unwrap_or(davit_types::limits::TIMEOUT_SECONDS_DEFAULT),
            executor: shown.executor.clone(),
            attempt: shown.attempt(),
            created_at: time(base.created_ms),
            started_at: at.started_ms.map(time),
            paused_at: at.paused_ms.filter(|_| paused).map(time),
            completed_at: at.ended_ms.map(time),
            updated_at: time(at.updated_ms),
            duration_ms: at
                .ended_ms
                .zip(at.started_ms)
                .map(|(end, start)| end.saturating_sub(start)),
            wanted: WantedView {
                stop: desired.stop.is_some(),
                paused: desired.paused,
            },
            usage: UsageView {
                active_ms: shown.active_ms(),
                billed_seconds: shown.billed_seconds(),
                rule: RULE_CEIL_SECOND,
                measured: shown.attempts.last().and_then(|(last, _)| measured(last)),
            },
            cost: Money::new(shown.cost_micros(), &service.currency),
            attempts: shown.attempts.iter().map(attempt).collect(),
            security: shown.security.clone().map(SecurityView::from),
            waiting: shown.waiting.clone().map(WaitingView::from),
        }
    }
}

fn attempt((row, executor): &(AttemptRow, Option<String>)) -> AttemptView {
    AttemptView {
        attempt: row.attempt,
        executor: executor.clone(),
        started_at: row.started_ms.map(time),
        completed_at: time(row.ended_ms),
        end_reason: row.end_reason.into(),
        exit_code: row.exit_code,
        message: row.message.clone(),
        duration_ms: row.wall_ms,
        complete: row.complete,
        measured: measured(row),
    }
}
