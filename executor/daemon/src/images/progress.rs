//! How far a pull is.

/// What a pull is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullStep {
    /// Asking the registry which digest the reference stands for.
    #[default]
    Resolving,
    /// Fetching blobs.
    Downloading,
    /// Unpacking layers.
    Unpacking,
    /// The image is ready.
    Done,
}

impl PullStep {
    /// The word in API and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Downloading => "downloading",
            Self::Unpacking => "unpacking",
            Self::Done => "done",
        }
    }
}

/// The state of a pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// What is being done.
    pub step: PullStep,
    /// Bytes fetched so far, of blobs that were not here.
    pub downloaded_bytes: u64,
    /// Bytes of all blobs that were not here.
    pub total_bytes: u64,
    /// Layers unpacked so far, those found here included.
    pub layers_done: u32,
    /// Layers of the image; 0 while resolving.
    pub layers_total: u32,
}
