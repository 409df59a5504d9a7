//! Reads the layers and puts them together: defaults < file < environment < flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_types::FieldErrors;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::check::{Checked, Findings, nearest};
use super::fields::{Kind, Table};
use super::value::{Node, Origin, Value, parse_file, parse_value};

/// Largest settings file read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Origins of settings by full path.
pub type Origins = BTreeMap<String, Origin>;

/// A structure that is loaded from layers. Its default is what an empty file gives; a test of its crate holds
/// it against its table.
pub trait Layered: Default + Serialize + DeserializeOwned {
    /// What may be set.
    const TABLE: &'static Table;

    /// Completes what follows from other values, and notes what is wrong with several together.
    fn complete(&mut self, findings: &mut Findings, origins: &Origins);
}

/// The layers above the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file the operator named: it must exist. Else [`Table::default_file`] is read if it exists.
    pub file: Option<PathBuf>,
    /// The environment; variables without [`Table::environment_prefix`] are ignored.
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
pub struct Loaded<S> {
    /// The values.
    pub settings: S,
    /// Origin by full path of every setting.
    pub origins: Origins,
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
    #[error("{errors}")]
    Fields {
        /// Whose settings, as [`Table::program`].
        program: &'static str,
        /// All that is wrong.
        errors: FieldErrors,
    },
}

/// Reads all layers.
///
/// # Errors
/// A file that cannot be read or parsed; otherwise everything that is wrong in any layer at once.
pub fn load<S: Layered>(sources: &Sources) -> Result<Loaded<S>, SettingsError> {
    let table = S::TABLE;
    let mut findings = Findings::new(table);
    if let Some((path, text)) = read_file(table, sources.file.as_deref())? {
        let shared: Arc<Path> = Arc::from(path.as_path());
        let entries = parse_file(&shared, &text).map_err(|error| SettingsError::Syntax {
            path,
            line: error.line,
            message: error.message,
        })?;
        findings.layer(entries);
    }
    for (name, value) in &sources.environment {
        environment_layer(table, &mut findings, name, value);
    }
    for flag in &sources.flags {
        let origin = Origin::Flag(flag.flag.clone());
        text_layer(table, &mut findings, &flag.key, &flag.value, origin);
    }
    assemble(findings)
}

fn read_file(
    table: &Table,
    named: Option<&Path>,
) -> Result<Option<(PathBuf, String)>, SettingsError> {
    let path = named.unwrap_or(Path::new(table.default_file)).to_owned();
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

fn environment_layer(table: &Table, findings: &mut Findings, name: &OsString, value: &OsString) {
    let name = name.to_string_lossy();
    if !name.starts_with(table.environment_prefix) || is_other_variable(table, &name) {
        return;
    }
    let origin = Origin::Environment(name.to_string());
    let Some(path) = table
        .leaves()
        .into_iter()
        .map(|(path, _)| path)
        .find(|path| table.variable(path) == *name)
    else {
        let names: Vec<String> = table
            .leaves()
            .iter()
            .map(|(path, _)| table.variable(path))
            .collect();
        let near = nearest(&name, names.iter().map(String::as_str));
        let problem = format!("is not a setting (environment); the nearest is `{near}`");
        return findings.fail(&name, &value.to_string_lossy(), problem);
    };
    match value.to_str() {
        Some(text) => text_layer(table, findings, &path, text, origin),
        None => findings.fail(&path, "", format!("is not UTF-8 ({origin})")),
    }
}

fn is_other_variable(table: &Table, name: &str) -> bool {
    table
        .other_variables
        .iter()
        .any(|other| name == *other || (other.ends_with('_') && name.starts_with(other)))
}

/// Takes over one setting written as text: lists separated by commas or as TOML, tables as TOML.
fn text_layer(table: &Table, findings: &mut Findings, path: &str, text: &str, origin: Origin) {
    let found = table.leaves().into_iter().find(|(known, _)| known == path);
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
fn wrong<S: Layered>(findings: Findings) -> SettingsError {
    SettingsError::Fields {
        program: S::TABLE.program,
        errors: FieldErrors(findings.problems),
    }
}

fn assemble<S: Layered>(mut findings: Findings) -> Result<Loaded<S>, SettingsError> {
    if !findings.problems.is_empty() {
        return Err(wrong::<S>(findings));
    }
    // The structure always serialises to an object: it has named fields and string keys only.
    let mut tree = serde_json::to_value(S::default()).unwrap_or_default();
    let leaves = S::TABLE.leaves().into_iter();
    let mut origins: Origins = leaves.map(|(path, _)| (path, Origin::Default)).collect();
    for (path, Checked { value, origin }) in std::mem::take(&mut findings.values) {
        set(&mut tree, &path, value);
        origins.insert(path, origin);
    }
    let mut settings: S = match serde_json::from_value(tree) {
        Ok(settings) => settings,
        Err(error) => {
            // Only a table of fields that disagrees with the structure leads here; a test holds that.
            findings.fail("settings", "", error.to_string());
            return Err(wrong::<S>(findings));
        }
    };
    settings.complete(&mut findings, &origins);
    if findings.problems.is_empty() {
        Ok(Loaded { settings, origins })
    } else {
        Err(wrong::<S>(findings))
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
