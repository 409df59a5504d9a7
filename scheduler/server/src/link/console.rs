//! A host's call that carries a console: checked, and given to who waits for it.

use std::time::Duration;

use davit_rpc::link as proto;
use davit_rpc::link::console_from_host::Message as Said;
use futures::StreamExt as _;
use futures::stream::Map;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::access::Gate;
use super::error::LinkError;
use crate::consoles::{Consoles, Wire};

/// How long a host may take to say for which console it dials.
const CONSOLE_ID_MS_MAX: u64 = 10_000;

/// What a host hears over a console.
pub(super) type Inputs = Map<
    ReceiverStream<proto::ConsoleToHost>,
    fn(proto::ConsoleToHost) -> Result<proto::ConsoleToHost, Status>,
>;

/// Takes a call. Who waits for it has both ways from then on.
pub(super) async fn take(
    gate: &Gate,
    consoles: &Consoles,
    request: Request<Streaming<proto::ConsoleFromHost>>,
) -> Result<Inputs, LinkError> {
    let pass = gate.bearer(request.metadata())?;
    let mut from_host = request.into_inner();
    let waited_ms = CONSOLE_ID_MS_MAX;
    let first = timeout(Duration::from_millis(waited_ms), from_host.message()).await;
    let said = match first {
        Ok(Ok(Some(message))) => message.message,
        Ok(Ok(None) | Err(_)) => None,
        Err(_) => {
            return Err(LinkError::Silent {
                wanted: "console id",
                waited_ms,
            });
        }
    };
    let Some(Said::ConsoleId(id)) = said else {
        return Err(LinkError::OutOfPlace {
            given: "something else",
            wanted: "a console id",
        });
    };
    let (wire, queue) = Wire::new(from_host);
    if !consoles.give(pass.host, &id, wire) {
        return Err(LinkError::NoConsole { host: pass.host });
    }
    Ok(ReceiverStream::new(queue).map(Ok))
}
