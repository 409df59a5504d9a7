//! What a host needs to execute an attempt: the plan, and the values that are sealed in the store.
//!
//! Invariants: decrypted values exist in the message to the host and nowhere else; they are fetched when an attempt
//! is given to a host, not when it is claimed.

use davit_rpc::link as proto;
use davit_types::{RunKey, Tenant};
use uuid::Uuid;

use super::words::told_key;
use crate::secrets::{Keyring, SecretError};
use crate::service::planned::{LostPolicy, PlannedRun};
use crate::store::{Store, StoreError};

/// Names of the two secrets of a registry.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";

/// Values that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutfitError {
    /// The store failed.
    #[error("secrets of {owner} cannot be read")]
    Store {
        /// The run or registry.
        owner: Uuid,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A value cannot be decrypted.
    #[error("secret `{name}` of {owner} cannot be opened")]
    Sealed {
        /// The run or registry.
        owner: Uuid,
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: Box<SecretError>,
    },
    /// A value that no environment variable can have.
    #[error("secret `{name}` of {owner} is not text")]
    NotText {
        /// The run or registry.
        owner: Uuid,
        /// Which.
        name: String,
    },
    /// The plan cannot be written down.
    #[error("the plan of {key} cannot be written")]
    Plan {
        /// Whose.
        key: RunKey,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The message that gives an attempt to a host.
///
/// # Errors
/// Its secrets cannot be had.
pub(crate) async fn outfit(
    store: &dyn Store,
    keys: &Keyring,
    key: RunKey,
    tenant: &Tenant,
    plan: &PlannedRun,
) -> Result<proto::Assign, OutfitError> {
    let text = |source| OutfitError::Plan { key, source };
    let env = values(store, keys, tenant, plan.secrets_owner).await?;
    let env = env
        .into_iter()
        .map(|(key, value)| proto::EnvVar { key, value });
    Ok(proto::Assign {
        key: Some(told_key(key)),
        tenant: tenant.as_str().to_owned(),
        request_json: serde_json::to_string(&plan.request).map_err(text)?,
        instance_type_json: serde_json::to_string(&plan.instance_type).map_err(text)?,
        secret_env: env.collect(),
        credentials: credentials(store, keys, tenant, plan.registry_owner).await?,
        on_lost: Some(proto::OnLost {
            policy: match plan.on_lost.policy {
                LostPolicy::Wait => "wait",
                LostPolicy::Fail => "fail",
                LostPolicy::Requeue => "requeue",
            }
            .to_owned(),
            stop_after_ms: plan.on_lost.stop_after_ms,
        }),
    })
}

/// What opens a registry, if it is named and has a password.
pub(crate) async fn credentials(
    store: &dyn Store,
    keys: &Keyring,
    tenant: &Tenant,
    registry: Option<Uuid>,
) -> Result<Option<proto::RegistryCredentials>, OutfitError> {
    let Some(registry) = registry else {
        return Ok(None);
    };
    let mut found = proto::RegistryCredentials::default();
    for (name, value) in values(store, keys, tenant, registry).await? {
        match name.as_str() {
            USERNAME => found.username = value,
            PASSWORD => found.password = value,
            _ => {}
        }
    }
    Ok((!found.password.is_empty()).then_some(found))
}

async fn values(
    store: &dyn Store,
    keys: &Keyring,
    tenant: &Tenant,
    owner: Uuid,
) -> Result<Vec<(String, String)>, OutfitError> {
    let sealed = store.secrets(tenant.clone(), owner).await;
    let sealed = sealed.map_err(|source| OutfitError::Store { owner, source })?;
    let open = |secret: crate::store::Secret| {
        let name = secret.key.name.clone();
        let value = keys.unseal(&secret).map_err(|source| {
            let name = name.clone();
            OutfitError::Sealed {
                owner,
                name,
                source: Box::new(source),
            }
        })?;
        match std::str::from_utf8(value.expose()) {
            Ok(value) => Ok((name, value.to_owned())),
            Err(_) => Err(OutfitError::NotText { owner, name }),
        }
    };
    sealed.into_iter().map(open).collect()
}
