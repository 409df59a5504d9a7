//! The link: what hosts say to the scheduler and hear from it, over `davit.executor.v1`.
//!
//! ```text
//!  host ══ Join, Authenticate ══► Gate ──► store, signer
//!       ══ Session ═════════════► greeting: Hello ─► Welcome with every place
//!                                    │
//!                                 session, one task a host ──► reports (lanes, batches) ──► store
//!                                    │                    ├──► logs
//!                                    │                    └──► beats (once a second for all)
//!                                    └──► dispatch: hosts come and go, runs start and end
//!       ◄═ Assign, Want, Warm, Forget ══ Sessions::at(host, epoch) ◄── dispatch
//!       ══ Console ═════════════► console ──► consoles: who waits for this id of this host
//! ```
//!
//! Neither side keeps an outbox: what a host has to say follows from its run directories and the places it is told; what
//! it has to hear, from the store. So a lost message is told again, and a repeated one is a duplicate by its step.
//!
//! Invariants:
//! - nothing is acknowledged before it is committed;
//! - a message counts only in the latest session of its host, whichever replica ends that: the store compares epochs;
//! - an attempt is over when the store says so, and not before its log is stored;
//! - every queue, list and wait has a bound; a host that exceeds one is cut off, and loses nothing by it;
//! - neither tokens nor secrets are logged.
//!
//! Beside it the standard services `grpc.health.v1` and `grpc.reflection.v1`, which ask for no token.
//!
//! Absent on purpose: connections to hosts (they dial), decisions where runs go (`dispatch`).
//!
//! How a lease is counted: a host's hello and heartbeats are answered when they are stored. The store says from then on that
//! the host was heard; the host counts from when it **sent** what was answered last. So its count is never behind, whatever
//! of replica, store and network fails, and whatever stands between: of the fence's margin nothing is used up by it.

mod access;
mod beats;
mod console;
mod error;
mod extracts;
mod facts;
mod files;
mod greeting;
mod incoming;
mod lines;
mod outfit;
mod places;
mod reports;
mod session;
mod sessions;
mod words;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use davit_rpc::link as proto;
use davit_rpc::link::link_server::LinkServer;
use futures::StreamExt as _;
use futures::stream::Map;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::consoles::{Consoles, HOST_CONSOLES_MAX};
use crate::credentials::Signer;
use crate::dispatch::Dispatch;
use crate::dispatch::told::Teller;
use crate::files::Files;
use crate::logs::Logs;
use crate::secrets::Keyring;
use crate::starts::Starts;
use crate::store::Store;
use access::{Gate, Pass};
use incoming::incoming;
use reports::Reports;
use session::{MISSED_BEATS_MAX, REPORTS_MAX, Session};

pub use access::AUDIENCE;
pub use error::LinkError;
pub(crate) use facts::feature_label;
pub use facts::{HostBeat, HostBody, HostCapacity};
pub(crate) use outfit::{OutfitError, credentials, outfit, owners, sealed};
pub(crate) use sessions::Peer;
pub use sessions::Sessions;
pub(crate) use words::{told_key, want};

/// How long a host may take for its hello.
pub const HELLO_MS_MAX: u64 = 10_000;
/// A connection from which nothing was read for so long is asked for a ping: none whose host sends its heartbeats.
pub const KEEPALIVE_MS: u64 = 20_000;
/// A connection whose ping is not answered for so long is over.
pub const KEEPALIVE_TIMEOUT_MS: u64 = 10_000;
/// Bytes of one message of a host: a full batch of log lines, or a hello.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Streams of one connection: a host needs two, and one a console.
const STREAMS_MAX: u32 = 80;
/// Bytes that may come in over a stream before they are read.
const STREAM_BYTES_MAX: u32 = 512 << 10;
/// The same of a connection: a session goes on while nothing of all the host's consoles is read.
const CONNECTION_BYTES_MAX: u32 = 34 << 20;
const _: () = assert!(
    CONNECTION_BYTES_MAX as usize > (HOST_CONSOLES_MAX + 2) * STREAM_BYTES_MAX as usize
        && STREAMS_MAX as usize > HOST_CONSOLES_MAX + 4
);
/// Connections of one replica; each host needs one.
pub const CONNECTIONS_MAX: usize = 32_768;

/// How the link behaves.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Whose sessions these are.
    pub replica: Uuid,
    /// Derives client secrets when hosts join; the same for all replicas.
    pub secret_key: [u8; 32],
    /// How long an access token is valid, seconds.
    pub token_seconds: u32,
    /// Hosts are to be heard this often.
    pub heartbeat_ms: u32,
    /// Usage segments are closed at least this often.
    pub meter_ms: u32,
    /// Lines of a log wait for company this long at most,
    pub log_period_ms: u32,
    /// or for so many of them.
    pub log_batch_lines: u32,
}

impl LinkSettings {
    /// The usual ones.
    #[must_use]
    pub const fn new(replica: Uuid, secret_key: [u8; 32]) -> Self {
        Self {
            replica,
            secret_key,
            token_seconds: 900,
            heartbeat_ms: 10_000,
            meter_ms: 60_000,
            log_period_ms: 200,
            log_batch_lines: 1_000,
        }
    }
}

/// What a link stands on.
pub struct LinkParts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Where lines go.
    pub logs: Logs,
    /// Where files that runs come with lie.
    pub files: Files,
    /// Opens secrets.
    pub keys: Arc<Keyring>,
    /// Signs access tokens.
    pub signer: Arc<Signer>,
    /// Where sessions are found; the same as dispatch's.
    pub sessions: Sessions,
    /// Where starts are counted.
    pub starts: Starts,
    /// Who waits for hosts to dial.
    pub consoles: Consoles,
}

/// What all sessions share.
struct Shared {
    settings: LinkSettings,
    store: Arc<dyn Store>,
    logs: Logs,
    files: Files,
    keys: Arc<Keyring>,
    sessions: Sessions,
    teller: Teller,
    gate: Arc<Gate>,
    reports: Reports,
    consoles: Consoles,
    /// Lanes and heartbeats; they end with the link.
    _tasks: JoinSet<()>,
}

/// The gRPC service. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

impl Link {
    /// A link whose hosts `dispatch` gives runs to. Needs a tokio runtime.
    #[must_use]
    pub fn new(parts: LinkParts, dispatch: &Dispatch, settings: LinkSettings) -> Self {
        let mut tasks = JoinSet::new();
        let teller = dispatch.teller();
        let reports = Reports::start(&parts.store, &teller, &parts.starts, &mut tasks);
        let silence_ms = u64::from(settings.heartbeat_ms * MISSED_BEATS_MAX);
        let beats = beats::run(Arc::clone(&parts.store), parts.sessions.clone(), silence_ms);
        tasks.spawn(beats);
        let gate = Gate {
            store: Arc::clone(&parts.store),
            signer: parts.signer,
            secret_key: hmac::Key::new(hmac::HMAC_SHA256, &settings.secret_key),
            token_seconds: settings.token_seconds,
        };
        Self(Arc::new(Shared {
            settings,
            store: parts.store,
            logs: parts.logs,
            files: parts.files,
            keys: parts.keys,
            sessions: parts.sessions,
            teller,
            gate: Arc::new(gate),
            reports,
            consoles: parts.consoles,
            _tasks: tasks,
        }))
    }

    /// Serves hosts until `stop` is ready; then they are told to dial again. With `tls` that is spoken, and nothing else.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), LinkError> {
        let failed = |source| LinkError::Serve { source };
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_millis(KEEPALIVE_MS)))
            .http2_keepalive_timeout(Some(Duration::from_millis(KEEPALIVE_TIMEOUT_MS)))
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_BYTES_MAX)
            .initial_connection_window_size(CONNECTION_BYTES_MAX);
        let (mut health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<LinkServer<Self>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("descriptors that were compiled along are descriptors");
        let sessions = self.0.sessions.clone();
        let stop = async move {
            stop.await;
            // First, so that a balancer sends nobody here any more. Then there is nothing to watch: a watcher would hold
            // up the end.
            health.set_not_serving::<LinkServer<Self>>().await;
            for service in [LinkServer::<Self>::NAME, ""] {
                health.clear_service_status(service).await;
            }
            sessions.close_all("the scheduler goes away");
        };
        let service = LinkServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX);
        server
            .add_service(service)
            .add_service(health_service)
            .add_service(reflection)
            .serve_with_incoming_shutdown(incoming(listener, tls, CONNECTIONS_MAX), stop)
            .await
            .map_err(failed)
    }

    async fn open(
        &self,
        request: Request<Streaming<proto::HostMessage>>,
    ) -> Result<Orders, LinkError> {
        let pass = self.0.gate.bearer(request.metadata())?;
        let mut incoming = request.into_inner();
        let first = timeout(Duration::from_millis(HELLO_MS_MAX), incoming.message()).await;
        let said = match first {
            Ok(Ok(Some(message))) => message.message,
            Ok(Ok(None) | Err(_)) => None,
            Err(_) => {
                return Err(LinkError::Silent {
                    wanted: "hello",
                    waited_ms: HELLO_MS_MAX,
                });
            }
        };
        let Some(proto::host_message::Message::Hello(hello)) = said else {
            return Err(LinkError::OutOfPlace {
                given: "something else",
                wanted: "a hello",
            });
        };
        let (answer, opened) = oneshot::channel();
        // A task of its own: a host that hangs up in the middle leaves no half-begun session.
        tokio::spawn(Arc::clone(&self.0).attend(pass, hello, Box::new(incoming), answer));
        let opened = opened.await;
        opened.unwrap_or(Err(LinkError::OutOfPlace {
            given: "the end of the scheduler",
            wanted: "a welcome",
        }))
    }
}

impl Shared {
    /// A host, from its hello until its session runs: in a task of its own again, since there may be thousands, and a task
    /// is as large as the largest thing it ever does.
    async fn attend(
        self: Arc<Self>,
        pass: Pass,
        hello: proto::Hello,
        incoming: Box<Streaming<proto::HostMessage>>,
        answer: oneshot::Sender<Result<Orders, LinkError>>,
    ) {
        let greeted = match self.greet(pass.host, hello).await {
            Ok(greeted) => greeted,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let session = Box::new(Session {
            peer: greeted.peer,
            host: pass.host,
            expires: pass.expires(),
            gate: Arc::clone(&self.gate),
            store: Arc::clone(&self.store),
            sessions: self.sessions.clone(),
            reports: self.reports.clone(),
            logs: self.logs.clone(),
            teller: self.teller.clone(),
            beat: greeted.beat,
            images: greeted.images,
            heartbeat_ms: self.settings.heartbeat_ms,
            permits: Arc::new(Semaphore::new(REPORTS_MAX)),
        });
        // Whoever hung up meanwhile is noticed by the session at once.
        let orders: Orders = ReceiverStream::new(greeted.queue).map(|message| Ok(*message));
        drop(answer.send(Ok(orders)));
        tokio::spawn(session.run(incoming));
    }
}

/// What a host hears in a session.
type Orders = Map<
    ReceiverStream<sessions::Outgoing>,
    fn(sessions::Outgoing) -> Result<proto::SchedulerMessage, Status>,
>;

#[tonic::async_trait]
impl proto::link_server::Link for Link {
    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinReply>, Status> {
        let reply = self.0.gate.join(request.into_inner()).await?;
        Ok(Response::new(reply))
    }

    async fn authenticate(
        &self,
        request: Request<proto::AuthenticateRequest>,
    ) -> Result<Response<proto::AuthenticateReply>, Status> {
        let reply = self.0.gate.authenticate(request.into_inner()).await?;
        Ok(Response::new(reply))
    }

    type SessionStream = Orders;

    async fn session(
        &self,
        request: Request<Streaming<proto::HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(self.open(request).await?))
    }

    type FetchFilesStream = files::Pieces;

    async fn fetch_files(
        &self,
        request: Request<proto::FilesRequest>,
    ) -> Result<Response<Self::FetchFilesStream>, Status> {
        let pass = self.0.gate.bearer(request.metadata())?;
        let pieces = self.0.files(pass.host, request.into_inner()).await?;
        Ok(Response::new(pieces))
    }

    type SendExtractStream = extracts::Places;

    async fn send_extract(
        &self,
        request: Request<Streaming<proto::ExtractFromHost>>,
    ) -> Result<Response<Self::SendExtractStream>, Status> {
        let pass = self.0.gate.bearer(request.metadata())?;
        let places = self.0.extract(pass.host, request.into_inner()).await?;
        Ok(Response::new(places))
    }

    type ConsoleStream = console::Inputs;

    async fn console(
        &self,
        request: Request<Streaming<proto::ConsoleFromHost>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let inputs = console::take(&self.0.gate, &self.0.consoles, request).await?;
        Ok(Response::new(inputs))
    }
}
