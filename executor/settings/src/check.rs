//! From values as written to canonical ones: kinds, ranges, unknown keys. Collects every problem, so
//! that an operator repairs a file once.

use std::collections::BTreeMap;

use davit_types::{Bytes, FieldError};
use serde_json::{Map, Number, Value as Json};

use super::fields::{CPU_MILLIS_RANGE, Field, Kind, Table};
use super::value::{Node, Origin, Value};

/// A canonical value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checked {
    pub(crate) value: Json,
    pub(crate) origin: Origin,
}

/// Canonical values by full path, and everything that is wrong.
#[derive(Debug)]
pub struct Findings {
    table: &'static Table,
    pub(crate) values: BTreeMap<String, Checked>,
    pub(crate) problems: Vec<FieldError>,
}

/// Parts of keys whose values are not repeated in messages.
const SECRET_WORDS: &[&str] = &["password", "secret", "token", "credential"];

impl Findings {
    pub(crate) fn new(table: &'static Table) -> Self {
        Self {
            table,
            values: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Takes over one layer, over what earlier layers set.
    pub(crate) fn layer(&mut self, entries: Vec<(String, Node)>) {
        for (key, node) in entries {
            match self.table.fields.iter().find(|field| field.key == key) {
                None => self.unknown(&key, &node),
                Some(field) => match field.kind {
                    Kind::Section(fields) => self.section(&key, fields, node),
                    kind => self.leaf(key, &kind, node),
                },
            }
        }
    }

    fn section(&mut self, name: &str, fields: &'static [Field], node: Node) {
        let Value::Table(entries) = node.value else {
            return self.mistyped(name, &node, "a section (a table)");
        };
        for (key, child) in entries {
            let path = format!("{name}.{key}");
            match fields.iter().find(|field| field.key == key) {
                None => self.unknown(&path, &child),
                Some(field) => self.leaf(path, &field.kind, child),
            }
        }
    }

    fn leaf(&mut self, path: String, kind: &Kind, node: Node) {
        let origin = node.origin.clone();
        if let Some(value) = self.value(&path, kind, node) {
            self.values.insert(path, Checked { value, origin });
        }
    }

    /// The canonical form of a value, or nothing after noting what is wrong with it.
    fn value(&mut self, path: &str, kind: &Kind, node: Node) -> Option<Json> {
        match *kind {
            Kind::List { of, items_max } => self.list(path, of, items_max, node),
            Kind::Tables { fields, items_max } => self.tables(path, fields, items_max, node),
            Kind::Map { fields, items_max } => self.map(path, fields, items_max, node),
            _ => {
                let canonical = scalar(kind, &node.value);
                if canonical.is_none() {
                    self.mistyped(path, &node, &kind.expected());
                }
                canonical
            }
        }
    }

    fn list(&mut self, path: &str, of: &Kind, items_max: usize, node: Node) -> Option<Json> {
        let expected = Kind::List {
            of: &Kind::Bool,
            items_max,
        };
        let items = match node.value {
            Value::List(items) if items.len() <= items_max => items,
            _ => {
                let expected = expected.expected().replace("true or false", &of.expected());
                self.mistyped(path, &node, &expected);
                return None;
            }
        };
        let before = self.problems.len();
        let values: Vec<Json> = items
            .into_iter()
            .enumerate()
            .filter_map(|(at, item)| self.value(&format!("{path}[{at}]"), of, item))
            .collect();
        (self.problems.len() == before).then_some(Json::Array(values))
    }

    fn tables(
        &mut self,
        path: &str,
        fields: &'static [Field],
        items_max: usize,
        node: Node,
    ) -> Option<Json> {
        let items = match node.value {
            Value::List(items) if (1..=items_max).contains(&items.len()) => items,
            _ => {
                self.mistyped(path, &node, &Kind::Tables { fields, items_max }.expected());
                return None;
            }
        };
        let before = self.problems.len();
        let values: Vec<Json> = items
            .into_iter()
            .enumerate()
            .filter_map(|(at, item)| self.table(&format!("{path}[{at}]"), fields, item))
            .collect();
        (self.problems.len() == before).then_some(Json::Array(values))
    }

    fn map(
        &mut self,
        path: &str,
        fields: &'static [Field],
        items_max: usize,
        node: Node,
    ) -> Option<Json> {
        let entries = match node.value {
            Value::Table(entries) if entries.len() <= items_max => entries,
            _ => {
                self.mistyped(path, &node, &Kind::Map { fields, items_max }.expected());
                return None;
            }
        };
        let before = self.problems.len();
        let mut found = Map::new();
        for (name, item) in entries {
            if let Some(value) = self.table(&format!("{path}.\"{name}\""), fields, item) {
                found.insert(name, value);
            }
        }
        (self.problems.len() == before).then_some(Json::Object(found))
    }

    fn table(&mut self, path: &str, fields: &'static [Field], node: Node) -> Option<Json> {
        let origin = node.origin.clone();
        let Value::Table(entries) = node.value else {
            self.mistyped(path, &node, "a table");
            return None;
        };
        let mut found = Map::new();
        for (key, child) in entries {
            let child_path = format!("{path}.{key}");
            match fields.iter().find(|field| field.key == key) {
                None => self.unknown_in(&child_path, &key, fields, &child),
                Some(field) => {
                    if let Some(value) = self.value(&child_path, &field.kind, child) {
                        found.insert(key, value);
                    } else {
                        // Noted already: keep it from being reported as missing, too.
                        found.insert(key, Json::Null);
                    }
                }
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if !found.contains_key(field.key) {
                let problem = format!("is missing ({origin}); expected {}", field.kind.expected());
                self.fail(&format!("{path}.{}", field.key), "", problem);
            }
        }
        Some(Json::Object(found))
    }

    /// Notes a problem.
    pub fn fail(&mut self, path: &str, value: &str, problem: impl Into<String>) {
        let shown = if is_secret(path) {
            "(not shown)"
        } else {
            value
        };
        self.problems.push(FieldError::new(path, shown, problem));
    }

    fn mistyped(&mut self, path: &str, node: &Node, expected: &str) {
        let problem = format!("is not {expected} ({})", node.origin);
        self.fail(path, &node.value.to_string(), problem);
    }

    /// Notes a key that is no setting, with the nearest one that is.
    pub(crate) fn unknown(&mut self, path: &str, node: &Node) {
        let known: Vec<String> = self
            .table
            .leaves()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        let nearest = nearest(path, known.iter().map(String::as_str));
        self.unknown_near(path, nearest, node);
    }

    fn unknown_in(&mut self, path: &str, key: &str, fields: &'static [Field], node: &Node) {
        let nearest = nearest(key, fields.iter().map(|field| field.key));
        self.unknown_near(path, nearest, node);
    }

    fn unknown_near(&mut self, path: &str, nearest: &str, node: &Node) {
        let problem = format!(
            "is not a setting ({}); the nearest is `{nearest}`",
            node.origin
        );
        self.fail(path, &node.value.to_string(), problem);
    }
}

fn is_secret(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    SECRET_WORDS.iter().any(|word| last.contains(word))
        && !last.ends_with("_file")
        && !last.ends_with("_command")
}

/// The known key most like `key`: as a whole, or by its last part (set in the wrong section).
pub(crate) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, candidate);
        // An exact last part in another section beats a whole that is merely alike.
        let part = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate)) * 0.95;
        whole.max(part)
    };
    known
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default()
}

fn scalar(kind: &Kind, value: &Value) -> Option<Json> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(b)) => Some(Json::Bool(*b)),
        (Kind::Integer { min, max }, Value::Integer(n)) => {
            let n = u64::try_from(*n).ok()?;
            (*min..=*max).contains(&n).then(|| n.into())
        }
        (Kind::Bytes { min, max }, _) => {
            let bytes = match value {
                Value::Text(text) => text.parse::<Bytes>().ok()?.0,
                Value::Integer(n) => u64::try_from(*n).ok()?,
                _ => return None,
            };
            (*min..=*max).contains(&bytes).then(|| bytes.into())
        }
        (Kind::Cpu, Value::Integer(n)) => cpu_millis(&n.to_string()),
        (Kind::Cpu, Value::Float(n)) => cpu_millis(&n.to_string()),
        (_, Value::Text(text)) => text_fits(kind, text).then(|| Json::String(text.clone())),
        _ => None,
    }
}

/// Thousandths of a CPU from a decimal such as `0.5`; nothing finer is accepted.
fn cpu_millis(text: &str) -> Option<Json> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if fraction.len() > 3 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let millis: u64 = format!("{whole}{fraction:0<3}").parse().ok()?;
    (CPU_MILLIS_RANGE.0..=CPU_MILLIS_RANGE.1)
        .contains(&millis)
        .then(|| Json::Number(Number::from(millis)))
}

fn text_fits(kind: &Kind, text: &str) -> bool {
    if text.is_empty() || text.contains('\0') {
        return false;
    }
    match kind {
        Kind::Path => {
            text.starts_with('/')
                && text.len() <= 4_095
                && !text.split('/').any(|part| part == "..")
        }
        Kind::Text { chars_max } => text.chars().count() <= *chars_max,
        Kind::Name => {
            text.len() <= 63
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        }
        Kind::Choice(words) => words.contains(&text),
        _ => false,
    }
}
