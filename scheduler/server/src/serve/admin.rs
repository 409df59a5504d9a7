//! What is done beside a scheduler: the first token, which nobody could ask the API for.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use davit_types::{RunId, Tenant};

use super::{ServeError, place};
use crate::credentials::Signer;
use crate::secrets::Keyring;
use crate::service::access::Scope;
use crate::service::tokens::{self, NewToken};
use crate::service::{Candidate, Explained, Placing, Service, WarmRefused, WarmWish, tenants};
use crate::settings::Settings;
use crate::store;

/// Makes a token with every scope for a tenant, and the tenant if it is not there. The text is shown once. A scheduler
/// may be serving meanwhile.
///
/// # Errors
/// The store's, or a name that is wrong.
pub async fn first_token(
    settings: &Settings,
    tenant: &Tenant,
    name: &str,
) -> Result<String, ServeError> {
    place::state_dir(&settings.state_dir)?;
    let keyring = Arc::new(Keyring::open(&place::keys(settings))?);
    let signer = Arc::new(Signer::open(&place::keys(settings))?);
    let store = store::open(&place::store(settings)?).await?;
    let service = Service::new(
        Arc::clone(&store),
        keyring,
        signer,
        Arc::new(Nowhere),
        &settings.currency,
    );
    let minted = operator_token(&service, tenant, name).await;
    store.close().await;
    minted
}

/// A token with every scope, for a tenant that is made if it is not there.
pub(super) async fn operator_token(
    service: &Service,
    tenant: &Tenant,
    name: &str,
) -> Result<String, ServeError> {
    let actor = "davit scheduler";
    if tenants::show(service, tenant).await.is_err() {
        tenants::put(service, actor, tenant.clone(), true, None).await?;
    }
    let new = NewToken {
        name: name.to_owned(),
        scopes: Scope::ALL.into(),
        expires_in_seconds: None,
    };
    let minted = tokens::bootstrap(service, actor, tenant, new).await?;
    Ok(minted.text)
}

/// Places nothing: this process serves nobody.
struct Nowhere;

#[async_trait]
impl Placing for Nowhere {
    async fn explain(&self, _run: RunId) -> Option<Explained> {
        None
    }

    async fn explain_new(&self, _candidate: Candidate) -> Explained {
        Explained {
            reason: "no_hosts".to_owned(),
            message: "this process places no runs".to_owned(),
            scarce: None,
            position: None,
            hosts: BTreeMap::new(),
        }
    }

    async fn warm(&self, wish: WarmWish) -> Result<(), WarmRefused> {
        Err(WarmRefused::NoHost {
            region: wish.region,
        })
    }
}
