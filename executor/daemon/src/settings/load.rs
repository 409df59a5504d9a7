//! Reads the layers and puts them together: defaults < file < environment < flags.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_types::FieldErrors;
use serde_json::{Map, Value as Json};

use super::check::{Checked, Findings, nearest};
use super::fields::{Kind, leaves};
use super::model::Settings;
use super::value::{Node, Origin, Value, parse_file, parse_value};

/// Where settings are looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/davit/executor.toml";

/// Largest settings file read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

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
    "DAVIT_TEST_",
    "DAVIT_VM",
];

/// The layers above the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file the operator named: it must exist. Else [`DEFAULT_FILE`] is read if it exists.
    pub file: Option<PathBuf>,
    /// The environment; variables without [`ENVIRONMENT_PREFIX`] are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, later ones winning.
    pub flags: Vec<FlagValue>,
}

/// One setting given on the command line.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// As the user wrote it, e.g. `--state-dir`.
    pub flag: String,
    /// Full path of the setting, e.g. `state_dir`.
    pub key: String,
    /// The value, written as in the environment.
    pub value: String,
}

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Origin by full path of every setting.
    pub origins: BTreeMap<String, Origin>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be settings.
    #[error("the settings file {} has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML.
    #[error("{} line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// Keys or values are wrong.
    #[error(transparent)]
    Fields(#[from] FieldErrors),
}

/// Reads all layers.
///
/// # Errors
/// A file that cannot be read or parsed; otherwise everything that is wrong in any layer at once.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    let mut findings = Findings::default();
    if let Some((path, text)) = read_file(sources.file.as_deref())? {
        let shared: Arc<Path> = Arc::from(path.as_path());
        let entries = parse_file(&shared, &text).map_err(|error| SettingsError::Syntax {
            path,
            line: error.line,
            message: error.message,
        })?;
        findings.layer(entries);
    }
    for (name, value) in &sources.environment {
        environment_layer(&mut findings, name, value);
    }
    for flag in &sources.flags {
        let origin = Origin::Flag(flag.flag.clone());
        text_layer(&mut findings, &flag.key, &flag.value, origin);
    }
    assemble(findings)
}

fn read_file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, SettingsError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(source) => return Err(SettingsError::Read { path, source }),
    };
    let mut text = String::new();
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Err(source) => Err(SettingsError::Read { path, source }),
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => Err(SettingsError::TooLarge { path }),
        Ok(_) => Ok(Some((path, text))),
    }
}

/// The variable of a setting: `images.allow` is `DAVIT_IMAGES__ALLOW`.
pub(super) fn variable(path: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        path.replace('.', "__").to_uppercase()
    )
}

fn environment_layer(findings: &mut Findings, name: &OsString, value: &OsString) {
    let name = name.to_string_lossy();
    if !name.starts_with(ENVIRONMENT_PREFIX) || is_other_variable(&name) {
        return;
    }
    let origin = Origin::Environment(name.to_string());
    let Some(path) = leaves()
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| variable(path) == *name)
    else {
        let names: Vec<String> = leaves().iter().map(|(path, _)| variable(path)).collect();
        let near = nearest(&name, names.iter().map(String::as_str));
        let problem = format!("is not a setting (environment); the nearest is `{near}`");
        return findings.fail(&name, &value.to_string_lossy(), problem);
    };
    match value.to_str() {
        Some(text) => text_layer(findings, &path, text, origin),
        None => findings.fail(&path, "", format!("is not UTF-8 ({origin})")),
    }
}

fn is_other_variable(name: &str) -> bool {
    OTHER_VARIABLES
        .iter()
        .any(|other| name == *other || (other.ends_with('_') && name.starts_with(other)))
}

/// Takes over one setting written as text: lists separated by commas or as TOML, tables as TOML.
fn text_layer(findings: &mut Findings, path: &str, text: &str, origin: Origin) {
    let found = leaves().into_iter().find(|(known, _)| known == path);
    let Some((_, field)) = found else {
        let value = Value::Text(text.to_owned());
        return findings.unknown(path, &Node { value, origin });
    };
    let node = match from_text(&field.kind, text, &origin) {
        Ok(value) => Node { value, origin },
        Err(problem) => {
            return findings.fail(path, text, format!("is not TOML ({origin}): {problem}"));
        }
    };
    let nested = path.split('.').rev().fold(node, |inner, part| Node {
        origin: inner.origin.clone(),
        value: Value::Table(vec![(part.to_owned(), inner)]),
    });
    if let Value::Table(entries) = nested.value {
        findings.layer(entries);
    }
}

fn from_text(kind: &Kind, text: &str, origin: &Origin) -> Result<Value, String> {
    let plain = || Value::Text(text.to_owned());
    Ok(match kind {
        Kind::Bool => match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => plain(),
        },
        Kind::Integer { .. } => text.parse().map_or_else(|_| plain(), Value::Integer),
        Kind::Cpu => text.parse().map_or_else(|_| plain(), Value::Float),
        Kind::List { .. } if !text.trim_start().starts_with('[') => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Value::List(
                items
                    .map(|item| Node {
                        value: Value::Text(item.to_owned()),
                        origin: origin.clone(),
                    })
                    .collect(),
            )
        }
        Kind::List { .. } | Kind::Tables { .. } | Kind::Map { .. } => {
            parse_value(text, origin)?.value
        }
        _ => plain(),
    })
}

/// Lays the checked values over the defaults and checks what concerns several of them.
fn assemble(mut findings: Findings) -> Result<Loaded, SettingsError> {
    if !findings.problems.is_empty() {
        return Err(FieldErrors(findings.problems).into());
    }
    // The structure always serialises to an object: it has named fields and string keys only.
    let mut tree = serde_json::to_value(Settings::default()).unwrap_or_default();
    let mut origins: BTreeMap<String, Origin> = leaves()
        .into_iter()
        .map(|(path, _)| (path, Origin::Default))
        .collect();
    for (path, Checked { value, origin }) in std::mem::take(&mut findings.values) {
        set(&mut tree, &path, value);
        origins.insert(path, origin);
    }
    let mut settings: Settings = match serde_json::from_value(tree) {
        Ok(settings) => settings,
        Err(error) => {
            // Only a table of fields that disagrees with the structure leads here; a test holds that.
            findings.fail("settings", "", error.to_string());
            return Err(FieldErrors(findings.problems).into());
        }
    };
    for size in &mut settings.instance_types {
        if size.name.is_empty() {
            size.name.clone_from(&size.slug);
        }
    }
    check_together(&mut findings, &settings, &origins);
    if findings.problems.is_empty() {
        Ok(Loaded { settings, origins })
    } else {
        Err(FieldErrors(findings.problems).into())
    }
}

fn set(tree: &mut Json, path: &str, value: Json) {
    let mut place = tree;
    for part in path.split('.') {
        if !place.is_object() {
            *place = Json::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn check_together(
    findings: &mut Findings,
    settings: &Settings,
    origins: &BTreeMap<String, Origin>,
) {
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
