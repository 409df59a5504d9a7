//! Files that runs come with, as the store knows them: not their bytes, which are objects.

use davit_types::Tenant;
use uuid::Uuid;

/// An upload to be begun.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Chosen by the caller, so that the call may be made again.
    pub upload: Uuid,
    /// Whose.
    pub tenant: Tenant,
    /// How long it may be added to, and runs may be made with it, milliseconds.
    pub life_ms: u64,
}

/// An upload as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Which.
    pub upload: Uuid,
    /// Whose.
    pub tenant: Tenant,
    /// When it was begun, Unix milliseconds.
    pub created_ms: u64,
    /// Nothing is added, and no run is made with it, from then on.
    pub expires_ms: u64,
    /// What is stored.
    pub bytes: u64,
    /// In so many objects.
    pub parts: u32,
    /// Of all its bytes, in hexadecimal digits, once it is whole.
    pub sha256: Option<String>,
}

/// A piece of an upload that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    /// Of which.
    pub upload: Uuid,
    /// Offset of its first byte.
    pub begins: u64,
    /// How many.
    pub bytes: u64,
    /// Name of the object.
    pub object: String,
}
