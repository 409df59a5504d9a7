//! What scripts rely on: the options of each command and the JSON it prints, held as committed files.

use std::collections::HashMap;
use std::path::Path;

use davit_rpc::local::{Extracted, LogTotals, Run, Timings, Usage};

use crate::fake::{Executor, METRICS, Script, davit, text};

/// Compares with a committed file; `DAVIT_TEST_WRITE=1` writes it instead.
fn assert_committed(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/shapes")
        .join(name);
    if std::env::var_os("DAVIT_TEST_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is out of date: look at the difference, run again with DAVIT_TEST_WRITE=1.\n{text}",
        path.display()
    );
}

fn whole_run() -> Run {
    Run {
        attempt: 1,
        tenant: "local".into(),
        name: Some("nightly".into()),
        labels: HashMap::from([("team".to_owned(), "\u{1b}[2Jred".to_owned())]),
        status: "failed".into(),
        phase: "ended".into(),
        exit_code: Some(3),
        end_reason: Some("exited".into()),
        message: Some("the program ended with 3".into()),
        image: "registry.example.com/team/app:1".into(),
        image_digest: Some(format!("sha256:{}", "ab".repeat(32))),
        argv: vec!["sh".into(), "-c".into(), "exit 3".into()],
        instance_type: "small".into(),
        cpu_millis: 500,
        memory_bytes_max: 512 << 20,
        pids_max: 256,
        timeout_seconds: 3600,
        network: "none".into(),
        runtime: "crun".into(),
        created_at_ns: 1_700_000_000_000_000_000,
        started_at_ns: Some(1_700_000_000_100_000_000),
        completed_at_ns: Some(1_700_000_002_600_000_000),
        duration_ms: Some(2_500),
        usage: Some(Usage {
            wall_ms: 2_500,
            paused_ms: 500,
            billable_ms: 2_000,
            cpu_us: 1_234,
            cpu_user_us: 1_000,
            cpu_system_us: 234,
            memory_peak_bytes: Some(4 << 20),
            pids_peak: Some(2),
            ..Usage::default()
        }),
        env_keys: vec!["PATH".into()],
        run_dir: "/var/lib/davit/runs/x.1".into(),
        log: Some(LogTotals {
            records: 2,
            bytes: 20,
            dropped_bytes: 0,
        }),
        timings: Some(Timings {
            started_us: Some(10_007),
            queue_us: Some(412),
            pull_us: Some(95),
            prepare_us: Some(1_500),
            create_us: Some(7_400),
            start_us: Some(600),
            ..Timings::default()
        }),
        extracts: extracts(),
        files_in: true,
        ..Run::default()
    }
}

fn extracts() -> Vec<Extracted> {
    vec![
        Extracted {
            from: "out".into(),
            to: "results".into(),
            status: "ok".into(),
            kind: "directory".into(),
            bytes: 10_240,
            sha256: Some("cd".repeat(32)),
            message: None,
        },
        Extracted {
            from: "/tmp/x".into(),
            to: "x".into(),
            status: "missing".into(),
            message: Some("/tmp/x is in /tmp".into()),
            ..Extracted::default()
        },
    ]
}

#[test]
fn results_for_programs_and_people() {
    let executor = Executor::start(Script {
        ended: whole_run(),
        ..Script::default()
    });
    for (name, arguments) in [
        ("inspect.json", &["inspect", "x", "-o", "json"][..]),
        ("usage.json", &["usage", "x", "-o", "json"]),
        ("reap.json", &["reap", "-o", "json"]),
        ("inspect.txt", &["inspect", "x"]),
        ("usage.txt", &["usage", "x"]),
        ("reap.txt", &["reap"]),
    ] {
        let output = executor.davit(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_committed(name, &text(&output.stdout));
    }
    let listed = text(&executor.davit(&["ps", "-a"]).stdout);
    assert!(listed.starts_with("ID "), "{listed}");
    assert!(
        listed.contains("nightly") && !listed.contains('\u{1b}'),
        "{listed}"
    );
    assert_eq!(executor.asked(), ["list all=true"]);
}

#[test]
fn metrics_are_passed_on_as_they_are() {
    let executor = Executor::start(Script::default());
    for arguments in [&["metrics"][..], &["metrics", "-o", "json"]] {
        let output = executor.davit(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), METRICS);
    }
}

#[test]
fn help_of_every_command() {
    let mut pages = String::new();
    let mut pending: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = pending.pop() {
        let mut run = davit(Path::new("/nowhere"));
        let output = run
            .env_clear()
            .args(&command)
            .arg("--help")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let page = text(&output.stdout);
        pages.push_str(&format!("=== davit {}\n{page}\n", command.join(" ")));
        let listed = page.split("Commands:\n").nth(1).unwrap_or_default();
        let names = listed.lines().take_while(|line| line.starts_with("  "));
        // A description's second line is indented further.
        let names = names.filter(|line| !line.starts_with("   "));
        let subs = names.filter_map(|line| line.split_whitespace().next().filter(|n| *n != "help"));
        let mut deeper: Vec<Vec<String>> = subs
            .map(|sub| command.iter().cloned().chain([sub.to_owned()]).collect())
            .collect();
        deeper.reverse();
        pending.extend(deeper);
    }
    assert_committed("help.txt", &pages);
}

#[test]
fn completions_and_manual_pages_can_be_made() {
    for shell in ["bash", "zsh", "fish"] {
        let output = davit(Path::new("/nowhere"))
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(text(&output.stdout).contains("inspect"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let output = davit(Path::new("/nowhere"))
        .arg("man")
        .arg(&pages)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    for page in [
        "davit.1",
        "davit-run.1",
        "davit-image-rm.1",
        "davit-executor-serve.1",
    ] {
        assert!(pages.join(page).is_file(), "{page}");
    }
}
