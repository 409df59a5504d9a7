//! Principals, and what they are answered by the rules of OAuth 2.0.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::service::access::Scope;
use crate::service::principals::{Issued, KeptSecret, NewPrincipal, Principal};

/// A principal to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct PrincipalInput {
    /// Unique among the tenant's principals.
    name: String,
    /// None that its maker has not.
    scopes: BTreeSet<Scope>,
    /// Never, when absent; not longer than its maker.
    expires_in_seconds: Option<u64>,
}

impl From<PrincipalInput> for NewPrincipal {
    fn from(input: PrincipalInput) -> Self {
        Self {
            name: input.name,
            scopes: input.scopes,
            expires_in_seconds: input.expires_in_seconds,
        }
    }
}

/// A secret as it is kept: without its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct SecretView {
    /// Its first characters.
    prefix: String,
    created_at: String,
    /// Set once another has replaced it.
    expires_at: Option<String>,
}

impl From<KeptSecret> for SecretView {
    fn from(kept: KeptSecret) -> Self {
        Self {
            created_at: time(kept.created_ms),
            expires_at: kept.expires_ms.map(time),
            prefix: kept.prefix,
        }
    }
}

/// A principal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct PrincipalView {
    id: Uuid,
    name: String,
    /// What it calls itself at `/connect/token`.
    #[schema(example = "acme.0199e5b0-7b1f-7c41-8d3a-0b8a3f2f9d11")]
    client_id: String,
    scopes: BTreeSet<Scope>,
    created_at: String,
    expires_at: Option<String>,
    /// The oldest first.
    secrets: Vec<SecretView>,
}

impl From<Principal> for PrincipalView {
    fn from(principal: Principal) -> Self {
        Self {
            id: principal.id,
            client_id: principal.client_id(),
            name: principal.name,
            scopes: principal.scopes,
            created_at: time(principal.created_ms),
            expires_at: principal.expires_ms.map(time),
            secrets: principal.secrets.into_iter().map(Into::into).collect(),
        }
    }
}

/// One principal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct PrincipalReply {
    pub(in crate::rest) principal: PrincipalView,
}

/// A principal and its new secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct PrincipalIssuedReply {
    principal: PrincipalView,
    /// Shown this once.
    client_secret: String,
}

impl From<Issued> for PrincipalIssuedReply {
    fn from(issued: Issued) -> Self {
        Self {
            principal: issued.principal.into(),
            client_secret: issued.secret,
        }
    }
}

/// A page of principals.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct PrincipalsReply {
    pub(in crate::rest) principals: Vec<PrincipalView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

/// How a secret is replaced.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rest) struct RotationInput {
    /// How long those before it are still valid: 0 to 2592000; 86400 when absent. With 0 the access tokens that were issued
    /// before end too.
    pub(in crate::rest) overlap_seconds: Option<u64>,
}

/// The form of an access token request (RFC 6749, 4.4.2). The client shows itself by HTTP Basic, or here.
#[derive(Clone, Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the route reads the form"
)]
pub(in crate::rest) struct AccessRequest {
    /// `client_credentials`.
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    /// Words with spaces between; all that the principal has, when absent.
    scope: Option<String>,
}

/// An access token (RFC 6749, 5.1).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct AccessReply {
    /// A JWT, for `Authorization: Bearer`.
    pub(in crate::rest) access_token: String,
    /// `Bearer`.
    pub(in crate::rest) token_type: &'static str,
    /// Seconds.
    pub(in crate::rest) expires_in: u64,
    /// Words with spaces between.
    pub(in crate::rest) scope: String,
}

/// Why there is none (RFC 6749, 5.2).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct OauthError {
    /// One word.
    #[schema(example = "invalid_client")]
    pub(in crate::rest) error: &'static str,
    /// For people.
    pub(in crate::rest) error_description: String,
}

/// Public keys (RFC 7517).
#[derive(Clone, Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the signer writes it"
)]
pub(in crate::rest) struct KeysReply {
    keys: Vec<KeyView>,
}

/// An Ed25519 key (RFC 8037).
#[derive(Clone, Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its documentation is used; the signer writes it"
)]
pub(in crate::rest) struct KeyView {
    /// `OKP`.
    kty: String,
    /// `Ed25519`.
    crv: String,
    /// Base64url.
    x: String,
    /// Its name, as in a token's header.
    kid: String,
    /// `EdDSA`.
    alg: String,
    /// `sig`.
    #[schema(rename = "use")]
    usage: String,
}
