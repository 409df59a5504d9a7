//! Tenants, credentials, secrets, and the catalogue: what people configure.

use davit_types::Tenant;
use uuid::Uuid;

/// A tenant's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenancy {
    /// Its name, which is its id.
    pub tenant: Tenant,
    /// Whether it may submit.
    pub open: bool,
    /// What it may spend, millionths.
    pub spend_cap_micros: Option<u64>,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

/// The kinds of things in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogKind {
    /// A saved job.
    Runner,
    /// An image registry with credentials.
    Registry,
    /// A size and its price.
    InstanceType,
    /// A place.
    Region,
    /// A machine's identity, with client credentials.
    Principal,
}

impl CatalogKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Runner,
        Self::Registry,
        Self::InstanceType,
        Self::Region,
        Self::Principal,
    ];

    /// The word that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Registry => "registry",
            Self::InstanceType => "instance_type",
            Self::Region => "region",
            Self::Principal => "principal",
        }
    }
}

/// Names an entry. Entries without a tenant are the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogKey {
    /// What it is.
    pub kind: CatalogKind,
    /// Whose.
    pub tenant: Option<Tenant>,
    /// Its id.
    pub id: Uuid,
}

/// A configured thing; its body is the service's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Which.
    pub key: CatalogKey,
    /// Unique among its kind and tenant.
    pub name: String,
    /// Counts its changes from 1.
    pub revision: u64,
    /// JSON.
    pub body: String,
    /// For runners: how many of its runs may be with a replica or host at once.
    pub runs_max: Option<u32>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds.
    pub updated_ms: u64,
}

/// A change of the catalogue: compare-and-set on the revision.
#[derive(Clone, Debug)]
pub struct CatalogPut {
    /// Which.
    pub key: CatalogKey,
    /// The revision the caller saw; 0 to make a new one.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// JSON.
    pub body: String,
    /// For runners.
    pub runs_max: Option<u32>,
    /// Who.
    pub actor: String,
    /// When.
    pub at_ms: u64,
}

/// An API token. The token itself is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub tenant: Tenant,
    /// For people.
    pub name: String,
    /// Its first characters, for people.
    pub prefix: String,
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// JSON.
    pub scopes: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Not valid from then on.
    pub expires_ms: Option<u64>,
    /// Not valid since.
    pub revoked_ms: Option<u64>,
}

impl Token {
    /// Whether it opens anything at `now_ms`.
    #[must_use]
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// Names a secret: of a runner, a registry, or one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// Whose.
    pub tenant: Tenant,
    /// The runner, registry or run it belongs to.
    pub owner: Uuid,
    /// Variable or file name.
    pub name: String,
}

/// An encrypted value: opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The key-encryption key that wraps its own key.
    pub key_id: String,
    /// Its own key, wrapped.
    pub wrapped_key: Vec<u8>,
    /// The value, encrypted.
    pub ciphertext: Vec<u8>,
}

/// A stored secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Which.
    pub key: SecretKey,
    /// Counts its values from 1; part of what authenticates the ciphertext.
    pub version: u64,
    /// The value.
    pub sealed: Sealed,
}
