//! Settings that are wrong by value, alone or together: what each problem names.

use std::collections::BTreeSet;

use super::{SettingsError, from_file, problems};

/// File, key, value, what is expected.
const MISTYPED: &[(&str, &str, &str, &str)] = &[
    (
        "live_runs_max = 'many'",
        "live_runs_max",
        "many",
        "a whole number, 1 to 100000",
    ),
    ("live_runs_max = 0", "live_runs_max", "0", "1 to 100000"),
    (
        "live_runs_max = 1.5",
        "live_runs_max",
        "1.5",
        "a whole number",
    ),
    (
        "live_runs_max = -1",
        "live_runs_max",
        "-1",
        "a whole number",
    ),
    ("state_dir = 'var'", "state_dir", "var", "an absolute path"),
    (
        "state_dir = '/a/../b'",
        "state_dir",
        "/a/../b",
        "an absolute path",
    ),
    (
        "allow_missing_controllers = 1",
        "allow_missing_controllers",
        "1",
        "true or false",
    ),
    (
        "default_runtime = 'youki'",
        "default_runtime",
        "youki",
        "one of crun, runc, runsc",
    ),
    (
        "[images]\ncache_bytes_max = '5 apples'",
        "images.cache_bytes_max",
        "5 apples",
        "a byte count",
    ),
    (
        "[images]\ncache_bytes_max = '1MiB'",
        "images.cache_bytes_max",
        "1MiB",
        "64MiB to",
    ),
    (
        "[images]\nallow = ['a', 5]",
        "images.allow[1]",
        "5",
        "a text",
    ),
    ("images = 5", "images", "5", "a section"),
    (
        "log.format = 'xml'",
        "log.format",
        "xml",
        "one of human, json",
    ),
    (
        "containerd.namespace = 'a/b'",
        "containerd.namespace",
        "a/b",
        "a name",
    ),
    (
        "instance_types = []",
        "instance_types",
        "[0 elements]",
        "1 to 100 tables",
    ),
    (
        "instance_types = [{slug='a', cpu=0.0001, memory='1GiB', pids=1}]",
        "instance_types[0].cpu",
        "0.0001",
        "CPUs",
    ),
    (
        "instance_types = [{slug='a', cpu=1, memory='1GiB'}]",
        "instance_types[0].pids",
        "",
        "is missing",
    ),
    (
        "live_runs_max = 2020-01-01",
        "live_runs_max",
        "2020-01-01",
        "a whole number",
    ),
    (
        "reap.age_seconds = 99999999999999999999",
        "reap.age_seconds",
        "99999999999999999999",
        "a whole number",
    ),
];

#[test]
fn a_mistyped_value_names_key_value_origin_and_what_is_expected() {
    for (text, key, value, expected) in MISTYPED {
        let found = problems(from_file(text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(
            (found[0].0.as_str(), found[0].1.as_str()),
            (*key, *value),
            "{text}"
        );
        assert!(found[0].2.contains(expected), "{found:?}");
        assert!(found[0].2.contains(".toml:"), "{found:?}");
    }
}

#[test]
fn what_concerns_several_values_is_checked_too() {
    for (text, key, problem) in [
        (
            "[images]\npull_deadline_seconds = 10\npull_stall_seconds = 11",
            "images.pull_stall_seconds",
            "more than images.pull_deadline_seconds = 10",
        ),
        ("cgroup_parent = '/'", "cgroup_parent", "root cgroup"),
        (
            "[registries.a]\nusername='u'\npassword_file='/x'\npassword_command=['y']",
            "registries.\"a\".password_command",
            "excludes password_file",
        ),
        (
            "[registries.a]\nusername='u'",
            "registries.\"a\".username",
            "needs password_file",
        ),
        (
            "[registries.a]\npassword_file='/x'",
            "registries.\"a\".username",
            "is missing",
        ),
        (
            "[registries.a]\nusername='u'\npassword_command=[]",
            "registries.\"a\".password_command",
            "is empty",
        ),
        (
            "[registries.'https://a']\nplain_http=true",
            "registries",
            "leave scheme and path out",
        ),
        (
            "instance_types = [{slug='a', cpu=1, memory='1GiB', pids=1}, {slug='a', cpu=2, memory='1GiB', pids=1}]",
            "instance_types[1].slug",
            "names two",
        ),
    ] {
        let found = problems(from_file(text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].0, key);
        assert!(found[0].2.contains(problem), "{found:?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(from_file(
        "sockt = '/x'\nlive_runs_max = 0\n[log]\nformat = 'xml'\n",
    ));
    let keys: BTreeSet<&str> = found.iter().map(|problem| problem.0.as_str()).collect();
    assert_eq!(
        keys,
        BTreeSet::from(["sockt", "live_runs_max", "log.format"])
    );
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = from_file("socket = '/x'\nlog = [\n")
        .unwrap_err()
        .to_string();
    assert!(error.contains(".toml line "), "{error}");
    let doubled = from_file("socket = '/x'\nsocket = '/y'\n")
        .unwrap_err()
        .to_string();
    assert!(doubled.contains(".toml line 2: duplicate key"), "{doubled}");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let error = from_file(&"#".repeat(1 << 20 | 1)).unwrap_err();
    assert!(matches!(error, SettingsError::TooLarge { .. }), "{error}");
}

#[test]
fn a_link_that_would_send_credentials_in_clear_is_refused() {
    for (text, key, part) in [
        (
            "server = 'http://davit.example.com'",
            "link.server",
            "clear",
        ),
        ("server = 'davit.example.com'", "link.server", "no address"),
        ("labels = ['rack']", "link.labels[0]", "key=value"),
        ("labels = ['a=1', 'a=2']", "link.labels[1]", "second value"),
    ] {
        let found = problems(from_file(&format!("[link]\n{text}")));
        assert_eq!((found.len(), &found[0].0[..]), (1, key), "{found:?}");
        assert!(found[0].2.contains(part), "{found:?}");
    }
    let loaded = from_file(
        "[link]\nserver = 'https://davit.example.com'\nlabels = ['rack=7', 'x=a=b']\ncpu = 2.5\nmemory = '1GiB'",
    );
    let link = loaded.unwrap().settings.link;
    assert_eq!(link.label_pairs()["x"], "a=b");
    assert_eq!(link.cpu, Some(2_500));
}
