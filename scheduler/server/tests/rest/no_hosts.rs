//! What a dispatch without hosts answers.

use std::collections::BTreeMap;

use async_trait::async_trait;
use davit_scheduler::service::{
    Candidate, Explained, Placing, QueuePosition, WarmRefused, WarmWish,
};
use davit_types::RunId;

/// Answers as a dispatch would that has no host.
pub(crate) struct NoHosts;

#[async_trait]
impl Placing for NoHosts {
    async fn explain(&self, _: RunId) -> Option<Explained> {
        Some(waiting())
    }

    async fn explain_new(&self, _: Candidate) -> Explained {
        waiting()
    }

    async fn warm(&self, wish: WarmWish) -> Result<(), WarmRefused> {
        let region = wish.region;
        if wish.image.contains("nowhere") {
            return Err(WarmRefused::NoHost { region });
        }
        Ok(())
    }
}

fn waiting() -> Explained {
    Explained {
        reason: "no_hosts".to_owned(),
        message: "no host is known".to_owned(),
        scarce: None,
        position: Some(QueuePosition {
            ahead: 3,
            or_more: false,
        }),
        hosts: BTreeMap::from([("offline".to_owned(), 2)]),
    }
}
