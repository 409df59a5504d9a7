//! The settings as the scheduler uses them: every value is within its documented range.

use std::path::PathBuf;

use davit_types::Bytes;
use serde::{Deserialize, Serialize};

/// Everything an operator can set; the default is what an empty file gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Root of what the scheduler keeps itself: the SQLite file, objects and keys, unless they are elsewhere.
    pub state_dir: PathBuf,
    /// ISO 4217 code of the currency whose millionths prices are in.
    pub currency: String,
    /// The database.
    pub store: StorePlace,
    /// Where logs lie.
    pub objects: ObjectPlace,
    /// Files that runs come with.
    pub files: FilesPlace,
    /// The REST API.
    pub rest: RestSettings,
    /// Where hosts connect.
    pub link: ListenSettings,
    /// The scheduler's own keys.
    pub keys: KeySettings,
    /// How long what is over is kept.
    pub retention: RetentionSettings,
    /// The scheduler's own log.
    pub log: LogSettings,
    /// Where traces of ended runs go.
    pub traces: TraceSettings,
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Database {
    /// One file, for one scheduler.
    Sqlite,
    /// A server, for one or several replicas.
    Postgresql,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePlace {
    /// Which.
    pub database: Database,
    /// SQLite's file; absent: in `state_dir`.
    pub path: Option<PathBuf>,
    /// File holding PostgreSQL's URL, password included.
    pub url_file: Option<PathBuf>,
    /// Certificate authorities (PEM) of the server; absent: no TLS.
    pub ca_file: Option<PathBuf>,
    /// Connections to PostgreSQL.
    pub connections_max: usize,
}

/// Where logs lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectPlace {
    /// A directory of this machine; absent, as `url` is: in `state_dir`.
    pub directory: Option<PathBuf>,
    /// A bucket.
    pub url: Option<String>,
    /// File of options of the bucket, keys included.
    pub options_file: Option<PathBuf>,
}

/// Files that runs come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesPlace {
    /// Size of one upload.
    pub upload_bytes_max: Bytes,
    /// Size of all that a tenant has.
    pub tenant_bytes_max: Bytes,
    /// How long one may be added to, and runs may be made with it.
    pub upload_hours: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSettings {
    /// Address and port.
    pub listen: String,
    /// Certificate chain (PEM).
    pub tls_certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// Others may reach it without TLS.
    pub plain: bool,
}

/// The REST API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestSettings {
    /// Where it listens.
    #[serde(flatten)]
    pub listener: ListenSettings,
    /// Requests a second of one token, on average.
    pub requests_per_second: u32,
    /// Requests of one token at once.
    pub requests_burst: u32,
}

/// The scheduler's own keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// Directory of key files; absent: in `state_dir`.
    pub directory: Option<PathBuf>,
}

/// How long what is over is kept, in days; absent: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Logs of ended runs.
    pub log_days: Option<u64>,
    /// Ended runs themselves; their usage stays.
    pub run_days: Option<u64>,
    /// The audit log.
    pub audit_days: Option<u64>,
}

/// The scheduler's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A tracing filter.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the scheduler's log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Where traces of ended runs go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Whole URL of an OpenTelemetry collector's traces, OTLP over HTTP; absent: none are made.
    pub endpoint: Option<String>,
}

impl ListenSettings {
    fn at(listen: &str) -> Self {
        Self {
            listen: listen.to_owned(),
            tls_certificate_file: None,
            tls_key_file: None,
            plain: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/davit-scheduler".into(),
            currency: "EUR".to_owned(),
            store: StorePlace {
                database: Database::Sqlite,
                path: None,
                url_file: None,
                ca_file: None,
                connections_max: 16,
            },
            objects: ObjectPlace::default(),
            files: FilesPlace {
                upload_bytes_max: Bytes::gib(1),
                tenant_bytes_max: Bytes::gib(100),
                upload_hours: 24,
            },
            rest: RestSettings {
                listener: ListenSettings::at("127.0.0.1:7180"),
                requests_per_second: 200,
                requests_burst: 1_000,
            },
            link: ListenSettings::at("127.0.0.1:7181"),
            keys: KeySettings::default(),
            retention: RetentionSettings {
                log_days: Some(30),
                run_days: Some(90),
                audit_days: None,
            },
            log: LogSettings {
                filter: "info".to_owned(),
                format: LogFormat::Human,
            },
            traces: TraceSettings::default(),
        }
    }
}
