//! Warming: one host of the region fetches a runner's image ahead, and the runner's next runs go there.
//!
//! ```text
//!  warm ─► the host that the runner's next run would get ─► Warm ─► Warmed ─► engine.warm, warmed_at
//! ```
//!
//! Absent on purpose: a record of the wish. One that is lost with its host or replica makes the next start slower, nothing
//! else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use davit_placement::{HostState as Standing, RunnerName};
use davit_rpc::link::{self as proto, scheduler_message::Message};
use davit_types::Tenant;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::demand::runner_name;
use super::keeper::Keeper;
use crate::clock::unix_ms;
use crate::link::{credentials, sealed};
use crate::service::{WarmRefused, WarmWish, runners};
use crate::store::Sender;

/// Wishes under way at once.
pub const WARMINGS_MAX: usize = 1_024;
/// How long a host may take.
pub const WARM_MS_MAX: u64 = 1_800_000;

/// A host that fetches an image.
pub(super) struct Warming {
    tenant: Tenant,
    id: Uuid,
    runner: RunnerName,
    from: Sender,
    since: Instant,
}

impl Keeper {
    /// Chooses the host and tells it.
    pub(super) fn warm(
        &mut self,
        wish: WarmWish,
        answer: oneshot::Sender<Result<(), WarmRefused>>,
    ) {
        let done = self.begin_warming(wish);
        if answer.send(done).is_err() {
            tracing::debug!("nobody waits to hear that a host was chosen");
        }
    }

    fn begin_warming(&mut self, wish: WarmWish) -> Result<(), WarmRefused> {
        if self.warming.len() >= WARMINGS_MAX {
            let limit = WARMINGS_MAX;
            return Err(WarmRefused::Busy { limit });
        }
        let region = wish.region.clone();
        let none = move || WarmRefused::NoHost {
            region: region.clone(),
        };
        let runner = runner_name(wish.runner).map_err(|_| none())?;
        let host = self.host_to_warm(&wish).ok_or_else(&none)?;
        let peer = self.sessions.of(host).ok_or_else(&none)?;
        let from = peer.from();
        let since = Instant::now();
        let warming = Warming {
            tenant: wish.tenant.clone(),
            id: wish.runner,
            runner,
            from,
            since,
        };
        self.warming.insert(wish.warm_id, warming);
        let (store, keys) = (Arc::clone(&self.store), Arc::clone(&self.keys));
        // The credentials are read beside the keeper; one task a wish, and those are bounded.
        tokio::spawn(async move {
            let owner = wish.registry_owner;
            let owners = owner.map(|owner| (wish.tenant.clone(), owner));
            let sealed = match sealed(store.as_ref(), owners).await {
                Ok(sealed) => sealed,
                Err(error) => {
                    tracing::error!(%error, "an image is not fetched ahead");
                    return;
                }
            };
            match credentials(&sealed, &keys, &wish.tenant, owner) {
                Ok(credentials) => {
                    peer.send(Message::Warm(proto::Warm {
                        warm_id: wish.warm_id.to_string(),
                        image: wish.image,
                        credentials,
                    }));
                }
                Err(error) => tracing::error!(%error, "an image is not fetched ahead"),
            }
        });
        Ok(())
    }

    /// Of the open hosts the runner may go to the one with the most memory left; the same one for the same fleet.
    fn host_to_warm(&self, wish: &WarmWish) -> Option<Uuid> {
        let fits = |spec: &davit_placement::HostSpec| {
            let has = |(key, value): (&String, &String)| {
                spec.labels.iter().any(|(k, v)| k == key && v == value)
            };
            spec.state == Standing::Online
                && spec.region.as_str() == wish.region
                && (wish.executors.is_empty()
                    || wish.executors.iter().any(|name| name == spec.name.as_str()))
                && wish.labels_wanted.iter().all(has)
        };
        let hosts = self.hosts.iter().filter(|(_, known)| fits(&known.spec));
        let room = |name| {
            let view = self.engine.host(name);
            view.map_or(0, |view| {
                let total = view.capacity.memory_bytes;
                total.saturating_sub(view.used.memory_bytes)
            })
        };
        hosts
            .max_by_key(|(id, known)| (room(&known.spec.name), **id))
            .map(|(id, _)| *id)
    }

    /// What became of a wish.
    pub(super) fn warmed(&mut self, from: Sender, warm_id: Uuid, problem: Option<String>) {
        let known = self.warming.get(&warm_id);
        if known.is_none_or(|warming| warming.from != from) {
            return;
        }
        let Some(warming) = self.warming.remove(&warm_id) else {
            return;
        };
        let Some(name) = self.names.get(&from.host) else {
            return;
        };
        if let Some(problem) = problem {
            tracing::warn!(runner = %warming.runner, host = %name, problem, "an image was not fetched ahead");
            return;
        }
        if let Err(refused) = self.engine.warm(&warming.runner, name) {
            tracing::info!(%refused, "a warmed host is not preferred");
        }
        // Beside the keeper; one task a wish, and those are bounded.
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let Warming { tenant, id, .. } = warming;
            if let Err(error) = runners::warmed(store.as_ref(), &tenant, id, unix_ms()).await {
                tracing::warn!(%error, runner = %id, "that an image was fetched ahead is not noted");
            }
        });
    }

    pub(super) fn warmings_lost(&mut self, from: Sender) {
        self.warming.retain(|_, warming| warming.from != from);
    }

    pub(super) fn forget_old_warmings(&mut self) {
        let longest = Duration::from_millis(WARM_MS_MAX);
        self.warming
            .retain(|_, warming| warming.since.elapsed() < longest);
    }
}
