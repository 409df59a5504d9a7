//! Consoles: whose run, which attempt of it, at which host.

use davit_types::{Attempt, RunId, RunKey};
use uuid::Uuid;

use super::access::Caller;
use super::{Service, ServiceError, runs};
use crate::consoles::{Asked, ConsoleError, Consoles};
use crate::store::ActiveState;

/// One of the tenant's runs, of this runner if one is named, and where it executes if it does and its host is within reach.
///
/// # Errors
/// The run is not there; the store's.
pub(crate) async fn side(
    service: &Service,
    consoles: &Consoles,
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
) -> Result<Result<Asked, ConsoleError>, ServiceError> {
    let shown = runs::show(service, caller, run, runner).await?;
    let status = shown.status();
    let live = shown.view.active.filter(|_| shown.view.ended.is_none());
    let executes =
        live.filter(|row| matches!(row.state, ActiveState::Running | ActiveState::Paused));
    let place = executes.and_then(|row| Some((Attempt::new(row.attempt)?, row.host?)));
    let Some((attempt, host)) = place else {
        return Ok(Err(ConsoleError::NotRunning { run, status }));
    };
    if consoles.reaches(host) {
        return Ok(Ok(Asked {
            tenant: caller.tenant.clone(),
            key: RunKey { run, attempt },
            host,
        }));
    }
    let row = service.store.host(host).await?;
    let replica = row.and_then(|row| row.session).and_then(|its| its.replica);
    Ok(Err(
        match replica.filter(|its| *its != consoles.replica()) {
            Some(replica) => ConsoleError::Elsewhere { run, replica },
            None => ConsoleError::HostGone { run },
        },
    ))
}
