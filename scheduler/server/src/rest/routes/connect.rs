//! Access tokens for service principals: OAuth 2.0 client credentials (RFC 6749, 4.4), and the keys they are signed with.
//!
//! ```text
//!  form ─► grant type, client by Basic or in the form (never both) ─► principal ─► rate ─► scopes ─► JWT
//! ```
//!
//! Errors have the words of RFC 6749, 5.2. Nobody is kept out by others' wrong secrets: those are counted together, right
//! ones with their principal's requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;
use uuid::Uuid;

use crate::rest::Api;
use crate::rest::answer::{json, text_json};
use crate::rest::body::FormBody;
use crate::rest::problem::Problem;
use crate::rest::views::principals::{AccessReply, AccessRequest, KeysReply, OauthError};
use crate::service::access::Scope;
use crate::service::{ServiceError, principals};

/// Who counts the wrong secrets of everybody.
const NOBODY: Uuid = Uuid::nil();

/// A refused request.
enum Refused {
    /// By RFC 6749, 5.2; whether the client showed itself by Basic.
    Oauth(&'static str, String, bool),
    /// By something that RFC does not know.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self::Problem(error.into())
    }
}

fn refused(error: &'static str, description: impl Into<String>) -> Refused {
    Refused::Oauth(error, description.into(), false)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (error, error_description, basic) = match self {
            Self::Oauth(error, description, basic) => (error, description, basic),
            Self::Problem(problem) => return problem.into_response(),
        };
        let status = if error == "invalid_client" {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        let body = OauthError {
            error,
            error_description,
        };
        let mut response = uncached(json(status, &body));
        if basic {
            let value = HeaderValue::from_static("Basic realm=\"davit\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

/// No cache keeps a credential.
fn uncached(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, no_store);
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Who asks, and how that was shown.
struct Client {
    id: String,
    secret: String,
    basic: bool,
}

/// Issues an access token to a service principal.
#[utoipa::path(post, path = "/connect/token", tag = "principals", operation_id = "connect_token", security(()),
    request_body(content = AccessRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "An access token.", body = AccessReply),
        (status = 400, description = "The request is not right (RFC 6749, 5.2).", body = OauthError),
        (status = 401, description = "There is no such client, or its secret is another.", body = OauthError),
        (status = 408, description = "The body came too slowly.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no form.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests.", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The scheduler's own fault.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be answered now; it may be repeated.", body = Problem, content_type = "application/problem+json")))]
pub(in crate::rest) async fn token(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    FormBody(form): FormBody,
) -> Response {
    match issue(&api, &headers, &form).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn issue(api: &Api, headers: &HeaderMap, form: &[u8]) -> Result<Response, Refused> {
    let mut fields = fields(form)?;
    let grant_type = fields.remove("grant_type");
    let client = client(headers, &mut fields)?;
    match grant_type.as_deref() {
        None => return Err(refused("invalid_request", "grant_type is missing")),
        Some("client_credentials") => {}
        Some(_) => {
            let wanted = "the only grant type is client_credentials";
            return Err(refused("unsupported_grant_type", wanted));
        }
    }
    let found = principals::authenticate(&api.service, &client.id, &client.secret).await?;
    let Some(principal) = found else {
        api.limits.take(NOBODY)?;
        let description = "there is no such client, or its secret is another".to_owned();
        return Err(Refused::Oauth("invalid_client", description, client.basic));
    };
    let allowance = api.limits.take(principal.id)?;
    let asked = fields.get("scope").map(|list| scopes(list)).transpose()?;
    let issued = principals::issue(&api.service, &principal, asked.as_ref())?;
    let Some(access) = issued else {
        let wrong = "the principal has not all of these scopes";
        return Err(refused("invalid_scope", wrong));
    };
    let words: Vec<&str> = access.scopes.iter().map(|scope| scope.as_str()).collect();
    let reply = AccessReply {
        access_token: access.token,
        token_type: "Bearer",
        expires_in: access.expires_in_seconds,
        scope: words.join(" "),
    };
    let mut response = uncached(json(StatusCode::OK, &reply));
    allowance.tell(response.headers_mut());
    Ok(response)
}

/// The form's fields. A field that comes twice is refused, an unknown one is not looked at (RFC 6749, 3.2).
fn fields(form: &[u8]) -> Result<BTreeMap<String, String>, Refused> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        // One without a value is as if it were not there.
        if value.is_empty() {
            continue;
        }
        if fields
            .insert(name.into_owned(), value.into_owned())
            .is_some()
        {
            return Err(refused("invalid_request", "a parameter is there twice"));
        }
    }
    Ok(fields)
}

fn client(headers: &HeaderMap, fields: &mut BTreeMap<String, String>) -> Result<Client, Refused> {
    let in_form = (fields.remove("client_id"), fields.remove("client_secret"));
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        return match in_form {
            (Some(id), Some(secret)) => Ok(Client {
                id,
                secret,
                basic: false,
            }),
            _ => Err(refused("invalid_client", "the client does not show itself")),
        };
    };
    let unreadable = || {
        let description = "the header Authorization is not `Basic` with a client id and a secret";
        Refused::Oauth("invalid_client", description.to_owned(), true)
    };
    let (id, secret) = header
        .to_str()
        .ok()
        .and_then(basic)
        .ok_or_else(unreadable)?;
    match in_form {
        (None, None) => {}
        (Some(same), None) if same == id => {}
        _ => {
            let twice = "the client shows itself twice";
            return Err(refused("invalid_request", twice));
        }
    }
    Ok(Client {
        id,
        secret,
        basic: true,
    })
}

/// Client id and secret of HTTP Basic, each encoded as in a form (RFC 6749, 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

fn decoded(part: &str) -> String {
    let mut whole = form_urlencoded::parse(part.as_bytes());
    whole
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

fn scopes(list: &str) -> Result<BTreeSet<Scope>, Refused> {
    let words: Vec<String> = list.split_ascii_whitespace().map(str::to_owned).collect();
    let known = Scope::known(&words);
    let all: BTreeSet<&String> = words.iter().collect();
    if known.len() == all.len() {
        Ok(known)
    } else {
        Err(refused("invalid_scope", "there is no such scope"))
    }
}

/// The public keys of access tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "principals", operation_id = "jwks", security(()),
    responses((status = 200, description = "A JSON Web Key Set.", body = KeysReply)))]
pub(in crate::rest) async fn keys(State(api): State<Arc<Api>>) -> Response {
    text_json(StatusCode::OK, api.service.signer.jwks())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_encoded_twice() {
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(basic(&header("a.b:c")), pair("a.b", "c"));
        assert_eq!(basic(&header("a%2Eb:c%3Ad")), pair("a.b", "c:d"));
        assert_eq!(basic(&header("a:b:c")), pair("a", "b:c"));
        assert_eq!(basic(&header("nothing")), None);
        assert_eq!(basic("Basic %%%"), None);
        assert_eq!(basic("Bearer x"), None);
    }
}
