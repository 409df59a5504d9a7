//! Who may speak: a join token opens a registration, a client secret an access token, an access token a session.
//!
//! Invariants: neither token nor secret is stored or logged, only SHA-256 of them; a wrong credential is told as one
//! and the same error, whatever is wrong with it; a registration that is repeated with the same token and id gives the
//! same secret, because it is derived from both and a key that only the replicas have.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use davit_placement::HostName;
use davit_rpc::link as proto;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::error::LinkError;
use super::facts::{HostBody, labels};
use crate::clock::unix_ms;
use crate::credentials::{CredentialKind, Signer, check};
use crate::store::{Host, HostState, JoinRequest, Refusal, Store};

/// For whom a host's access tokens are.
pub const AUDIENCE: &str = "davit-link";
/// What the derivation of client secrets is bound to.
const PURPOSE: &[u8] = b"davit client secret 1";

/// Checks credentials.
pub(super) struct Gate {
    pub(super) store: Arc<dyn Store>,
    pub(super) signer: Arc<Signer>,
    pub(super) secret_key: hmac::Key,
    pub(super) token_seconds: u32,
}

/// A host that showed a valid access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) host: Uuid,
    /// Unix milliseconds; not valid from then on.
    expires_ms: u64,
}

impl Pass {
    /// When it is over, on the clock that does not step.
    pub(super) fn expires(&self) -> Instant {
        let left_ms = self.expires_ms.saturating_sub(unix_ms());
        Instant::now() + Duration::from_millis(left_ms)
    }
}

impl Gate {
    pub(super) async fn join(
        &self,
        told: proto::JoinRequest,
    ) -> Result<proto::JoinReply, LinkError> {
        let hash = check(CredentialKind::Join, &told.join_token)
            .map_err(|_| LinkError::Unauthenticated)?;
        let host = id("host_id", &told.host_id)?;
        if told.name.parse::<HostName>().is_err() {
            let wanted = "1–253 visible ASCII characters";
            return Err(LinkError::malformed("name", &told.name, wanted));
        }
        let client_secret = self.client_secret(&told.join_token, host);
        let body = HostBody {
            client_secret_sha256: hexadecimal(
                digest::digest(&digest::SHA256, client_secret.as_bytes()).as_ref(),
            ),
            labels: labels(&told.labels)?,
        };
        let request = JoinRequest {
            hash,
            host,
            name: told.name,
            // Texts only: nothing of it can fail.
            body: serde_json::to_string(&body).unwrap_or_default(),
            at_ms: unix_ms(),
        };
        let store = |source| LinkError::Store { host, source };
        let joined = self.store.join(request).await.map_err(store)?;
        joined.map_err(|refusal| LinkError::Refused { host, refusal })?;
        let row = self.store.host(host).await.map_err(store)?;
        let row = row.ok_or(LinkError::Unauthenticated)?;
        tracing::info!(%host, name = row.name, region = row.region, "a host joined");
        Ok(proto::JoinReply {
            host_id: host.to_string(),
            region: row.region,
            client_secret,
        })
    }

    fn client_secret(&self, join_token: &str, host: Uuid) -> String {
        let mut context = hmac::Context::with_key(&self.secret_key);
        context.update(PURPOSE);
        context.update(host.as_bytes());
        context.update(join_token.as_bytes());
        format!("davit_host_{}", hexadecimal(context.sign().as_ref()))
    }

    pub(super) async fn authenticate(
        &self,
        told: proto::AuthenticateRequest,
    ) -> Result<proto::AuthenticateReply, LinkError> {
        let host = id("host_id", &told.host_id)?;
        let row = self.host(host).await?;
        let body: HostBody =
            serde_json::from_str(&row.body).map_err(|_| LinkError::Unauthenticated)?;
        let shown =
            hexadecimal(digest::digest(&digest::SHA256, told.client_secret.as_bytes()).as_ref());
        let kept = body.client_secret_sha256;
        constant_time::verify_slices_are_equal(shown.as_bytes(), kept.as_bytes())
            .map_err(|_| LinkError::Unauthenticated)?;
        let ttl = Duration::from_secs(u64::from(self.token_seconds));
        let access_token = self
            .signer
            .issue(&host.to_string(), AUDIENCE, &[], ttl, unix_ms())
            .map_err(|source| LinkError::Signing { host, source })?;
        Ok(proto::AuthenticateReply {
            access_token,
            expires_in_seconds: self.token_seconds,
        })
    }

    /// The row of a host that may speak.
    pub(super) async fn host(&self, host: Uuid) -> Result<Host, LinkError> {
        let found = self.store.host(host).await;
        let found = found.map_err(|source| LinkError::Store { host, source })?;
        let row = found.ok_or(LinkError::Unauthenticated)?;
        if row.state == HostState::Removed {
            let refusal = Refusal::HostClosed { state: row.state };
            return Err(LinkError::Refused { host, refusal });
        }
        Ok(row)
    }

    /// Who shows this access token.
    pub(super) fn pass(&self, token: &str) -> Result<Pass, LinkError> {
        let claims = self.signer.verify(token, AUDIENCE, unix_ms());
        let claims = claims.map_err(|_| LinkError::Unauthenticated)?;
        Ok(Pass {
            host: id("subject", &claims.subject)?,
            expires_ms: claims.expires_s.saturating_mul(1_000),
        })
    }

    /// Who opens a session with this metadata.
    pub(super) fn bearer(&self, metadata: &MetadataMap) -> Result<Pass, LinkError> {
        let header = metadata.get("authorization").and_then(|v| v.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        self.pass(token.ok_or(LinkError::Unauthenticated)?)
    }
}

fn id(field: &'static str, text: &str) -> Result<Uuid, LinkError> {
    Uuid::try_parse(text).map_err(|_| LinkError::malformed(field, text, "a UUID"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
