//! Changing a settings file in place: comments, order and everything else in it stay.
//!
//! Absent on purpose: whether the result is good. Write it aside, [`load()`](crate::load()) it,
//! and only then put it in place.

use toml_edit::{Array, DocumentMut, Item, Table as TomlTable, Value};

use crate::fields::{Kind, Table};
use crate::load::SettingsError;

/// One change of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Full path of the setting, e.g. `link.server`.
    pub key: String,
    /// Its value, written as in a flag; absent: the setting is taken out.
    pub value: Option<String>,
}

/// The text with the changes made. An unknown key is written all the same: who reads the text names the nearest one.
///
/// # Errors
/// The text, or the value of a table, is no TOML.
pub fn edit(table: &Table, text: &str, changes: &[Change]) -> Result<String, SettingsError> {
    let mut document: DocumentMut = text.parse().map_err(syntax(text))?;
    for Change { key, value } in changes {
        match value {
            Some(value) => {
                let item = Item::Value(value_of(table, key, value)?);
                put(document.as_table_mut(), key, item);
            }
            None => take(document.as_table_mut(), key),
        }
    }
    Ok(document.to_string())
}

fn syntax(text: &str) -> impl FnOnce(toml_edit::TomlError) -> SettingsError {
    move |error| {
        let before = error.span().map_or("", |span| &text[..span.start]);
        SettingsError::Syntax {
            path: "the settings".into(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    }
}

/// Lists are separated by commas or TOML, tables are TOML; what does not fit its kind is a text, and refused by who reads.
fn value_of(table: &Table, key: &str, text: &str) -> Result<Value, SettingsError> {
    let found = table.leaves().into_iter().find(|(path, _)| path == key);
    let kind = found.map(|(_, field)| field.kind);
    let plain = || Value::from(text);
    Ok(match kind {
        Some(Kind::Bool | Kind::Integer { .. } | Kind::Cpu) => text.parse().unwrap_or(plain()),
        Some(Kind::List { .. }) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim);
            Value::Array(items.filter(|item| !item.is_empty()).collect::<Array>())
        }
        Some(Kind::List { .. } | Kind::Tables { .. } | Kind::Map { .. }) => {
            text.parse().map_err(syntax(text))?
        }
        _ => plain(),
    })
}

fn put(root: &mut TomlTable, path: &str, item: Item) {
    let (section, key) = match path.split_once('.') {
        Some((section, key)) => (Some(section), key),
        None => (None, path),
    };
    let place = match section {
        Some(name) => {
            let entry = root
                .entry(name)
                .or_insert_with(|| Item::Table(TomlTable::new()));
            if entry.as_table_like().is_none() {
                *entry = Item::Table(TomlTable::new());
            }
            entry.as_table_like_mut()
        }
        None => Some(root as &mut dyn toml_edit::TableLike),
    };
    let Some(place) = place else { return };
    match place.get_mut(key) {
        // What stands around the old value, a comment say, stays.
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            if let Item::Value(mut new) = item {
                *new.decor_mut() = decor;
                *old = new;
            }
        }
        _ => drop(place.insert(key, item)),
    }
}

fn take(root: &mut TomlTable, path: &str) {
    match path.split_once('.') {
        Some((section, key)) => {
            let table = root.get_mut(section).and_then(Item::as_table_like_mut);
            if let Some(table) = table {
                drop(table.remove(key));
            }
        }
        None => drop(root.remove(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::field;

    const TABLE: Table = Table {
        program: "test",
        default_file: "/does/not/exist",
        environment_prefix: "TEST_",
        other_variables: &[],
        fields: &[
            field("name", Kind::Name, "A name."),
            field(
                "link",
                Kind::Section(&[
                    field("server", Kind::Text { chars_max: 100 }, "Where."),
                    field("pids", Kind::Integer { min: 1, max: 9 }, "How many."),
                    field(
                        "labels",
                        Kind::List {
                            of: &Kind::Name,
                            items_max: 9,
                        },
                        "Which.",
                    ),
                ]),
                "The link.",
            ),
        ],
    };

    fn change(key: &str, value: Option<&str>) -> Change {
        Change {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn comments_and_all_else_stay() {
        let text =
            "# mine\nname = \"a\" # why\n\n[link]\n# the old one\nserver = \"x\"\npids = 1\n";
        let changes = [
            change("name", Some("b")),
            change("link.server", Some("https://y")),
            change("link.pids", None),
        ];
        assert_eq!(
            edit(&TABLE, text, &changes).unwrap(),
            "# mine\nname = \"b\" # why\n\n[link]\n# the old one\nserver = \"https://y\"\n"
        );
    }

    #[test]
    fn values_are_written_as_their_kind() {
        let changes = [
            change("link.pids", Some("3")),
            change("link.labels", Some("a, b")),
            change("name", Some("7")),
        ];
        let text = edit(&TABLE, "", &changes).unwrap();
        assert_eq!(
            text,
            "name = \"7\"\n\n[link]\npids = 3\nlabels = [\"a\", \"b\"]\n"
        );
        let wrong = edit(&TABLE, "", &[change("link.pids", Some("many"))]).unwrap();
        assert_eq!(wrong, "[link]\npids = \"many\"\n");
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_with_its_line() {
        let refused = edit(&TABLE, "name = 1\n= 2\n", &[]).unwrap_err();
        assert!(matches!(refused, SettingsError::Syntax { line: 2, .. }));
    }
}
