//! One run: being at its side, or executing a command beside it, over a WebSocket.

mod params;

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use davit_rpc::console::Open;

use crate::rest::Api;
use crate::rest::answer::Answer;
use crate::rest::auth::Asking;
use crate::rest::console::{self, MESSAGE_BYTES_MAX, PROTOCOLS, READ_BYTES};
use crate::rest::openapi::Problems;
use crate::rest::params::RunPath;
use crate::rest::problem::Problem;
use crate::service::access::{Caller, Scope};
use crate::service::consoles;
use params::{AttachParams, EnvHeader, ExecParams};

/// Executes a command beside a running job, in its container.
///
/// The connection becomes a WebSocket (HTTP/1.1) that speaks `v5.channel.k8s.io` or `v4.channel.k8s.io`, as Kubernetes' `exec`
/// does: each message begins with the number of its channel. 0: input; 1: output; 2: errors; 4: the size of the terminal,
/// `{"Width":80,"Height":24}`; 255 and a channel's number: the end of that channel (version 5 only). The last message, on 3, is
/// a Kubernetes `Status`: `Success`, or `Failure` with the cause `ExitCode`. The command ends with the connection. The token is
/// sent as a header, which browsers cannot do.
///
/// 409 tells that the run does not execute, or that its host would not; 503 with the type `urn:davit:problem:elsewhere` that its
/// host is connected to another replica: repeat the request until it comes to that one.
#[utoipa::path(get, path = "/exec", tag = "consoles",
    params(("run_id" = uuid::Uuid, Path), ExecParams, EnvHeader), operation_id = "exec_in_run",
    security(("token" = ["runs:exec"])),
    responses((status = 101, description = "The connection is a WebSocket, and the command was begun."), Problems))]
pub(in crate::rest) async fn exec(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    open(api, caller, path, query, headers, upgrade, Kind::Exec).await
}

/// Attaches to a job that was submitted with `stdin` or `tty`.
///
/// The WebSocket is that of `exec`. What the job wrote before is in its log. The job goes on when the connection ends; when the
/// job does, the last message tells its exit code.
#[utoipa::path(get, path = "/attach", tag = "consoles",
    params(("run_id" = uuid::Uuid, Path), AttachParams), operation_id = "attach_to_run",
    security(("token" = ["runs:exec"])),
    responses((status = 101, description = "The connection is a WebSocket, at the job's side."), Problems))]
pub(in crate::rest) async fn attach(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    open(api, caller, path, query, headers, upgrade, Kind::Attach).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exec,
    Attach,
}

async fn open(
    api: Arc<Api>,
    caller: Caller,
    path: RunPath,
    query: Option<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    kind: Kind,
) -> Answer {
    caller.may(Scope::RunsExec)?;
    let RunPath { run, runner } = path;
    let side = consoles::side(&api.service, &api.consoles, &caller, run, runner).await?;
    let params = ExecParams::read(query.as_deref().unwrap_or_default(), &headers, kind)?;
    let upgrade = upgrade.map_err(|rejection| {
        let what = format!("{rejection}; this path is for WebSockets over HTTP/1.1");
        Problem::bad_parameter("Upgrade", "", what)
    })?;
    let upgrade = spoken(upgrade, &headers)?;
    let asked = side?;
    let wishes = params.wishes();
    let wanted = Open {
        run: run.to_string(),
        with: Some(params.with(kind)),
        window_size: None,
    };
    let actor = caller.actor();
    let console = api.consoles.open(asked, wanted).await?;
    tracing::info!(%run, tenant = caller.tenant.as_str(), actor, ?kind, "a console was opened");
    let guard = api.metrics.console();
    let response = upgrade.on_upgrade(async move |socket| {
        // What is executed is not said.
        let tenant = caller.tenant.clone();
        let reason = console::carry(api, caller, console, wishes, socket).await;
        tracing::info!(%run, tenant = tenant.as_str(), actor, ?kind, reason, "a console is over");
        drop(guard);
    });
    Ok(response)
}

/// The upgrade with the best version that both speak.
fn spoken(mut upgrade: WebSocketUpgrade, headers: &HeaderMap) -> Result<WebSocketUpgrade, Problem> {
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let Some(best) = PROTOCOLS.into_iter().find(|known| offered.contains(known)) else {
        let field = "Sec-WebSocket-Protocol";
        let what = format!("must offer one of {}", PROTOCOLS.join(", "));
        return Err(Problem::bad_parameter(field, &offered.join(", "), what));
    };
    upgrade.set_selected_protocol(HeaderValue::from_static(best));
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BYTES)
        // Nothing is kept back: each message is one piece of output.
        .write_buffer_size(0);
    Ok(upgrade)
}
