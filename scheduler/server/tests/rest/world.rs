//! A server over an empty database, and short words for what the tests do with it.

#[path = "no_hosts.rs"]
mod no_hosts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use davit_scheduler::consoles::Consoles;
use davit_scheduler::credentials::Signer;
use davit_scheduler::files::{Files, FilesSettings};
use davit_scheduler::link::Sessions;
use davit_scheduler::logs::{
    LogRecord, LogSettings, LogStream, Logs, ObjectSettings, open_objects,
};
use davit_scheduler::rest::{self, Api, Metrics, RestSettings};
use davit_scheduler::secrets::Keyring;
use davit_scheduler::service::access::Scope;
use davit_scheduler::service::catalogue::{Region, put_region};
use davit_scheduler::service::instance_types::{self, Offer};
use davit_scheduler::service::tokens::{self, NewToken};
use davit_scheduler::service::{Service, now_ms, tenants};
use davit_scheduler::starts::Starts;
use davit_scheduler::store::*;
use davit_types::{
    Attempt, Bytes, EndReason, InstanceType, Resources, RunId, RunKey, UsageSegment, segment_id,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::client::Client;
use no_hosts::NoHosts;

pub(crate) const REGION: &str = "here";
pub(crate) const PRICE_MICROS: u64 = 7;
pub(crate) const UPLOAD_BYTES_MAX: u64 = 10 << 20;
/// Of all files of a tenant.
pub(crate) const TENANT_BYTES_MAX: u64 = 15 << 20;

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) logs: Logs,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) replica: Uuid,
    hosts: AtomicU32,
    _stop: oneshot::Sender<()>,
    _directory: tempfile::TempDir,
}

/// What a run that executes is locked in with.
const LOCKED_IN: &str = r#"{"runtime":"crun","uid":7,"capabilities":["CAP_CHOWN"],"network":"none",
    "mounts":[{"destination":"/proc","type":"proc","options":["nosuid"]}]}"#;

/// A host with a session.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) Sender);

impl World {
    pub(crate) async fn begin() -> Self {
        Self::with(RestSettings {
            requests_per_second: 1_000_000,
            requests_burst: 1_000_000,
            heartbeat_ms: 100,
        })
        .await
    }

    /// All bytes that the store has on disk.
    pub(crate) fn database(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self._directory.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let stored = files.filter(|path| path.is_file());
        let bytes: Vec<Vec<u8>> = stored.map(|path| std::fs::read(path).unwrap()).collect();
        bytes.concat()
    }

    pub(crate) async fn with(settings: RestSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("davit.db");
        let store = open(&StoreSettings::Sqlite { path }).await.unwrap();
        let keyring = Keyring::open(&directory.path().join("keys")).unwrap();
        let objects = ObjectSettings::Directory {
            path: directory.path().join("objects"),
        };
        let objects = open_objects(&objects).unwrap();
        let small = FilesSettings {
            upload_bytes_max: UPLOAD_BYTES_MAX,
            tenant_bytes_max: TENANT_BYTES_MAX,
            ..FilesSettings::default()
        };
        let files = Files::new(Arc::clone(&store), Arc::clone(&objects), small);
        let logs = Logs::new(Arc::clone(&store), objects, LogSettings::default());
        let signer = Signer::open(&directory.path().join("signing")).unwrap();
        let (keyring, signer) = (Arc::new(keyring), Arc::new(signer));
        let service = Service::new(store, keyring, signer, Arc::new(NoHosts), "EUR");
        let metrics = Arc::new(Metrics::new(&Starts::default()));
        tokio::spawn(rest::follow_usage(service.clone(), Arc::clone(&metrics)));
        let replica = Uuid::now_v7();
        let consoles = Consoles::new(replica, Sessions::new());
        let api = Api::new(
            service.clone(),
            logs.clone(),
            files,
            consoles,
            settings,
            metrics,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            // Ready when the world goes.
            let _gone = stopped.await;
        };
        tokio::spawn(rest::serve(listener, None, rest::router(api), stopped));
        let world = Self {
            service,
            logs,
            address,
            replica,
            hosts: AtomicU32::new(0),
            _stop: stop,
            _directory: directory,
        };
        world.furnish().await;
        world
    }

    /// Two tenants, a region, two sizes.
    async fn furnish(&self) {
        for tenant in ["acme", "beta"] {
            let tenant = tenant.parse().unwrap();
            let put = tenants::put(&self.service, "operator", tenant, true, None);
            put.await.unwrap();
        }
        let region = Region {
            slug: REGION.to_owned(),
            name: "Here".to_owned(),
        };
        put_region(&self.service, "operator", &region)
            .await
            .unwrap();
        for (slug, cpu_millis) in [("small", 500), ("large", 4_000)] {
            let offer = Offer {
                instance_type: InstanceType {
                    slug: slug.to_owned(),
                    name: slug.to_uppercase(),
                    resources: Resources {
                        cpu_millis,
                        memory_bytes_max: Bytes::mib(256),
                        pids_max: 64,
                    },
                    price_second_micros: PRICE_MICROS,
                    disk_bytes_max: None,
                },
                disk_bytes: 1 << 30,
            };
            let put = instance_types::put(&self.service, "operator", &offer);
            put.await.unwrap();
        }
        let beat = self.service.store.replica_beat(self.replica);
        beat.await.unwrap();
    }

    /// A client of `acme` that may do everything but operate.
    pub(crate) async fn acme(&self) -> Client {
        let scopes = Scope::ALL.into_iter().filter(|s| *s != Scope::Operator);
        self.client("acme", &scopes.collect::<Vec<_>>(), None).await
    }

    pub(crate) async fn client(
        &self,
        tenant: &str,
        scopes: &[Scope],
        life_seconds: Option<u64>,
    ) -> Client {
        let new = NewToken {
            name: "test".to_owned(),
            scopes: scopes.iter().copied().collect(),
            expires_in_seconds: life_seconds,
        };
        let tenant = tenant.parse().unwrap();
        let minted = tokens::bootstrap(&self.service, "operator", &tenant, new);
        let minted = minted.await.unwrap();
        Client::new(self.address, Some(minted.text), Some(minted.token.id))
    }

    pub(crate) fn nobody(&self) -> Client {
        Client::new(self.address, None, None)
    }

    /// A registered host that said hello.
    pub(crate) async fn host(&self) -> Peer {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        let store = &self.service.store;
        let token = JoinToken {
            hash,
            region: REGION.to_owned(),
            expires_ms: u64::MAX >> 1,
            actor: "operator".to_owned(),
            at_ms: now_ms(),
        };
        store.add_join_token(token).await.unwrap();
        let host = Uuid::now_v7();
        let join = JoinRequest {
            hash,
            host,
            name: format!("host-{number}"),
            body: "{}".to_owned(),
            at_ms: now_ms(),
        };
        store.join(join).await.unwrap().unwrap();
        let hello = Hello {
            host,
            replica: self.replica,
            boot_id: "boot".to_owned(),
            beat: "{}".to_owned(),
        };
        let epoch = store.hello(hello).await.unwrap().unwrap().epoch;
        Peer(Sender { host, epoch })
    }

    /// Gives a pending run of a tenant to a host.
    pub(crate) async fn assign(&self, tenant: &str, run: RunId, peer: Peer) -> RunKey {
        let store = &self.service.store;
        let claim = Claim {
            replica: self.replica,
            region: REGION.to_owned(),
            shares: vec![Share {
                tenant: tenant.parse().unwrap(),
                runs_max: 100,
            }],
            at_ms: now_ms(),
        };
        let claimed = store.claim(claim).await.unwrap();
        assert!(claimed.iter().any(|claimed| claimed.row.run == run));
        let assignment = Assignment {
            replica: self.replica,
            run,
            to: peer.0,
            at_ms: now_ms(),
        };
        let verdicts = store.assign(vec![assignment]).await.unwrap();
        verdicts.into_iter().for_each(|verdict| {
            verdict.unwrap();
        });
        let others = claimed
            .iter()
            .map(|c| c.row.run)
            .filter(|other| *other != run);
        store.unclaim(self.replica, others.collect()).await.unwrap();
        let shown = store.runs(None, vec![run]).await.unwrap();
        let attempt = shown[0].active.as_ref().unwrap().attempt;
        RunKey {
            run,
            attempt: Attempt::new(attempt).unwrap(),
        }
    }

    pub(crate) async fn say(
        &self,
        peer: Peer,
        key: RunKey,
        step: u32,
        event: Event,
        segments: Vec<UsageSegment>,
    ) {
        let update = AttemptUpdate {
            key,
            from: peer.0,
            step,
            event,
            segments,
            at_ms: now_ms(),
        };
        let verdicts = self.service.store.report(vec![update]).await.unwrap();
        for verdict in verdicts {
            assert_eq!(verdict, Ok(Done::Applied));
        }
    }

    /// A run of a tenant that executes; its last step was 1.
    pub(crate) async fn running(&self, tenant: &str, run: RunId, peer: Peer) -> RunKey {
        let key = self.assign(tenant, run, peer).await;
        let started = Event::Started {
            image_digest: "sha256:00".to_owned(),
            profile: Some(Profile::new(LOCKED_IN.to_owned())),
        };
        self.say(peer, key, 1, started, vec![]).await;
        key
    }

    /// Lines of a log, `first_id..=last_id`, stored.
    pub(crate) async fn write(&self, peer: Peer, key: RunKey, first_id: u64, last_id: u64) {
        let records = (first_id..=last_id).map(|id| LogRecord {
            id,
            unix_ns: 1_800_000_000_000_000_000 + id,
            stream: if id % 3 == 0 {
                LogStream::Stderr
            } else {
                LogStream::Stdout
            },
            partial: false,
            truncated: false,
            newline: true,
            line: if id == 2 {
                bytes::Bytes::from_static(&[0xff, 0xfe])
            } else {
                format!("line {id}").into()
            },
        });
        let taken = self.logs.admit(peer.0, key, records.collect()).unwrap();
        self.logs.flush(key).await.unwrap();
        assert_eq!(taken.stored().await.unwrap(), last_id);
    }

    /// Ends a run that executes: exit code 0 after `wall_ms` in one segment.
    pub(crate) async fn end(&self, peer: Peer, key: RunKey, step: u32, wall_ms: u64, lines: u64) {
        let segments = if wall_ms == 0 {
            vec![]
        } else {
            vec![segment(key, 0, 0, wall_ms, false)]
        };
        let end = Event::Ended(end(wall_ms, lines));
        self.say(peer, key, step, end, segments).await;
    }
}

pub(crate) fn segment(
    key: RunKey,
    sequence: u32,
    begin_ms: u64,
    end_ms: u64,
    paused: bool,
) -> UsageSegment {
    UsageSegment {
        id: segment_id(key, sequence),
        key,
        sequence,
        begin_ms,
        end_ms,
        paused,
    }
}

pub(crate) fn end(wall_ms: u64, log_last_id: u64) -> AttemptEnd {
    AttemptEnd {
        reason: EndReason::Exited,
        exit_code: Some(0),
        message: "exited with code 0".to_owned(),
        usage: json!({"wall_ms": wall_ms, "cpu_us": 1}).to_string(),
        wall_ms,
        log_last_id,
        extracts: None,
        retry: None,
    }
}

/// The least that makes a runner.
pub(crate) fn runner(name: &str) -> serde_json::Value {
    json!({
        "name": name, "image_name": "library/busybox", "region": REGION, "instance_type": "small",
    })
}

/// The least that makes a run without a runner.
pub(crate) fn one_off() -> serde_json::Value {
    json!({"image": "busybox:1", "region": REGION, "instance_type": "small"})
}
