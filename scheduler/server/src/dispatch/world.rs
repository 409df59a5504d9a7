//! A keeper with one host, over a store of its own: what the keeper's tests begin with.

use std::sync::Arc;

use davit_placement::{Amounts, HostSpec, HostState};
use davit_types::RunId;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::DispatchSettings;
use super::keeper::{Keeper, Placed};
use super::rows;
use super::told::{NEWS_MAX, Teller};
use crate::link::Sessions;
use crate::secrets::Keyring;
use crate::store::{
    BaseRun, Claim, Sender, Share, Store, StoreSettings, Submission, Tenancy, open,
};

pub(super) const HOST: &str = "host-1";
const AT_MS: u64 = 1_000;

/// A keeper with one host, over a store of its own.
pub(super) struct World {
    pub(super) keeper: Keeper,
    pub(super) teller: Teller,
    _dir: TempDir,
}

impl World {
    pub(super) async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let opened = open(&StoreSettings::Sqlite { path }).await;
        let store: Arc<dyn Store> = opened.expect("a store");
        let keys = Keyring::open(&dir.path().join("keys")).expect("keys");
        let settings = DispatchSettings::new(Uuid::now_v7());
        let beat = store.replica_beat(settings.replica).await;
        beat.expect("a known replica");
        let tenancy = Tenancy {
            tenant: "acme".parse().expect("a tenant"),
            open: true,
            spend_cap_micros: None,
            created_ms: AT_MS,
        };
        let put = store.put_tenant(tenancy, "operator".to_owned(), AT_MS);
        put.await.expect("a stored tenant");
        let (_, spent) = watch::channel(Arc::default());
        let (teller, news) = mpsc::channel(NEWS_MAX);
        let (keys, sessions) = (Arc::new(keys), Sessions::new());
        let mut keeper = Keeper::new(settings, store, keys, sessions, news, spent);
        keeper.engine.upsert_host(host()).expect("a host");
        let teller = Teller(teller);
        Self {
            keeper,
            teller,
            _dir: dir,
        }
    }

    /// A run that was submitted.
    pub(super) async fn submitted(&mut self) -> RunId {
        let run = RunId::generate();
        let submission = Submission {
            upload: None,
            base: BaseRun {
                run,
                tenant: "acme".parse().expect("a tenant"),
                runner: None,
                region: "here".to_owned(),
                instance_type: "small".to_owned(),
                price_second_micros: 1,
                priority: 0,
                spec: serde_json::to_string(&rows::plan()).expect("a plan as JSON"),
                created_ms: AT_MS,
            },
            idempotency: None,
            answer: "{}".to_owned(),
            actor: "token 1".to_owned(),
            secrets: Vec::new(),
        };
        let submitted = self.keeper.store.submit(vec![submission]).await;
        assert!(submitted.expect("an answer").iter().all(Result::is_ok));
        run
    }

    /// A run that was submitted, claimed and taken into the queue.
    pub(super) async fn waiting(&mut self) -> RunId {
        let run = self.submitted().await;
        let claim = Claim {
            replica: self.keeper.settings.replica,
            region: "here".to_owned(),
            shares: vec![Share {
                tenant: "acme".parse().expect("a tenant"),
                runs_max: 10,
            }],
            at_ms: AT_MS,
        };
        let claimed = self.keeper.store.claim(claim).await.expect("a claim");
        assert_eq!(claimed.len(), 1);
        self.keeper.admit(claimed).await.expect("a store");
        assert!(self.keeper.waiting.contains_key(&run));
        run
    }

    /// The engine's decision for the run, which the store is to be told of.
    pub(super) fn placed(&mut self, run: RunId) -> Placed {
        let decided = self.keeper.engine.place(AT_MS, 10);
        assert_eq!(decided.len(), 1);
        let run = self.keeper.waiting.remove(&run).expect("a run that waits");
        let (host, epoch) = (Uuid::nil(), decided[0].epoch);
        Placed {
            run,
            host: decided[0].host.clone(),
            to: Sender { host, epoch },
        }
    }

    /// How many runs are claimed.
    pub(super) async fn claims(&self) -> usize {
        let claims = self.keeper.store.claims(self.keeper.settings.replica);
        claims.await.expect("a store").len()
    }

    pub(super) async fn is_live(&self, run: RunId) -> bool {
        let found = self.keeper.store.runs(None, vec![run]).await;
        found.expect("a store")[0].active.is_some()
    }
}

pub(super) fn host() -> HostSpec {
    let enough = 1 << 40;
    HostSpec {
        name: HOST.parse().expect("a name"),
        epoch: 1,
        region: "here".parse().expect("a region"),
        labels: Vec::new(),
        capacity: Amounts {
            cpu_millis: enough,
            memory_bytes: enough,
            pids: enough,
            disk_bytes: enough,
        },
        images: Vec::new(),
        state: HostState::Online,
    }
}
