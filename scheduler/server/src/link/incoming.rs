//! Hosts' connections: accepted up to a number, encrypted if asked, and given up when they do not get on.
//!
//! ```text
//!  accept ─► permit ─► TLS ≤ 10 s, a task each ─► first bytes ≤ 10 s ─► HTTP/2
//! ```
//!
//! Invariant: a permit is held from before a connection is accepted to its end, so that those in the handshake count too.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::prompt::{ACCEPT_PAUSE_MS, HANDSHAKE_MS_MAX, Prompt};

/// Connections that wait for the server to take them.
const READY_MAX: usize = 64;

/// A connection that HTTP/2 is spoken on: plain, or encrypted.
pub(super) type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

type Ready = mpsc::Sender<io::Result<Prompt<Wire>>>;

/// Connections of a listener, at most so many at once; the others wait to be accepted.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    connections_max: usize,
) -> impl Stream<Item = io::Result<Prompt<Wire>>> {
    let (ready, mut taken) = mpsc::channel(READY_MAX);
    let mut accepting = JoinSet::new();
    accepting.spawn(accept(listener, tls, connections_max, ready));
    futures::stream::poll_fn(move |cx| {
        // Accepting ends with this stream.
        let _ = &accepting;
        taken.poll_recv(cx)
    })
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    connections_max: usize,
    ready: Ready,
) {
    let permits = Arc::new(Semaphore::new(connections_max));
    let acceptor = tls.map(TlsAcceptor::from);
    let mut handshakes = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        while handshakes.try_join_next().is_some() {}
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => match acceptor.clone() {
                Some(acceptor) => {
                    handshakes.spawn(handshake(acceptor, stream, permit, ready.clone()));
                }
                None => {
                    let prompt = Prompt::new(Either::Left(stream), Some(permit));
                    if ready.send(Ok(prompt)).await.is_err() {
                        return;
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a host's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    ready: Ready,
) {
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    let problem = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let prompt = Prompt::new(Either::Right(Box::new(stream)), Some(permit));
            drop(ready.send(Ok(prompt)).await);
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took more than {HANDSHAKE_MS_MAX} ms"),
    };
    tracing::debug!(problem, "a host's TLS handshake failed");
}

impl Connected for Prompt<Wire> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
