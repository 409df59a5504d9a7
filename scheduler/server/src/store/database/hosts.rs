//! Hosts and replicas.

use async_trait::async_trait;
use uuid::Uuid;

use super::super::Stored;
use super::super::contract::HostStore;
use super::super::model::*;
use super::super::ops::{hosts, replicas};
use super::{Database, Driver, document, fits_batch, fits_page, keys, run};

#[async_trait]
impl<D: Driver> HostStore for Database<D> {
    async fn add_join_token(&self, token: JoinToken) -> Stored<()> {
        let key = token.region.clone();
        run!(self.write, "add_join_token", key, [token], |tx| {
            hosts::add_join_token(tx, &token)
        })
    }

    async fn join(&self, request: JoinRequest) -> Stored<Verdict> {
        let key = request.name.clone();
        document("join", &key, &request.body)?;
        run!(self.write, "join", key, [request], |tx| hosts::join(
            tx, &request
        ))
    }

    async fn hello(&self, hello: Hello) -> Stored<Result<Assigned, Refusal>> {
        let key = hello.host.to_string();
        document("hello", &key, &hello.beat)?;
        run!(self.write, "hello", key, [hello], |tx| hosts::hello(
            tx, &hello
        ))
    }

    async fn beat(&self, batch: Vec<Beat>) -> Stored<Vec<Verdict>> {
        let key = keys(batch.iter().map(|beat| beat.from.host));
        beat_bounds(&key, &batch)?;
        run!(self.write, "beat", key, [batch], |tx| hosts::beat(
            tx, &batch
        ))
    }

    async fn set_host_state(
        &self,
        host: Uuid,
        state: HostState,
        actor: String,
        at_ms: u64,
    ) -> Stored<bool> {
        let key = host.to_string();
        run!(
            self.write,
            "set_host_state",
            key,
            [host, state, actor, at_ms],
            |tx| hosts::set_state(tx, *host, *state, &actor, *at_ms)
        )
    }

    async fn drain_host(&self, order: DrainOrder) -> Stored<bool> {
        let key = order.host.to_string();
        run!(self.write, "drain_host", key, [order], |tx| hosts::drain(
            tx, &order
        ))
    }

    async fn drains_due(&self, limit: usize) -> Stored<Vec<Uuid>> {
        let key = "every host".to_owned();
        fits_page("drains_due", &key, limit)?;
        run!(self.read, "drains_due", key, [limit], |tx| {
            hosts::drains_due(tx, *limit)
        })
    }

    async fn host(&self, host: Uuid) -> Stored<Option<Host>> {
        let key = host.to_string();
        run!(self.read, "host", key, [host], |tx| hosts::find(tx, *host))
    }

    async fn held(&self, host: Uuid) -> Stored<Vec<HeldRun>> {
        let key = host.to_string();
        run!(self.read, "held", key, [host], |tx| hosts::held(tx, *host))
    }

    async fn hosts(&self, after: Option<Uuid>, limit: usize) -> Stored<Vec<Host>> {
        let key = keys(after.iter());
        fits_page("hosts", &key, limit)?;
        run!(self.read, "hosts", key, [after, limit], |tx| hosts::list(
            tx, *after, *limit
        ))
    }

    async fn hosts_apart(
        &self,
        replica: Uuid,
        after: Option<Uuid>,
        limit: usize,
    ) -> Stored<Vec<Host>> {
        let key = keys(after.iter());
        fits_page("hosts_apart", &key, limit)?;
        run!(
            self.read,
            "hosts_apart",
            key,
            [replica, after, limit],
            |tx| hosts::list_apart(tx, *replica, *after, *limit)
        )
    }

    async fn replica_beat(&self, replica: Uuid) -> Stored<()> {
        let key = replica.to_string();
        run!(self.write, "replica_beat", key, [replica], |tx| {
            replicas::beat(tx, *replica)
        })
    }

    async fn sweep_replicas(&self, dead_after_ms: u64) -> Stored<Swept> {
        let key = format!("silent for {dead_after_ms} ms");
        let done = run!(self.write, "sweep_replicas", key, [dead_after_ms], |tx| {
            replicas::sweep(tx, *dead_after_ms)
        });
        self.driver.wake();
        done
    }
}

fn beat_bounds(key: &str, beats: &[Beat]) -> Stored<()> {
    fits_batch("beat", key, beats.len())?;
    beats
        .iter()
        .try_for_each(|beat| document("beat", key, &beat.body))
}
