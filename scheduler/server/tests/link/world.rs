//! A scheduler of one or several replicas over one store, each on a port of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use davit_scheduler::consoles::Consoles;
use davit_scheduler::credentials::{CredentialKind, Signer, mint};
use davit_scheduler::dispatch::{Dispatch, DispatchSettings};
use davit_scheduler::files::{Files, FilesSettings};
use davit_scheduler::link::{Link, LinkParts, LinkSettings, Sessions};
use davit_scheduler::logs::{LogSettings, Logs};
use davit_scheduler::rest::RestSettings;
use davit_scheduler::secrets::Keyring;
use davit_scheduler::service::Service;
use davit_scheduler::service::planned::{LostPolicy, OnLost, PlannedRun, RetryPolicy};
use davit_scheduler::starts::Starts;
use davit_scheduler::store::*;
use davit_scheduler::traces::Tracer;
use davit_types::{Bytes, InstanceType, Resources, RunId, RunRequest, Tenant};
use object_store::memory::InMemory;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::api::serve_rest;
use crate::faulty::Faulty;
pub(crate) use crate::waiting::{WAIT_MS_MAX, unix_ms, wait_for};

pub(crate) const REGION: &str = "here";

pub(crate) struct World {
    /// The test's own view of the database.
    pub(crate) store: Arc<dyn Store>,
    settings: StoreSettings,
    /// Where all replicas keep logs.
    pub(crate) objects: Arc<Faulty>,
    dir: TempDir,
}

/// How a test's replicas differ from usual ones.
#[derive(Clone)]
pub(crate) struct Tweak {
    pub(crate) heartbeat_ms: u32,
    pub(crate) token_seconds: u32,
    pub(crate) fence_ms_min: u64,
    pub(crate) dead_after_ms: u64,
    /// Where traces go.
    pub(crate) collector: Option<String>,
    /// Bytes of all lines that wait to be stored.
    pub(crate) log_bytes_max: usize,
    /// Clients of streams are asked so often whether they are there.
    pub(crate) rest_heartbeat_ms: u64,
}

impl Default for Tweak {
    fn default() -> Self {
        Self {
            heartbeat_ms: 20_000,
            token_seconds: 900,
            fence_ms_min: 200,
            dead_after_ms: 1_500,
            collector: None,
            log_bytes_max: LogSettings::default().total_bytes_max,
            rest_heartbeat_ms: RestSettings::default().heartbeat_ms,
        }
    }
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        Self::open(StoreSettings::Sqlite { path }, dir).await
    }

    pub(crate) async fn open(settings: StoreSettings, dir: TempDir) -> Self {
        let store = open(&settings).await.unwrap();
        let world = Self {
            store,
            settings,
            objects: Arc::new(Faulty::new(Arc::new(InMemory::new()))),
            dir,
        };
        world.tenant("acme").await;
        world
    }

    pub(crate) async fn tenant(&self, name: &str) -> Tenant {
        let tenancy = Tenancy {
            tenant: name.parse().unwrap(),
            open: true,
            spend_cap_micros: None,
            created_ms: unix_ms(),
        };
        let tenant = tenancy.tenant.clone();
        let put = self.store.put_tenant(tenancy, "operator".to_owned(), 1);
        put.await.unwrap();
        tenant
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Starts a replica.
    pub(crate) async fn replica(&self, tweak: Tweak) -> Replica {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let parts = (
            Arc::clone(&self.store),
            self.settings.clone(),
            self.keys(),
            self.dir.path().join("signing"),
            Arc::clone(&self.objects),
        );
        let begun = runtime.spawn(async move {
            let (shared, settings, keys, signing, objects) = parts;
            // A SQLite file has one process; PostgreSQL has as many as there are replicas.
            let store = match &settings {
                StoreSettings::Sqlite { .. } => shared,
                StoreSettings::Postgres(_) => open(&settings).await.unwrap(),
            };
            begin(store, objects, keys, signing, tweak).await
        });
        let mut replica = begun.await.unwrap();
        replica.runtime = Some(runtime);
        replica
    }

    /// A join token as an operator gives it to a new host.
    pub(crate) async fn join_token(&self) -> String {
        let minted = mint(CredentialKind::Join).unwrap();
        let token = JoinToken {
            hash: minted.hash,
            region: REGION.to_owned(),
            expires_ms: unix_ms() + 60_000,
            actor: "operator".to_owned(),
            at_ms: unix_ms(),
        };
        self.store.add_join_token(token).await.unwrap();
        minted.text
    }

    pub(crate) async fn submit(&self, plan: &PlannedRun) -> RunId {
        self.submit_as("acme", plan).await
    }

    pub(crate) async fn submit_as(&self, tenant: &str, plan: &PlannedRun) -> RunId {
        let run = RunId::generate();
        let mut plan = plan.clone();
        plan.secrets_owner = Some(*run.as_uuid());
        let submission = Submission {
            upload: None,
            base: BaseRun {
                run,
                tenant: tenant.parse().unwrap(),
                runner: None,
                region: REGION.to_owned(),
                instance_type: "small".to_owned(),
                price_second_micros: 7,
                priority: 50,
                spec: serde_json::to_string(&plan).unwrap(),
                created_ms: unix_ms(),
            },
            idempotency: None,
            answer: String::new(),
            actor: "token".to_owned(),
            secrets: Vec::new(),
        };
        let answers = self.store.submit(vec![submission]).await.unwrap();
        assert_eq!(answers, [Ok(Submitted::Created)]);
        run
    }

    pub(crate) async fn view(&self, run: RunId) -> RunView {
        let mut found = self.store.runs(None, vec![run]).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    /// Waits for the run to be in a state.
    pub(crate) async fn in_state(&self, run: RunId, state: ActiveState) -> ActiveRun {
        wait_for(&format!("run {run} to be {state}"), async || {
            let row = self.view(run).await.active?;
            (row.state == state).then_some(row)
        })
        .await
    }

    /// Waits for the run's end.
    pub(crate) async fn ended(&self, run: RunId) -> EndedRun {
        wait_for(&format!("the end of run {run}"), async || {
            self.view(run).await.ended
        })
        .await
    }

    pub(crate) async fn order(&self, run: RunId, want: Want) -> Ordered {
        let order = Order {
            tenant: "acme".parse().unwrap(),
            run,
            want,
            actor: "token".to_owned(),
            at_ms: unix_ms(),
        };
        let mut answers = self.store.order(vec![order]).await.unwrap();
        answers.remove(0).unwrap()
    }

    /// The secrets' keys, as every replica has them.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::open(&self.keys()).unwrap()
    }
}

async fn begin(
    store: Arc<dyn Store>,
    objects: Arc<Faulty>,
    keys: PathBuf,
    signing: PathBuf,
    tweak: Tweak,
) -> Replica {
    let id = Uuid::now_v7();
    let keys = Arc::new(Keyring::open(&keys).unwrap());
    let sessions = Sessions::new();
    let tracer = |url: String| Tracer::start(&url, Arc::clone(&store)).unwrap();
    let settings = DispatchSettings {
        poll_ms: 100,
        survey_ms: 100,
        silent_after_ms: 300,
        fence_ms_min: tweak.fence_ms_min,
        pulse_ms: 300,
        dead_after_ms: tweak.dead_after_ms,
        tracer: tweak.collector.map(tracer),
        ..DispatchSettings::new(id)
    };
    let dispatch = Dispatch::start(
        Arc::clone(&store),
        Arc::clone(&keys),
        sessions.clone(),
        settings,
    );
    let usual = LogSettings::default();
    let logs = LogSettings {
        attempt_bytes_max: usual.attempt_bytes_max.min(tweak.log_bytes_max),
        total_bytes_max: tweak.log_bytes_max,
        ..usual
    };
    let (of_files, kept) = (Arc::clone(&store), Arc::<Faulty>::clone(&objects));
    let files = Files::new(of_files, kept, FilesSettings::default());
    let parts = LinkParts {
        store: Arc::clone(&store),
        files,
        logs: Logs::new(store, objects, logs),
        keys,
        signer: Arc::new(Signer::open(&signing).unwrap()),
        sessions: sessions.clone(),
        starts: Starts::default(),
        consoles: Consoles::new(id, sessions.clone()),
    };
    let consoles = parts.consoles.clone();
    let (rest, service) = serve_rest(&parts, &dispatch, tweak.rest_heartbeat_ms).await;
    let settings = LinkSettings {
        token_seconds: tweak.token_seconds,
        heartbeat_ms: tweak.heartbeat_ms,
        ..LinkSettings::new(id, [7; 32])
    };
    let link = Link::new(parts, &dispatch, settings);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    tokio::spawn(link.serve(listener, None, stopped));
    Replica {
        id,
        address,
        rest,
        service,
        consoles,
        dispatch,
        sessions,
        stop: Some(stop),
        runtime: None,
    }
}

/// One process of the scheduler, as far as the store and the hosts can tell.
pub(crate) struct Replica {
    pub(crate) id: Uuid,
    pub(crate) address: SocketAddr,
    /// Where its API is.
    pub(crate) rest: SocketAddr,
    pub(crate) service: Service,
    pub(crate) consoles: Consoles,
    pub(crate) dispatch: Dispatch,
    pub(crate) sessions: Sessions,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl Replica {
    /// Asks it to go away in order.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// kill -9: nothing of it runs on, no connection is ended in order.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A plan of half a CPU.
pub(crate) fn plan() -> PlannedRun {
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
                cpu_millis: 500,
                memory_bytes_max: Bytes::mib(64),
                pids_max: 32,
            },
            price_second_micros: 7,
            disk_bytes_max: None,
        },
        disk_bytes: 1 << 20,
        on_lost: OnLost::default(),
        retry: RetryPolicy::default(),
        executors: Vec::new(),
        labels_wanted: BTreeMap::new(),
        live_runs_max: None,
        secrets_owner: None,
        registry_owner: None,
        files: None,
    }
}

/// The same, with a policy for silent hosts.
pub(crate) fn plan_when_lost(
    policy: LostPolicy,
    lost_after_ms: u64,
    stop_after_ms: u64,
) -> PlannedRun {
    let on_lost = OnLost {
        policy,
        lost_after_ms,
        stop_after_ms,
    };
    PlannedRun { on_lost, ..plan() }
}
