//! The pull side of the OCI distribution protocol: manifests, blobs, basic and bearer authentication.
//!
//! Written here because the ready-made clients read manifests, tokens and error bodies without a
//! bound, and have no notion of a stalled transfer. Every body is read through [`body::Body`].
//!
//! Absent on purpose: pushing, tags and catalogues, mirrors, certificates other than the system's.

mod auth;
mod body;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use tokio::sync::{Mutex, OnceCell};

use super::manifest::{INDEX_TYPES, MANIFEST_BYTES_MAX, MANIFEST_TYPES};
use super::{Credentials, ImageError, ImageName, PullLimits};

pub(super) use self::body::Body;

/// Time to connect, milliseconds.
const CONNECT_DEADLINE_MS: u64 = 15_000;
/// Redirects followed (blobs often live elsewhere).
const REDIRECTS_MAX: usize = 5;
/// Tries of one request that finds the registry overloaded or the connection lost.
const TRIES_MAX: u32 = 3;
/// Wait before the second try, milliseconds; doubled each time.
const RETRY_MS: u64 = 300;
/// Bytes of an error body looked at.
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// Characters of it shown.
const ERROR_CHARS_MAX: usize = 200;

/// Connections to registries, shared by all pulls.
pub(super) struct Registries {
    plain_http: HashSet<String>,
    secure: OnceCell<Client>,
    plain: OnceCell<Client>,
}

/// One image at one registry, with the authorization found so far.
pub(super) struct Session {
    client: Client,
    base: String,
    plain: bool,
    image: ImageName,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<HeaderValue>>,
    limits: PullLimits,
}

/// A manifest or index as it came.
pub(super) struct FetchedManifest {
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: Option<String>,
}

impl Registries {
    pub(super) fn new(plain_http: &[String]) -> Self {
        Self {
            plain_http: plain_http.iter().cloned().collect(),
            secure: OnceCell::new(),
            plain: OnceCell::new(),
        }
    }

    /// Begins to talk about `image`; nothing is sent yet.
    pub(super) async fn session(
        &self,
        image: &ImageName,
        credentials: Option<Credentials>,
        limits: PullLimits,
    ) -> Result<Session, ImageError> {
        let host = image.registry_host();
        let plain = is_loopback(host) || self.plain_http.contains(host);
        let (cell, scheme) = if plain {
            (&self.plain, "http")
        } else {
            (&self.secure, "https")
        };
        let client = cell
            .get_or_try_init(|| async { client(plain) })
            .await
            .map_err(|error| unreachable(image, error))?;
        let authorization = match &credentials {
            Some(Credentials::Bearer(token)) => auth::bearer(token.reveal()),
            _ => None,
        };
        Ok(Session {
            client: client.clone(),
            base: format!("{scheme}://{host}/v2/{}", image.repository()),
            plain,
            image: image.clone(),
            credentials,
            authorization: Mutex::new(authorization),
            limits,
        })
    }
}

fn client(plain: bool) -> Result<Client, reqwest::Error> {
    let policy = redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if !plain && attempt.url().scheme() != "https" {
            attempt.error("redirected from https to http")
        } else {
            attempt.follow()
        }
    });
    let builder = Client::builder()
        .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_millis(CONNECT_DEADLINE_MS))
        .redirect(policy);
    // A proxy in the environment is for the world, not for this host.
    if plain {
        builder.no_proxy().build()
    } else {
        builder.build()
    }
}

/// Whether `host[:port]` is this machine: plain http never leaves it.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The error without its URL: a redirect's may hold a signature.
fn unreachable(image: &ImageName, error: reqwest::Error) -> ImageError {
    ImageError::Unreachable {
        registry: image.registry().to_owned(),
        source: Arc::new(error.without_url()),
    }
}

impl Session {
    /// The registry's name, for errors.
    pub(super) fn registry(&self) -> &str {
        self.image.registry()
    }

    /// Fetches the manifest or index that `identifier` (a tag or a digest) stands for.
    pub(super) async fn manifest(&self, identifier: &str) -> Result<FetchedManifest, ImageError> {
        let url = format!("{}/manifests/{identifier}", self.base);
        let accept = [INDEX_TYPES, MANIFEST_TYPES].concat().join(", ");
        let response = self
            .get(&url, "the manifest", &|request| {
                request.header(ACCEPT, &accept)
            })
            .await?;
        let media_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = self
            .body("the manifest", response)
            .read_all(MANIFEST_BYTES_MAX)
            .await?;
        Ok(FetchedManifest { bytes, media_type })
    }

    /// Fetches the list of what refers to the manifest with `digest`; `None` where the registry keeps no such lists.
    pub(super) async fn referrers(&self, digest: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let url = format!("{}/referrers/{digest}", self.base);
        let answer = self
            .get(&url, "the referrers", &|request| {
                request.header(ACCEPT, INDEX_TYPES[0])
            })
            .await;
        match answer {
            Ok(response) => {
                let body = self.body("the referrers", response);
                body.read_all(MANIFEST_BYTES_MAX).await.map(Some)
            }
            // Those that do not know the question say so in several ways.
            Err(ImageError::NotFound { .. } | ImageError::RegistryFailed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches a small blob whole.
    pub(super) async fn small_blob(
        &self,
        digest: &str,
        bytes_max: usize,
    ) -> Result<Vec<u8>, ImageError> {
        self.blob(digest, 0).await?.read_all(bytes_max).await
    }

    /// Begins to fetch a blob from `offset`. An answer that does not begin there is an error.
    pub(super) async fn blob(&self, digest: &str, offset: u64) -> Result<Body<'_>, ImageError> {
        let url = format!("{}/blobs/{digest}", self.base);
        let response = self
            .get(&url, digest, &|request| {
                if offset == 0 {
                    request
                } else {
                    request.header(RANGE, format!("bytes={offset}-"))
                }
            })
            .await?;
        if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.failed(digest, "it cannot resume a broken transfer"));
        }
        Ok(self.body(digest, response))
    }

    fn body(&self, what: &str, response: Response) -> Body<'_> {
        Body::new(self, what.to_owned(), response)
    }

    /// Sends a GET, authenticating when the registry asks for it and trying again when it is
    /// overloaded or cannot be reached.
    async fn get(
        &self,
        url: &str,
        what: &str,
        dress: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Response, ImageError> {
        let mut challenged = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let used = self.authorization.lock().await.clone();
            let mut request = dress(self.client.get(url));
            if let Some(authorization) = &used {
                request = request.header(AUTHORIZATION, authorization);
            }
            let problem = match self.headers_within(what, request.send()).await? {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !challenged => {
                    challenged = true;
                    tries -= 1;
                    self.authenticate(&response, used.as_ref()).await?;
                    continue;
                }
                Ok(response) => self.refusal(what, response).await,
                Err(error) => unreachable(&self.image, error),
            };
            let again = matches!(
                problem,
                ImageError::Unreachable { .. } | ImageError::RegistryFailed { .. }
            );
            if !again || tries >= TRIES_MAX {
                return Err(problem);
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS << (tries - 1))).await;
        }
    }

    /// The head of an answer has to come within the stall window.
    async fn headers_within<T>(
        &self,
        what: &str,
        answer: impl Future<Output = T>,
    ) -> Result<T, ImageError> {
        let window = self.limits.stall_window;
        tokio::time::timeout(window, answer)
            .await
            .map_err(|_| ImageError::Stalled {
                registry: self.registry().to_owned(),
                what: what.to_owned(),
                received_bytes: 0,
                window_seconds: window.as_secs(),
            })
    }

    /// What an answer other than success means.
    async fn refusal(&self, what: &str, response: Response) -> ImageError {
        let status = response.status();
        match status {
            StatusCode::NOT_FOUND => ImageError::NotFound {
                image: self.image.to_string(),
                registry: self.registry().to_owned(),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(),
            _ => {
                let text = self.body(what, response).read_some(ERROR_BYTES_MAX).await;
                let text = String::from_utf8_lossy(&text);
                let shown: String = text
                    .chars()
                    .take(ERROR_CHARS_MAX)
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                self.failed(what, &format!("{status} {}", shown.trim()))
            }
        }
    }

    fn unauthorized(&self) -> ImageError {
        ImageError::Unauthorized {
            image: self.image.to_string(),
            registry: self.registry().to_owned(),
            with_credentials: self.credentials.is_some(),
        }
    }

    fn failed(&self, what: &str, problem: &str) -> ImageError {
        ImageError::RegistryFailed {
            registry: self.registry().to_owned(),
            what: what.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.9.1",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.com",
            "10.0.0.1:5000",
            "ghcr.io",
            "127.0.0.1.evil.com:80",
            "[::2]:1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
