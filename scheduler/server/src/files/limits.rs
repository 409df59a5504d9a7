//! Every bound of files, its unit last in the name.

/// Bytes of one object, and of what a stream holds in memory.
pub const PART_BYTES_MAX: usize = 4 << 20;
/// Streams of one replica, in and out: together they hold so many parts in memory.
pub const STREAMS_MAX: usize = 64;
/// Downloads of one replica: counted apart, so that users who read slowly hold up neither hosts nor uploads.
pub const DOWNLOADS_MAX: usize = 64;
/// How long a sender may be silent in the middle of a body.
pub const SILENT_MS_MAX: u64 = 30_000;
/// Rows of parts that are read at once.
pub const PART_ROWS_MAX: usize = 64;
/// Bytes of a piece on its way to a host.
pub const PIECE_BYTES_MAX: usize = 512 << 10;
/// How long after its expiry an upload is deleted.
pub const GRACE_MS: u64 = 600_000;
/// Uploads that one sweep deletes.
pub const SWEEP_UPLOADS_MAX: usize = 1_000;
/// Uploads that are looked up at once by a sweep.
pub const SWEEP_ROWS_MAX: usize = 100;
