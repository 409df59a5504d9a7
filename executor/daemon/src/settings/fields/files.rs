//! `[files]`: how much goes into a run, and how much is kept of what comes out.

use davit_settings::{Field, Kind, field};

use super::{MIB, TIB};

pub(super) const FILES: &[Field] = &[
    field(
        "upload_bytes_max",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Size of the files that a run may come with (`davit run --dir`), in all.",
    ),
    field(
        "upload_files_max",
        Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        "How many those may be, directories among them.",
    ),
    field(
        "extract_bytes_max",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Size of what is kept of a run's files (`davit run --extract`), in all. It is in the run's directory, and goes \
         with it.",
    ),
];
