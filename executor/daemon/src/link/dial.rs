//! Connections to the scheduler: TLS, or plain http to this host itself.

use std::path::PathBuf;
use std::time::Duration;

use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::{AuthenticateRequest, JoinReply, JoinRequest};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::identity::{Identity, IdentityError};
use crate::settings::LinkSettings;

/// Longest wait for a connection, milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;
/// Longest wait for the answer to a call that is no session, milliseconds.
const CALL_MS_MAX: u64 = 20_000;
/// The kernel asks the scheduler's kernel for a sign of life after so long without a packet, milliseconds,
const TCP_IDLE_MS: u64 = 5_000;
/// again so long after each that is not answered,
const TCP_AGAIN_MS: u64 = 1_000;
/// and gives the connection up after so many: a network that is cut is noticed in ten seconds, without waking anybody.
const TCP_PROBES: u32 = 5;
/// The scheduler itself is asked for a sign of life when nothing was read for so long, milliseconds: longer than it takes to
/// answer the heartbeats it asks for,
const PING_AFTER_MS: u64 = 15_000;
/// and given up when none comes for so long: it hangs.
const PING_MS_MAX: u64 = 5_000;
/// Bytes that may come in over a stream before they are read.
const STREAM_BYTES_MAX: u32 = 256 << 10;
/// The same of the connection: a session goes on while nothing of all consoles is read.
const CONNECTION_BYTES_MAX: u32 = 18 << 20;
const _: () = assert!(
    CONNECTION_BYTES_MAX as usize > (super::console::CONSOLES_MAX + 4) * STREAM_BYTES_MAX as usize
);

/// Why there is no session, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate of the authority cannot be read.
    #[error("cannot read link.ca_file {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("cannot reach the scheduler at {server}")]
    Unreachable {
        /// The address.
        server: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// A call was refused or broke.
    #[error("the scheduler did not {operation}: {} ({:?})", source.message(), source.code())]
    Call {
        /// What was asked of it.
        operation: &'static str,
        /// Its words.
        #[source]
        source: Box<Status>,
    },
    /// It broke the protocol.
    #[error("the scheduler's words make no sense: {problem}")]
    Protocol {
        /// How.
        problem: String,
    },
    /// It ended the session.
    #[error("the scheduler ended the session: {reason}")]
    Goodbye {
        /// Its reason.
        reason: String,
    },
    /// It said nothing.
    #[error("the scheduler did not answer within {limit_ms} ms")]
    Silent {
        /// The limit.
        limit_ms: u64,
    },
}

impl LinkError {
    pub(super) fn call(operation: &'static str) -> impl FnOnce(Status) -> Self {
        move |source| Self::Call {
            operation,
            source: Box::new(source),
        }
    }
}

/// A connection to `server`.
pub(super) async fn connect(
    server: &str,
    link: &LinkSettings,
) -> Result<LinkClient<Channel>, LinkError> {
    let unreachable = |source| LinkError::Unreachable {
        server: server.to_owned(),
        source,
    };
    let milliseconds = Duration::from_millis;
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(unreachable)?
        .connect_timeout(milliseconds(CONNECT_MS_MAX))
        .tcp_keepalive(Some(milliseconds(TCP_IDLE_MS)))
        .tcp_keepalive_interval(Some(milliseconds(TCP_AGAIN_MS)))
        .tcp_keepalive_retries(Some(TCP_PROBES))
        .http2_keep_alive_interval(milliseconds(PING_AFTER_MS))
        .keep_alive_timeout(milliseconds(PING_MS_MAX))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_BYTES_MAX)
        .initial_connection_window_size(CONNECTION_BYTES_MAX)
        .tcp_nodelay(true);
    if server.starts_with("https:") {
        let tls = match &link.ca_file {
            Some(path) => {
                let pem = tokio::fs::read(path).await;
                let pem = pem.map_err(|source| LinkError::CaFile {
                    path: path.clone(),
                    source,
                })?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    }
    let channel = endpoint.connect().await.map_err(unreachable)?;
    Ok(LinkClient::new(channel))
}

/// A token for a session, and how long it is good for.
pub(super) async fn authenticate(
    client: &mut LinkClient<Channel>,
    identity: &Identity,
) -> Result<(String, Duration), LinkError> {
    let client_secret = match &identity.registered {
        Some(registered) => registered.client_secret.clone(),
        None => String::new(),
    };
    let request = AuthenticateRequest {
        host_id: identity.host_id.to_string(),
        client_secret,
    };
    let reply = within(client.authenticate(request)).await?;
    let reply = reply.map_err(LinkError::call("authenticate this host"))?;
    let reply = reply.into_inner();
    let lasts = Duration::from_secs(u64::from(reply.expires_in_seconds));
    Ok((reply.access_token, lasts))
}

/// Registers this host.
pub(super) async fn join(
    client: &mut LinkClient<Channel>,
    request: JoinRequest,
) -> Result<JoinReply, LinkError> {
    let reply = within(client.join(request)).await?;
    let reply = reply.map_err(LinkError::call("register this host"))?;
    Ok(reply.into_inner())
}

pub(super) async fn within<T>(call: impl Future<Output = T>) -> Result<T, LinkError> {
    let limit_ms = CALL_MS_MAX;
    tokio::time::timeout(Duration::from_millis(limit_ms), call)
        .await
        .map_err(|_| LinkError::Silent { limit_ms })
}
