//! Every bound of the logs, its unit last in the name.

/// A record's line: what the host's log allows.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// What a record counts beside its line, so that empty lines are not free.
pub const RECORD_OVERHEAD_BYTES: usize = 64;
/// One admitted batch, with overhead.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// A chunk before compression. What was gathered and one batch fit.
pub const CHUNK_RAW_BYTES_MAX: usize = 8 << 20;
/// Chunks below this are compressed in place, above on another thread.
pub const COMPRESS_INLINE_BYTES_MAX: usize = 32 * 1024;
/// Attempts with a gatherer.
pub const GATHERERS_MAX: usize = 100_000;
/// Batches of an attempt that wait for its gatherer.
pub const INBOX_BATCHES_MAX: usize = 64;
/// A gatherer without work ends after this.
pub const GATHERER_IDLE_MS_MAX: u64 = 10_000;

/// One attempt to write or read an object.
pub const OBJECT_MS_MAX: u64 = 15_000;
/// How long a chunk is tried to be stored before its host is told to repeat it.
pub const STORE_TRY_MS_MAX: u64 = 30_000;
/// Pause before the second try; it doubles.
pub const RETRY_PAUSE_MS: u64 = 50;
/// Longest pause between tries.
pub const RETRY_PAUSE_MS_MAX: u64 = 2_000;
/// Chunks that wait for the index.
pub const INDEX_QUEUE_CHUNKS_MAX: usize = 2_000;

/// Records of a page.
pub const PAGE_RECORDS_MAX: usize = 10_000;
/// Lines of a page, with overhead.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// Chunks that one page reads through, looking for the lines of a stream.
pub const PAGE_CHUNKS_MAX: usize = 32;
/// Index rows read at once.
pub const INDEX_ROWS_MAX: usize = 8;
/// Decoded chunks kept for the next reader.
pub const CACHE_BYTES_MAX: usize = 64 << 20;
/// Objects being read at once.
pub const FETCHES_MAX: usize = 8;

/// The latest lines of a followed attempt.
pub const TOPIC_BYTES_MAX: usize = 256 * 1024;
/// Lines a follower holds.
pub const FOLLOWER_BYTES_MAX: usize = 64 * 1024;
/// Records a follower holds.
pub const FOLLOWER_RECORDS_MAX: usize = 512;

/// Pieces that one sweep deletes.
pub const SWEEP_CHUNKS_MAX: usize = 10_000;
