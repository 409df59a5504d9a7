//! Making runs: one, or many together.
//!
//! ```text
//!  asked ─► plan, environment sealed ─► store: key, runs, environments, audit rows in one commit ─► answer
//! ```
//!
//! Invariants: what the first request with a key was answered, is what its repeats are answered, word by word. Of many
//! runs that are asked for together, all are made or none.

use std::collections::HashMap;
use std::time::Duration;

use davit_types::{FieldError, FieldErrors, RunId, Tenant};
use futures::future::BoxFuture;
use serde::Serialize;
use uuid::Uuid;

use super::access::Caller;
use super::places::Places;
use super::plan::{Job, OneOff, Overrides, Planned, Saved};
use super::registries::{self, Source};
use super::runs::Shown;
use super::{Candidate, Explained, Service, ServiceError, catalogue, environment, now_ms, uploads};
use crate::store::limits::{BATCH_ITEMS_MAX, DOCUMENT_BYTES_MAX, SUBMIT_SECRETS_MAX};
use crate::store::{BaseRun, Idempotency, Refusal, RunView, Stored, Submission, Submitted};

/// Tries of a submit that the store could not say the end of: the run has its id, so none is made twice.
const SUBMIT_TRIES_MAX: u32 = 3;
/// Pause before each further try.
const SUBMIT_PAUSE_MS: u64 = 50;
/// Runs that may be made together.
pub const BATCH_RUNS_MAX: usize = BATCH_ITEMS_MAX;
/// Wrong fields of a batch that are told; planning ends there.
const WRONG_FIELDS_MAX: usize = 100;
/// Runs that are planned before others may have the thread.
const PLANS_AT_ONCE_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Debug, Serialize)]
pub enum Asked {
    /// A run of a saved runner.
    OfRunner(Uuid, Box<Overrides>),
    /// A run without one.
    OneOff(Box<OneOff>),
}

/// Many runs that are asked for together.
#[derive(Clone, Debug, Serialize)]
pub enum AskedTogether {
    /// Runs of a saved runner.
    OfRunner(Uuid, Vec<Overrides>),
    /// Runs without one.
    OneOffs(Vec<OneOff>),
}

/// What became of a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The run; of many the first.
    pub run: RunId,
    /// What is answered: `render` of what was made, as it was then.
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
    let idempotency = idempotency(key, &asked);
    let run = RunId::generate();
    let (job, runner) = job(service, &caller.tenant, asked).await?;
    let planned = job.plan(&Places::load(service).await?, run)?;
    let mut submission = submission(service, caller, run, runner, &planned)?;
    let shown = Shown {
        view: RunView {
            base: submission.base.clone(),
            active: None,
            ended: None,
        },
        plan: planned.plan,
        executor: None,
        attempts: Vec::new(),
        security: None,
        waiting: None,
    };
    submission.answer = render(service, &shown);
    submission.idempotency = idempotency;
    bounded(&submission.answer)?;
    let text = submission.answer.clone();
    let answers = patiently(|| service.store.submit(vec![submission.clone()])).await?;
    let none = Refusal::UnknownRun { run };
    let submitted = answers.into_iter().next().unwrap_or(Err(none))?;
    Ok(answer(submitted, run, text))
}

/// Makes many runs, or none of them.
///
/// Runs to its end once begun, as [`submit`].
///
/// # Errors
/// As [`submit`]; a field's name begins with the run's place, as `runs[3].argv`.
pub async fn submit_together(
    service: &Service,
    caller: &Caller,
    asked: AskedTogether,
    key: Option<String>,
    render: fn(&[RunId]) -> String,
) -> Result<Answer, ServiceError> {
    let idempotency = idempotency(key, &asked);
    let mut batch = plan_all(service, caller, asked).await?;
    let runs: Vec<RunId> = batch.iter().map(|planned| planned.base.run).collect();
    let text = render(&runs);
    if let Some(first) = batch.first_mut() {
        first.idempotency = idempotency;
        first.answer.clone_from(&text);
    }
    let submitted = patiently(|| service.store.submit_together(batch.clone())).await??;
    Ok(answer(submitted, runs[0], text))
}

fn idempotency(key: Option<String>, asked: &impl Serialize) -> Option<Idempotency> {
    key.map(|key| Idempotency {
        key,
        fingerprint: catalogue::digest(asked),
    })
}

async fn job(
    service: &Service,
    tenant: &Tenant,
    asked: Asked,
) -> Result<(Job, Option<Uuid>), ServiceError> {
    let (job, runner) = match asked {
        Asked::OfRunner(id, overrides) => {
            let saved = Saved::load(service, tenant, id).await?;
            (saved.job(*overrides), Some(id))
        }
        Asked::OneOff(one_off) => {
            let registry = one_off.settings.container_registry.as_deref();
            let source = registries::source(service, tenant, registry).await?;
            (Job::of_one_off(*one_off, &source), None)
        }
    };
    let mut found = uploads::Found::default();
    Ok((found.supply(service, tenant, job).await?, runner))
}

async fn plan_all(
    service: &Service,
    caller: &Caller,
    asked: AskedTogether,
) -> Result<Vec<Submission>, ServiceError> {
    let count = match &asked {
        AskedTogether::OfRunner(_, all) => all.len(),
        AskedTogether::OneOffs(all) => all.len(),
    };
    if !(1..=BATCH_RUNS_MAX).contains(&count) {
        let problem = format!("must be 1 to {BATCH_RUNS_MAX} runs");
        return Err(ServiceError::field("runs", count, problem));
    }
    let mut plans = Plans {
        service,
        caller,
        places: Places::load(service).await?,
        sources: HashMap::new(),
        uploads: uploads::Found::default(),
        batch: Vec::with_capacity(count),
        wrong: Vec::new(),
        secrets: 0,
    };
    match asked {
        AskedTogether::OfRunner(id, all) => {
            let saved = Saved::load(service, &caller.tenant, id).await?;
            for (at, overrides) in all.into_iter().enumerate() {
                plans.add(at, Ok(saved.job(overrides)), Some(id)).await?;
            }
        }
        AskedTogether::OneOffs(all) => {
            for (at, one_off) in all.into_iter().enumerate() {
                let job = plans.one_off(one_off).await;
                plans.add(at, job, None).await?;
            }
        }
    }
    if plans.wrong.is_empty() {
        Ok(plans.batch)
    } else {
        Err(ServiceError::Invalid(FieldErrors(plans.wrong)))
    }
}

/// A batch while it is planned.
struct Plans<'a> {
    service: &'a Service,
    caller: &'a Caller,
    places: Places,
    /// Registries by the name in the request: as many as there are runs at most.
    sources: HashMap<Option<String>, Source>,
    /// Uploads that they come with: the same.
    uploads: uploads::Found,
    batch: Vec<Submission>,
    wrong: Vec<FieldError>,
    secrets: usize,
}

impl Plans<'_> {
    async fn one_off(&mut self, one_off: OneOff) -> Result<Job, ServiceError> {
        let named = &one_off.settings.container_registry;
        if let Some(source) = self.sources.get(named) {
            return Ok(Job::of_one_off(one_off, source));
        }
        let tenant = &self.caller.tenant;
        let source = registries::source(self.service, tenant, named.as_deref()).await?;
        self.sources.insert(named.clone(), source.clone());
        Ok(Job::of_one_off(one_off, &source))
    }

    /// Plans one more; what is wrong with it is kept with what is wrong with others, up to a bound.
    async fn add(
        &mut self,
        at: usize,
        job: Result<Job, ServiceError>,
        runner: Option<Uuid>,
    ) -> Result<(), ServiceError> {
        if at % PLANS_AT_ONCE_MAX == PLANS_AT_ONCE_MAX - 1 {
            tokio::task::yield_now().await;
        }
        let job = match job {
            Ok(job) => {
                let found = self.uploads.supply(self.service, &self.caller.tenant, job);
                found.await
            }
            wrong => wrong,
        };
        match job.and_then(|job| self.plan(job, runner)) {
            Ok(submission) => self.batch.push(submission),
            Err(ServiceError::Invalid(errors)) => {
                let placed = errors.0.into_iter().map(|error| FieldError {
                    field: place(at, &error.field),
                    ..error
                });
                self.wrong.extend(placed);
            }
            Err(other) => return Err(other),
        }
        if self.wrong.len() >= WRONG_FIELDS_MAX {
            self.wrong.truncate(WRONG_FIELDS_MAX);
            let wrong = std::mem::take(&mut self.wrong);
            return Err(ServiceError::Invalid(FieldErrors(wrong)));
        }
        Ok(())
    }

    fn plan(&mut self, job: Job, runner: Option<Uuid>) -> Result<Submission, ServiceError> {
        let run = RunId::generate();
        let planned = job.plan(&self.places, run)?;
        self.secrets += planned.env.len();
        if self.secrets > SUBMIT_SECRETS_MAX {
            let problem = format!("makes more than {SUBMIT_SECRETS_MAX} in the whole request");
            let count = planned.env.len();
            return Err(ServiceError::field("env_variables", count, problem));
        }
        submission(self.service, self.caller, run, runner, &planned)
    }
}

/// The name of a field of one of many runs.
fn place(at: usize, field: &str) -> String {
    if field.is_empty() {
        format!("runs[{at}]")
    } else {
        format!("runs[{at}].{field}")
    }
}

/// Again, while the store cannot say whether it did it.
async fn patiently<'a, T>(submit: impl Fn() -> BoxFuture<'a, Stored<T>>) -> Stored<T> {
    let mut tries = 1;
    loop {
        match submit().await {
            Err(error) if error.is_retriable() && tries < SUBMIT_TRIES_MAX => tries += 1,
            done => return done,
        }
        tokio::time::sleep(Duration::from_millis(SUBMIT_PAUSE_MS)).await;
    }
}

fn answer(submitted: Submitted, run: RunId, text: String) -> Answer {
    match submitted {
        Submitted::Replayed { run: first, answer } if first != run => Answer {
            run: first,
            text: answer,
            replayed: true,
        },
        Submitted::Created | Submitted::Replayed { .. } => Answer {
            run,
            text,
            replayed: false,
        },
    }
}

/// A run without key and answer.
fn submission(
    service: &Service,
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
    planned: &Planned,
) -> Result<Submission, ServiceError> {
    let tenant = &caller.tenant;
    let base = BaseRun {
        run,
        tenant: tenant.clone(),
        runner,
        region: planned.region.clone(),
        instance_type: planned.plan.instance_type.slug.clone(),
        price_second_micros: planned.plan.instance_type.price_second_micros,
        priority: planned.priority,
        spec: catalogue::text(&planned.plan, "plan", *run.as_uuid())?,
        created_ms: now_ms(),
    };
    Ok(Submission {
        base,
        idempotency: None,
        answer: String::new(),
        actor: caller.actor(),
        secrets: environment::sealed(service, tenant, *run.as_uuid(), &planned.env)?,
        upload: planned.plan.files.as_ref().map(|files| files.upload),
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
    let (job, runner) = job(service, tenant, asked).await?;
    let planned = job.plan(&Places::load(service).await?, RunId::generate())?;
    let candidate = Candidate {
        tenant: tenant.clone(),
        runner,
        region: planned.region,
        priority: planned.priority,
        plan: planned.plan,
    };
    Ok(service.placing.explain_new(candidate).await)
}
