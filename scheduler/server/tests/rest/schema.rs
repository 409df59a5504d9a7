//! Holds answers against the document: the path is there, the status is told, the content type too, and the body is what
//! the schema says, no more and no less.

use std::sync::LazyLock;

use serde_json::Value;

use crate::client::Answer;

pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = davit_scheduler::rest::document();
    serde_json::from_str(&text).expect("the document is JSON")
});

/// The operation of a path as it was asked for.
pub(crate) fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let asked: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let same = |(part, asked): (&&str, &&str)| part == asked || part.starts_with('{');
        parts.len() == asked.len() && parts.iter().zip(&asked).all(same)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without a parameter goes before one with.
    let found = paths.iter().filter(|(template, _)| fits(template));
    let (_, item) = found.min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_ascii_lowercase())
}

/// Panics where the document tells something else.
pub(crate) fn hold(method: &str, path: &str, answer: &Answer) {
    let Some(operation) = operation(method, path) else {
        assert!(
            matches!(answer.status, 401 | 404 | 405),
            "{method} {path} is not in the document, yet answered {}: {}",
            answer.status,
            answer.text
        );
        return;
    };
    let what = format!("{method} {path} → {}", answer.status);
    let response = operation["responses"]
        .get(answer.status.to_string())
        .unwrap_or_else(|| panic!("{what}: the document does not tell of it: {}", answer.text));
    let Some(content) = response.get("content") else {
        assert_eq!(
            answer.text, "",
            "{what}: a body that the document does not tell of"
        );
        return;
    };
    let given = answer.header("content-type").unwrap_or_default();
    let essence = given.split(';').next().unwrap();
    let media = content
        .get(essence)
        .unwrap_or_else(|| panic!("{what}: content type {given} is not in the document"));
    if essence.ends_with("json") && !essence.ends_with("ndjson") {
        matches(&media["schema"], &answer.json(), &what);
    }
}

/// Panics where a value is not of a schema.
pub(crate) fn matches(schema: &Value, value: &Value, at: &str) {
    if let Err(problem) = check(schema, value) {
        panic!("{at}: {problem}\n{value}");
    }
}

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        let target = DOCUMENT.pointer(pointer);
        return check(target.ok_or(format!("{reference} leads nowhere"))?, value);
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(all) = schema.get(word) {
            let all = all.as_array().unwrap();
            let tried: Vec<_> = all.iter().map(|one| check(one, value)).collect();
            return match tried.iter().any(Result::is_ok) {
                true => Ok(()),
                false => Err(format!("none of {tried:?}")),
            };
        }
    }
    if let Some(words) = schema.get("enum") {
        return match words.as_array().unwrap().contains(value) {
            true => Ok(()),
            false => Err(format!("{value} is not among {words}")),
        };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(more)) => more.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    if !kinds.contains(&kind) {
        return Err(format!("{value} is {kind}, not {kinds:?}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check(schema.get("items").unwrap_or(&Value::Null), item)),
        Value::Object(fields) => check_object(schema, fields),
        _ => Ok(()),
    }
}

fn check_object(schema: &Value, fields: &serde_json::Map<String, Value>) -> Result<(), String> {
    let nothing = serde_json::Map::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    let any = schema.get("additionalProperties");
    for (name, value) in fields {
        match (known.get(name), any) {
            (Some(property), _) => check(property, value),
            (None, Some(of)) => check(of, value),
            // A schema without properties is of any object.
            (None, None) if known.is_empty() => Ok(()),
            (None, None) => Err("is not in the document".to_owned()),
        }
        .map_err(|problem| format!("{name}: {problem}"))?;
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(format!("{name} is required and not there"));
        }
    }
    Ok(())
}
