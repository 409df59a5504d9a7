//! Files that come out of runs, as users see them: what was asked for, what became of it, and the archive.

use davit_types::{ExtractKind, ExtractStatus, RunId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::Caller;
use super::runs::{self, Shown};
use super::{Service, ServiceError};
use crate::store::Upload;

/// What a host told of one of an attempt's extracts; a list of them is [`AttemptRow::extracts`](crate::store::AttemptRow).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldExtract {
    pub(crate) status: ExtractStatus,
    pub(crate) kind: Option<ExtractKind>,
    pub(crate) bytes: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) message: Option<String>,
}

/// One of a run's extracts.
#[derive(Clone, Debug)]
pub(crate) struct ShownExtract {
    /// As asked for.
    pub(crate) from: String,
    /// As asked for.
    pub(crate) to: String,
    /// `None` while the run has not ended.
    pub(crate) told: Option<ToldExtract>,
}

/// The extracts of a run whose attempts are known.
pub(crate) fn of(shown: &Shown) -> Vec<ShownExtract> {
    let told = shown.view.ended.as_ref().map(|_| {
        let last = shown.attempts.last();
        let last = last.filter(|(last, _)| last.attempt == shown.attempt());
        let told = last.and_then(|(last, _)| last.extracts.as_deref());
        told.and_then(|told| serde_json::from_str::<Vec<ToldExtract>>(told).ok())
            .unwrap_or_default()
    });
    let asked = shown.plan.request.extracts.iter().enumerate();
    asked
        .map(|(at, asked)| ShownExtract {
            from: asked.from.clone(),
            to: asked.to.clone(),
            told: told
                .as_ref()
                .map(|all| all.get(at).cloned().unwrap_or_else(none)),
        })
        .collect()
}

/// What is said where nothing was collected.
fn none() -> ToldExtract {
    ToldExtract {
        status: ExtractStatus::Error,
        kind: None,
        bytes: 0,
        sha256: None,
        message: Some(
            "its job never began, or its host was lost: nothing was collected".to_owned(),
        ),
    }
}

/// The archive of one of a run's extracts, which is whole.
///
/// # Errors
/// There is no such run or extract; the run has not ended; it was not collected; the store's.
pub(crate) async fn archive(
    service: &Service,
    caller: &Caller,
    run: RunId,
    runner: Option<Uuid>,
    number: u32,
) -> Result<Upload, ServiceError> {
    let shown = runs::show(service, caller, run, runner).await?;
    let found = usize::try_from(number)
        .ok()
        .and_then(|at| of(&shown).into_iter().nth(at));
    let found = found.ok_or_else(|| ServiceError::not_found("extract", number))?;
    let missing = |problem: String| ServiceError::NoExtract { number, problem };
    let Some(told) = found.told else {
        let problem = "the run has not ended: they are collected then";
        return Err(missing(problem.to_owned()));
    };
    if told.status != ExtractStatus::Ok {
        let why = told.message.unwrap_or_default();
        return Err(missing(format!("{}: {why}", told.status.as_str())));
    }
    let sent = service.store.extract(run, number).await?;
    sent.filter(|(attempt, upload)| *attempt == shown.attempt() && upload.sha256.is_some())
        .map(|(_, upload)| upload)
        .ok_or_else(|| missing("what its host sent is not here any more".to_owned()))
}
