//! Environment variables: sealed one by one, each at its next version, below the runner or run that owns them.
//!
//! ```text
//!  runner's values ─┐
//!                   ├─ merge ─► sealed for the run ─► secrets (owner: the run) ─► dispatch ─► the host
//!  the run's own ───┘
//! ```
//!
//! A run gets a copy, so that what happens to its runner later does not touch it. The copy is stored in the commit that
//! makes the run: a run that can be claimed has its environment, and none is left of a run that was not made.

use davit_types::{EnvVar, Tenant};
use uuid::Uuid;

use super::{Service, ServiceError, now_ms};
use crate::secrets::SecretValue;
use crate::store::{Refusal, Secret, SecretKey};

/// Tries of a write that others came before.
const TRIES_MAX: u32 = 5;

/// Stores variables of an owner, over those of the same names.
///
/// # Errors
/// The store's, or a value that cannot be sealed.
pub async fn put(
    service: &Service,
    tenant: &Tenant,
    owner: Uuid,
    variables: &[EnvVar],
    actor: &str,
) -> Result<(), ServiceError> {
    if variables.is_empty() {
        return Ok(());
    }
    for _ in 0..TRIES_MAX {
        let kept = service.store.secrets(tenant.clone(), owner).await?;
        let sealed: Result<Vec<Secret>, ServiceError> = variables
            .iter()
            .map(|variable| seal(service, tenant, owner, &kept, variable))
            .collect();
        let stored = service
            .store
            .put_secrets(sealed?, actor.to_owned(), now_ms());
        let verdicts = stored.await?;
        match verdicts.into_iter().find_map(Result::err) {
            None => return Ok(()),
            Some(Refusal::Revision { .. }) => {}
            Some(other) => return Err(other.into()),
        }
    }
    Err(ServiceError::Contended {
        what: "environment",
        id: owner.to_string(),
        tries: TRIES_MAX,
    })
}

/// Variables of an owner that has none yet, sealed.
///
/// # Errors
/// A value that cannot be sealed.
pub(super) fn sealed(
    service: &Service,
    tenant: &Tenant,
    owner: Uuid,
    variables: &[EnvVar],
) -> Result<Vec<Secret>, ServiceError> {
    let sealed = variables.iter();
    sealed
        .map(|variable| seal(service, tenant, owner, &[], variable))
        .collect()
}

fn seal(
    service: &Service,
    tenant: &Tenant,
    owner: Uuid,
    kept: &[Secret],
    variable: &EnvVar,
) -> Result<Secret, ServiceError> {
    let key = SecretKey {
        tenant: tenant.clone(),
        owner,
        name: variable.key.clone(),
    };
    let version = kept
        .iter()
        .find(|secret| secret.key == key)
        .map_or(1, |secret| secret.version + 1);
    let value = SecretValue::new(variable.value.clone().into_bytes());
    let sealed = service.keyring.seal(&key, version, &value);
    sealed.map_err(|source| ServiceError::Secret {
        name: variable.key.clone(),
        owner: owner.to_string(),
        source: Box::new(source),
    })
}

/// The variables of an owner, in clear.
///
/// # Errors
/// The store's, or a value that cannot be opened.
pub async fn open(
    service: &Service,
    tenant: &Tenant,
    owner: Uuid,
) -> Result<Vec<EnvVar>, ServiceError> {
    let kept = service.store.secrets(tenant.clone(), owner).await?;
    let opened = kept.iter().map(|secret| {
        let value = service
            .keyring
            .unseal(secret)
            .map_err(|source| ServiceError::Secret {
                name: secret.key.name.clone(),
                owner: owner.to_string(),
                source: Box::new(source),
            })?;
        Ok(EnvVar {
            key: secret.key.name.clone(),
            value: String::from_utf8_lossy(value.expose()).into_owned(),
        })
    });
    opened.collect()
}

/// Removes all variables of an owner but the ones named.
///
/// # Errors
/// The store's.
pub async fn keep_only(
    service: &Service,
    tenant: &Tenant,
    owner: Uuid,
    names: &[String],
    actor: &str,
) -> Result<(), ServiceError> {
    for secret in service.store.secrets(tenant.clone(), owner).await? {
        if !names.contains(&secret.key.name) {
            let removed = service
                .store
                .remove_secret(secret.key, actor.to_owned(), now_ms());
            removed.await?;
        }
    }
    Ok(())
}

/// The variables of both, the second's over the first's of the same name.
#[must_use]
pub fn merge(defaults: Vec<EnvVar>, overrides: &[EnvVar]) -> Vec<EnvVar> {
    let overridden = |var: &EnvVar| overrides.iter().any(|over| over.key == var.key);
    let mut merged: Vec<EnvVar> = defaults
        .into_iter()
        .filter(|var| !overridden(var))
        .collect();
    for over in overrides {
        // Of two of the same name the last one counts.
        merged.retain(|var| var.key != over.key);
        merged.push(over.clone());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts() {
        let var = |key: &str, value: &str| EnvVar {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let merged = merge(
            vec![var("A", "1"), var("B", "1")],
            &[var("B", "2"), var("C", "2"), var("B", "3")],
        );
        assert_eq!(merged, [var("A", "1"), var("C", "2"), var("B", "3")]);
    }
}
