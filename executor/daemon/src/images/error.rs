//! Why an image cannot be had, in sentences that say what to do about it.

use std::sync::Arc;

use davit_types::FieldError;

use crate::containerd::ContainerdError;

/// A failed operation on images. Cloned to everybody who waited for the same pull.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference is no image reference.
    #[error("{0}")]
    Reference(FieldError),
    /// The host's allow-list does not have it.
    #[error(
        "image {image} is not allowed on this host: ask the operator to add its repository or its \
         digest {digest} to setting images.allow"
    )]
    NotAllowed {
        /// Normalised reference.
        image: String,
        /// What it resolved to, or `(not resolved)`.
        digest: String,
    },
    /// It must be signed, and is not known to be.
    #[error(
        "image {image} ({digest}) is not signed as setting {setting} asks: {problem}; sign this digest with a key of the \
         setting's (cosign sign --key …), or have the operator change the setting"
    )]
    Unsigned {
        /// Normalised reference.
        image: String,
        /// What it resolved to.
        digest: String,
        /// Where the rules are.
        setting: &'static str,
        /// What is missing.
        problem: String,
    },
    /// The registry does not have it.
    #[error("image {image} does not exist at {registry}: check repository and tag")]
    NotFound {
        /// Normalised reference.
        image: String,
        /// The registry asked.
        registry: String,
    },
    /// The registry wants other credentials.
    #[error(
        "{registry} does not let us pull {image}: {}",
        if *.with_credentials { "the credentials are wrong or lack the right to pull" }
        else { "it needs credentials and none were given (or the image does not exist)" }
    )]
    Unauthorized {
        /// Normalised reference.
        image: String,
        /// The registry asked.
        registry: String,
        /// Whether we had any.
        with_credentials: bool,
    },
    /// No connection.
    #[error(
        "registry {registry} cannot be reached: check its name, the network and, for plain http, the settings"
    )]
    Unreachable {
        /// The registry.
        registry: String,
        /// Why not.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The registry answered, but not with the image.
    #[error("registry {registry} failed to serve {what}: {problem}; try again later")]
    RegistryFailed {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer, shortened.
        problem: String,
    },
    /// The transfer broke off.
    #[error("{registry} sent only {received_bytes} of {total_bytes} bytes of {digest}: try again")]
    Truncated {
        /// The registry.
        registry: String,
        /// Which blob.
        digest: String,
        /// What came.
        received_bytes: u64,
        /// What was announced.
        total_bytes: u64,
    },
    /// The bytes are not those the digest names.
    #[error(
        "{what} from {registry} has digest {found} where {expected} was announced: the registry or something before it is broken; nothing was kept"
    )]
    WrongDigest {
        /// What was checked.
        what: String,
        /// The registry.
        registry: String,
        /// As announced.
        expected: String,
        /// As computed.
        found: String,
    },
    /// Beyond a bound.
    #[error("{what} of {image} is beyond davit's bound of {bound}: use a smaller image")]
    TooLarge {
        /// Normalised reference.
        image: String,
        /// What is too large.
        what: &'static str,
        /// The bound with its unit.
        bound: String,
    },
    /// Bytes trickle.
    #[error(
        "{registry} stalled: {received_bytes} bytes of {what} in {window_seconds} s; try again later"
    )]
    Stalled {
        /// The registry.
        registry: String,
        /// What was being fetched.
        what: String,
        /// What came within the window.
        received_bytes: u64,
        /// The window.
        window_seconds: u64,
    },
    /// The whole pull took too long.
    #[error(
        "pulling {image} took longer than {deadline_seconds} s: raise the pull deadline in the settings or use a smaller image"
    )]
    Deadline {
        /// Normalised reference.
        image: String,
        /// The limit.
        deadline_seconds: u64,
    },
    /// A kind of image davit cannot run.
    #[error("image {image} cannot be used: {problem}")]
    Unsupported {
        /// Normalised reference.
        image: String,
        /// Why.
        problem: String,
    },
    /// An index without our platform.
    #[error("image {image} is not made for {wanted}; it has {offered}")]
    NoPlatform {
        /// Normalised reference.
        image: String,
        /// The host's.
        wanted: String,
        /// The index's, shortened.
        offered: String,
    },
    /// A manifest or config that breaks its format.
    #[error("the {what} of image {image} is malformed: {problem}")]
    Malformed {
        /// Normalised reference.
        image: String,
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Policy `never` without a copy.
    #[error(
        "image {image} is not on this host and the pull policy is never: pull it first, or use the policy missing"
    )]
    NoLocalCopy {
        /// Normalised reference.
        image: String,
    },
    /// Nothing to remove.
    #[error("image {image} is not on this host")]
    NotHere {
        /// Normalised reference.
        image: String,
    },
    /// It may not be removed now.
    #[error("image {image} is in use by a run: remove it after the run has ended")]
    InUse {
        /// Normalised reference.
        image: String,
    },
    /// The pull ended without an answer: its task panicked or the executor is shutting down.
    #[error("the pull of {image} was abandoned: try again")]
    Abandoned {
        /// Normalised reference.
        image: String,
    },
    /// containerd failed.
    #[error(transparent)]
    Containerd(Arc<ContainerdError>),
}

impl From<ContainerdError> for ImageError {
    fn from(error: ContainerdError) -> Self {
        Self::Containerd(Arc::new(error))
    }
}
