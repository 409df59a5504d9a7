//! What people configure.

use async_trait::async_trait;
use davit_types::Tenant;
use uuid::Uuid;

use super::super::Stored;
use super::super::contract::PeopleStore;
use super::super::limits::PAGE_ROWS_MAX;
use super::super::model::*;
use super::super::ops::{catalog, secrets, tenants, tokens};
use super::{Database, Driver, document, fits_batch, fits_page, fits_secret, keys, run};

#[async_trait]
impl<D: Driver> PeopleStore for Database<D> {
    async fn put_tenant(&self, tenancy: Tenancy, actor: String, at_ms: u64) -> Stored<()> {
        let key = tenancy.tenant.as_str().to_owned();
        run!(
            self.write,
            "put_tenant",
            key,
            [tenancy, actor, at_ms],
            |tx| tenants::put(tx, &tenancy, &actor, *at_ms)
        )
    }

    async fn tenants(&self, after: Option<Tenant>, limit: usize) -> Stored<Vec<Tenancy>> {
        let key = keys(after.iter().map(Tenant::as_str));
        fits_page("tenants", &key, limit)?;
        run!(self.read, "tenants", key, [after, limit], |tx| {
            tenants::list(tx, after.as_ref().as_ref(), *limit)
        })
    }

    async fn add_token(&self, token: Token, actor: String) -> Stored<Verdict> {
        let key = token.id.to_string();
        run!(self.write, "add_token", key, [token, actor], |tx| {
            tokens::add(tx, &token, &actor)
        })
    }

    async fn token_by_hash(&self, hash: [u8; 32]) -> Stored<Option<Token>> {
        let key = "a hash".to_owned();
        run!(self.read, "token_by_hash", key, [hash], |tx| {
            tokens::by_hash(tx, &hash)
        })
    }

    async fn revoke_token(
        &self,
        tenant: Tenant,
        token: Uuid,
        actor: String,
        at_ms: u64,
    ) -> Stored<bool> {
        let key = token.to_string();
        run!(
            self.write,
            "revoke_token",
            key,
            [tenant, token, actor, at_ms],
            |tx| tokens::revoke(tx, &tenant, *token, &actor, *at_ms)
        )
    }

    async fn tokens(
        &self,
        tenant: Tenant,
        after: Option<Uuid>,
        limit: usize,
    ) -> Stored<Vec<Token>> {
        let key = tenant.as_str().to_owned();
        fits_page("tokens", &key, limit)?;
        run!(self.read, "tokens", key, [tenant, after, limit], |tx| {
            tokens::list(tx, &tenant, *after, *limit)
        })
    }

    async fn put_entry(&self, put: CatalogPut) -> Stored<Verdict> {
        let key = entry_key(&put.key);
        document("put_entry", &key, &put.body)?;
        let done = run!(self.write, "put_entry", key, [put], |tx| catalog::put(
            tx, &put
        ));
        self.driver.wake();
        done
    }

    async fn entry(&self, key: CatalogKey) -> Stored<Option<CatalogEntry>> {
        let (key, entry) = (entry_key(&key), key);
        run!(self.read, "entry", key, [entry], |tx| catalog::get(
            tx, &entry
        ))
    }

    async fn entry_by_name(
        &self,
        kind: CatalogKind,
        tenant: Option<Tenant>,
        name: String,
    ) -> Stored<Option<CatalogEntry>> {
        let key = format!("{}/{name}", kind.as_str());
        run!(
            self.read,
            "entry_by_name",
            key,
            [kind, tenant, name],
            |tx| catalog::by_name(tx, *kind, tenant.as_ref().as_ref(), &name)
        )
    }

    async fn entries(
        &self,
        kind: CatalogKind,
        tenant: Option<Tenant>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Stored<Vec<CatalogEntry>> {
        let key = kind.as_str().to_owned();
        fits_page("entries", &key, limit)?;
        run!(
            self.read,
            "entries",
            key,
            [kind, tenant, after, limit],
            |tx| catalog::list(tx, *kind, tenant.as_ref().as_ref(), *after, *limit)
        )
    }

    async fn remove_entry(&self, key: CatalogKey, actor: String, at_ms: u64) -> Stored<bool> {
        let (key, entry) = (entry_key(&key), key);
        run!(
            self.write,
            "remove_entry",
            key,
            [entry, actor, at_ms],
            |tx| catalog::delete(tx, &entry, &actor, *at_ms)
        )
    }

    async fn put_secrets(
        &self,
        batch: Vec<Secret>,
        actor: String,
        at_ms: u64,
    ) -> Stored<Vec<Verdict>> {
        let key = secret_keys(&batch);
        secret_bounds("put_secrets", &key, &batch)?;
        run!(
            self.write,
            "put_secrets",
            key,
            [batch, actor, at_ms],
            |tx| secrets::put(tx, &batch, &actor, *at_ms)
        )
    }

    async fn secrets(&self, tenant: Tenant, owner: Uuid) -> Stored<Vec<Secret>> {
        let key = owner.to_string();
        run!(self.read, "secrets", key, [tenant, owner], |tx| {
            secrets::of_owner(tx, &tenant, *owner, PAGE_ROWS_MAX)
        })
    }

    async fn secrets_of(&self, owners: Vec<(Tenant, Uuid)>) -> Stored<Vec<Secret>> {
        let key = keys(owners.iter().map(|(_, owner)| owner));
        fits_batch("secrets_of", &key, owners.len())?;
        run!(self.read, "secrets_of", key, [owners], |tx| {
            secrets::of_owners(tx, &owners)
        })
    }

    async fn secrets_not_under(&self, key_id: String, limit: usize) -> Stored<Vec<Secret>> {
        let key = key_id.clone();
        fits_page("secrets_not_under", &key, limit)?;
        run!(self.read, "secrets_not_under", key, [key_id, limit], |tx| {
            secrets::not_under(tx, &key_id, *limit)
        })
    }

    async fn rewrap_secrets(
        &self,
        batch: Vec<Secret>,
        actor: String,
        at_ms: u64,
    ) -> Stored<Vec<Verdict>> {
        let key = secret_keys(&batch);
        secret_bounds("rewrap_secrets", &key, &batch)?;
        run!(
            self.write,
            "rewrap_secrets",
            key,
            [batch, actor, at_ms],
            |tx| secrets::rewrap(tx, &batch, &actor, *at_ms)
        )
    }

    async fn remove_secret(&self, secret: SecretKey, actor: String, at_ms: u64) -> Stored<bool> {
        let key = secret.name.clone();
        run!(
            self.write,
            "remove_secret",
            key,
            [secret, actor, at_ms],
            |tx| secrets::delete(tx, &secret, &actor, *at_ms)
        )
    }
}

fn entry_key(key: &CatalogKey) -> String {
    format!("{}/{}", key.kind.as_str(), key.id)
}

fn secret_keys(batch: &[Secret]) -> String {
    let names = batch
        .iter()
        .map(|s| format!("{}/{}", s.key.owner, s.key.name));
    keys(names)
}

fn secret_bounds(operation: &'static str, key: &str, secrets: &[Secret]) -> Stored<()> {
    fits_batch(operation, key, secrets.len())?;
    let mut secrets = secrets.iter();
    secrets.try_for_each(|secret| fits_secret(operation, key, secret))
}
