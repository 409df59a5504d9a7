//! What the scheduler asks of its database, in five parts and one whole.
//!
//! Batches hold at most [`BATCH_ITEMS_MAX`](super::limits::BATCH_ITEMS_MAX) items and get one verdict an
//! item, in order; pages hold at most [`PAGE_ROWS_MAX`](super::limits::PAGE_ROWS_MAX) rows and begin after
//! a key. Every operation fails with a [`StoreError`](super::StoreError) that names it.

use async_trait::async_trait;
use davit_types::{Attempt, RunId, RunKey, Tenant};
use tokio::sync::watch;
use uuid::Uuid;

use super::Stored;
use super::model::*;

/// Runs: from the queue to their end, and their logs' indices.
#[async_trait]
pub trait RunStore {
    /// Accepts runs.
    async fn submit(&self, batch: Vec<Submission>) -> Stored<Vec<Result<Submitted, Refusal>>>;
    /// Accepts all of these runs or none. The first one's key and answer count for the whole; the others
    /// have no key.
    async fn submit_together(&self, batch: Vec<Submission>) -> Stored<Result<Submitted, Refusal>>;
    /// Tenants with runs waiting in a region, by name, after one.
    async fn waiting(
        &self,
        region: String,
        after: Option<Tenant>,
        tenants_max: usize,
    ) -> Stored<Vec<Tenant>>;
    /// Takes pending runs for a replica, by priority, then age, within their runners' caps.
    async fn claim(&self, claim: Claim) -> Stored<Vec<ClaimedRun>>;
    /// What a replica has claimed and not assigned.
    async fn claims(&self, replica: Uuid) -> Stored<Vec<ClaimedRun>>;
    /// Puts claimed runs back; how many were its.
    async fn unclaim(&self, replica: Uuid, runs: Vec<RunId>) -> Stored<usize>;
    /// Ends a claimed run that nobody can ever place.
    async fn reject(&self, rejection: Rejection) -> Stored<Verdict>;
    /// Gives claimed runs to hosts.
    async fn assign(&self, batch: Vec<Assignment>) -> Stored<Vec<Verdict>>;
    /// What hosts say of attempts.
    async fn report(&self, batch: Vec<AttemptUpdate>) -> Stored<Vec<Verdict>>;
    /// Declares attempts lost.
    async fn lose(&self, batch: Vec<Loss>) -> Stored<Vec<Verdict>>;

    /// What users want of runs.
    async fn order(&self, batch: Vec<Order>) -> Stored<Vec<Result<Ordered, Refusal>>>;
    /// Orders that hosts of this replica have not heeded, by run, after one.
    async fn open_orders(
        &self,
        replica: Uuid,
        after: Option<RunId>,
        limit: usize,
    ) -> Stored<Vec<OpenOrder>>;
    /// A tenant's runs that have hosts, by host and run, after one.
    async fn hosted(
        &self,
        tenant: Tenant,
        after: Option<(Uuid, RunId)>,
        limit: usize,
    ) -> Stored<Vec<ActiveRun>>;

    /// These runs, as far as they exist and are the tenant's (`None`: anybody's), in any order.
    async fn runs(&self, tenant: Option<Tenant>, runs: Vec<RunId>) -> Stored<Vec<RunView>>;
    /// Runs older than one, newest first.
    async fn runs_page(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Stored<Vec<RunView>>;
    /// A security profile, JSON.
    async fn profile(&self, profile: Uuid) -> Stored<Option<String>>;
    /// The attempts of a run that are over.
    async fn attempts(&self, run: RunId) -> Stored<Vec<AttemptRow>>;

    /// Adds pieces to logs' indices.
    async fn index_logs(&self, batch: Vec<(Sender, LogChunk)>) -> Stored<Vec<Verdict>>;
    /// Pieces of a run's log that hold lines after one of an attempt.
    async fn log_chunks(
        &self,
        run: RunId,
        attempt: Attempt,
        after_id: u64,
        limit: usize,
    ) -> Stored<Vec<LogChunk>>;
    /// Pieces of ended runs' logs indexed before an instant: delete their objects, then forget them.
    async fn expired_log_chunks(&self, before_ms: u64, limit: usize) -> Stored<Vec<LogChunk>>;
    /// Forgets pieces whose objects are gone.
    async fn forget_log_chunks(&self, chunks: Vec<LogChunk>) -> Stored<()>;
}

/// Hosts and the replicas that end their connections.
#[async_trait]
pub trait HostStore {
    /// Adds a one-time permission to register.
    async fn add_join_token(&self, token: JoinToken) -> Stored<()>;
    /// Registers a host, once a token.
    async fn join(&self, request: JoinRequest) -> Stored<Verdict>;
    /// Begins a host's session; what comes by its earlier ones is refused from then on.
    async fn hello(&self, hello: Hello) -> Stored<Result<Assigned, Refusal>>;
    /// Hosts are alive.
    async fn beat(&self, batch: Vec<Beat>) -> Stored<Vec<Verdict>>;
    /// Changes whether a host is given runs; whether that changed.
    async fn set_host_state(
        &self,
        host: Uuid,
        state: HostState,
        actor: String,
        at_ms: u64,
    ) -> Stored<bool>;
    /// Gives a host no more runs, and its runs so much time; whether it is there.
    async fn drain_host(&self, order: DrainOrder) -> Stored<bool>;
    /// Draining hosts whose runs are to be stopped now, by the store's clock.
    async fn drains_due(&self, limit: usize) -> Stored<Vec<Uuid>>;
    /// A host.
    async fn host(&self, host: Uuid) -> Stored<Option<Host>>;
    /// The live attempts that a host should have, connected or not.
    async fn held(&self, host: Uuid) -> Stored<Vec<HeldRun>>;
    /// Hosts by id, after one.
    async fn hosts(&self, after: Option<Uuid>, limit: usize) -> Stored<Vec<Host>>;
    /// The same of those that ever connected, but for those that are online and whose connection this replica ends: few,
    /// where it is the only one.
    async fn hosts_apart(
        &self,
        replica: Uuid,
        after: Option<Uuid>,
        limit: usize,
    ) -> Stored<Vec<Host>>;
    /// A replica is alive.
    async fn replica_beat(&self, replica: Uuid) -> Stored<()>;
    /// Clears up after replicas that were silent for so long.
    async fn sweep_replicas(&self, dead_after_ms: u64) -> Stored<Swept>;
}

/// The books: usage, money, audit, and forgetting.
#[async_trait]
pub trait BookStore {
    /// The usage ledger after a cursor.
    async fn usage_page(
        &self,
        tenant: Option<Tenant>,
        after: Cursor,
        limit: usize,
    ) -> Stored<Page<LedgerRow>>;
    /// One run's segments, after one of an attempt.
    async fn usage_of_run(
        &self,
        run: RunId,
        after: Option<(Attempt, u32)>,
        limit: usize,
    ) -> Stored<Vec<LedgerRow>>;
    /// What segments of the same runs come before these, of all attempts.
    async fn usage_before(&self, segments: Vec<(RunKey, u32)>) -> Stored<Vec<UsageBefore>>;
    /// What a tenant used up to now.
    async fn totals(&self, tenant: Tenant) -> Stored<Totals>;
    /// Tenants that spent what they may, by name, after one.
    async fn tenants_over_cap(&self, after: Option<Tenant>, limit: usize) -> Stored<Vec<Tenancy>>;
    /// The audit log after a cursor.
    async fn audit_page(
        &self,
        tenant: Option<Tenant>,
        after: Cursor,
        limit: usize,
    ) -> Stored<Page<AuditRow>>;
    /// Forgets what is old, a bounded piece at a time.
    async fn sweep_retention(&self, keep: Retention) -> Stored<Expired>;
}

/// Files that runs come with. Their bytes are objects; what is here says which, in which order.
#[async_trait]
pub trait UploadStore {
    /// Begins an upload.
    async fn begin_upload(&self, new: NewUpload) -> Stored<Result<Upload, Refusal>>;
    /// A tenant's upload, unless it has expired.
    async fn upload(&self, tenant: Tenant, upload: Uuid) -> Stored<Option<Upload>>;
    /// Adds a part, whose object is stored, at the end of what there is.
    async fn add_upload_part(
        &self,
        tenant: Tenant,
        part: UploadPart,
        tenant_bytes_max: u64,
    ) -> Stored<Result<Upload, Refusal>>;
    /// Makes an upload of so many bytes whole: runs may come with it.
    async fn complete_upload(
        &self,
        tenant: Tenant,
        upload: Uuid,
        bytes: u64,
        sha256: String,
    ) -> Stored<Result<Upload, Refusal>>;
    /// Parts of an upload that end after an offset, in order.
    async fn upload_parts(&self, upload: Uuid, after: u64, limit: usize)
    -> Stored<Vec<UploadPart>>;
    /// Uploads that expired so long ago and that no run uses: delete their objects, then forget them.
    async fn expired_uploads(&self, grace_ms: u64, limit: usize) -> Stored<Vec<Uuid>>;
    /// Forgets uploads whose objects are gone.
    async fn forget_uploads(&self, uploads: Vec<Uuid>) -> Stored<()>;
    /// The upload that takes the bytes of a run's extract: where an earlier call left it, or a new one.
    async fn begin_extract(&self, new: NewExtract) -> Stored<Result<Upload, Refusal>>;
    /// The upload with the bytes of a run's extract, and which attempt sent it.
    async fn extract(&self, run: RunId, number: u32) -> Stored<Option<(u32, Upload)>>;
    /// Lets go of an extract's upload, whose bytes are not what its host has.
    async fn drop_extract(&self, upload: Uuid) -> Stored<()>;
}

/// What people configure: tenants, tokens, the catalogue, secrets.
#[async_trait]
pub trait PeopleStore {
    /// Makes or changes a tenant.
    async fn put_tenant(&self, tenancy: Tenancy, actor: String, at_ms: u64) -> Stored<()>;
    /// Tenants by name, after one.
    async fn tenants(&self, after: Option<Tenant>, limit: usize) -> Stored<Vec<Tenancy>>;
    /// Adds an API token.
    async fn add_token(&self, token: Token, actor: String) -> Stored<Verdict>;
    /// The token with this SHA-256, live or not.
    async fn token_by_hash(&self, hash: [u8; 32]) -> Stored<Option<Token>>;
    /// Ends a token; whether it was live.
    async fn revoke_token(
        &self,
        tenant: Tenant,
        token: Uuid,
        actor: String,
        at_ms: u64,
    ) -> Stored<bool>;
    /// A tenant's tokens by id, after one.
    async fn tokens(&self, tenant: Tenant, after: Option<Uuid>, limit: usize)
    -> Stored<Vec<Token>>;

    /// Makes or changes a catalogue entry.
    async fn put_entry(&self, put: CatalogPut) -> Stored<Verdict>;
    /// A catalogue entry.
    async fn entry(&self, key: CatalogKey) -> Stored<Option<CatalogEntry>>;
    /// A catalogue entry by its name.
    async fn entry_by_name(
        &self,
        kind: CatalogKind,
        tenant: Option<Tenant>,
        name: String,
    ) -> Stored<Option<CatalogEntry>>;
    /// Entries of a kind by id, after one.
    async fn entries(
        &self,
        kind: CatalogKind,
        tenant: Option<Tenant>,
        after: Option<Uuid>,
        limit: usize,
    ) -> Stored<Vec<CatalogEntry>>;
    /// Removes an entry with its secrets; whether it was there.
    async fn remove_entry(&self, key: CatalogKey, actor: String, at_ms: u64) -> Stored<bool>;

    /// Stores encrypted values, each at its next version.
    async fn put_secrets(
        &self,
        batch: Vec<Secret>,
        actor: String,
        at_ms: u64,
    ) -> Stored<Vec<Verdict>>;
    /// The secrets of a runner, a registry or a run.
    async fn secrets(&self, tenant: Tenant, owner: Uuid) -> Stored<Vec<Secret>>;
    /// Those of many owners at once, of each by name; so many values as they have, so name few owners.
    async fn secrets_of(&self, owners: Vec<(Tenant, Uuid)>) -> Stored<Vec<Secret>>;
    /// Secrets that another key than this one wraps.
    async fn secrets_not_under(&self, key_id: String, limit: usize) -> Stored<Vec<Secret>>;
    /// Wraps secrets anew, unless their values changed meanwhile.
    async fn rewrap_secrets(
        &self,
        batch: Vec<Secret>,
        actor: String,
        at_ms: u64,
    ) -> Stored<Vec<Verdict>>;
    /// Removes a secret; whether it was there.
    async fn remove_secret(&self, secret: SecretKey, actor: String, at_ms: u64) -> Stored<bool>;
}

/// The whole store.
#[async_trait]
pub trait Store:
    RunStore + HostStore + BookStore + PeopleStore + UploadStore + Send + Sync
{
    /// Changes whenever there may be work: new runs, orders, freed claims. Coalesced; may be late or
    /// missing, so poll as well.
    fn hints(&self) -> watch::Receiver<u64>;
    /// Finishes what is queued and lets the database go. Later calls fail with
    /// [`Failure::Closed`](super::Failure::Closed).
    async fn close(&self);
}
