//! What is the executor's own about its settings: where they come from, and what concerns several of them.

use std::collections::BTreeSet;

use davit_settings::{Findings, Layered, Origin, Origins, Table};

use super::fields::{IDS_END, SETTINGS};
use super::model::Settings;
use crate::ids::IDS;

/// Where settings are looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/davit/executor.toml";

/// What every environment variable of a setting begins with.
pub const ENVIRONMENT_PREFIX: &str = "DAVIT_";

/// Variables (or, ending in `_`, beginnings of them) that davit's command line and development
/// scripts use: they are no settings and no mistakes.
const OTHER_VARIABLES: &[&str] = &[
    "DAVIT_BIN_DIR",
    "DAVIT_CACHE_DIR",
    "DAVIT_CONFIG",
    "DAVIT_DEMO_",
    "DAVIT_OUTPUT",
    "DAVIT_OUT_DIR",
    "DAVIT_PROFILE",
    "DAVIT_SCHEDULER_",
    "DAVIT_SERVER",
    "DAVIT_TEST_",
    "DAVIT_TOKEN",
    "DAVIT_TOKEN_FILE",
    "DAVIT_VM",
];

impl Layered for Settings {
    const TABLE: &'static Table = &Table {
        program: "executor",
        default_file: DEFAULT_FILE,
        environment_prefix: ENVIRONMENT_PREFIX,
        other_variables: OTHER_VARIABLES,
        fields: SETTINGS,
    };

    fn complete(&mut self, findings: &mut Findings, origins: &Origins) {
        for size in &mut self.instance_types {
            if size.name.is_empty() {
                size.name.clone_from(&size.slug);
            }
        }
        check_together(findings, self, origins);
    }
}

fn check_together(findings: &mut Findings, settings: &Settings, origins: &Origins) {
    let origin = |path: &str| origins.get(path).cloned().unwrap_or(Origin::Default);
    let images = &settings.images;
    if images.pull_stall_seconds > images.pull_deadline_seconds {
        let path = "images.pull_stall_seconds";
        let problem = format!(
            "is more than images.pull_deadline_seconds = {} ({})",
            images.pull_deadline_seconds,
            origin(path)
        );
        findings.fail(path, &images.pull_stall_seconds.to_string(), problem);
    }
    if settings.cgroup_parent.trim_matches('/').is_empty() {
        let path = "cgroup_parent";
        let problem = format!("must not be the root cgroup ({})", origin(path));
        findings.fail(path, &settings.cgroup_parent, problem);
    }
    let mut slugs = BTreeSet::new();
    for (at, size) in settings.instance_types.iter().enumerate() {
        if !slugs.insert(&size.slug) {
            let problem = format!("names two instance types ({})", origin("instance_types"));
            findings.fail(&format!("instance_types[{at}].slug"), &size.slug, problem);
        }
    }
    check_link(findings, &settings.link, &origin);
    check_ids(findings, settings.user_namespaces, &origin);
    if let Err(wrong) = settings.network.parsed() {
        let path = format!("network.{}", wrong.key);
        let place = origin(path.split('[').next().unwrap_or(&path));
        findings.fail(&path, &wrong.value, format!("{} ({place})", wrong.problem));
    }
    let place = origin("registries");
    for (host, access) in &settings.registries {
        check_registry(findings, host, access, &place);
    }
}

fn check_link(
    findings: &mut Findings,
    link: &super::LinkSettings,
    origin: &dyn Fn(&str) -> Origin,
) {
    if let Some(server) = &link.server
        && let Err(problem) = super::check_server(server)
    {
        let path = "link.server";
        findings.fail(path, server, format!("{problem} ({})", origin(path)));
    }
    let mut keys = BTreeSet::new();
    for (at, label) in link.labels.iter().enumerate() {
        let problem = match label.split_once('=') {
            Some((key, _)) if !key.is_empty() && keys.insert(key) => continue,
            Some((key, _)) if !key.is_empty() => "gives a key a second value",
            _ => "is not key=value",
        };
        let place = origin("link.labels");
        findings.fail(
            &format!("link.labels[{at}]"),
            label,
            format!("{problem} ({place})"),
        );
    }
}

fn check_ids(
    findings: &mut Findings,
    ids: super::UserNamespaceSettings,
    origin: &dyn Fn(&str) -> Origin,
) {
    let path = "user_namespaces.first_id";
    if !ids.first_id.is_multiple_of(IDS) {
        let problem = format!("is no multiple of {IDS} ({})", origin(path));
        findings.fail(path, &ids.first_id.to_string(), problem);
    }
    let path = "user_namespaces.ranges";
    let end = u64::from(ids.first_id) + u64::from(ids.ranges) * u64::from(IDS);
    if end > IDS_END {
        let problem = format!(
            "of {IDS} ids from first_id on end at {end}, beyond {IDS_END} ({})",
            origin(path)
        );
        findings.fail(path, &ids.ranges.to_string(), problem);
    }
}

fn check_registry(
    findings: &mut Findings,
    host: &str,
    access: &super::RegistrySettings,
    place: &Origin,
) {
    let path = |key: &str| format!("registries.\"{host}\".{key}");
    if host.is_empty() || host.contains(|c: char| c == '/' || c.is_whitespace()) {
        let problem = format!("is no host[:port]; leave scheme and path out ({place})");
        findings.fail("registries", host, problem);
    }
    let sources = [
        access.password_file.is_some(),
        access.password_command.is_some(),
    ];
    let secrets = sources.into_iter().filter(|given| *given).count();
    if secrets == 2 {
        let problem = format!("excludes password_file: give one of the two ({place})");
        findings.fail(&path("password_command"), "", problem);
    }
    if secrets > 0 && access.username.is_none() {
        let problem = format!("is missing: a password is given ({place})");
        findings.fail(&path("username"), "", problem);
    }
    if access.username.is_some() && secrets == 0 {
        let problem = format!("needs password_file or password_command ({place})");
        let username = access.username.as_deref().unwrap_or_default();
        findings.fail(&path("username"), username, problem);
    }
    if access.password_command.as_ref().is_some_and(Vec::is_empty) {
        findings.fail(
            &path("password_command"),
            "[]",
            format!("is empty ({place})"),
        );
    }
}
