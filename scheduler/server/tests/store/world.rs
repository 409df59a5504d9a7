//! A store over an empty database, and short words for what the cases do with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use davit_scheduler::store::*;
use davit_types::{Attempt, EndReason, RunId, RunKey, Tenant, UsageSegment, segment_id};
use futures::future::LocalBoxFuture;
use uuid::Uuid;

/// A case: its name and what it does.
pub(crate) type Case = (&'static str, fn(World) -> LocalBoxFuture<'static, ()>);

/// `cases![a, b]`: the functions as a list of [`Case`]s.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<crate::world::Case> {
            vec![$((stringify!($name), |world| Box::pin($name(world)))),*]
        }
    };
}
pub(crate) use cases;

/// An instant of the tests: nothing in the rules depends on the true time but leases.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
pub(crate) const REGION: &str = "here";
pub(crate) const PRICE_MICROS: u64 = 7;

pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: StoreSettings,
    pub(crate) replica: Uuid,
    pub(crate) tenant: Tenant,
    joined: AtomicU8,
}

/// A host with a session.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) sender: Sender,
}

impl World {
    /// A world with the tenant `acme` and one replica.
    pub(crate) async fn open(settings: StoreSettings) -> Self {
        let store = open(&settings)
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.failure));
        let world = Self {
            store,
            settings,
            replica: Uuid::now_v7(),
            tenant: "acme".parse().unwrap(),
            joined: AtomicU8::new(0),
        };
        world.tenant("acme", None).await;
        world.store.replica_beat(world.replica).await.unwrap();
        world
    }

    pub(crate) async fn tenant(&self, name: &str, spend_cap_micros: Option<u64>) -> Tenant {
        let tenancy = Tenancy {
            tenant: name.parse().unwrap(),
            open: true,
            spend_cap_micros,
            created_ms: NOW_MS,
        };
        let tenant = tenancy.tenant.clone();
        let put = self
            .store
            .put_tenant(tenancy, "operator".to_owned(), NOW_MS);
        put.await.unwrap();
        tenant
    }

    /// A run of `acme` without runner or key.
    pub(crate) fn submission(&self) -> Submission {
        let run = RunId::generate();
        Submission {
            upload: None,
            base: BaseRun {
                run,
                tenant: self.tenant.clone(),
                runner: None,
                region: REGION.to_owned(),
                instance_type: "small".to_owned(),
                price_second_micros: PRICE_MICROS,
                priority: 0,
                spec: format!("{{\"spec of\":\"{run}\"}}"),
                created_ms: NOW_MS,
            },
            idempotency: None,
            answer: format!("{{\"id\":\"{run}\"}}"),
            actor: "token 1".to_owned(),
            secrets: Vec::new(),
        }
    }

    pub(crate) async fn submit(&self, submission: &Submission) -> Result<Submitted, Refusal> {
        let answers = self.store.submit(vec![submission.clone()]).await.unwrap();
        answers.into_iter().next().unwrap()
    }

    pub(crate) async fn submitted(&self) -> RunId {
        let submission = self.submission();
        assert_eq!(self.submit(&submission).await, Ok(Submitted::Created));
        submission.base.run
    }

    pub(crate) fn claim_of(&self, replica: Uuid, runs_max: usize) -> Claim {
        Claim {
            replica,
            region: REGION.to_owned(),
            shares: vec![Share {
                tenant: self.tenant.clone(),
                runs_max,
            }],
            at_ms: NOW_MS,
        }
    }

    pub(crate) async fn claim(&self, runs_max: usize) -> Vec<ClaimedRun> {
        let claim = self.claim_of(self.replica, runs_max);
        self.store.claim(claim).await.unwrap()
    }

    /// A registered host that said hello to this world's replica.
    pub(crate) async fn host(&self) -> Peer {
        let number = self.joined.fetch_add(1, Ordering::Relaxed);
        let token = JoinToken {
            hash: [number; 32],
            region: REGION.to_owned(),
            expires_ms: NOW_MS + 1,
            actor: "operator".to_owned(),
            at_ms: NOW_MS,
        };
        self.store.add_join_token(token).await.unwrap();
        let host = Uuid::now_v7();
        let joined = self.store.join(self.join_request([number; 32], host)).await;
        assert_eq!(joined.unwrap(), Ok(Done::Applied));
        let epoch = self.hello(host, "boot 1").await.epoch;
        Peer {
            sender: Sender { host, epoch },
        }
    }

    pub(crate) fn join_request(&self, hash: [u8; 32], host: Uuid) -> JoinRequest {
        JoinRequest {
            hash,
            host,
            name: format!("host-{host}"),
            body: "{}".to_owned(),
            at_ms: NOW_MS,
        }
    }

    pub(crate) async fn hello(&self, host: Uuid, boot_id: &str) -> Assigned {
        let hello = Hello {
            host,
            replica: self.replica,
            boot_id: boot_id.to_owned(),
            beat: "{}".to_owned(),
        };
        self.store.hello(hello).await.unwrap().unwrap()
    }

    pub(crate) async fn assign(&self, run: RunId, peer: Peer) -> Verdict {
        let assignment = Assignment {
            replica: self.replica,
            run,
            to: peer.sender,
            at_ms: NOW_MS,
        };
        only(self.store.assign(vec![assignment]).await.unwrap())
    }

    /// A run that `peer` has been given.
    pub(crate) async fn assigned(&self, peer: Peer) -> RunKey {
        let run = self.submitted().await;
        let claimed = self.claim(1).await;
        assert_eq!(claimed[0].row.run, run);
        assert_eq!(self.assign(run, peer).await, Ok(Done::Applied));
        first(run)
    }

    /// A run that executes on `peer`; its last step was 1.
    pub(crate) async fn running(&self, peer: Peer) -> RunKey {
        let key = self.assigned(peer).await;
        assert_eq!(self.say(peer, key, 1, started()).await, Ok(Done::Applied));
        key
    }

    /// One message without usage.
    pub(crate) async fn say(&self, peer: Peer, key: RunKey, step: u32, event: Event) -> Verdict {
        self.report(update(peer, key, step, event, vec![])).await
    }

    pub(crate) async fn report(&self, update: AttemptUpdate) -> Verdict {
        only(self.store.report(vec![update]).await.unwrap())
    }

    pub(crate) async fn view(&self, run: RunId) -> RunView {
        let tenant = Some(self.tenant.clone());
        let mut found = self.store.runs(tenant, vec![run]).await.unwrap();
        assert_eq!(found.len(), 1, "run {run} is not there once");
        found.remove(0)
    }

    pub(crate) async fn row(&self, run: RunId) -> ActiveRun {
        self.view(run).await.active.expect("the run is live")
    }
}

pub(crate) fn first(run: RunId) -> RunKey {
    RunKey {
        run,
        attempt: Attempt::FIRST,
    }
}

pub(crate) fn only<T>(mut items: Vec<T>) -> T {
    assert_eq!(items.len(), 1);
    items.remove(0)
}

pub(crate) fn started() -> Event {
    Event::Started {
        image_digest: "sha256:00".to_owned(),
        profile: None,
    }
}

pub(crate) fn update(
    peer: Peer,
    key: RunKey,
    step: u32,
    event: Event,
    segments: Vec<UsageSegment>,
) -> AttemptUpdate {
    AttemptUpdate {
        key,
        from: peer.sender,
        step,
        event,
        segments,
        at_ms: NOW_MS + u64::from(step),
    }
}

pub(crate) fn segment(key: RunKey, sequence: u32, begin_ms: u64, end_ms: u64) -> UsageSegment {
    UsageSegment {
        id: segment_id(key, sequence),
        key,
        sequence,
        begin_ms,
        end_ms,
        paused: false,
    }
}

/// Exit code 0 after `wall_ms`, with `log_last_id` lines.
pub(crate) fn end(wall_ms: u64, log_last_id: u64) -> AttemptEnd {
    AttemptEnd {
        reason: EndReason::Exited,
        exit_code: Some(0),
        message: "exited with code 0".to_owned(),
        usage: "{\"cpu_us\":1}".to_owned(),
        wall_ms,
        log_last_id,
        extracts: None,
        retry: None,
    }
}

/// Waits until `check` gives something, at most ten seconds.
pub(crate) async fn wait_for<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
