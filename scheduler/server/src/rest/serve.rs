//! Connections: accepted up to a number, encrypted if asked, and cut off when their client does not get on.
//!
//! ```text
//!  accept ─► permit ─► TLS ≤ 10 s ─► first bytes ≤ 10 s ─► head ≤ 10 s ─► requests … ─► writes that move every 30 s
//!     │                                                              │
//!   stop ─► no new connections; those there finish what they have, for at most 5 s
//! ```

mod patient;
mod plainly;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::CONNECTIONS_MAX;
use crate::prompt::{ACCEPT_PAUSE_MS, HANDSHAKE_MS_MAX, Prompt};
use patient::Patient;

/// How long a request's head may take.
const HEAD_MS_MAX: u64 = 10_000;
/// How long a write may not get on.
const WRITE_MS_MAX: u64 = 30_000;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// HTTP/2: streams of one connection.
const HTTP2_STREAMS_MAX: u32 = 256;
/// HTTP/2: a silent client is asked so often whether it is there.
const HTTP2_PING_MS: u64 = 20_000;
/// How long connections may finish what they have when the server stops.
const DRAIN_MS_MAX: u64 = 5_000;

/// Serves until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    // Each connection has a receiver; all are gone when nobody is left.
    let (stopping, stopped) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let acceptor = tls.map(TlsAcceptor::from);
    let mut stop = std::pin::pin!(stop);
    loop {
        let permit = tokio::select! {
            () = &mut stop => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let connection = connection(stream, acceptor.clone(), router.clone(), stopped.clone());
        tokio::spawn(async move {
            // Held until the connection ends.
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(stopped);
    stopping.send_replace(true);
    let drained = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), stopping.closed());
    if drained.await.is_err() {
        tracing::info!("connections that did not finish were cut off");
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    stopped: watch::Receiver<bool>,
) -> Result<(), Broken> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        let stream = Patient::new(stream, Duration::from_millis(WRITE_MS_MAX));
        return http(stream, router, stopped).await;
    };
    let handshake = async {
        if plainly::spoken(&stream).await? {
            plainly::answer(stream).await?;
            return Ok(None);
        }
        let stream = Patient::new(stream, Duration::from_millis(WRITE_MS_MAX));
        acceptor.accept(stream).await.map(Some)
    };
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long");
    let encrypted = tokio::time::timeout(limit, handshake)
        .await
        .map_err(late)??;
    match encrypted {
        Some(stream) => http(stream, router, stopped).await,
        None => Ok(()),
    }
}

async fn http<S>(
    stream: S,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(Duration::from_millis(HTTP2_PING_MS));
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Prompt::new(stream, None));
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(stream, service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        // Whoever serves went away without a word: that is a stop, too.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
