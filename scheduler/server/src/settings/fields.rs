//! Every setting that exists, once: name, kind, range and meaning. A test holds the table against the structure.

use davit_settings::{Field, Kind, field};

const DAYS: Kind = Kind::Integer {
    min: 1,
    max: 36_500,
};
const ADDRESS: Kind = Kind::Text { chars_max: 100 };

/// The whole tree.
pub(super) const SETTINGS: &[Field] = &[
    field(
        "state_dir",
        Kind::Path,
        "Root of what the scheduler keeps itself, on a real disk: SQLite file, objects and keys, unless they are elsewhere.",
    ),
    field(
        "currency",
        Kind::Name,
        "ISO 4217 code of the currency whose millionths prices are in.",
    ),
    field("store", Kind::Section(STORE), "The database."),
    field("objects", Kind::Section(OBJECTS), "Where logs lie."),
    field(
        "files",
        Kind::Section(FILES),
        "Files that runs come with; they lie where logs do.",
    ),
    field("rest", Kind::Section(REST), "The REST API."),
    field("link", Kind::Section(LINK), "Where hosts connect."),
    field("keys", Kind::Section(KEYS), "The scheduler's own keys."),
    field(
        "retention",
        Kind::Section(RETENTION),
        "How long what is over is kept. Usage always is.",
    ),
    field("log", Kind::Section(LOG), "The scheduler's own log."),
    field(
        "traces",
        Kind::Section(TRACES),
        "Traces of ended runs; a trace's id is the run's.",
    ),
];

const STORE: &[Field] = &[
    field(
        "database",
        Kind::Choice(&["sqlite", "postgresql"]),
        "One file for one scheduler, or a server for one or several replicas.",
    ),
    field(
        "path",
        Kind::Path,
        "SQLite's file; absent: `scheduler.db` in `state_dir`.",
    ),
    field(
        "url_file",
        Kind::Path,
        "File of mode 0600 with PostgreSQL's URL: `postgresql://user:password@host,host/database?target_session_attrs=read-write`.",
    ),
    field(
        "ca_file",
        Kind::Path,
        "Certificate authorities (PEM) one of which signed the server's certificate; absent: no TLS.",
    ),
    field(
        "connections_max",
        Kind::Integer { min: 2, max: 1_000 },
        "Connections to PostgreSQL, of this replica.",
    ),
];

const OBJECTS: &[Field] = &[
    field(
        "directory",
        Kind::Path,
        "A directory of this machine, for one scheduler; absent, as `url` is: `objects` in `state_dir`.",
    ),
    field(
        "url",
        Kind::Text { chars_max: 2_000 },
        "A bucket: `s3://bucket/prefix`, `gs://…`, `az://…`. Keys come from `options_file` or the environment (`AWS_…`).",
    ),
    field(
        "options_file",
        Kind::Path,
        "File of mode 0600 with a `name=value` a line: `aws_endpoint`, `aws_access_key_id`, `aws_secret_access_key`, `aws_region`…",
    ),
];

const FILES: &[Field] = &[
    field(
        "upload_bytes_max",
        Kind::Bytes {
            min: 1 << 20,
            max: 1 << 40,
        },
        "Size of one upload, and of one archive that comes out of a run. A host has a bound of its own for what it unpacks (its `files.upload_bytes_max`).",
    ),
    field(
        "tenant_bytes_max",
        Kind::Bytes {
            min: 1 << 20,
            max: 1 << 50,
        },
        "Size of all files that are kept for a tenant: its uploads, and what came out of its runs. A run whose files are more comes to \
         its end without them, and says so.",
    ),
    field(
        "upload_hours",
        Kind::Integer { min: 1, max: 8_760 },
        "How long an upload may be added to, and runs may be made with it. It is kept as long as a run that came with it is, and \
         deleted when there is none.",
    ),
];

const TLS_CERTIFICATE: Field = field(
    "tls_certificate_file",
    Kind::Path,
    "Certificate chain (PEM); with it connections are encrypted.",
);
const TLS_KEY: Field = field(
    "tls_key_file",
    Kind::Path,
    "The certificate's key (PEM), a file of mode 0600.",
);
const PLAIN: Field = field(
    "plain",
    Kind::Bool,
    "Others may reach it without TLS: a proxy before it has that.",
);

const REST: &[Field] = &[
    field("listen", ADDRESS, "Address and port of the API."),
    TLS_CERTIFICATE,
    TLS_KEY,
    PLAIN,
    field(
        "requests_per_second",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "Requests a second that a token may make on average.",
    ),
    field(
        "requests_burst",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "Requests that a token may make at once.",
    ),
];

const LINK: &[Field] = &[
    field("listen", ADDRESS, "Address and port that hosts dial."),
    TLS_CERTIFICATE,
    TLS_KEY,
    PLAIN,
];

const KEYS: &[Field] = &[field(
    "directory",
    Kind::Path,
    "Directory of mode 0700 with the keys of secrets, access tokens and hosts, made at the first start; the same files \
     for all replicas. Absent: `keys` in `state_dir`. Keep a copy: without it no stored secret can be read.",
)];

const RETENTION: &[Field] = &[
    field("log_days", DAYS, "Logs of ended runs."),
    field("run_days", DAYS, "Ended runs; their usage stays."),
    field("audit_days", DAYS, "The audit log. Absent: for ever."),
];

const LOG: &[Field] = &[
    field(
        "filter",
        Kind::Text { chars_max: 1_000 },
        "What is logged: `info`, or by module: `davit_scheduler=debug,info`.",
    ),
    field(
        "format",
        Kind::Choice(&["human", "json"]),
        "How lines look.",
    ),
];

const TRACES: &[Field] = &[field(
    "endpoint",
    Kind::Text { chars_max: 2_000 },
    "Where an OpenTelemetry collector takes traces, OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`. Absent: none are sent.",
)];
