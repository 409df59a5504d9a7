//! Documents of others, shown as they are: JSON whose objects keep their order, as details and as tables.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::harmless;
use super::table::{age, duration, rendered, rounded, with_header};

/// JSON whose objects keep the order of the text they were read from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Tree {
    Fields(Fields),
    Items(Vec<Tree>),
    Leaf(Value),
}

/// An object's fields, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Fields(Vec<(String, Tree)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Tree {
    /// What stands at `path`, names with dots between.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |tree, name| match tree {
            Self::Fields(Fields(fields)) => {
                let found = fields.iter().find(|(field, _)| field == name);
                found.map(|(_, value)| value)
            }
            _ => None,
        })
    }

    /// The string there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match self.at(path) {
            Some(Self::Leaf(Value::String(text))) => Some(text),
            _ => None,
        }
    }

    /// The elements, if this is a list.
    pub(crate) fn into_items(self) -> Vec<Self> {
        match self {
            Self::Items(items) => items,
            _ => Vec::new(),
        }
    }

    /// The same as a type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_value(serde_json::to_value(self)?)
    }

    /// Every field that has a value, nested ones indented.
    pub(crate) fn details(&self) -> String {
        let mut lines = Vec::new();
        self.push_lines(0, &mut lines);
        lines.push(String::new());
        lines.join("\n")
    }

    fn is_flat(&self) -> bool {
        match self {
            Self::Fields(_) => false,
            Self::Items(items) => items.iter().all(Self::is_flat),
            Self::Leaf(_) => true,
        }
    }

    fn push_lines(&self, indent: usize, lines: &mut Vec<String>) {
        let margin = " ".repeat(indent);
        match self {
            Self::Fields(Fields(fields)) => {
                for (name, value) in fields {
                    value.push_named(&format!("{margin}{}", harmless(name)), indent, lines);
                }
            }
            Self::Items(items) => {
                for item in items {
                    lines.push(format!("{margin}-"));
                    item.push_lines(indent + 2, lines);
                }
            }
            Self::Leaf(_) => lines.push(format!("{margin}{}", self.shown())),
        }
    }

    fn push_named(&self, name: &str, indent: usize, lines: &mut Vec<String>) {
        match self {
            Self::Leaf(Value::Null) => {}
            Self::Items(items) if items.is_empty() => {}
            Self::Fields(Fields(inner)) if inner.is_empty() => {}
            flat if flat.is_flat() => lines.push(format!("{name}: {}", flat.shown())),
            nested => {
                lines.push(format!("{name}:"));
                nested.push_lines(indent + 2, lines);
            }
        }
    }

    /// In one line.
    fn shown(&self) -> String {
        match self {
            Self::Leaf(Value::Null) => "-".to_owned(),
            Self::Leaf(Value::String(text)) => harmless(text),
            other => harmless(&serde_json::to_string(other).unwrap_or_default()),
        }
    }
}

/// How a column's values are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Show {
    /// As they are; lists with commas.
    Plain,
    /// Time since an instant.
    Age,
    /// A number of milliseconds as time.
    Milliseconds,
    /// A number of bytes, rounded.
    Bytes,
}

/// A column: its header, where its values stand, how they are shown.
pub(crate) type Column = (&'static str, &'static str, Show);

/// A table of documents.
pub(crate) fn table(columns: &[Column], rows: &[Tree]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let mut table = with_header(&names);
    for row in rows {
        table.add_row(columns.iter().map(|(_, path, show)| cell(row, path, *show)));
    }
    rendered(&table)
}

fn cell(row: &Tree, path: &str, show: Show) -> String {
    let Some(value) = row.at(path) else {
        return "-".to_owned();
    };
    let number = match value {
        Tree::Leaf(Value::Number(number)) => number.as_u64(),
        _ => None,
    };
    match (show, value, number) {
        (Show::Age, Tree::Leaf(Value::String(text)), _) => {
            let instant: Option<Timestamp> = text.parse().ok();
            let ns = instant.and_then(|instant| u64::try_from(instant.as_nanosecond()).ok());
            ns.map_or_else(|| harmless(text), age)
        }
        (Show::Milliseconds, _, Some(number)) => duration(number),
        (Show::Bytes, _, Some(number)) => rounded(number),
        (_, Tree::Items(items), _) => {
            let shown: Vec<String> = items.iter().map(Tree::shown).collect();
            shown.join(",")
        }
        (_, value, _) => value.shown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn order_is_kept_and_nothing_steers_the_terminal() {
        let text = r#"{"z":1,"a":{"y":[1,2],"b":null},"list":[{"k":"v\u001b"}],"none":[]}"#;
        let read = tree(text);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let shown = read.details();
        assert_eq!(shown, "z: 1\na:\n  y: [1,2]\nlist:\n  -\n    k: v\\u{1b}\n");
        assert_eq!(read.at("a.y").map(Tree::shown).as_deref(), Some("[1,2]"));
        assert!(read.at("a.nothing").is_none());
    }

    #[test]
    fn a_table_has_a_dash_for_what_is_not_there() {
        let rows = [tree(r#"{"id":"x","ms":1500,"scopes":["a","b"]}"#)];
        let columns: &[Column] = &[
            ("ID", "id", Show::Plain),
            ("TIME", "ms", Show::Milliseconds),
            ("SCOPES", "scopes", Show::Plain),
            ("GONE", "not.there", Show::Age),
        ];
        assert_eq!(
            table(columns, &rows),
            "ID  TIME     SCOPES  GONE\nx   1.500 s  a,b     -"
        );
    }
}
