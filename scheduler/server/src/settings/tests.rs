//! The table against the structure, the documents against the table, and what settings must go together.

use std::collections::BTreeSet;
use std::io::Write;

use davit_settings::Kind;
use davit_types::FieldErrors;
use serde_json::Value as Json;

use super::*;

fn from_file(text: &str) -> Result<Loaded, SettingsError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    load(&Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    })
}

fn wrong(text: &str) -> Vec<String> {
    match from_file(text) {
        Err(SettingsError::Fields {
            errors: FieldErrors(errors),
            ..
        }) => errors
            .into_iter()
            .map(|error| format!("{}: {}", error.field, error.problem))
            .collect(),
        other => panic!("expected wrong fields, got {other:?}"),
    }
}

fn paths(tree: &Json, prefix: &str) -> BTreeSet<String> {
    let Json::Object(entries) = tree else {
        return BTreeSet::from([prefix.to_owned()]);
    };
    let dot = if prefix.is_empty() { "" } else { "." };
    entries
        .iter()
        .flat_map(|(key, value)| paths(value, &format!("{prefix}{dot}{key}")))
        .collect()
}

#[test]
fn the_table_and_the_structure_name_the_same_settings() {
    let tree = serde_json::to_value(Settings::default()).expect("JSON");
    let table = Settings::TABLE.leaves().into_iter().map(|(path, field)| {
        assert!(!matches!(
            field.kind,
            Kind::Tables { .. } | Kind::Map { .. }
        ));
        path
    });
    assert_eq!(paths(&tree, ""), table.collect());
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(from_file("").expect("valid").settings, Settings::default());
}

#[test]
fn everything_can_be_set_from_the_environment() {
    let variable = |name: &str, value: &str| (name.into(), value.into());
    let loaded = load(&Sources {
        environment: vec![
            variable("DAVIT_SCHEDULER_REST__REQUESTS_BURST", "7"),
            variable("DAVIT_SCHEDULER_RETENTION__AUDIT_DAYS", "365"),
            variable("DAVIT_SOCKET", "/not/ours"),
        ],
        ..Sources::default()
    });
    let settings = loaded.expect("valid").settings;
    assert_eq!(settings.rest.requests_burst, 7);
    assert_eq!(settings.retention.audit_days, Some(365));
}

#[test]
fn a_listener_that_others_reach_has_tls() {
    let problems = wrong("[rest]\nlisten = '0.0.0.0:7180'");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("rest.listen: can be reached by others"),
        "{problems:?}"
    );
    from_file("[rest]\nlisten = '0.0.0.0:7180'\nplain = true").expect("the operator says so");
    from_file("[link]\nlisten = '[::]:1'\ntls_certificate_file = '/c'\ntls_key_file = '/k'")
        .expect("TLS");
    from_file("[link]\nlisten = '[::1]:1'").expect("nobody else reaches it");
    assert_eq!(
        wrong("[link]\nlisten = '127.0.0.1:1'\ntls_key_file = '/k'").len(),
        1
    );
    assert_eq!(wrong("[link]\nlisten = 'localhost'").len(), 1);
}

#[test]
fn settings_that_do_not_go_together_are_told_at_once() {
    let problems = wrong(
        "[store]\nca_file = '/ca'\nurl_file = '/url'\n[objects]\nurl = 's3://b'\ndirectory = '/d'",
    );
    assert_eq!(problems.len(), 3, "{problems:?}");
    let problems = wrong("[store]\ndatabase = 'postgresql'");
    assert!(
        problems[0].starts_with("store.url_file: is missing"),
        "{problems:?}"
    );
    let problems = wrong("[stor]\npath = '/x'");
    assert!(
        problems[0].contains("the nearest is `store"),
        "{problems:?}"
    );
}

fn assert_committed(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("DAVIT_TEST_WRITE").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is out of date: run the test again with DAVIT_TEST_WRITE=1",
        path.display()
    );
}

#[test]
fn the_reference_and_the_schema_are_up_to_date() {
    assert_committed("settings.md", &reference());
    assert_committed("settings.schema.json", &format!("{:#}\n", json_schema()));
}
