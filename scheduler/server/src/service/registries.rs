//! Image registries with credentials: the address is in the catalogue, user and password are sealed beside it.
//!
//! A password goes in and never comes out of here: dispatch opens it for one pull.

use davit_types::{EnvVar, Tenant};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::Caller;
use super::catalogue::{self, SLUG_CHARS_MAX};
use super::check::Check;
use super::runner::REGISTRY_CHARS_MAX;
use super::runners::Made;
use super::{Service, ServiceError, environment, now_ms};
use crate::store::{CatalogEntry, CatalogKind, CatalogPut, Refusal};

/// Characters of a user name or a password.
pub const CREDENTIAL_CHARS_MAX: usize = 4_096;

/// A registry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Its id.
    pub id: Uuid,
    /// Unique among the tenant's.
    pub name: String,
    /// `host[:port]`.
    pub server: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds.
    pub updated_ms: u64,
}

/// A registry to be added.
#[derive(Clone, Debug, Serialize)]
pub struct NewRegistry {
    /// Unique among the tenant's.
    pub name: String,
    /// `host[:port]`.
    pub server: String,
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    server: String,
    #[serde(default)]
    made_by: Option<String>,
}

fn registry(entry: &CatalogEntry) -> Result<Registry, ServiceError> {
    let body: Body = catalogue::body(entry, "registry")?;
    Ok(Registry {
        id: entry.key.id,
        name: entry.name.clone(),
        server: body.server,
        created_ms: entry.created_ms,
        updated_ms: entry.updated_ms,
    })
}

fn is_address(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(part) && port.parse::<u16>().is_ok()
}

fn check(new: &NewRegistry) -> Result<(), ServiceError> {
    let mut check = Check::default();
    check.slug("name", &new.name, SLUG_CHARS_MAX);
    if new.server.len() > REGISTRY_CHARS_MAX || !is_address(&new.server) {
        check.fail(
            "server",
            &new.server,
            "must be a host name, with :port if it is not 443",
        );
    }
    for (field, value) in [("username", &new.username), ("password", &new.password)] {
        let chars = value.chars().count();
        if !(1..=CREDENTIAL_CHARS_MAX).contains(&chars) || value.contains('\0') {
            let problem =
                format!("must have 1 to {CREDENTIAL_CHARS_MAX} characters, none of them NUL");
            check.fail(field, format!("{chars} characters"), problem);
        }
    }
    check.done()
}

/// Adds a registry; the same key and request add it once.
///
/// # Errors
/// Fields that are wrong, a name that is taken, the store's.
pub async fn create(
    service: &Service,
    caller: &Caller,
    new: NewRegistry,
    key: Option<&str>,
) -> Result<Made<Registry>, ServiceError> {
    check(&new)?;
    let tenant = &caller.tenant;
    let made_by = key.map(|_| catalogue::fingerprint(&new));
    let id = catalogue::id_of(tenant, CatalogKind::Registry, key);
    if let (Some(_), Some(kept)) = (
        &made_by,
        service
            .store
            .entry(catalogue::key_of(CatalogKind::Registry, tenant, id))
            .await?,
    ) {
        let body: Body = catalogue::body(&kept, "registry")?;
        return if body.made_by == made_by {
            Ok(Made::Before(registry(&kept)?))
        } else {
            Err(Refusal::KeyReused.into())
        };
    }
    let body = Body {
        server: new.server,
        made_by,
    };
    let variable = |key: &str, value: String| EnvVar {
        key: key.to_owned(),
        value,
    };
    let values = [
        variable("username", new.username),
        variable("password", new.password),
    ];
    environment::put(service, tenant, id, &values, &caller.actor()).await?;
    let put = CatalogPut {
        key: catalogue::key_of(CatalogKind::Registry, tenant, id),
        revision: 0,
        name: new.name,
        body: catalogue::text(&body, "registry", id)?,
        runs_max: None,
        actor: caller.actor(),
        at_ms: now_ms(),
    };
    if let Err(refusal) = service.store.put_entry(put).await? {
        environment::keep_only(service, tenant, id, &[], &caller.actor()).await?;
        return Err(refusal.into());
    }
    let kept = service
        .store
        .entry(catalogue::key_of(CatalogKind::Registry, tenant, id))
        .await?;
    let kept = kept.ok_or_else(|| ServiceError::not_found("registry", id))?;
    Ok(Made::New(registry(&kept)?))
}

/// The tenant's registries by id, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    tenant: &Tenant,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Registry>, ServiceError> {
    let kind = CatalogKind::Registry;
    let found = service
        .store
        .entries(kind, Some(tenant.clone()), after, limit);
    found.await?.iter().map(registry).collect()
}

/// Removes a registry with its credentials.
///
/// # Errors
/// It is not there; the store's.
pub async fn remove(service: &Service, caller: &Caller, id: Uuid) -> Result<(), ServiceError> {
    let key = catalogue::key_of(CatalogKind::Registry, &caller.tenant, id);
    let removed = service.store.remove_entry(key, caller.actor(), now_ms());
    if removed.await? {
        Ok(())
    } else {
        Err(ServiceError::not_found("registry", id))
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// `host[:port]`; the reference itself names it, when absent.
    server: Option<String>,
    /// Whose credentials the pull needs.
    pub(super) registry_owner: Option<Uuid>,
}

impl Source {
    /// The whole reference of an image there.
    pub(super) fn image(&self, image: &str) -> String {
        match &self.server {
            Some(server) => format!("{server}/{image}"),
            None => image.to_owned(),
        }
    }
}

/// A registry, named or given by address; none.
pub(super) async fn source(
    service: &Service,
    tenant: &Tenant,
    named: Option<&str>,
) -> Result<Source, ServiceError> {
    let Some(named) = named else {
        return Ok(Source::default());
    };
    let kind = CatalogKind::Registry;
    let found = service
        .store
        .entry_by_name(kind, Some(tenant.clone()), named.to_owned());
    if let Some(entry) = found.await? {
        let Registry { id, server, .. } = registry(&entry)?;
        return Ok(Source {
            server: Some(server),
            registry_owner: Some(id),
        });
    }
    let public = named.contains(['.', ':']) || named == "localhost";
    if public && is_address(named) {
        return Ok(Source {
            server: Some(named.to_owned()),
            registry_owner: None,
        });
    }
    Err(ServiceError::field(
        "container_registry",
        named,
        "is neither one of your registries nor the address of a public one",
    ))
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["localhost:5000", "ghcr.io", "a.b-c.d:1"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ".", "a..b", "a:b", "a:70000", "https://a", "a/b", "a b"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
