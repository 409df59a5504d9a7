//! Runs: submitted, seen, stopped, paused, extended.
//!
//! ```text
//!  submit ─► plan ─► environment sealed for the run ─► store: key, run, audit row in one commit ─► answer
//!  order  ─► store: what is wanted ─► dispatch ─► host        (state, not a message)
//! ```
//!
//! Invariants: what the first request with a key was answered, is what its repeats are answered, word by word. An
//! order to a run that is over changes nothing and shows the run.

use std::time::Duration;

use davit_types::{RunId, RunStatus, limits};
use serde::Serialize;
use uuid::Uuid;

use super::access::Caller;
use super::plan::{Job, OneOff, Overrides, Planned};
use super::planned::PlannedRun;
use super::{Candidate, Explained, Service, ServiceError, catalogue, environment, now_ms, runners};
use crate::store::limits::DOCUMENT_BYTES_MAX;
use crate::store::{
    AttemptRow, BaseRun, Idempotency, Order, Refusal, RunFilter, RunView, StoreError, Submission,
    Submitted, Want, billed_seconds,
};

/// Tries of a submit that the store could not say the end of: the run has its id, so none is made twice.
const SUBMIT_TRIES_MAX: u32 = 3;
/// Pause before each further try.
const SUBMIT_PAUSE_MS: u64 = 50;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub enum Asked {
    /// A run of a saved runner.
    OfRunner(Uuid, Overrides),
    /// A run without one.
    OneOff(Box<OneOff>),
}

/// A run with all that is said of it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The store's view.
    pub view: RunView,
    /// What it executes.
    pub plan: PlannedRun,
    /// Its host's name.
    pub executor: Option<String>,
    /// Attempts that are over, with their hosts' names; only where one run is shown.
    pub attempts: Vec<(AttemptRow, Option<String>)>,
    /// Why it waits; only where one run is shown, and it waits.
    pub waiting: Option<Explained>,
}

impl Shown {
    /// The public status.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        match (&self.view.ended, &self.view.active) {
            (Some(ended), _) => ended.status,
            (None, Some(active)) => active.state.status(),
            (None, None) => RunStatus::Pending,
        }
    }

    /// The live attempt or the last; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        match (&self.view.ended, &self.view.active) {
            (Some(ended), _) => ended.attempts,
            (None, Some(active)) => active.attempt,
            (None, None) => 0,
        }
    }

    /// Billable milliseconds up to now.
    #[must_use]
    pub fn active_ms(&self) -> u64 {
        match (&self.view.ended, &self.view.active) {
            (Some(ended), _) => ended.active_ms,
            (None, Some(active)) => active.active_ms,
            (None, None) => 0,
        }
    }

    /// Seconds that are billed up to now.
    #[must_use]
    pub fn billed_seconds(&self) -> u64 {
        match (&self.view.ended, &self.view.active) {
            (Some(ended), _) => ended.billed_seconds,
            (None, Some(active)) => billed_seconds(active.ever_started, active.active_ms),
            (None, None) => 0,
        }
    }

    /// What it costs up to now, millionths.
    #[must_use]
    pub fn cost_micros(&self) -> u64 {
        let price = self.view.base.price_second_micros;
        match &self.view.ended {
            Some(ended) => ended.cost_micros,
            None => self.billed_seconds().saturating_mul(price),
        }
    }
}

/// What became of a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The run.
    pub run: RunId,
    /// What is answered: `render` of the run as it was made.
    pub text: String,
    /// Whether an earlier request made it.
    pub replayed: bool,
}

/// Makes a run.
///
/// Runs to its end once begun: whoever calls it for a client that may go away spawns it.
///
/// # Errors
/// Fields that are wrong, a runner that is not there, a key in use, a closed tenant, a reached cap, the store's.
pub async fn submit(
    service: &Service,
    caller: &Caller,
    asked: Asked,
    key: Option<String>,
    render: fn(&Service, &Shown) -> String,
) -> Result<Answer, ServiceError> {
    let tenant = &caller.tenant;
    let fingerprint = catalogue::digest(&asked);
    let run = RunId::generate();
    let (job, runner) = match asked {
        Asked::OfRunner(id, overrides) => {
            let settings = runners::show(service, tenant, id).await?.body.settings;
            let job = Job::of_runner(service, tenant, id, settings, overrides);
            (job.await?, Some(id))
        }
        Asked::OneOff(one_off) => (Job::of_one_off(service, tenant, *one_off).await?, None),
    };
    let planned = job.plan(service, run).await?;
    let base = base(caller, run, runner, &planned)?;
    let shown = Shown {
        view: RunView {
            base: base.clone(),
            active: None,
            ended: None,
        },
        plan: planned.plan,
        executor: None,
        attempts: Vec::new(),
        waiting: None,
    };
    let submission = Submission {
        base,
        idempotency: key.map(|key| Idempotency { key, fingerprint }),
        answer: render(service, &shown),
        actor: caller.actor(),
    };
    bounded(&submission.answer)?;
    environment::put(
        service,
        tenant,
        *run.as_uuid(),
        &planned.env,
        &caller.actor(),
    )
    .await?;
    let submitted = commit(service, &submission).await;
    let made = matches!(&submitted, Ok(Ok(Submitted::Created)))
        || matches!(&submitted, Ok(Ok(Submitted::Replayed { run: made, .. })) if *made == run);
    if !made && !planned.env.is_empty() && !matches!(&submitted, Err(error) if error.is_retriable())
    {
        environment::keep_only(service, tenant, *run.as_uuid(), &[], &caller.actor()).await?;
    }
    Ok(match submitted?? {
        Submitted::Replayed { run: first, answer } if first != run => Answer {
            run: first,
            text: answer,
            replayed: true,
        },
        Submitted::Created | Submitted::Replayed { .. } => Answer {
            run,
            text: submission.answer,
            replayed: false,
        },
    })
}

async fn commit(
    service: &Service,
    submission: &Submission,
) -> Result<Result<Submitted, Refusal>, StoreError> {
    let mut tries = 1;
    loop {
        match service.store.submit(vec![submission.clone()]).await {
            Ok(answers) => {
                let none = Refusal::UnknownRun {
                    run: submission.base.run,
                };
                return Ok(answers.into_iter().next().unwrap_or(Err(none)));
            }
            Err(error) if error.is_retriable() && tries < SUBMIT_TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(SUBMIT_PAUSE_MS)).await;
    }
}

fn base(
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
    planned: &Planned,
) -> Result<BaseRun, ServiceError> {
    let spec = catalogue::text(&planned.plan, "plan", *run.as_uuid())?;
    Ok(BaseRun {
        run,
        tenant: caller.tenant.clone(),
        runner,
        region: planned.region.clone(),
        instance_type: planned.plan.instance_type.slug.clone(),
        price_second_micros: planned.plan.instance_type.price_second_micros,
        priority: planned.priority,
        spec,
        created_ms: now_ms(),
    })
}

fn bounded(document: &str) -> Result<(), ServiceError> {
    if document.len() <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("makes a document of more than {DOCUMENT_BYTES_MAX} bytes");
    Err(ServiceError::field("", "the request as a whole", problem))
}

/// What would become of a run, without making it.
///
/// # Errors
/// As [`submit`].
pub async fn explain(
    service: &Service,
    caller: &Caller,
    asked: Asked,
) -> Result<Explained, ServiceError> {
    let tenant = &caller.tenant;
    let (job, runner) = match asked {
        Asked::OfRunner(id, overrides) => {
            let settings = runners::show(service, tenant, id).await?.body.settings;
            let job = Job::of_runner(service, tenant, id, settings, overrides);
            (job.await?, Some(id))
        }
        Asked::OneOff(one_off) => (Job::of_one_off(service, tenant, *one_off).await?, None),
    };
    let planned = job.plan(service, RunId::generate()).await?;
    let candidate = Candidate {
        tenant: tenant.clone(),
        runner,
        region: planned.region,
        priority: planned.priority,
        plan: planned.plan,
    };
    Ok(service.placing.explain_new(candidate).await)
}

/// One of the tenant's runs, of this runner if one is named.
///
/// # Errors
/// It is not there; the store's.
pub async fn show(
    service: &Service,
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
) -> Result<Shown, ServiceError> {
    let found = service
        .store
        .runs(Some(caller.tenant.clone()), vec![run])
        .await?;
    let view = found
        .into_iter()
        .find(|view| runner.is_none() || view.base.runner == runner)
        .ok_or_else(|| ServiceError::not_found("run", run))?;
    let mut shown = shown(service, view).await?;
    for attempt in service.store.attempts(run).await? {
        let name = executor(service, attempt.host).await?;
        shown.attempts.push((attempt, name));
    }
    if shown.status() == RunStatus::Pending {
        shown.waiting = service.placing.explain(run).await;
    }
    Ok(shown)
}

async fn shown(service: &Service, view: RunView) -> Result<Shown, ServiceError> {
    let plan = serde_json::from_str(&view.base.spec).map_err(|source| ServiceError::Corrupt {
        what: "plan",
        id: view.base.run.to_string(),
        source,
    })?;
    let host = match (&view.ended, &view.active) {
        (Some(ended), _) => ended.host,
        (None, Some(active)) => active.host,
        (None, None) => None,
    };
    Ok(Shown {
        view,
        plan,
        executor: executor(service, host).await?,
        attempts: Vec::new(),
        waiting: None,
    })
}

async fn executor(service: &Service, host: Option<Uuid>) -> Result<Option<String>, StoreError> {
    match host {
        Some(host) => service.executors.name(&*service.store, host).await,
        None => Ok(None),
    }
}

/// The tenant's runs before one, newest first.
///
/// # Errors
/// The store's; a runner that is not there.
pub async fn list(
    service: &Service,
    caller: &Caller,
    runner: Option<Uuid>,
    status: Option<RunStatus>,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<Shown>, ServiceError> {
    let filter = RunFilter {
        tenant: Some(caller.tenant.clone()),
        runner,
        status,
    };
    let found = service.store.runs_page(filter, before, limit).await?;
    let mut all = Vec::with_capacity(found.len());
    for view in found {
        all.push(shown(service, view).await?);
    }
    if let (Some(id), true) = (runner, all.is_empty()) {
        // A runner without runs is told from one that is not there.
        runners::show(service, &caller.tenant, id).await?;
    }
    Ok(all)
}

/// Says what is wanted of a run; the run as it is then.
///
/// # Errors
/// It is not there, a value that is wrong, the store's.
pub async fn order(
    service: &Service,
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
    want: Want,
) -> Result<Shown, ServiceError> {
    check_want(want)?;
    show(service, caller, run, runner).await?;
    let order = Order {
        tenant: caller.tenant.clone(),
        run,
        want,
        actor: caller.actor(),
        at_ms: now_ms(),
    };
    for answer in service.store.order(vec![order]).await? {
        answer?;
    }
    show(service, caller, run, runner).await
}

fn check_want(want: Want) -> Result<(), ServiceError> {
    match want {
        Want::Stop(stop) if stop.grace_ms > limits::STOP_GRACE_MS_MAX => {
            let problem = format!("must be 0 to {}", limits::STOP_GRACE_MS_MAX);
            Err(ServiceError::field("grace_ms", stop.grace_ms, problem))
        }
        Want::Timeout(seconds) if !(1..=limits::TIMEOUT_SECONDS_MAX).contains(&seconds) => {
            let problem = format!("must be 1 to {}", limits::TIMEOUT_SECONDS_MAX);
            Err(ServiceError::field("timeout_seconds", seconds, problem))
        }
        Want::Stop(_) | Want::Pause | Want::Resume | Want::Timeout(_) => Ok(()),
    }
}
