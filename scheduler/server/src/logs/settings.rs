//! How logs are gathered and followed.

use super::limits::BATCH_BYTES_MAX;

/// See each field; [`LogSettings::default`] is what production uses.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Lines of an attempt are stored once they come to so many bytes, overhead included…
    pub chunk_bytes: usize,
    /// …or to so many lines…
    pub chunk_lines: usize,
    /// …or once the first of them has waited for so long.
    pub flush_ms: u64,
    /// Lines of one attempt that are admitted and not stored.
    pub attempt_bytes_max: usize,
    /// Lines of all attempts that are admitted and not stored.
    pub total_bytes_max: usize,
    /// How often the index is asked for what other replicas stored.
    pub poll_ms: u64,
    /// Followers at once.
    pub followers_max: usize,
    /// A follower that leaves lines lying for longer is cut off.
    pub slow_ms_max: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            chunk_bytes: 1 << 20,
            chunk_lines: 20_000,
            flush_ms: 1_000,
            attempt_bytes_max: 8 << 20,
            total_bytes_max: 512 << 20,
            poll_ms: 250,
            followers_max: 2_000,
            slow_ms_max: 30_000,
        }
    }
}

impl LogSettings {
    /// A batch must always find room, or it would wait for ever; and a chunk must fit its format.
    pub(super) fn within_bounds(mut self) -> Self {
        self.chunk_bytes = self.chunk_bytes.clamp(1, BATCH_BYTES_MAX);
        self.chunk_lines = self.chunk_lines.max(1);
        self.attempt_bytes_max = self.attempt_bytes_max.clamp(BATCH_BYTES_MAX, 1 << 30);
        self.total_bytes_max = self.total_bytes_max.clamp(self.attempt_bytes_max, 1 << 40);
        self.flush_ms = self.flush_ms.clamp(1, 60_000);
        self.poll_ms = self.poll_ms.clamp(10, 60_000);
        self
    }
}
