//! Reading what a registry sends, with an eye on how fast it comes.
//!
//! Time is counted only while we wait for the registry, so a slow disk here is not its fault. In
//! every full window of waiting at least `stall_bytes_min` must arrive: one byte a minute is a stall.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Response;

use super::{ImageError, Session};

/// A body being read.
pub(crate) struct Body<'a> {
    session: &'a Session,
    what: String,
    response: Response,
    waited: Duration,
    received_bytes: u64,
}

impl<'a> Body<'a> {
    pub(super) const fn new(session: &'a Session, what: String, response: Response) -> Self {
        Self {
            session,
            what,
            response,
            waited: Duration::ZERO,
            received_bytes: 0,
        }
    }

    /// The next bytes; `None` at the end, `Unreachable` when the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ImageError> {
        loop {
            let left = self.session.limits.stall_window.saturating_sub(self.waited);
            let begin = Instant::now();
            let answer = tokio::time::timeout(left, self.response.chunk()).await;
            self.waited += begin.elapsed();
            let arrived = match answer {
                Ok(Ok(Some(bytes))) => Some(Vec::from(bytes)),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(self.broken(error)),
                Err(_) => None,
            };
            self.received_bytes += arrived.as_ref().map_or(0, |bytes| bytes.len() as u64);
            self.check_window()?;
            if arrived.is_some() {
                return Ok(arrived);
            }
        }
    }

    fn check_window(&mut self) -> Result<(), ImageError> {
        let limits = &self.session.limits;
        if self.waited < limits.stall_window {
            return Ok(());
        }
        if self.received_bytes < limits.stall_bytes_min {
            return Err(ImageError::Stalled {
                registry: self.session.registry().to_owned(),
                what: self.what.clone(),
                received_bytes: self.received_bytes,
                window_seconds: limits.stall_window.as_secs(),
            });
        }
        self.waited = Duration::ZERO;
        self.received_bytes = 0;
        Ok(())
    }

    fn broken(&self, error: reqwest::Error) -> ImageError {
        ImageError::Unreachable {
            registry: self.session.registry().to_owned(),
            source: Arc::new(error.without_url()),
        }
    }

    /// All of it, if it is no more than `bytes_max`.
    pub(crate) async fn read_all(mut self, bytes_max: usize) -> Result<Vec<u8>, ImageError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > bytes_max {
                return Err(ImageError::RegistryFailed {
                    registry: self.session.registry().to_owned(),
                    what: self.what,
                    problem: format!("it sent more than {bytes_max} bytes"),
                });
            }
            all.extend(bytes);
        }
        Ok(all)
    }

    /// The beginning of it, as far as it comes.
    pub(crate) async fn read_some(mut self, bytes_max: usize) -> Vec<u8> {
        let mut some = Vec::new();
        while let Ok(Some(bytes)) = self.next().await {
            let room = bytes_max - some.len();
            some.extend(bytes.into_iter().take(room));
            if some.len() == bytes_max {
                break;
            }
        }
        some
    }
}
