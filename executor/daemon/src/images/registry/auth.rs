//! Answering a registry's challenge: basic, or a bearer token fetched where the challenge says.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::{ImageError, Session, unreachable};
use crate::images::Credentials;

/// Longest challenge read, bytes.
const CHALLENGE_BYTES_MAX: usize = 8 * 1024;
/// Largest answer of a token server, bytes.
const TOKEN_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
}

/// What the registry wants.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Session {
    /// Finds the authorization that `response`'s challenge asks for; `used` is what it refused.
    pub(super) async fn authenticate(
        &self,
        response: &Response,
        used: Option<&HeaderValue>,
    ) -> Result<(), ImageError> {
        let mut authorization = self.authorization.lock().await;
        if authorization.as_ref() != used {
            // Another layer of the same pull has renewed it meanwhile.
            return Ok(());
        }
        let found = match (parse_challenge(response.headers()), &self.credentials) {
            // The registry refused the token we were given; there is no other.
            (_, Some(Credentials::Bearer(_))) | (None, _) | (Some(Challenge::Basic), None) => None,
            (Some(Challenge::Basic), Some(Credentials::Basic { .. })) => self.basic(),
            (Some(Challenge::Bearer { realm, service }), _) => {
                Some(self.fetch_token(&realm, service.as_deref()).await?)
            }
        };
        *authorization = Some(found.ok_or_else(|| self.unauthorized())?);
        Ok(())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let Some(Credentials::Basic { username, password }) = &self.credentials else {
            return None;
        };
        // The client's own encoder, marked as sensitive by it.
        self.client
            .get("http://localhost/")
            .basic_auth(username, Some(password.reveal()))
            .build()
            .ok()?
            .headers_mut()
            .remove(AUTHORIZATION)
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
    ) -> Result<HeaderValue, ImageError> {
        let what = "a pull token";
        let mut url =
            Url::parse(realm).map_err(|_| self.failed(what, "its challenge names no valid URL"))?;
        // Credentials go there: in the clear only where the registry itself is spoken to so.
        if url.scheme() != "https" && !(self.plain && url.scheme() == "http") {
            return Err(self.failed(what, "its challenge names a token server without https"));
        }
        url.query_pairs_mut().append_pair(
            "scope",
            &format!("repository:{}:pull", self.image.repository()),
        );
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.client.get(url);
        if let Some(basic) = self.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        let response = self
            .headers_within(what, request.send())
            .await?
            .map_err(|error| unreachable(&self.image, error))?;
        if !response.status().is_success() {
            return Err(match response.status().as_u16() {
                400..=403 => self.unauthorized(),
                _ => self.refusal(what, response).await,
            });
        }
        let bytes = self.body(what, response).read_all(TOKEN_BYTES_MAX).await?;
        let reply: TokenReply = serde_json::from_slice(&bytes)
            .map_err(|_| self.failed(what, "its token server's answer is no token"))?;
        reply
            .token
            .or(reply.access_token)
            .and_then(|token| bearer(&token))
            .ok_or_else(|| self.failed(what, "its token server's answer is no token"))
    }
}

/// `Bearer <token>`, not shown in any debug output.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The strongest challenge we can answer: bearer before basic.
fn parse_challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Some(text) = value
            .to_str()
            .ok()
            .filter(|t| t.len() <= CHALLENGE_BYTES_MAX)
        else {
            continue;
        };
        for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
            let parameter = |name: &str| {
                challenge
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                if let Some(realm) = parameter("realm") {
                    return Some(Challenge::Bearer {
                        realm,
                        service: parameter("service"),
                    });
                }
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &'static str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(text));
        parse_challenge(&headers)
    }

    #[test]
    fn bearer_is_preferred_and_quotes_are_undone() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("registry".into()),
        };
        assert_eq!(
            challenge(
                r#"Basic realm="x", bearer realm="https://auth.example/token",service="registry""#
            ),
            Some(bearer)
        );
        assert_eq!(challenge(r#"Basic realm="davit""#), Some(Challenge::Basic));
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("Bearer service=x"), None);
        assert_eq!(challenge(r#"Bearer realm="unterminated"#), None);
    }

    #[test]
    fn a_token_is_never_shown() {
        assert!(!format!("{:?}", bearer("hush").unwrap()).contains("hush"));
        assert!(bearer("line\nbreak").is_none());
    }
}
