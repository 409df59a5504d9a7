//! How a session begins: the hello is stored, then the host is told every place, then dispatch learns of it.
//!
//! ```text
//!  Hello ──► store.hello: new epoch ──► held rows ──► places ──► Welcome queued ──► sessions, dispatch
//!                                          └─ lost in an earlier boot ──► store.lose
//! ```
//!
//! Invariants: the welcome is queued before anybody else can send to the host; whatever was assigned in an earlier epoch
//! is in it, so an `Assign` that got lost with its connection is told again here.

use std::collections::BTreeSet;

use davit_placement::ImageRef;
use davit_rpc::link as proto;
use davit_rpc::link::scheduler_message::Message;
use davit_types::{EndReason, RunKey};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::error::LinkError;
use super::facts::{HostBeat, HostBody, TEXT_BYTES_MAX, bounded};
use super::outfit::{outfit, owners, sealed};
use super::places::{Standing, gone, live, over, standing};
use super::sessions::{Outgoing, Peer};
use super::words::held;
use super::{LinkSettings, Shared};
use crate::clock::unix_ms;
use crate::dispatch::retries::{RetryRules, retry};
use crate::dispatch::told::{Adopted, HostUp, Told};
use crate::service::planned::PlannedRun;
use crate::starts::Awaited;
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{FencedBy, HeldRun, Hello, Host, Loss, Sender};

/// A host that was greeted.
pub(super) struct Greeted {
    pub(super) peer: Peer,
    pub(super) queue: mpsc::Receiver<Outgoing>,
    pub(super) beat: HostBeat,
    pub(super) images: Vec<ImageRef>,
}

/// Bytes of assignments within a welcome; further ones follow it, a message each.
const WELCOME_ASSIGN_BYTES_MAX: usize = 1 << 20;

/// What the host's stored attempts come to.
#[derive(Default)]
struct Sorted {
    places: Vec<proto::Place>,
    adopted: Vec<Adopted>,
    losses: Vec<Loss>,
    /// Assignments beyond what a welcome holds.
    beyond: Vec<proto::Assign>,
    assign_bytes: usize,
}

impl Sorted {
    /// The assignment, if the welcome has room for it.
    fn fit(&mut self, assign: proto::Assign) -> Option<proto::Assign> {
        let env = assign.secret_env.iter();
        let env: usize = env.map(|var| var.key.len() + var.value.len()).sum();
        let files = assign.secret_files.iter();
        let files: usize = files.map(|file| file.name.len() + file.value.len()).sum();
        let texts = assign.request_json.len() + assign.instance_type_json.len();
        self.assign_bytes += texts + env + files;
        if self.assign_bytes <= WELCOME_ASSIGN_BYTES_MAX {
            return Some(assign);
        }
        self.beyond.push(assign);
        None
    }
}

impl Shared {
    /// Begins the session of a host.
    pub(super) async fn greet(&self, id: Uuid, hello: proto::Hello) -> Result<Greeted, LinkError> {
        let host = self.gate.host(id).await?;
        bounded("boot id bytes", hello.boot_id.len(), TEXT_BYTES_MAX)?;
        let held = held(&hello.held)?;
        let (mut beat, images) = HostBeat::of(&hello)?;
        let joined: HostBody = serde_json::from_str(&host.body).unwrap_or_default();
        for (key, value) in joined.labels {
            beat.labels.entry(key).or_insert(value);
        }
        let store = |source| LinkError::Store { host: id, source };
        let wish = Hello {
            host: id,
            replica: self.settings.replica,
            boot_id: hello.boot_id.clone(),
            beat: beat.text(),
        };
        let assigned = self.store.hello(wish).await.map_err(store)?;
        let assigned = assigned.map_err(|refusal| LinkError::Refused { host: id, refusal })?;
        let from = Sender {
            host: id,
            epoch: assigned.epoch,
        };
        let (peer, queue) = Peer::new(from);
        let mut sorted = Sorted::default();
        for key in gone(&held, &assigned.runs) {
            let reason = "it is over, or another host's";
            sorted.places.push(over(key, reason));
        }
        for run in assigned.runs {
            self.sort(run, &hello, &held, &peer, &mut sorted).await;
        }
        for losses in sorted.losses.chunks(BATCH_ITEMS_MAX) {
            self.lose(losses.to_vec()).await.map_err(store)?;
        }
        peer.send(Message::Welcome(welcome(
            &self.settings,
            assigned.epoch,
            sorted.places,
        )));
        for assign in sorted.beyond {
            peer.send(Message::Assign(assign));
        }
        self.sessions.enter(&peer)?;
        let up = up(from, host, &beat, images.clone(), sorted.adopted)?;
        self.teller.tell(Told::Up(Box::new(up))).await;
        tracing::info!(host = %id, epoch = from.epoch, "a session began");
        Ok(Greeted {
            peer,
            queue,
            beat,
            images,
        })
    }

    async fn sort(
        &self,
        run: HeldRun,
        hello: &proto::Hello,
        held: &BTreeSet<RunKey>,
        peer: &Peer,
        sorted: &mut Sorted,
    ) {
        let Some(key) = run.key() else {
            return;
        };
        let plan: Result<Box<PlannedRun>, _> = serde_json::from_str(&run.spec);
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(%key, %error, "a stored plan cannot be read");
                sorted.places.push(live(key, &run.row, None));
                return;
            }
        };
        let standing = standing(&run.row, &hello.boot_id, held.contains(&key));
        if standing == Standing::Lost {
            sorted.places.push(over(key, "lost in an earlier boot"));
            sorted.losses.push(boot_loss(key, &plan));
            return;
        }
        let assign = match standing {
            Standing::Unheard if can(hello, key, &plan) => self.assign(key, &run, &plan).await,
            _ => None,
        };
        let awaited = Awaited::new(&run.row, run.row.assigned_ms);
        peer.give(key, RetryRules::of(&plan), awaited);
        let assign = assign.and_then(|assign| sorted.fit(assign));
        sorted.places.push(live(key, &run.row, assign));
        let row = run.row;
        sorted.adopted.push(Adopted { key, row, plan });
    }

    async fn assign(&self, key: RunKey, run: &HeldRun, plan: &PlannedRun) -> Option<proto::Assign> {
        let tenant = &run.row.tenant;
        let sealed = sealed(self.store.as_ref(), owners(tenant, plan)).await;
        let sealed = sealed
            .inspect_err(|error| tracing::error!(%key, %error, "secrets cannot be read"))
            .ok()?;
        let outfit = outfit(&sealed, &self.keys, key, tenant, plan);
        // Without its values it is not executed; the next hello tries again.
        outfit
            .inspect_err(|error| tracing::error!(%key, %error, "a run cannot be given to its host"))
            .ok()
    }

    async fn lose(&self, losses: Vec<Loss>) -> Result<(), crate::store::StoreError> {
        let keys: Vec<RunKey> = losses.iter().map(|loss| loss.key).collect();
        let verdicts = self.store.lose(losses).await?;
        for (key, verdict) in keys.into_iter().zip(verdicts) {
            match verdict {
                Ok(_) => tracing::warn!(%key, "lost in an earlier boot of its host"),
                Err(refusal) => tracing::info!(%key, %refusal, "not lost"),
            }
        }
        Ok(())
    }
}

/// Whether a host does all that a run needs. One that was replaced by an older executor since it was given the run is not told
/// what to execute; the next hello tries again.
fn can(hello: &proto::Hello, key: RunKey, plan: &PlannedRun) -> bool {
    let lacks = |wanted: &&str| !hello.features.iter().any(|feature| feature == wanted);
    let lacking = plan.features().find(lacks);
    if let Some(feature) = lacking {
        tracing::error!(%key, feature, "a run waits for its host's executor to be a newer one");
    }
    lacking.is_none()
}

/// An attempt that was alive in an earlier boot and left no record.
fn boot_loss(key: RunKey, plan: &PlannedRun) -> Loss {
    let at_ms = unix_ms();
    let lost = EndReason::ExecutorLost;
    Loss {
        key,
        fenced_by: FencedBy::Boot,
        retry: retry(
            &RetryRules::of(plan),
            key.attempt.number(),
            lost,
            None,
            at_ms,
        ),
        message: "its host was started anew and has no record of it".to_owned(),
        actor: "davit".to_owned(),
        at_ms,
    }
}

fn welcome(settings: &LinkSettings, epoch: u64, places: Vec<proto::Place>) -> proto::Welcome {
    proto::Welcome {
        epoch,
        heartbeat_ms: settings.heartbeat_ms,
        meter_ms: settings.meter_ms,
        log_period_ms: settings.log_period_ms,
        log_batch_lines: settings.log_batch_lines,
        places,
    }
}

fn up(
    from: Sender,
    host: Host,
    beat: &HostBeat,
    images: Vec<ImageRef>,
    held: Vec<Adopted>,
) -> Result<HostUp, LinkError> {
    let name = host.name.parse();
    let name = name.map_err(|_| LinkError::malformed("name", &host.name, "a host's name"))?;
    let region = host.region.parse();
    let region = region.map_err(|_| LinkError::malformed("region", &host.region, "a region"))?;
    Ok(HostUp {
        from,
        name,
        region,
        state: host.state,
        labels: beat.placed_labels(),
        capacity: beat.capacity.amounts(),
        images,
        held,
    })
}
