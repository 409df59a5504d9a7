//! Settings as they were written, before anyone asks what they mean: a tree that knows for each value
//! which file and line, variable or flag it came from.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the built-in default.
    Default,
    /// In a file, at a line counted from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line.
        line: usize,
    },
    /// In an environment variable.
    Environment(String),
    /// By a flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value of any shape TOML knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A date or a number beyond 64 bits: no setting takes one.
    Other(String),
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Other(text) => f.write_str(text),
            Self::Integer(n) => n.fmt(f),
            Self::Float(n) => n.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::List(items) => write!(f, "[{} elements]", items.len()),
            Self::Table(entries) => write!(f, "{{{} keys}}", entries.len()),
        }
    }
}

/// A text that is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The tree of a whole TOML document.
pub(crate) fn parse_file(path: &Arc<Path>, text: &str) -> Result<Vec<(String, Node)>, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    let origin = |offset| Origin::File {
        path: Arc::clone(path),
        line: line_of(text, offset),
    };
    Ok(entries(table.into_inner(), &origin))
}

/// The tree of one TOML value written in a variable or flag.
pub(crate) fn parse_value(text: &str, origin: &Origin) -> Result<Node, String> {
    DeValue::parse(text)
        .map(|value| node(value, &|_| origin.clone()))
        .map_err(|error| error.message().to_owned())
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn entries(table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Vec<(String, Node)> {
    table
        .into_iter()
        .map(|(key, value)| {
            let place = origin(key.span().start);
            let mut child = node(value, origin);
            child.origin = place;
            (key.into_inner().into_owned(), child)
        })
        .collect()
}

fn node(spanned: Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Node {
    let place = origin(spanned.span().start);
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
            .map_or_else(|_| Value::Other(n.as_str().to_owned()), Value::Integer),
        DeValue::Float(n) => n
            .as_str()
            .parse()
            .map_or_else(|_| Value::Other(n.as_str().to_owned()), Value::Float),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(|item| node(item, origin)).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, origin)),
    };
    Node {
        value,
        origin: place,
    }
}
