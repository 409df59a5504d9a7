//! The keeper's claims: what it takes from the store's queue, and what it gives back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit_placement::HostState as Standing;
use davit_types::{RunId, Tenant};

use super::demand::{Demand, excluded, next_key};
use super::keeper::{Keeper, Waiting};
use super::shares::shares;
use super::verdicts::{Unplaced, gives_back};
use crate::clock::unix_ms;
use crate::link::want;
use crate::service::planned::PlannedRun;
use crate::store::limits::{BATCH_ITEMS_MAX, PAGE_ROWS_MAX};
use crate::store::{AttemptRow, Claim, ClaimedRun, OpenOrder, Rejection, StoreError};
use davit_rpc::link::scheduler_message::Message;
use davit_types::{Attempt, EndReason, RunKey};

/// How long a tenant is not claimed for after its runs were given back: others are to have a chance.
const HELD_OFF_MS: u64 = 1_000;
/// Claims looked at in a round, whether to give them back; each look is at all hosts.
const LOOKS_PER_ROUND_MAX: usize = 16;

impl Keeper {
    /// Claims runs for the hosts that are connected here; whether more may wait.
    pub(super) async fn claim(&mut self) -> Result<bool, StoreError> {
        let regions = self.regions_of(Standing::Online);
        let now = Instant::now();
        let mut more = false;
        for region in regions {
            let mut tenants = self.in_turn(&region).await?;
            tenants.retain(|tenant| self.held_off.get(tenant).is_none_or(|until| *until <= now));
            let spent = Arc::clone(&self.spent.borrow());
            tenants.retain(|tenant| !spent.contains(tenant));
            if tenants.is_empty() {
                continue;
            }
            let mut here: HashMap<Tenant, usize> = HashMap::new();
            for waiting in self.waiting.values() {
                *here.entry(waiting.row.tenant.clone()).or_default() += 1;
            }
            let tenants_count = tenants.len();
            let shares = shares(tenants, &here, self.window);
            if shares.is_empty() {
                continue;
            }
            let wanted: usize = shares.iter().map(|share| share.runs_max).sum();
            let claim = Claim {
                replica: self.settings.replica,
                region,
                shares,
                at_ms: unix_ms(),
            };
            let claimed = self.store.claim(claim).await;
            let claimed = claimed.inspect_err(|_| self.recover = true)?;
            // Beside a share that was not used up there may be one that was.
            more |= claimed.len() == wanted || (tenants_count > 1 && !claimed.is_empty());
            let admitted = self.admit(claimed).await;
            admitted.inspect_err(|_| self.recover = true)?;
        }
        Ok(more)
    }

    /// Regions with hosts that stand so.
    fn regions_of(&self, standing: Standing) -> BTreeSet<String> {
        let mut regions = BTreeSet::new();
        for host in self.hosts.values() {
            let region = host.spec.region.as_str();
            if host.spec.state == standing && !regions.contains(region) {
                regions.insert(region.to_owned());
            }
        }
        regions
    }

    /// Tenants with runs waiting in a region: all, or, where they are more than a page, the next ones in turn.
    async fn in_turn(&mut self, region: &str) -> Result<Vec<Tenant>, StoreError> {
        let after = self.turns.remove(region);
        let page = self
            .store
            .waiting(region.to_owned(), after.clone(), PAGE_ROWS_MAX);
        let mut tenants = page.await?;
        if let (Some(after), true) = (after, tenants.len() < PAGE_ROWS_MAX) {
            let rest = PAGE_ROWS_MAX - tenants.len();
            let first = self.store.waiting(region.to_owned(), None, rest).await?;
            tenants.extend(first.into_iter().take_while(|tenant| *tenant <= after));
        }
        if let (Some(last), true) = (tenants.last(), tenants.len() == PAGE_ROWS_MAX) {
            self.turns.insert(region.to_owned(), last.clone());
        }
        Ok(tenants)
    }

    /// Takes claimed runs into the queue, but for those that are in hand already.
    pub(super) async fn admit(&mut self, claimed: Vec<ClaimedRun>) -> Result<(), StoreError> {
        let unsettled = self.unsettled.iter().map(|placed| placed.run.row.run);
        let unsettled: BTreeSet<RunId> = unsettled.collect();
        for ClaimedRun { row, spec } in claimed {
            if self.waiting.contains_key(&row.run) || unsettled.contains(&row.run) {
                continue;
            }
            let plan: Result<Box<PlannedRun>, _> = serde_json::from_str(&spec);
            let plan = match plan {
                Ok(plan) => plan,
                Err(error) => {
                    self.reject(row.run, &error.to_string()).await?;
                    continue;
                }
            };
            let Some(key) = next_key(row.run, row.attempt) else {
                self.reject(row.run, "it had too many attempts").await?;
                continue;
            };
            let attempts = match row.attempt {
                0 => Vec::new(),
                _ => self.store.attempts(row.run).await?,
            };
            self.end_earlier(row.run, attempts.last());
            let avoided = excluded(&attempts, &self.names, unix_ms());
            let waiting = Waiting {
                key,
                row,
                plan,
                excluded: avoided,
                since: Instant::now(),
            };
            if let Err(problem) = self.queue(waiting) {
                let (waiting, problem) = *problem;
                self.reject(waiting.row.run, &problem).await?;
            }
        }
        Ok(())
    }

    /// A claimed run has no live attempt: what the engine knows of it is over, and the news of that still on their way
    /// here; or it was never stored.
    fn end_earlier(&mut self, run: RunId, last: Option<&AttemptRow>) {
        let Some(known) = self.engine.attempt_of(run) else {
            return;
        };
        let hosts_fault = last.is_some_and(|last| {
            last.attempt == known.attempt.number() && last.end_reason == EndReason::StartFailed
        });
        self.over(known, hosts_fault);
    }

    /// Tells the engine of a run that waits.
    pub(super) fn queue(&mut self, waiting: Waiting) -> Result<(), Box<(Waiting, String)>> {
        let mut demand = Demand::of(waiting.key, &waiting.row, &waiting.plan);
        demand.excluded.clone_from(&waiting.excluded);
        let run = match demand.run() {
            Ok(run) => run,
            Err(problem) => return Err(Box::new((waiting, problem.to_string()))),
        };
        if let Err(refused) = self.engine.submit(run) {
            return Err(Box::new((waiting, refused.to_string())));
        }
        self.waiting.insert(waiting.row.run, waiting);
        Ok(())
    }

    /// Ends a run that nobody can ever place, and says why.
    async fn reject(&self, run: RunId, problem: &str) -> Result<(), StoreError> {
        tracing::error!(%run, problem, "a run can never be placed");
        let rejection = Rejection {
            replica: self.settings.replica,
            run,
            message: format!("it can be placed on no executor: {problem}"),
            actor: "davit".to_owned(),
            at_ms: unix_ms(),
        };
        // Not claimed any more: it is over, or another's business.
        self.store.reject(rejection).await.map(drop)
    }

    /// After a lost answer: what is claimed and not known here.
    pub(super) async fn recover(&mut self) -> Result<(), StoreError> {
        if !self.recover {
            return Ok(());
        }
        let claims = self.store.claims(self.settings.replica).await?;
        self.admit(claims).await?;
        self.recover = false;
        Ok(())
    }

    /// Drops what is not claimed any more: canceled by its user, or taken from a replica that seemed dead.
    pub(super) async fn compare_claims(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let claims = self.store.claims(self.settings.replica).await?;
        let claimed: BTreeSet<RunId> = claims.iter().map(|claim| claim.row.run).collect();
        let waiting = self.waiting.keys();
        let lost: Vec<RunId> = waiting
            .filter(|run| !claimed.contains(run))
            .copied()
            .collect();
        for run in lost {
            if let Some(waiting) = self.waiting.remove(&run) {
                self.let_go(waiting.key);
            }
        }
        self.admit(claims).await
    }

    /// Gives back what was claimed for tenants that spent what they may.
    pub(super) async fn give_back_spent(&mut self) -> Result<(), StoreError> {
        let spent = Arc::clone(&self.spent.borrow());
        if spent.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting.values();
        let back = waiting.filter(|run| spent.contains(&run.row.tenant));
        let back = back.map(|run| run.row.run).collect();
        self.unclaim(back).await
    }

    /// Gives back claims that another replica may do better with.
    pub(super) async fn give_back(&mut self) -> Result<(), StoreError> {
        let now_ms = unix_ms();
        if self.waiting.is_empty() {
            return Ok(());
        }
        let others = self.regions_of(Standing::Remote);
        let mut oldest: Vec<(Instant, RunId)> = self
            .waiting
            .values()
            .filter(|run| others.contains(&run.row.region) || !run.excluded.is_empty())
            .map(|run| (run.since, run.row.run))
            .collect();
        oldest.sort_unstable();
        oldest.truncate(LOOKS_PER_ROUND_MAX);
        let mut back = Vec::new();
        for (since, run) in oldest {
            let Some(waiting) = self.waiting.get(&run) else {
                continue;
            };
            let unplaced = Unplaced {
                waited_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                age_ms: now_ms.saturating_sub(waiting.row.created_ms),
                avoids: !waiting.excluded.is_empty(),
                others: others.contains(&waiting.row.region),
            };
            let found = self.engine.explain(waiting.key);
            if found.is_ok_and(|found| gives_back(&found.outlook, unplaced)) {
                back.push(run);
            }
        }
        self.unclaim(back).await
    }

    /// Puts claims back into the store's queue; their tenants are not claimed for right away.
    pub(super) async fn unclaim(&mut self, runs: Vec<RunId>) -> Result<(), StoreError> {
        for batch in runs.chunks(BATCH_ITEMS_MAX) {
            let replica = self.settings.replica;
            self.store.unclaim(replica, batch.to_vec()).await?;
            for run in batch {
                if let Some(waiting) = self.waiting.remove(run) {
                    self.let_go(waiting.key);
                    self.hold_off(waiting.row.tenant);
                }
            }
        }
        Ok(())
    }

    /// Claims nothing of a tenant for a while.
    pub(super) fn hold_off(&mut self, tenant: Tenant) {
        let until = Instant::now() + Duration::from_millis(HELD_OFF_MS);
        self.held_off.insert(tenant, until);
    }

    /// All orders to hosts here: no more than there are live runs on them.
    async fn open_orders(&self) -> Result<Vec<OpenOrder>, StoreError> {
        let replica = self.settings.replica;
        let mut all: Vec<OpenOrder> = Vec::new();
        loop {
            let after = all.last().map(|order| order.run);
            let page = self
                .store
                .open_orders(replica, after, PAGE_ROWS_MAX)
                .await?;
            let whole = page.len() == PAGE_ROWS_MAX;
            all.extend(page);
            if !whole {
                return Ok(all);
            }
        }
    }

    /// Tells hosts what is wanted of their runs, once a session and revision.
    pub(super) async fn tell_orders(&mut self) -> Result<(), StoreError> {
        let open = self.open_orders().await?;
        let mut wanted = HashMap::with_capacity(open.len());
        for order in open {
            let attempt = Attempt::new(order.attempt);
            let peer = self.sessions.of(order.host);
            let (Some(attempt), Some(peer)) = (attempt, peer) else {
                continue;
            };
            let key = RunKey {
                run: order.run,
                attempt,
            };
            let mark = (peer.from().epoch, order.revision);
            if self.wanted.get(&key) != Some(&mark)
                && !peer.send(Message::Want(want(key, &order.desired, order.revision)))
            {
                tracing::debug!(%key, "its host has no session any more");
                continue;
            }
            wanted.insert(key, mark);
        }
        self.wanted = wanted;
        Ok(())
    }
}
