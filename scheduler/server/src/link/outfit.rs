//! What a host needs to execute an attempt: the plan, and the values that are sealed in the store.
//!
//! Invariants: decrypted values exist in the message to the host and nowhere else; they are fetched when an attempt
//! is given to a host, not when it is claimed; those of many attempts are fetched together.

use std::collections::{BTreeSet, HashMap};

use davit_rpc::link as proto;
use davit_types::{RunKey, Tenant};
use uuid::Uuid;

use super::words::told_key;
use crate::secrets::{Keyring, SecretError};
use crate::service::planned::{LostPolicy, PlannedRun};
use crate::service::secret_files;
use crate::store::{Secret, Store, StoreError};

/// Owners whose values are read at once: their values are in memory together.
const OWNERS_PER_READ_MAX: usize = 128;

/// Names of the two secrets of a registry.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";

/// Values that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutfitError {
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

/// Values as the store has them, by who owns them.
#[derive(Default)]
pub(crate) struct Sealed(HashMap<(Tenant, Uuid), Vec<Secret>>);

/// The values of these owners: runs and registries.
///
/// # Errors
/// The store's.
pub(crate) async fn sealed(
    store: &dyn Store,
    owners: impl IntoIterator<Item = (Tenant, Uuid)>,
) -> Result<Sealed, StoreError> {
    let owners: BTreeSet<(Tenant, Uuid)> = owners.into_iter().collect();
    let owners: Vec<(Tenant, Uuid)> = owners.into_iter().collect();
    let mut found = Sealed::default();
    for some in owners.chunks(OWNERS_PER_READ_MAX) {
        for secret in store.secrets_of(some.to_vec()).await? {
            let owner = (secret.key.tenant.clone(), secret.key.owner);
            found.0.entry(owner).or_default().push(secret);
        }
    }
    Ok(found)
}

/// Whose values an attempt needs.
pub(crate) fn owners(tenant: &Tenant, plan: &PlannedRun) -> impl Iterator<Item = (Tenant, Uuid)> {
    let tenant = tenant.clone();
    let owners = [plan.secrets_owner, plan.registry_owner];
    let owners = owners.into_iter().flatten();
    owners.map(move |owner| (tenant.clone(), owner))
}

/// The message that gives an attempt to a host.
///
/// # Errors
/// Its secrets cannot be opened.
pub(crate) fn outfit(
    sealed: &Sealed,
    keys: &Keyring,
    key: RunKey,
    tenant: &Tenant,
    plan: &PlannedRun,
) -> Result<proto::Assign, OutfitError> {
    let text = |source| OutfitError::Plan { key, source };
    let env = match plan.secrets_owner {
        Some(owner) => values(sealed, keys, tenant, owner)?,
        None => Vec::new(),
    };
    let mut secret_files = Vec::new();
    let mut secret_env = Vec::new();
    for (key, value) in env {
        match secret_files::name_of(&key) {
            Some(name) => secret_files.push(proto::SecretFile {
                name: name.to_owned(),
                value: value.into_bytes(),
            }),
            None => secret_env.push(proto::EnvVar { key, value }),
        }
    }
    Ok(proto::Assign {
        key: Some(told_key(key)),
        tenant: tenant.as_str().to_owned(),
        request_json: serde_json::to_string(&plan.request).map_err(text)?,
        instance_type_json: serde_json::to_string(&plan.bounded_type()).map_err(text)?,
        secret_env,
        secret_files,
        redacted_env: plan.request.secret_env.clone(),
        credentials: credentials(sealed, keys, tenant, plan.registry_owner)?,
        on_lost: Some(proto::OnLost {
            policy: match plan.on_lost.policy {
                LostPolicy::Wait => "wait",
                LostPolicy::Fail => "fail",
                LostPolicy::Requeue => "requeue",
            }
            .to_owned(),
            stop_after_ms: plan.on_lost.stop_after_ms,
        }),
        files: plan.files.as_ref().map(|files| proto::RunFiles {
            bytes: files.bytes,
            sha256: files.sha256.clone(),
        }),
    })
}

/// What opens a registry, if it is named and has a password.
pub(crate) fn credentials(
    sealed: &Sealed,
    keys: &Keyring,
    tenant: &Tenant,
    registry: Option<Uuid>,
) -> Result<Option<proto::RegistryCredentials>, OutfitError> {
    let Some(registry) = registry else {
        return Ok(None);
    };
    let mut found = proto::RegistryCredentials::default();
    for (name, value) in values(sealed, keys, tenant, registry)? {
        match name.as_str() {
            USERNAME => found.username = value,
            PASSWORD => found.password = value,
            _ => {}
        }
    }
    Ok((!found.password.is_empty()).then_some(found))
}

fn values(
    sealed: &Sealed,
    keys: &Keyring,
    tenant: &Tenant,
    owner: Uuid,
) -> Result<Vec<(String, String)>, OutfitError> {
    let sealed = sealed.0.get(&(tenant.clone(), owner));
    let open = |secret: &Secret| {
        let name = secret.key.name.clone();
        let value = keys.unseal(secret).map_err(|source| {
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
    sealed.into_iter().flatten().map(open).collect()
}
