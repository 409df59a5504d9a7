//! Connections whose client does not begin: given up when their first bytes do not come.
//!
//! Which version of HTTP is spoken is known after so many bytes as HTTP/2's preface has. Until then hyper waits without a
//! limit: a client that connects and says nothing, or half of a preface, would hold its connection for ever. The limits of
//! a head begin only then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE_MS_MAX: u64 = 10_000;
/// How long the first bytes may take.
pub(crate) const BEGIN_MS_MAX: u64 = 10_000;
/// Bytes of HTTP/2's preface (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// Pause after an accept that failed: descriptors may come free.
pub(crate) const ACCEPT_PAUSE_MS: u64 = 50;

/// See the module.
pub(crate) struct Prompt<S> {
    stream: S,
    missing_bytes: usize,
    /// Gone when the client has begun.
    timer: Option<Pin<Box<Sleep>>>,
    /// Held until the connection ends.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Prompt<S> {
    pub(crate) fn new(stream: S, permit: Option<OwnedSemaphorePermit>) -> Self {
        let limit = Duration::from_millis(BEGIN_MS_MAX);
        Self {
            stream,
            missing_bytes: PREFACE_BYTES,
            timer: Some(Box::pin(tokio::time::sleep(limit))),
            _permit: permit,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(timer) = &mut self.timer else {
            return polled;
        };
        if polled.is_pending() {
            ready!(timer.as_mut().poll(cx));
            let problem = "the client does not begin";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, problem)));
        }
        let read = buffer.filled().len() - before;
        self.missing_bytes = self.missing_bytes.saturating_sub(read);
        if self.missing_bytes == 0 {
            self.timer = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_is_given_up_and_a_whole_one_is_not() {
        for (bytes, given_up) in [(0, true), (PREFACE_BYTES - 1, true), (PREFACE_BYTES, false)] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs
                .write_all(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..bytes])
                .await
                .unwrap();
            let mut prompt = Prompt::new(ours, None);
            let (begin, mut got) = (Instant::now(), [0; 64]);
            let end = async {
                while prompt.read(&mut got).await? > 0 {}
                io::Result::Ok(())
            };
            let end = tokio::time::timeout(Duration::from_secs(3_600), end).await;
            match end {
                Ok(ended) => {
                    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
                    assert_eq!(begin.elapsed(), Duration::from_millis(BEGIN_MS_MAX));
                    assert!(given_up, "{bytes}");
                }
                Err(_) => assert!(!given_up, "{bytes}"),
            }
        }
    }
}
