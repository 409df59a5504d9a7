//! `/v1/usage`: the ledger as it is exported, and whether it adds up.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::rest::answer::{Answer, ok};
use crate::rest::auth::Asking;
use crate::rest::openapi::Problems;
use crate::rest::params::{Params, limit};
use crate::rest::views::usage::{Charge, CloudEvent, ReconciliationReply, UsageReply};
use crate::rest::{Api, cursor};
use crate::service::access::Scope;
use crate::service::{reconcile, usage};

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::rest) enum Format {
    /// One document.
    Json,
    /// A document a line.
    Ndjson,
    /// With a header line.
    Csv,
    /// A batch of CloudEvents 1.0.
    Cloudevents,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Cloudevents];

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Cloudevents => "application/cloudevents-batch+json",
        }
    }

    /// The first of `Accept` that is known.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
        accept.split(',').find_map(|kind| {
            let essence = kind.split(';').next()?.trim();
            let known = |format: &Self| format.content_type().split(';').next() == Some(essence);
            Self::ALL.into_iter().find(known)
        })
    }
}

/// Which rows, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct UsageParams {
    /// Rows after this place: `next` of the page before.
    after: Option<String>,
    /// Rows at most: 1 to 1000, 100 when absent.
    limit: Option<usize>,
    /// Goes before the header `Accept`; `json` when neither says.
    #[param(inline)]
    format: Option<Format>,
}

/// Exports the usage ledger: every row once, in an order that never changes.
///
/// The header `Davit-Next` holds the cursor after the rows in every format, also when there are none yet.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", operation_id = "export_usage", params(UsageParams),
    security(("token" = ["usage:read"])),
    responses((status = 200, description = "A page.", content(
        (UsageReply = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json")),
        headers(("Davit-Next" = String, description = "The cursor after the rows."))), Problems))]
pub(in crate::rest) async fn page(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(params): Params<UsageParams>,
    headers: HeaderMap,
) -> Answer {
    caller.may(Scope::UsageRead)?;
    let rows = limit(params.limit)?;
    let after = cursor::row(params.after.as_deref())?;
    let accepted = params.format.or_else(|| Format::accepted(&headers));
    let format = accepted.unwrap_or(Format::Json);
    let page = usage::page(&api.service, Some(&caller.tenant), after, rows).await?;
    let next = cursor::after_row(page.next);
    let charges = page
        .rows
        .into_iter()
        .map(|row| Charge::new(row, &api.service.currency));
    let charges: Vec<Charge> = charges.collect();
    let mut response = match format {
        Format::Json => ok(&UsageReply {
            usage: charges,
            next: next.clone(),
            more: page.more,
        }),
        Format::Ndjson => {
            let lines = charges.iter().map(|charge| text(charge) + "\n");
            written(format, lines.collect())
        }
        Format::Csv => {
            let lines = charges.iter().map(Charge::line);
            written(
                format,
                Charge::HEADER.to_owned() + &lines.collect::<String>(),
            )
        }
        Format::Cloudevents => {
            let events: Vec<CloudEvent> = charges.into_iter().map(Charge::event).collect();
            written(format, text(&events))
        }
    };
    if let Ok(next) = HeaderValue::from_str(&next) {
        let name = HeaderName::from_static("davit-next");
        response.headers_mut().insert(name, next);
    }
    Ok(response)
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn written(format: Format, text: String) -> Response {
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

/// Proves that the books add up: segments contiguous, sums as billed, totals as exported, three times.
#[utoipa::path(get, path = "/v1/usage/reconciliation", tag = "usage", operation_id = "reconcile_usage",
    security(("token" = ["usage:read"])),
    responses((status = 200, description = "What was found.", body = ReconciliationReply), Problems))]
pub(in crate::rest) async fn reconciliation(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
) -> Answer {
    caller.may(Scope::UsageRead)?;
    let report = reconcile::reconcile(&api.service, &caller.tenant).await?;
    Ok(ok(&ReconciliationReply::from(report)))
}
