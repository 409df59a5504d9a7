//! Each documented way settings can be right or wrong.

mod wrong;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;

use davit_types::{Bytes, FieldErrors, OciRuntime};
use serde_json::Value as Json;

use davit_settings::{Kind, Layered};

use super::fields::SETTINGS;
use super::*;

fn from_file(text: &str) -> Result<Loaded, SettingsError> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(&Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    })
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    load(&Sources {
        environment: variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        ..Sources::default()
    })
}

fn problems(result: Result<Loaded, SettingsError>) -> Vec<(String, String, String)> {
    match result {
        Err(SettingsError::Fields {
            errors: FieldErrors(errors),
            ..
        }) => errors
            .into_iter()
            .map(|error| (error.field, error.value, error.problem))
            .collect(),
        other => panic!("expected wrong fields, got {other:?}"),
    }
}

#[test]
fn an_empty_file_gives_the_defaults_and_says_so() {
    let loaded = from_file("").unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(
        loaded
            .origins
            .values()
            .all(|origin| *origin == Origin::Default)
    );
}

#[test]
fn values_are_written_as_people_write_them() {
    let loaded = from_file(
        "state_dir = '/srv/davit'\ndefault_runtime = 'runc'\n[images]\ncache_bytes_max = '5GiB'\n\
         [[instance_types]]\nslug = 'tiny'\ncpu = 0.125\nmemory = '64MiB'\npids = 32\n\
         [[instance_types]]\nslug = 'two'\nname = 'Two'\ncpu = 2\nmemory = 1073741824\npids = 64\nprice_second_micros = 7\n\
         [registries.'127.0.0.1:5000']\nplain_http = true\n",
    )
    .unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.state_dir.to_str(), Some("/srv/davit"));
    assert_eq!(settings.default_runtime, OciRuntime::Runc);
    assert_eq!(settings.images.cache_bytes_max, Bytes::gib(5));
    assert!(settings.registries["127.0.0.1:5000"].plain_http);
    let offered = settings.offered_instance_types();
    assert_eq!(offered.len(), 2);
    assert_eq!(offered[0].name, "tiny");
    assert_eq!(offered[0].resources.cpu_millis, 125);
    assert_eq!(offered[1].resources.cpu_millis, 2_000);
    assert_eq!(offered[1].resources.memory_bytes_max, Bytes::gib(1));
    assert_eq!(offered[1].price_second_micros, 7);
}

#[test]
fn later_layers_win_and_each_value_knows_its_origin() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"live_runs_max = 1\nsocket = '/file'\n\n[log]\nfilter = 'file'\n")
        .unwrap();
    let loaded = load(&Sources {
        file: Some(file.path().to_owned()),
        environment: vec![
            ("DAVIT_SOCKET".into(), "/environment".into()),
            ("DAVIT_LOG__FILTER".into(), "environment".into()),
            ("HOME".into(), "/root".into()),
        ],
        flags: vec![FlagValue {
            flag: "--set".into(),
            key: "log.filter".into(),
            value: "flag".into(),
        }],
    })
    .unwrap();
    assert_eq!(loaded.settings.live_runs_max, 1);
    assert_eq!(loaded.settings.socket.to_str(), Some("/environment"));
    assert_eq!(loaded.settings.log.filter, "flag");
    let origin = |key: &str| loaded.origins[key].to_string();
    assert_eq!(
        origin("live_runs_max"),
        format!("{}:1", file.path().display())
    );
    assert_eq!(origin("socket"), "environment DAVIT_SOCKET");
    assert_eq!(origin("log.filter"), "flag --set");
    assert_eq!(origin("reap.age_seconds"), "default");
}

#[test]
fn a_missing_file_matters_only_when_it_was_named() {
    let error = load(&Sources {
        file: Some("/does/not/exist.toml".into()),
        ..Sources::default()
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the settings file /does/not/exist.toml"
    );
}

#[test]
fn an_unknown_key_names_file_line_key_and_the_nearest_known_key() {
    for (text, key, nearest) in [
        ("live_run_max = 5", "live_run_max", "live_runs_max"),
        (
            "[images]\npul_deadline_seconds = 5",
            "images.pul_deadline_seconds",
            "images.pull_deadline_seconds",
        ),
        (
            "pull_deadline_seconds = 5",
            "pull_deadline_seconds",
            "images.pull_deadline_seconds",
        ),
        ("[image]\nallow = []", "image", "images"),
        (
            "[containerd]\nname_space = 'x'",
            "containerd.name_space",
            "containerd.namespace",
        ),
        (
            "[[instance_types]]\nslug='a'\ncpu=1\nmemroy=1\nmemory='1GiB'\npids=9",
            "instance_types[0].memroy",
            "memory",
        ),
        (
            "[registries.'r.example']\nuser = 'x'",
            "registries.\"r.example\".user",
            "username",
        ),
    ] {
        let found = problems(from_file(text));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, key);
        assert!(found[0].2.contains(".toml:"), "{found:?}");
        assert!(found[0].2.contains(nearest), "{found:?}");
    }
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    let found = problems(from_file("[registries.'r.example']\npassword = 'hush'"));
    assert_eq!(found[0].0, "registries.\"r.example\".password");
    assert_eq!(found[0].1, "(not shown)");
    assert!(found[0].2.contains("password_file"), "{found:?}");
}

#[test]
fn variables_reach_every_kind_of_setting() {
    let settings = from_environment(&[
        ("DAVIT_ALLOW_MISSING_CONTROLLERS", "true"),
        ("DAVIT_LIVE_RUNS_MAX", "7"),
        ("DAVIT_IMAGES__CACHE_BYTES_MAX", "1GiB"),
        ("DAVIT_ADDITIONAL_BINARY_PATHS", "/a, /b"),
        ("DAVIT_IMAGES__ALLOW", "['docker.io/library/alpine']"),
        (
            "DAVIT_INSTANCE_TYPES",
            "[{slug='a', cpu=0.5, memory='1GiB', pids=1}]",
        ),
        (
            "DAVIT_REGISTRIES",
            "{'r.example:5000' = {plain_http = true}}",
        ),
    ])
    .unwrap()
    .settings;
    assert!(settings.allow_missing_controllers);
    assert_eq!(settings.live_runs_max, 7);
    assert_eq!(settings.images.cache_bytes_max, Bytes::gib(1));
    assert_eq!(settings.additional_binary_paths.len(), 2);
    assert_eq!(settings.images.allow, ["docker.io/library/alpine"]);
    assert_eq!(settings.instance_types[0].cpu, 500);
    assert!(settings.registries["r.example:5000"].plain_http);
}

#[test]
fn a_wrong_variable_is_told_like_a_wrong_key() {
    let found = problems(from_environment(&[("DAVIT_IMAGES__ALOW", "x")]));
    assert_eq!(found[0].0, "DAVIT_IMAGES__ALOW");
    assert!(found[0].2.contains("DAVIT_IMAGES__ALLOW"), "{found:?}");
    let found = problems(from_environment(&[("DAVIT_LIVE_RUNS_MAX", "many")]));
    assert_eq!(found[0].0, "live_runs_max");
    assert!(
        found[0].2.contains("environment DAVIT_LIVE_RUNS_MAX"),
        "{found:?}"
    );
    assert!(from_environment(&[("DAVIT_DEMO_IMAGE", "x"), ("DAVIT_CONFIG", "y")]).is_ok());
}

#[test]
fn the_table_of_fields_is_the_structure() {
    let tree = serde_json::to_value(Settings::default()).unwrap();
    let mut paths = BTreeSet::new();
    for (key, value) in tree.as_object().unwrap() {
        let is_section = SETTINGS
            .iter()
            .any(|f| f.key == key && matches!(f.kind, Kind::Section(_)));
        match value {
            Json::Object(inner) if is_section => {
                paths.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
            }
            _ => {
                paths.insert(key.clone());
            }
        }
    }
    let table: BTreeSet<String> = Settings::TABLE
        .leaves()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(table, paths);
    let variables: BTreeSet<String> = table
        .iter()
        .map(|path| Settings::TABLE.variable(path))
        .collect();
    assert_eq!(
        variables.len(),
        table.len(),
        "two settings share a variable"
    );
}

#[test]
fn what_is_printed_can_be_read_back() {
    let loaded = from_file(
        "live_runs_max = 3\n[retention]\nfinished_seconds = 600\n\
         [registries.'r.example']\nusername = 'u'\npassword_command = ['pass', 'show', 'it \"x\"']\n\
         [[instance_types]]\nslug = 'a'\ncpu = 1.25\nmemory = '1GiB'\npids = 5\n\
         [[image_signatures]]\nrepositories = ['*']\npublic_key_files = ['/etc/davit/cosign.pub']\n",
    )
    .unwrap();
    let text = effective(&loaded);
    assert!(text.contains("live_runs_max = 3  # /"), "{text}");
    assert!(text.contains("# default"), "{text}");
    assert_eq!(
        from_file(&text).unwrap().settings,
        loaded.settings,
        "{text}"
    );
    let defaults = from_file("").unwrap();
    assert_eq!(
        from_file(&effective(&defaults)).unwrap().settings,
        defaults.settings
    );
}

/// Compares with a committed file; `DAVIT_TEST_WRITE=1` writes it instead.
fn assert_committed(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("DAVIT_TEST_WRITE").is_some() {
        std::fs::write(&path, text).unwrap();
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
    let schema = format!("{:#}\n", json_schema());
    assert_committed("settings.schema.json", &schema);
}
