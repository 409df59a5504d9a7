//! The operator's view of hosts: seen, drained, taken back, removed; and join tokens for new ones.

use uuid::Uuid;

use super::access::Caller;
use super::catalogue::{self, SLUG_CHARS_MAX};
use super::check::Check;
use super::{Service, ServiceError, now_ms};
use crate::credentials::{self, CredentialKind};
use crate::store::{ActiveRun, DrainOrder, Host, HostState, JoinToken};

/// The longest life of a join token: a week.
pub const JOIN_SECONDS_MAX: u64 = 604_800;

/// The longest time a host may have to drain: a week.
pub const DRAIN_SECONDS_MAX: u64 = 604_800;

/// A permission to register one host. Its text is shown once.
#[derive(Debug)]
pub struct MintedJoin {
    /// What the host shows.
    pub text: String,
    /// Where the host will be.
    pub region: String,
    /// Not valid from then on, Unix milliseconds.
    pub expires_ms: u64,
}

/// Makes a join token.
///
/// # Errors
/// A region that is not there, a life out of range, the store's.
pub async fn add_join_token(
    service: &Service,
    actor: &str,
    region: &str,
    life_seconds: u64,
) -> Result<MintedJoin, ServiceError> {
    let mut check = Check::default();
    check.slug("region", region, SLUG_CHARS_MAX);
    check.range("expires_in_seconds", life_seconds, 1, JOIN_SECONDS_MAX);
    let regions = catalogue::regions(service).await?;
    if !regions.iter().any(|known| known.slug == region) {
        check.fail("region", region, "is not one of the regions");
    }
    check.done()?;
    let minted = credentials::mint(CredentialKind::Join)?;
    let at_ms = now_ms();
    let expires_ms = at_ms.saturating_add(life_seconds.saturating_mul(1_000));
    let token = JoinToken {
        hash: minted.hash,
        region: region.to_owned(),
        expires_ms,
        actor: actor.to_owned(),
        at_ms,
    };
    service.store.add_join_token(token).await?;
    Ok(MintedJoin {
        text: minted.text,
        region: region.to_owned(),
        expires_ms,
    })
}

/// Hosts by id, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Host>, ServiceError> {
    Ok(service.store.hosts(after, limit).await?)
}

/// Changes whether a host is given runs.
///
/// # Errors
/// It is not there; the store's.
pub async fn set_state(
    service: &Service,
    caller: &Caller,
    host: Uuid,
    state: HostState,
) -> Result<(), ServiceError> {
    if service
        .executors
        .name(&*service.store, host)
        .await?
        .is_none()
    {
        return Err(ServiceError::not_found("executor", host));
    }
    let changed = service
        .store
        .set_host_state(host, state, caller.actor(), now_ms());
    // Whether it was so before makes no difference to who asked.
    changed.await?;
    Ok(())
}

/// A host and what it has.
#[derive(Debug)]
pub struct Detail {
    /// The host.
    pub host: Host,
    /// Its live runs.
    pub runs: Vec<ActiveRun>,
}

/// One host.
///
/// # Errors
/// It is not there; the store's.
pub async fn show(service: &Service, host: Uuid) -> Result<Detail, ServiceError> {
    let found = service.store.host(host).await?;
    let found = found.ok_or_else(|| ServiceError::not_found("executor", host))?;
    let held = service.store.held(host).await?;
    Ok(Detail {
        host: found,
        runs: held.into_iter().map(|held| held.row).collect(),
    })
}

/// Gives a host no more runs. With a deadline, those that are left then are stopped or, if that is not asked for, only named.
///
/// # Errors
/// It is not there, or was removed; a deadline that is wrong; the store's.
pub async fn drain(
    service: &Service,
    caller: &Caller,
    host: Uuid,
    deadline_seconds: Option<u64>,
    stops_runs: bool,
) -> Result<Detail, ServiceError> {
    let mut check = Check::default();
    if let Some(seconds) = deadline_seconds {
        check.range("deadline_seconds", seconds, 0, DRAIN_SECONDS_MAX);
    } else if stops_runs {
        check.fail(
            "stop_runs",
            stops_runs,
            "wants deadline_seconds too: 0 for at once",
        );
    }
    check.done()?;
    let order = DrainOrder {
        host,
        within_ms: deadline_seconds.map(|seconds| seconds * 1_000),
        stops_runs,
        actor: caller.actor(),
        at_ms: now_ms(),
    };
    if !service.store.drain_host(order).await? {
        return Err(ServiceError::not_found("executor", host));
    }
    show(service, host).await
}
