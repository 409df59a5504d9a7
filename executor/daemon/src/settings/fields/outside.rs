//! The settings of what a host reaches over the network: registries, and its scheduler.

use super::{COMMAND_PARTS_MAX, Field, Kind, MIB, TEXT, TIB, field};

pub(super) const REGISTRY: &[Field] = &[
    field(
        "username",
        Kind::Text { chars_max: 256 },
        "User name; without one the registry is asked anonymously.",
    ),
    field(
        "password_file",
        Kind::Path,
        "File holding the password; one newline at its end is ignored. Read at each pull.",
    ),
    field(
        "password_command",
        Kind::List {
            of: &TEXT,
            items_max: COMMAND_PARTS_MAX,
        },
        "Program and arguments that print the password (`vault`, `sops`…). Run at each pull, for at most 10 s.",
    ),
    field("plain_http", Kind::Bool, "Speak http without TLS."),
];

pub(super) const LINK: &[Field] = &[
    field(
        "server",
        Kind::Text { chars_max: 2_000 },
        "The scheduler's address, `https://…`; `http://` only to this host itself. Register first: `davit executor register`.",
    ),
    field(
        "ca_file",
        Kind::Path,
        "Certificates (PEM) that the scheduler's must lead to; absent: those of the system.",
    ),
    field(
        "credentials_file",
        Kind::Path,
        "Who this host is to the scheduler, written by `davit executor register` with mode 0600.",
    ),
    field(
        "labels",
        Kind::List {
            of: &TEXT,
            items_max: davit_types::limits::LABELS_MAX,
        },
        "What runs can ask for, each `key=value`.",
    ),
    field(
        "cpu",
        Kind::Cpu,
        "CPUs that runs of the scheduler's may have in all; absent: the host's.",
    ),
    field(
        "memory",
        Kind::Bytes {
            min: 4 * MIB,
            max: 1024 * TIB,
        },
        "Memory that they may have in all; absent: the host's.",
    ),
    field(
        "pids",
        Kind::Integer {
            min: 1,
            max: 4_194_304,
        },
        "Processes and threads that they may have in all; absent: the kernel's limit, less 4096.",
    ),
    field(
        "disk",
        Kind::Bytes {
            min: MIB,
            max: 1024 * TIB,
        },
        "Disk that they may have in all; absent: the file system of `state_dir`.",
    ),
];
