//! `[images]`: the cache, and the bounds of one pull. `[[image_signatures]]`: what must be signed.

use davit_settings::{Field, Kind, field, required};

use super::{ALLOWED_IMAGES_MAX, DAY_SECONDS, MIB, TEXT, TIB};

const REPOSITORIES_MAX: usize = 1_000;
const KEYS_MAX: usize = 16;

pub(super) const IMAGES: &[Field] = &[
    field(
        "cache_bytes_max",
        Kind::Bytes {
            min: 64 * MIB,
            max: 1024 * TIB,
        },
        "Size above which the images unused for longest are evicted, never one in use.",
    ),
    field(
        "pull_deadline_seconds",
        Kind::Integer {
            min: 1,
            max: DAY_SECONDS,
        },
        "Longest a pull may take.",
    ),
    field(
        "pull_stall_seconds",
        Kind::Integer { min: 1, max: 3_600 },
        "Longest a pull may go without progress; at most `pull_deadline_seconds`.",
    ),
    field(
        "compressed_bytes_max",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Compressed size of an image above which it is not pulled.",
    ),
    field(
        "unpacked_bytes_max",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Size on disk above which an image is not unpacked any further.",
    ),
    field(
        "unpacked_files_max",
        Kind::Integer {
            min: 1_000,
            max: 1_000_000_000,
        },
        "Files, directories among them, above which an image is not unpacked any further.",
    ),
    field(
        "allow",
        Kind::List {
            of: &TEXT,
            items_max: ALLOWED_IMAGES_MAX,
        },
        "Digests (`sha256:…`) and repositories (`registry.example.com/team/app`) that may run. Empty allows all.",
    ),
];

/// Entries of `image_signatures`.
pub(super) const IMAGE_SIGNATURES_MAX: usize = 100;

pub(super) const IMAGE_SIGNATURE: &[Field] = &[
    required(
        "repositories",
        Kind::List {
            of: &TEXT,
            items_max: REPOSITORIES_MAX,
        },
        "Whose images: `registry.example.com/team/app`, which means all below it too, or `*` for every image.",
    ),
    required(
        "public_key_files",
        Kind::List {
            of: &Kind::Path,
            items_max: KEYS_MAX,
        },
        "Public keys (PEM; ECDSA P-256 or Ed25519), one of which must have signed. Only their owner may change the files.",
    ),
];
