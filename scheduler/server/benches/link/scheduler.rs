//! A scheduler of one replica in this process, and its load generator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use davit_scheduler::credentials::{CredentialKind, Signer, mint};
use davit_scheduler::dispatch::{Dispatch, DispatchSettings};
use davit_scheduler::link::{Link, LinkParts, LinkSettings, Sessions};
use davit_scheduler::logs::{LogSettings, Logs};
use davit_scheduler::secrets::Keyring;
use davit_scheduler::service::planned::{OnLost, PlannedRun, RetryPolicy};
use davit_scheduler::store::*;
use davit_types::{Bytes, InstanceType, Resources, RunId, RunRequest};
use object_store::memory::InMemory;
use tempfile::TempDir;
use uuid::Uuid;

const REGION: &str = "here";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scheduler {
    store: Arc<dyn Store>,
    pub(crate) address: SocketAddr,
    spec: Arc<str>,
    /// Ends with the last clone.
    _parts: Arc<(TempDir, Dispatch)>,
}

impl Scheduler {
    pub(crate) async fn start(dir: Option<&Path>) -> Self {
        let dir = dir.map_or_else(TempDir::new, TempDir::new_in).unwrap();
        let path = dir.path().join("store");
        let store = open(&StoreSettings::Sqlite { path }).await.unwrap();
        let tenancy = Tenancy {
            tenant: "acme".parse().unwrap(),
            open: true,
            spend_cap_micros: None,
            created_ms: 1,
        };
        let put = store.put_tenant(tenancy, "bench".to_owned(), 1);
        put.await.unwrap();
        let replica = Uuid::now_v7();
        let keys = Arc::new(Keyring::open(&dir.path().join("keys")).unwrap());
        let sessions = Sessions::new();
        let dispatch = Dispatch::start(
            Arc::clone(&store),
            Arc::clone(&keys),
            sessions.clone(),
            DispatchSettings::new(replica),
        );
        let objects = Arc::new(InMemory::new());
        let parts = LinkParts {
            store: Arc::clone(&store),
            logs: Logs::new(Arc::clone(&store), objects, LogSettings::default()),
            keys,
            signer: Arc::new(Signer::open(&dir.path().join("signing")).unwrap()),
            sessions,
        };
        let mut settings = LinkSettings::new(replica, [7; 32]);
        // The hosts of the benchmark send none.
        settings.heartbeat_ms = 600_000;
        let link = Link::new(parts, &dispatch, settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(link.serve(listener, None, std::future::pending()));
        Self {
            store,
            address,
            spec: serde_json::to_string(&plan()).unwrap().into(),
            _parts: Arc::new((dir, dispatch)),
        }
    }

    pub(crate) async fn join_token(&self) -> String {
        let minted = mint(CredentialKind::Join).unwrap();
        let token = JoinToken {
            hash: minted.hash,
            region: REGION.to_owned(),
            expires_ms: unix_ms() + 600_000,
            actor: "bench".to_owned(),
            at_ms: unix_ms(),
        };
        self.store.add_join_token(token).await.unwrap();
        minted.text
    }

    /// Submits so many runs in one call.
    pub(crate) async fn submit(&self, count: usize) -> Vec<RunId> {
        let submission = |run| Submission {
            base: BaseRun {
                run,
                tenant: "acme".parse().unwrap(),
                runner: None,
                region: REGION.to_owned(),
                instance_type: "small".to_owned(),
                price_second_micros: 7,
                priority: 50,
                spec: self.spec.to_string(),
                created_ms: unix_ms(),
            },
            idempotency: None,
            answer: String::new(),
            actor: "bench".to_owned(),
            secrets: Vec::new(),
        };
        let runs: Vec<RunId> = (0..count).map(|_| RunId::generate()).collect();
        let batch = runs.iter().copied().map(submission).collect();
        let answers = self.store.submit(batch).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        runs
    }
}

/// What every run wants: little, so that any host has room.
fn plan() -> PlannedRun {
    PlannedRun {
        request: RunRequest {
            image: "busybox".to_owned(),
            instance_type: Some("small".to_owned()),
            ..RunRequest::default()
        },
        instance_type: InstanceType {
            slug: "small".to_owned(),
            name: "Small".to_owned(),
            resources: Resources {
                cpu_millis: 10,
                memory_bytes_max: Bytes::mib(1),
                pids_max: 1,
            },
            price_second_micros: 7,
        },
        disk_bytes: 1,
        on_lost: OnLost::default(),
        retry: RetryPolicy::default(),
        executors: Vec::new(),
        labels_wanted: BTreeMap::new(),
        live_runs_max: None,
        secrets_owner: Uuid::nil(),
        registry_owner: None,
    }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
