//! What the operator decides about images.

use std::time::Duration;

use super::{AllowList, SignatureRules};

/// Settings of the image store.
#[derive(Clone, Debug, Default)]
pub struct ImageStoreOptions {
    /// Images this host may run.
    pub allowed: AllowList,
    /// Images that must be signed, and by whom.
    pub signatures: SignatureRules,
    /// Registries spoken to over http, as `host` or `host:port`; loopback ones always are.
    pub plain_http: Vec<String>,
    /// Bytes all images together may take on disk, compressed and unpacked; unlimited when absent.
    pub cache_bytes_max: Option<u64>,
    /// Bounds of one pull.
    pub limits: PullLimits,
}

/// Bounds of one pull.
#[derive(Clone, Debug)]
pub struct PullLimits {
    /// The whole pull, waiting for its turn included.
    pub deadline: Duration,
    /// The window in which a transfer must make progress.
    pub stall_window: Duration,
    /// Bytes that must arrive within a window. A registry that drips a byte a minute is stalled.
    pub stall_bytes_min: u64,
    /// Compressed bytes of all layers.
    pub compressed_bytes_max: u64,
    /// Unpacked bytes of all layers.
    pub unpacked_bytes_max: u64,
    /// Files of all layers, directories among them.
    pub unpacked_files_max: u64,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30 * 60),
            stall_window: Duration::from_secs(30),
            stall_bytes_min: 64 * 1024,
            compressed_bytes_max: 32 << 30,
            unpacked_bytes_max: 64 << 30,
            unpacked_files_max: 2_000_000,
        }
    }
}
