//! A replica's REST API on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use davit_scheduler::dispatch::Dispatch;
use davit_scheduler::link::LinkParts;
use davit_scheduler::rest::{self, Api, Metrics, RestSettings};
use davit_scheduler::service::Service;

/// The replica's API, until its runtime ends.
pub(crate) async fn serve_rest(
    parts: &LinkParts,
    dispatch: &Dispatch,
    heartbeat_ms: u64,
) -> (SocketAddr, Service) {
    let service = Service::new(
        Arc::clone(&parts.store),
        Arc::clone(&parts.keys),
        Arc::clone(&parts.signer),
        Arc::new(dispatch.clone()),
        "EUR",
    );
    let metrics = Arc::new(Metrics::new(&parts.starts));
    let settings = RestSettings {
        heartbeat_ms,
        ..RestSettings::default()
    };
    let api = Api::new(
        service.clone(),
        parts.logs.clone(),
        parts.files.clone(),
        parts.consoles.clone(),
        settings,
        metrics,
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let never = std::future::pending();
    tokio::spawn(rest::serve(listener, None, rest::router(api), never));
    (address, service)
}
