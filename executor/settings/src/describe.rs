//! The settings told to people and editors: the effective values with their origins, the reference
//! page, the JSON Schema. All are read off the table of fields.

use davit_types::Bytes;
use serde_json::{Map, Value as Json, json};

use super::fields::{Field, Kind};
use super::load::{Layered, Loaded};

/// The effective settings as TOML that can be read back, each with a comment saying where it is from.
/// Settings hold no secret, so nothing needs to be hidden.
#[must_use]
pub fn effective<S: Layered>(loaded: &Loaded<S>) -> String {
    let tree = tree_of(&loaded.settings);
    let mut plain = String::new();
    let mut sections = String::new();
    let mut section = "";
    for (path, field) in S::TABLE.leaves() {
        let value = at(&tree, &path);
        let origin = loaded
            .origins
            .get(&path)
            .map(ToString::to_string)
            .unwrap_or_default();
        let (out, key) = match path.split_once('.') {
            None => (&mut plain, path.as_str()),
            Some((name, key)) => {
                if name != section {
                    let fields = S::TABLE.fields;
                    section = fields.iter().find(|s| s.key == name).map_or("", |s| s.key);
                    line(&mut sections, &format!("\n[{name}]"));
                }
                (&mut sections, key)
            }
        };
        match (field.kind, value) {
            (Kind::Tables { .. } | Kind::Map { .. }, _) => {}
            (_, Json::Null) => line(out, &format!("# {key} is not set")),
            (kind, value) => line(
                out,
                &format!("{key} = {}  # {origin}", toml_value(&kind, &value)),
            ),
        }
    }
    for field in S::TABLE.fields {
        let origin = loaded
            .origins
            .get(field.key)
            .map(ToString::to_string)
            .unwrap_or_default();
        tables(&mut sections, field, &at(&tree, field.key), &origin);
    }
    plain + &sections
}

fn tables(out: &mut String, field: &Field, value: &Json, origin: &str) {
    let (fields, entries): (_, Vec<(String, &Json)>) = match (field.kind, value) {
        (Kind::Tables { fields, .. }, Json::Array(items)) => {
            let header = format!("[[{}]]", field.key);
            (
                fields,
                items.iter().map(|item| (header.clone(), item)).collect(),
            )
        }
        (Kind::Map { fields, .. }, Json::Object(items)) => {
            let header = |name: &String| format!("[{}.{}]", field.key, Json::from(name.as_str()));
            (
                fields,
                items
                    .iter()
                    .map(|(name, item)| (header(name), item))
                    .collect(),
            )
        }
        _ => return,
    };
    for (header, item) in entries {
        line(out, &format!("\n{header}  # {origin}"));
        for inner in fields {
            let value = &item[inner.key];
            if !value.is_null() {
                line(
                    out,
                    &format!("{} = {}", inner.key, toml_value(&inner.kind, value)),
                );
            }
        }
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn tree_of(settings: &impl Layered) -> Json {
    serde_json::to_value(settings).unwrap_or_default()
}

fn at(tree: &Json, path: &str) -> Json {
    path.split('.')
        .fold(tree.clone(), |place, part| place[part].clone())
}

/// A canonical value as people write it. JSON's strings, numbers and lists are TOML, too.
fn toml_value(kind: &Kind, value: &Json) -> String {
    match (kind, value.as_u64()) {
        (Kind::Bytes { .. }, Some(bytes)) => format!("\"{}\"", Bytes(bytes)),
        (Kind::Cpu, Some(millis)) => {
            let fraction = format!("{:03}", millis % 1000);
            let fraction = fraction.trim_end_matches('0');
            format!(
                "{}.{}",
                millis / 1000,
                if fraction.is_empty() { "0" } else { fraction }
            )
        }
        _ => value.to_string(),
    }
}

/// The reference page, Markdown.
#[must_use]
pub fn reference<S: Layered>() -> String {
    let (program, default_file) = (S::TABLE.program, S::TABLE.default_file);
    let mut out = format!(
        "# Settings of the {program}\n\n\
         <!-- Written by `davit {program} reference`; do not edit. -->\n\n\
         Layers, later ones winning: built-in defaults, the file (`--config`, else `{default_file}` if it\n\
         exists), environment variables, flags (`--set KEY=VALUE`). A list or table set in one layer replaces\n\
         that of earlier layers as a whole. In variables and flags, lists are separated by commas and tables\n\
         are written as TOML. An unknown key, a wrong type or a value out of range is an error.\n\n\
         | setting | takes | default | variable | meaning |\n|---|---|---|---|---|\n"
    );
    let defaults = tree_of(&S::default());
    for (path, field) in S::TABLE.leaves() {
        let default = match (field.kind, at(&defaults, &path)) {
            (_, Json::Null) => "not set".to_owned(),
            (Kind::Tables { .. }, _) => "see below".to_owned(),
            (kind, value) => format!("`{}`", toml_value(&kind, &value)),
        };
        row(
            &mut out,
            &path,
            &field.kind,
            &format!("{default} | `{}`", S::TABLE.variable(&path)),
            field.doc,
        );
    }
    for field in S::TABLE.fields {
        let (title, fields) = match field.kind {
            Kind::Tables { fields, .. } => (format!("[[{}]]", field.key), fields),
            Kind::Map { fields, .. } => (format!("[{}.\"name\"]", field.key), fields),
            _ => continue,
        };
        out.push_str(&format!("\n## `{title}`\n\n{}\n\n", field.doc));
        out.push_str("| key | takes | required | meaning |\n|---|---|---|---|\n");
        for inner in fields {
            let required = if inner.required { "yes" } else { "no" };
            row(&mut out, inner.key, &inner.kind, required, inner.doc);
        }
    }
    for field in S::TABLE.fields {
        let built_in = at(&defaults, field.key);
        if matches!(field.kind, Kind::Tables { .. }) && built_in != json!([]) {
            out.push_str(&format!("\nBuilt-in `{}`:\n\n```toml", field.key));
            tables(&mut out, field, &built_in, "default");
            out.push_str("```\n");
        }
    }
    out
}

fn row(out: &mut String, key: &str, kind: &Kind, middle: &str, doc: &str) {
    line(
        out,
        &format!("| `{key}` | {} | {middle} | {doc} |", kind.expected()),
    );
}

/// The JSON Schema (2020-12) of the settings file, for completion in editors.
#[must_use]
pub fn json_schema<S: Layered>() -> Json {
    let mut schema = object(S::TABLE.fields, &tree_of(&S::default()));
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = format!("Settings of the davit {}", S::TABLE.program).into();
    schema
}

fn object(fields: &'static [Field], defaults: &Json) -> Json {
    let mut properties = Map::new();
    for field in fields {
        let mut property = shape(&field.kind, &defaults[field.key]);
        property["description"] = field.doc.into();
        let has_default = !matches!(field.kind, Kind::Section(_) | Kind::Tables { .. });
        if has_default && !defaults[field.key].is_null() {
            let text = toml_value(&field.kind, &defaults[field.key]);
            // What people write is JSON, too, for all kinds that have a default.
            property["default"] = serde_json::from_str(&text).unwrap_or_default();
        }
        properties.insert(field.key.to_owned(), property);
    }
    let required: Vec<&str> = fields
        .iter()
        .filter(|f| f.required)
        .map(|f| f.key)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn shape(kind: &Kind, defaults: &Json) -> Json {
    match kind {
        Kind::Path => json!({"type": "string", "pattern": "^/"}),
        Kind::Text { chars_max } => {
            json!({"type": "string", "minLength": 1, "maxLength": chars_max})
        }
        Kind::Name => json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Bytes { min, max } => json!({"oneOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9]+ ?([KMGTkmgt]([iI]?[bB])?|[bB])?$"},
        ]}),
        Kind::Cpu => json!({"type": "number", "minimum": 0.01, "maximum": 1024}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::List { of, items_max } => {
            json!({"type": "array", "items": shape(of, &Json::Null), "maxItems": items_max})
        }
        Kind::Section(fields) => object(fields, defaults),
        Kind::Tables { fields, items_max } => json!({
            "type": "array", "items": object(fields, &Json::Null), "minItems": 1, "maxItems": items_max,
        }),
        Kind::Map { fields, items_max } => json!({
            "type": "object",
            "additionalProperties": object(fields, &Json::Null),
            "maxProperties": items_max,
        }),
    }
}
