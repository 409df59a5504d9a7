//! What the keeper of a replica's placement is told and asked, in one queue.
//!
//! Invariant: telling waits for room and is never dropped; the keeper never waits for those who tell.

use davit_placement::{Amounts, Explanation, HostName, ImageRef, Region, Run};
use davit_types::{RunId, RunKey};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::service::planned::PlannedRun;
use crate::service::{WarmRefused, WarmWish};
use crate::store::{ActiveRun, HostState, Sender};

/// News that wait for the keeper.
pub(super) const NEWS_MAX: usize = 8_192;

/// A live attempt of a host that connected.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) key: RunKey,
    pub(crate) row: ActiveRun,
    pub(crate) plan: Box<PlannedRun>,
}

/// A host that connected.
#[derive(Debug)]
pub(crate) struct HostUp {
    pub(crate) from: Sender,
    pub(crate) name: HostName,
    pub(crate) region: Region,
    pub(crate) state: HostState,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) capacity: Amounts,
    pub(crate) images: Vec<ImageRef>,
    pub(crate) held: Vec<Adopted>,
}

/// News, and questions.
#[derive(Debug)]
pub(crate) enum Told {
    /// A session began.
    Up(Box<HostUp>),
    /// A session ended.
    Down(Sender),
    /// A host's images changed.
    Images { from: Sender, images: Vec<ImageRef> },
    /// An attempt's job was let go.
    Started(RunKey),
    /// An attempt is over.
    Over { key: RunKey, hosts_fault: bool },
    /// A host fetched an image ahead, or could not.
    Warmed {
        from: Sender,
        warm_id: Uuid,
        problem: Option<String>,
    },
    /// Why does a run wait?
    Explain {
        run: RunId,
        answer: oneshot::Sender<Option<Explanation>>,
    },
    /// What would become of this one?
    ExplainNew {
        run: Box<Run>,
        answer: oneshot::Sender<Option<Explanation>>,
    },
    /// Fetch an image ahead.
    Warm {
        wish: Box<WarmWish>,
        answer: oneshot::Sender<Result<(), WarmRefused>>,
    },
}

/// Tells the keeper. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Teller(pub(super) mpsc::Sender<Told>);

impl Teller {
    /// Waits for room. Where nobody listens any more, the scheduler goes away.
    pub(crate) async fn tell(&self, told: Told) {
        if self.0.send(told).await.is_err() {
            tracing::debug!("dispatch is gone");
        }
    }
}
