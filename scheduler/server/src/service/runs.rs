//! Runs: seen, stopped, paused, extended.
//!
//! ```text
//!  order  ─► store: what is wanted ─► dispatch ─► host        (state, not a message)
//! ```
//!
//! Invariant: an order to a run that is over changes nothing and shows the run.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_types::{RunId, RunStatus, SecurityProfile, limits};
use tokio::time::Instant;
use uuid::Uuid;

use super::access::Caller;
use super::planned::PlannedRun;
use super::usage::decimal;
use super::{Explained, Service, ServiceError, now_ms, runners, tenants};
use crate::store::{AttemptRow, Order, RunFilter, RunView, StoreError, Want, billed_seconds};

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
    /// What the live attempt or the last is locked in with; only where one run is shown, and it started.
    pub security: Option<SecurityProfile>,
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
    shown.security = security(service, &shown).await?;
    if shown.status() == RunStatus::Pending {
        shown.waiting = match service.placing.explain(run).await {
            None => held_by_cap(service, caller).await?,
            known => known,
        };
    }
    Ok(shown)
}

/// What a run's live attempt or its last is locked in with, as far as that is still kept.
async fn security(
    service: &Service,
    shown: &Shown,
) -> Result<Option<SecurityProfile>, ServiceError> {
    let live = shown.view.active.as_ref().and_then(|row| row.profile);
    let last = shown.attempts.last().and_then(|(last, _)| last.profile);
    let Some(profile) = live.or(last) else {
        return Ok(None);
    };
    let Some(body) = service.store.profile(profile).await? else {
        return Ok(None);
    };
    let read = serde_json::from_str(&body).map_err(|source| ServiceError::Corrupt {
        what: "security profile",
        id: profile.to_string(),
        source,
    })?;
    Ok(Some(read))
}

/// Why a run waits that no replica looks at, if its tenant's spend cap is why.
async fn held_by_cap(
    service: &Service,
    caller: &Caller,
) -> Result<Option<Explained>, ServiceError> {
    let account = tenants::show(service, &caller.tenant).await?;
    let spent = account.totals.cost_micros;
    let cap = account.tenancy.spend_cap_micros;
    Ok(cap.filter(|cap| spent >= *cap).map(|cap| Explained {
        reason: "spend_cap".to_owned(),
        message: format!(
            "{} of {} {} are spent; it waits until the spend cap is raised",
            decimal(spent),
            decimal(cap),
            service.currency
        ),
        scarce: None,
        position: None,
        hosts: BTreeMap::new(),
    }))
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
        security: None,
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

/// Looks for the end of a run are so far apart, at least.
const LOOK_PAUSE_MS: u64 = 50;
/// And so far at most: a hint may be missing.
const LOOK_MS_MAX: u64 = 500;

/// Waits until a run is over, at most so long. Whoever shows the run afterwards sees what it came to.
///
/// # Errors
/// The store's.
pub async fn wait(
    service: &Service,
    caller: &Caller,
    run: RunId,
    longest: Duration,
) -> Result<(), ServiceError> {
    let until = Instant::now() + longest;
    let mut hints = service.store.hints();
    loop {
        drop(hints.borrow_and_update());
        let tenant = Some(caller.tenant.clone());
        let found = service.store.runs(tenant, vec![run]).await?;
        let live = found.iter().any(|view| view.ended.is_none());
        let now = Instant::now();
        if !live || now >= until {
            return Ok(());
        }
        let look = until.min(now + Duration::from_millis(LOOK_MS_MAX));
        // Hints come often where much goes on.
        tokio::time::sleep_until(until.min(now + Duration::from_millis(LOOK_PAUSE_MS))).await;
        tokio::select! {
            _ = hints.changed() => {}
            () = tokio::time::sleep_until(look) => {}
        }
    }
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
        Want::Stop(_) | Want::End(_) | Want::Pause | Want::Resume | Want::Timeout(_) => Ok(()),
    }
}
