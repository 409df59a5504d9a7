//! The operator's settings of the scheduler: defaults < TOML file < environment < flags.
//!
//! Layers, checks, schema and reference are `davit-settings`, as for the executor; here are the table of fields, the
//! structure, and what concerns several settings together.
//!
//! Invariants: no secret is a setting. A database's password, an object store's keys and all of davit's own keys are in
//! files that only the scheduler may read; a listener that others can reach has TLS, or the operator says who has.
//!
//! Absent on purpose: reloading while serving (restart: it loses nothing), and what is configured through the API
//! (tenants, regions, instance types, tokens).

mod fields;
mod model;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use davit_settings::{Findings, Layered, Origin, Origins, Sources, Table};
use url::Url;

pub use davit_settings::SettingsError;
pub use model::{
    Database, KeySettings, ListenSettings, LogFormat, LogSettings, ObjectPlace, RestSettings,
    RetentionSettings, Settings, StorePlace, TraceSettings,
};

/// Where settings are looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/davit/scheduler.toml";
/// What every environment variable of a setting begins with.
pub const ENVIRONMENT_PREFIX: &str = "DAVIT_SCHEDULER_";

/// The scheduler's settings, and where each came from.
pub type Loaded = davit_settings::Loaded<Settings>;

impl Layered for Settings {
    const TABLE: &'static Table = &Table {
        program: "scheduler",
        default_file: DEFAULT_FILE,
        environment_prefix: ENVIRONMENT_PREFIX,
        other_variables: &["DAVIT_SCHEDULER_CONFIG"],
        fields: fields::SETTINGS,
    };

    fn complete(&mut self, findings: &mut Findings, origins: &Origins) {
        let origin = |path: &str| origins.get(path).cloned().unwrap_or(Origin::Default);
        check_store(&self.store, findings, &origin);
        if self.objects.url.is_some() && self.objects.directory.is_some() {
            let problem = format!("excludes objects.url ({})", origin("objects.directory"));
            findings.fail("objects.directory", "", problem);
        }
        check_traces(self.traces.endpoint.as_deref(), findings, &origin);
        let listeners = [("rest", &self.rest.listener), ("link", &self.link)];
        for (section, listener) in listeners {
            check_listener(section, listener, findings, &origin);
        }
    }
}

fn check_store(store: &StorePlace, findings: &mut Findings, origin: &dyn Fn(&str) -> Origin) {
    let is_server = store.database == Database::Postgresql;
    if is_server && store.url_file.is_none() {
        let problem = format!(
            "is missing: store.database is postgresql ({})",
            origin("store.database")
        );
        findings.fail("store.url_file", "", problem);
    }
    for (path, given) in [
        ("store.url_file", &store.url_file),
        ("store.ca_file", &store.ca_file),
    ] {
        if given.is_some() && !is_server {
            let problem = format!("is for store.database = \"postgresql\" ({})", origin(path));
            findings.fail(path, "", problem);
        }
    }
}

fn check_traces(endpoint: Option<&str>, findings: &mut Findings, origin: &dyn Fn(&str) -> Origin) {
    let path = "traces.endpoint";
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if let Some(given) = endpoint
        && !Url::parse(given).is_ok_and(|url| is_http(&url))
    {
        let problem = format!("is no http:// or https:// URL ({})", origin(path));
        findings.fail(path, given, problem);
    }
}

fn check_listener(
    section: &str,
    listener: &ListenSettings,
    findings: &mut Findings,
    origin: &dyn Fn(&str) -> Origin,
) {
    let path = |key: &str| format!("{section}.{key}");
    let tls = [&listener.tls_certificate_file, &listener.tls_key_file];
    let given = tls.iter().filter(|file| file.is_some()).count();
    if given == 1 {
        let path = path("tls_certificate_file");
        let problem = format!("and tls_key_file go together ({})", origin(&path));
        findings.fail(&path, "", problem);
    }
    let path = path("listen");
    match listener.listen.parse::<SocketAddr>() {
        Err(_) => {
            let problem = format!("is no address:port ({})", origin(&path));
            findings.fail(&path, &listener.listen, problem);
        }
        Ok(address) if !address.ip().is_loopback() && given == 0 && !listener.plain => {
            let problem = format!(
                "can be reached by others ({}): give it tls_certificate_file and tls_key_file, or, \
                 where a proxy has them, plain = true",
                origin(&path)
            );
            findings.fail(&path, &listener.listen, problem);
        }
        Ok(_) => {}
    }
}

/// Reads all layers.
///
/// # Errors
/// A file that cannot be read or parsed; otherwise everything that is wrong in any layer at once.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    davit_settings::load(sources)
}

/// The effective settings as TOML that can be read back, with their origins.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    davit_settings::effective(loaded)
}

/// The reference page, Markdown.
#[must_use]
pub fn reference() -> String {
    davit_settings::reference::<Settings>()
}

/// The JSON Schema (2020-12) of the settings file.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    davit_settings::json_schema::<Settings>()
}
