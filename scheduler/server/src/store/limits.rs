//! Every bound of the store, its unit last in the name.

/// Items of one batch: submissions, updates, beats.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Sealed values of all submissions of one batch.
pub const SUBMIT_SECRETS_MAX: usize = 10_000;
/// Rows of one page.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Usage segments that one update of an attempt may carry.
pub const SEGMENTS_PER_UPDATE_MAX: usize = 64;
/// Bytes of a specification, a catalogue entry or a first answer.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Parts of an upload.
pub const UPLOAD_PARTS_MAX: u32 = 65_536;
/// Uploads of a tenant that are not complete.
pub const UPLOADS_OPEN_MAX: u32 = 256;
/// Bytes of an encrypted secret.
pub const SECRET_BYTES_MAX: usize = 128 * 1024;
/// Bytes of an idempotency key, a name, a slug.
pub const NAME_BYTES_MAX: usize = 256;
/// The latest instant and the longest time that is taken from a host: the year 2286.
pub const MILLISECONDS_MAX: u64 = 10_000_000_000_000;

/// A run is put off for so long at most; beyond that the clock has stepped back, and it may be claimed.
pub const PUT_OFF_MS_MAX: u64 = 60 * 60 * 1_000;
/// A stamp so much later than the store's clock is from before that stepped back.
pub const STEP_BACK_MS_MIN: u64 = 1_000;

/// How long an idempotency key answers.
pub const IDEMPOTENCY_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;

/// Writes that wait for the SQLite writer; the next one is told that the store is busy.
pub const WRITE_QUEUE_JOBS_MAX: usize = 1_024;
/// Writes that share one SQLite commit.
pub const GROUP_JOBS_MAX: usize = 256;
/// Connections that read the SQLite file.
pub const READERS_MAX: usize = 4;
/// How long a read waits for one of them.
pub const READER_WAIT_MS_MAX: u64 = 5_000;
/// How long SQLite waits for another process's lock.
pub const SQLITE_BUSY_MS_MAX: u64 = 5_000;
/// Pages that the writing connection keeps in memory.
pub const SQLITE_WRITER_CACHE_KIB: i64 = 32 * 1_024;
/// Pages that each reading connection keeps.
pub const SQLITE_READER_CACHE_KIB: i64 = 4 * 1_024;
/// Prepared statements kept by each connection.
pub const STATEMENTS_MAX: usize = 256;

/// How long an operation waits for a PostgreSQL connection.
pub const POOL_WAIT_MS_MAX: u64 = 5_000;
/// PostgreSQL ends a statement that takes longer.
pub const STATEMENT_MS_MAX: u64 = 30_000;
/// A server that has not answered an operation after this time hangs: its connection is given up.
pub const ANSWER_MS_MAX: u64 = STATEMENT_MS_MAX + 5_000;
/// How often the connection for hints is asked for a sign of life.
pub const HINT_CHECK_MS: u64 = 15_000;
/// PostgreSQL ends a transaction whose client is silent for longer.
pub const IDLE_TRANSACTION_MS_MAX: u64 = 10_000;
/// Tries of a transaction that PostgreSQL took back for a conflict with another.
pub const TRIES_MAX: u32 = 6;
/// Pause before the second try; it doubles.
pub const RETRY_PAUSE_MS: u64 = 5;
/// At most one hint is sent by a replica in this time.
pub const HINT_PERIOD_MS: u64 = 20;
/// Longest pause before a lost hint connection is made again.
pub const HINT_RECONNECT_MS_MAX: u64 = 5_000;

/// Rows that share a tenant's totals, so that two transactions rarely want the same one.
pub const TOTAL_SHARDS: u32 = 16;
/// The dearest second, millionths; with [`MILLISECONDS_MAX`] no cost leaves 64 bits.
pub const PRICE_SECOND_MICROS_MAX: u64 = 900_000_000;
