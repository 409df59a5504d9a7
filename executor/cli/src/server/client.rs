//! Requests: sent with the token, repeated where that is safe, refused ones read as problems.
//!
//! ```text
//!  Call ─► send ── answer ─────────────────────────────► Tree
//!            ▲ └─ 429, 503, no answer ─► pause ─┐
//!            └── same call, same key ◄──────────┘  at most RETRY_MS_MAX
//! ```
//!
//! A call that makes something has a key: the scheduler answers its repeat with what the first one made. A connection that
//! was never made is not tried again before the first answer of all: a mistyped address is told at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Method, Response, StatusCode, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Access;
use super::error::{Problem, ServerError};
use crate::error::CliError;
use crate::output::tree::Tree;

/// Until a connection is there.
const CONNECT_MS_MAX: u64 = 10_000;
/// Between two pieces of an answer; streams have a heartbeat every five seconds.
const SILENCE_MS_MAX: u64 = 30_000;
/// For all repeats of a call together.
const RETRY_MS_MAX: u64 = 30_000;
/// The first pause before a repeat; it doubles.
const PAUSE_MS_FIRST: u64 = 200;
const PAUSE_MS_MAX: u64 = 5_000;
/// Largest answer read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Largest refusal read.
const PROBLEM_BYTES_MAX: usize = 1 << 20;
/// Rows asked for at once, the most there are.
const PAGE_ROWS: &str = "1000";

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    /// Whether a repeat changes nothing that the first one did not.
    repeatable: bool,
}

impl Call {
    /// For the path of these segments below `/v1`.
    pub(super) fn new(method: Method, segments: &[&str]) -> Self {
        Self {
            repeatable: method != Method::POST,
            method,
            segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    pub(super) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A POST that makes something: it has a key.
    pub(super) fn make(segments: &[&str]) -> Self {
        let key = Uuid::new_v4().to_string();
        let mut call = Self::new(Method::POST, segments).header("idempotency-key", &key);
        call.repeatable = true;
        call
    }

    /// A POST that, repeated, wants the same thing again.
    pub(super) fn order(segments: &[&str]) -> Self {
        let mut call = Self::new(Method::POST, segments);
        call.repeatable = true;
        call
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        // Keys and ids of events are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) fn body(mut self, body: &impl Serialize) -> Result<Self, CliError> {
        let written = serde_json::to_vec(body).map_err(std::io::Error::other);
        self.body = Some(written.map_err(CliError::io("write the request"))?);
        Ok(self)
    }

    /// With bytes that are no document.
    pub(super) fn octets(self, bytes: Vec<u8>) -> Self {
        let mut call = self.header("content-type", "application/octet-stream");
        call.body = Some(bytes);
        call
    }

    /// For errors.
    fn shown(&self) -> String {
        format!("{} /v1/{}", self.method, self.segments.join("/"))
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    asked: String,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// The document, or what stands at `field` in it.
    pub(super) fn tree(&self, field: &str) -> Result<Tree, CliError> {
        let whole: Tree = serde_json::from_str(&self.text).map_err(|e| self.strange(e))?;
        let found = whole.at(field).cloned();
        let missing =
            || <serde_json::Error as serde::de::Error>::custom(format!("`{field}` is missing"));
        Ok(found.ok_or_else(|| self.strange(missing()))?)
    }

    /// The whole document.
    pub(super) fn whole(&self) -> Result<Tree, CliError> {
        self.read()
    }

    /// The document as a type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        Ok(serde_json::from_str(&self.text).map_err(|e| self.strange(e))?)
    }

    fn strange(&self, source: serde_json::Error) -> ServerError {
        ServerError::Answer {
            asked: self.asked.clone(),
            source,
        }
    }
}

/// One scheduler.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// The same for what does not stay HTTP; made when it is wanted.
    upgrading: OnceLock<reqwest::Client>,
    access: Arc<Access>,
    server: Url,
    /// Whether it ever answered.
    answered: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(access: &Access) -> Result<Self, CliError> {
        let http = http(access)?.build().map_err(no_tls)?;
        Ok(Self {
            http,
            upgrading: OnceLock::new(),
            access: Arc::new(access.clone()),
            server: access.server.clone(),
            answered: Arc::default(),
        })
    }

    /// Sends until there is an answer or no sense in going on.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, CliError> {
        let begin = Instant::now();
        let mut pause = Pause::default();
        let mut repeated = false;
        loop {
            let failure = match self.once(call).await {
                Ok(answer) => return Ok(answer),
                // What the lost first request removed is gone.
                Err(ServerError::Problem(problem))
                    if repeated && call.method == Method::DELETE && problem.status == 404 =>
                {
                    return Ok(Answer {
                        asked: call.shown(),
                        headers: HeaderMap::new(),
                        text: String::new(),
                    });
                }
                Err(failure) => failure,
            };
            let Some(wait) = self.pause(call, &failure, &mut pause) else {
                return Err(failure.into());
            };
            if begin.elapsed() + wait > Duration::from_millis(RETRY_MS_MAX) {
                return Err(failure.into());
            }
            tokio::time::sleep(wait).await;
            repeated = true;
        }
    }

    /// How long to wait before the call may be sent again; never, when `None`.
    fn pause(&self, call: &Call, failure: &ServerError, pause: &mut Pause) -> Option<Duration> {
        match failure {
            ServerError::Problem(problem) if problem.is_passing() => {
                // A request above the rate was not looked at.
                let again = call.repeatable || problem.status == 429;
                let told = problem.retry_after_seconds.map(Duration::from_secs);
                again.then(|| pause.next().max(told.unwrap_or_default()))
            }
            ServerError::Unreachable { source, .. } if source.is_connect() => {
                let known = self.answered.load(Ordering::Relaxed);
                known.then(|| pause.next())
            }
            ServerError::Unreachable { .. } => call.repeatable.then(|| pause.next()),
            _ => None,
        }
    }

    /// Sends a call that asks for another protocol; the answer agrees to it. Each over a connection of its own.
    pub(super) async fn upgrade(&self, call: &Call) -> Result<Response, CliError> {
        let http = match self.upgrading.get() {
            Some(http) => http,
            None => {
                let builder = http(&self.access)?.http1_only().pool_max_idle_per_host(0);
                let made = builder.build().map_err(no_tls)?;
                self.upgrading.get_or_init(|| made)
            }
        };
        let response = self.opened(http, call).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(response),
            _ => {
                let why = "what answers knows no WebSockets: is a proxy in between?";
                Err(ServerError::NoConsole(why).into())
            }
        }
    }

    async fn once(&self, call: &Call) -> Result<Answer, ServerError> {
        let response = self.open(call).await?;
        let headers = response.headers().clone();
        let bytes = self.read(response, call, ANSWER_BYTES_MAX).await?;
        Ok(Answer {
            asked: call.shown(),
            headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }

    /// Sends once; the answer is good, its body still to be read.
    pub(super) async fn open(&self, call: &Call) -> Result<Response, ServerError> {
        self.opened(&self.http, call).await
    }

    async fn opened(&self, http: &reqwest::Client, call: &Call) -> Result<Response, ServerError> {
        let mut url = self.server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v1").extend(&call.segments);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = http
            .request(call.method.clone(), url)
            .headers(call.headers.clone());
        if let Some(body) = &call.body {
            if !call.headers.contains_key(CONTENT_TYPE) {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            request = request.body(body.clone());
        }
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        self.answered.store(true, Ordering::Relaxed);
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = self.read(response, call, PROBLEM_BYTES_MAX).await?;
        let told: Option<Problem> = serde_json::from_slice(&bytes).ok();
        let told = told.filter(|problem| problem.status == status.as_u16());
        let mut problem = told.unwrap_or_else(|| Problem::of_status(status));
        problem.retry_after_seconds = retry_after;
        Err(ServerError::Problem(Box::new(problem)))
    }

    async fn read(
        &self,
        mut response: Response,
        call: &Call,
        bytes_max: usize,
    ) -> Result<Vec<u8>, ServerError> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            if bytes.len() + piece.len() > bytes_max {
                let asked = call.shown();
                return Err(ServerError::TooLong { asked, bytes_max });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> ServerError {
        let server = self.server.as_str().trim_end_matches('/').to_owned();
        ServerError::Unreachable {
            server,
            source: error.without_url(),
        }
    }

    /// All rows of a list, up to so many; whether that was all.
    pub(super) async fn rows(
        &self,
        list: &Call,
        field: &str,
        rows_max: usize,
    ) -> Result<(Vec<Tree>, bool), CliError> {
        let mut rows = Vec::new();
        let mut call = list.clone().query("limit", PAGE_ROWS);
        loop {
            let answer = self.send(&call).await?;
            rows.extend(answer.tree(field)?.into_items());
            let next = answer.tree("next").ok();
            let next: Option<String> = next.and_then(|next| next.read().ok());
            match next {
                None => return Ok((rows, true)),
                Some(_) if rows.len() >= rows_max => return Ok((rows, false)),
                Some(next) => {
                    call.query.retain(|(name, _)| *name != "after");
                    call = call.query("after", next);
                }
            }
        }
    }
}

/// What is the same for all connections to a scheduler: token, certificates, bounds.
fn http(access: &Access) -> Result<reqwest::ClientBuilder, CliError> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, access.authorization.clone());
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .read_timeout(Duration::from_millis(SILENCE_MS_MAX))
        // A token goes nowhere but where it was meant to go.
        .redirect(redirect::Policy::none());
    if access.server.scheme() == "http" {
        // This host itself: a proxy is for the world.
        builder = builder.no_proxy();
    }
    if let Some(path) = &access.ca_file {
        let pem = std::fs::read(path);
        let pem = pem.map_err(CliError::io(format!("read {}", path.display())))?;
        let unfit = |error| {
            let what = format!("read certificates from {}", path.display());
            CliError::io(what)(std::io::Error::other(error))
        };
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(unfit)?);
    }
    Ok(builder)
}

fn no_tls(error: reqwest::Error) -> CliError {
    CliError::io("set up TLS")(std::io::Error::other(error))
}

/// Growing pauses.
#[derive(Debug, Default)]
pub(super) struct Pause {
    earlier: u32,
}

impl Pause {
    pub(super) fn next(&mut self) -> Duration {
        let ms = PAUSE_MS_FIRST.saturating_mul(1 << self.earlier.min(8));
        self.earlier = self.earlier.saturating_add(1);
        Duration::from_millis(ms.min(PAUSE_MS_MAX))
    }
}
