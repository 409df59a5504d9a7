//! Saved jobs: made, seen, changed, removed.
//!
//! ```text
//!  create ─► check ─► values sealed (owner: the new id) ─► entry
//!  change ─► read, merge, check ─► values sealed ─► entry, if its revision is still that ─► values not named: removed
//! ```
//!
//! The entry names the variables; their values lie beside it. So a crash between the two writes leaves values that no
//! entry names, never a name without a value.

use davit_types::{EnvVar, RunRequest, Tenant};
use serde::Serialize;
use uuid::Uuid;

use super::access::Caller;
use super::check::Check;
use super::places::Places;
use super::runner::{LIVE_RUNS_MAX, RunnerBody, RunnerSettings, check_variables};
use super::secret_files::{self, SecretFile};
use super::{Service, ServiceError, WarmWish, catalogue, environment, now_ms, plan};
use crate::store::{CatalogEntry, CatalogKind, CatalogPut, Refusal, Store};

/// Tries of a change that others came before.
const TRIES_MAX: u32 = 5;

/// A runner as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its id.
    pub id: Uuid,
    /// What it is.
    pub body: RunnerBody,
    /// Counts its changes.
    pub revision: u64,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds.
    pub updated_ms: u64,
}

/// A runner to be made or changed: settings, and values for the variables that change.
#[derive(Clone, Debug, Serialize)]
pub struct RunnerInput {
    /// What it is to be; `env_keys` is set from the variables.
    pub settings: RunnerSettings,
    /// All its variables; `None`: they stay.
    pub env: Option<Vec<EnvVar>>,
    /// All its secret files; `None`: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<SecretFile>>,
}

/// What became of a request to make something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made<T> {
    /// It is new.
    New(T),
    /// The same request made it before; it is returned as it is now.
    Before(T),
}

/// Makes a runner; the same key and request make it once.
///
/// # Errors
/// Fields that are wrong, a name that is taken, the store's.
pub async fn create(
    service: &Service,
    caller: &Caller,
    mut input: RunnerInput,
    key: Option<&str>,
) -> Result<Made<Runner>, ServiceError> {
    let env = input.env.take().unwrap_or_default();
    input.settings.env_keys = env.iter().map(|var| var.key.clone()).collect();
    let files = input.files.take().unwrap_or_default();
    input.settings.secret_files = secret_files::names(&files);
    let made_by = key.map(|_| match files.as_slice() {
        [] => catalogue::fingerprint(&(&input, &env)),
        files => catalogue::fingerprint(&(&input, &env, files)),
    });
    let id = catalogue::id_of(&caller.tenant, CatalogKind::Runner, key);
    if let (Some(made_by), Some(kept)) =
        (&made_by, find(&*service.store, &caller.tenant, id).await?)
    {
        return replayed(kept, made_by);
    }
    check(service, &caller.tenant, &input.settings, &env, &files).await?;
    let values = secret_files::beside(&env, &files);
    environment::put(service, &caller.tenant, id, &values, &caller.actor()).await?;
    let body = RunnerBody {
        settings: input.settings,
        warmed_ms: None,
        made_by: made_by.clone(),
    };
    match put(service, caller, id, 0, &body).await {
        Ok(()) => {}
        Err(ServiceError::Refused(Refusal::Revision { .. })) if made_by.is_some() => {
            // The same key at the same time: the other one was first.
            let kept = show(service, &caller.tenant, id).await?;
            return replayed(kept, made_by.as_deref().unwrap_or_default());
        }
        Err(error) => {
            // Best effort: values without an entry harm nobody.
            let removed =
                environment::keep_only(service, &caller.tenant, id, &[], &caller.actor()).await;
            if let Err(left) = removed {
                tracing::warn!(runner = %id, error = %left, "values of a runner that was not made are left");
            }
            return Err(error);
        }
    }
    Ok(Made::New(show(service, &caller.tenant, id).await?))
}

fn replayed(kept: Runner, made_by: &str) -> Result<Made<Runner>, ServiceError> {
    if kept.body.made_by.as_deref() == Some(made_by) {
        Ok(Made::Before(kept))
    } else {
        Err(Refusal::KeyReused.into())
    }
}

fn runner(entry: &CatalogEntry) -> Result<Runner, ServiceError> {
    Ok(Runner {
        id: entry.key.id,
        body: catalogue::body(entry, "runner")?,
        revision: entry.revision,
        created_ms: entry.created_ms,
        updated_ms: entry.updated_ms,
    })
}

async fn find(
    store: &dyn Store,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<Runner>, ServiceError> {
    let found = store
        .entry(catalogue::key_of(CatalogKind::Runner, tenant, id))
        .await?;
    found.as_ref().map(runner).transpose()
}

/// One of the tenant's runners.
///
/// # Errors
/// It is not there; the store's.
pub async fn show(service: &Service, tenant: &Tenant, id: Uuid) -> Result<Runner, ServiceError> {
    let found = find(&*service.store, tenant, id).await?;
    found.ok_or_else(|| ServiceError::not_found("runner", id))
}

/// The tenant's runners by id, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    tenant: &Tenant,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Runner>, ServiceError> {
    let kind = CatalogKind::Runner;
    let found = service
        .store
        .entries(kind, Some(tenant.clone()), after, limit);
    found.await?.iter().map(runner).collect()
}

/// Changes a runner: `merge` gives what it is to be from what it is. Tried again when others came before.
///
/// # Errors
/// Fields that are wrong, a name that is taken, the store's.
pub async fn change(
    service: &Service,
    caller: &Caller,
    id: Uuid,
    merge: impl Fn(&RunnerSettings) -> RunnerInput,
) -> Result<Runner, ServiceError> {
    for _ in 0..TRIES_MAX {
        let kept = show(service, &caller.tenant, id).await?;
        let mut input = merge(&kept.body.settings);
        let env = input.env.take();
        if let Some(env) = &env {
            input.settings.env_keys = env.iter().map(|var| var.key.clone()).collect();
        }
        let files = input.files.take();
        if let Some(files) = &files {
            input.settings.secret_files = secret_files::names(files);
        }
        let changed = (
            env.as_deref().unwrap_or_default(),
            files.as_deref().unwrap_or_default(),
        );
        check(
            service,
            &caller.tenant,
            &input.settings,
            changed.0,
            changed.1,
        )
        .await?;
        let values = secret_files::beside(changed.0, changed.1);
        environment::put(service, &caller.tenant, id, &values, &caller.actor()).await?;
        let names = kept_names(&input.settings);
        let body = RunnerBody {
            settings: input.settings,
            ..kept.body
        };
        match put(service, caller, id, kept.revision, &body).await {
            Ok(()) => {}
            Err(ServiceError::Refused(Refusal::Revision { .. })) => continue,
            Err(error) => return Err(error),
        }
        if env.is_some() || files.is_some() {
            let actor = caller.actor();
            environment::keep_only(service, &caller.tenant, id, &names, &actor).await?;
        }
        return show(service, &caller.tenant, id).await;
    }
    Err(ServiceError::Contended {
        what: "runner",
        id: id.to_string(),
        tries: TRIES_MAX,
    })
}

/// Names of the stored values that a runner has.
fn kept_names(settings: &RunnerSettings) -> Vec<String> {
    let files = settings.secret_files.iter();
    let files = files.map(|name| secret_files::stored_name(name));
    settings.env_keys.iter().cloned().chain(files).collect()
}

/// Removes a runner with its variables. Runs that were submitted go on.
///
/// # Errors
/// It is not there; the store's.
pub async fn remove(service: &Service, caller: &Caller, id: Uuid) -> Result<(), ServiceError> {
    let key = catalogue::key_of(CatalogKind::Runner, &caller.tenant, id);
    let removed = service.store.remove_entry(key, caller.actor(), now_ms());
    if removed.await? {
        Ok(())
    } else {
        Err(ServiceError::not_found("runner", id))
    }
}

/// Lets a host fetch the runner's image ahead.
///
/// # Errors
/// It is not there, or no host can.
pub async fn warm(service: &Service, caller: &Caller, id: Uuid) -> Result<(), ServiceError> {
    let kept = show(service, &caller.tenant, id).await?;
    let settings = kept.body.settings;
    let (image, registry_owner) = plan::image_of(service, &caller.tenant, &settings).await?;
    let wish = WarmWish {
        warm_id: Uuid::now_v7(),
        tenant: caller.tenant.clone(),
        runner: id,
        region: settings.region,
        image,
        registry_owner,
        executors: settings.executors,
        labels_wanted: settings.labels_wanted,
    };
    Ok(service.placing.warm(wish).await?)
}

/// Notes that a host has fetched a runner's image ahead: dispatch calls this.
///
/// # Errors
/// The store's, or the runner is gone.
pub async fn warmed(
    store: &dyn Store,
    tenant: &Tenant,
    id: Uuid,
    at_ms: u64,
) -> Result<(), ServiceError> {
    for _ in 0..TRIES_MAX {
        let found = find(store, tenant, id).await?;
        let kept = found.ok_or_else(|| ServiceError::not_found("runner", id))?;
        let body = RunnerBody {
            warmed_ms: Some(at_ms),
            ..kept.body
        };
        let entry = entry_put(tenant, id, kept.revision, &body, "davit".to_owned())?;
        match store.put_entry(entry).await? {
            Ok(_) => return Ok(()),
            Err(Refusal::Revision { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(ServiceError::Contended {
        what: "runner",
        id: id.to_string(),
        tries: TRIES_MAX,
    })
}

async fn put(
    service: &Service,
    caller: &Caller,
    id: Uuid,
    revision: u64,
    body: &RunnerBody,
) -> Result<(), ServiceError> {
    let put = entry_put(&caller.tenant, id, revision, body, caller.actor())?;
    service.store.put_entry(put).await??;
    Ok(())
}

fn entry_put(
    tenant: &Tenant,
    id: Uuid,
    revision: u64,
    body: &RunnerBody,
    actor: String,
) -> Result<CatalogPut, ServiceError> {
    Ok(CatalogPut {
        key: catalogue::key_of(CatalogKind::Runner, tenant, id),
        revision,
        name: body.settings.name.clone(),
        body: catalogue::text(body, "runner", id)?,
        runs_max: body
            .settings
            .live_runs_max
            .map(|max| max.min(LIVE_RUNS_MAX)),
        actor,
        at_ms: now_ms(),
    })
}

/// What is wrong with a runner, itself and as the run it makes.
async fn check(
    service: &Service,
    tenant: &Tenant,
    settings: &RunnerSettings,
    env: &[EnvVar],
    files: &[SecretFile],
) -> Result<(), ServiceError> {
    let mut check = Check::default();
    settings.check(&mut check);
    check_variables(&mut check, "env_variables", env);
    let request = RunRequest {
        image: format!("{}:{}", settings.image_name, settings.image_tag),
        argv: settings.argv.clone(),
        entrypoint: settings.entrypoint.clone(),
        env: env.to_vec(),
        secret_files: settings.secret_files.clone(),
        ..settings.as_request()
    };
    // What a host's operator allows, only the host knows.
    plan::check_request(&mut check, &request, &[]);
    secret_files::check(&mut check, files);
    let places = Places::load(service).await?;
    places.check(&mut check, &settings.region, &settings.instance_type);
    plan::check_registry(service, tenant, &mut check, settings).await?;
    check.done()
}
