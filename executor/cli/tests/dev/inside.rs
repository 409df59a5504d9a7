//! How a job finds its container, asked for through the scheduler: directory, user, host name, root file system; and the
//! variables of a process beside it.

use std::process::Output;

use serde_json::json;

use crate::place::{Dev, IMAGE, one_off};
use crate::rest::run_id;
use crate::terminals::{By, beside, idle, text};

/// A job that tells how it finds its container.
const TELL: &str =
    "pwd; id -u; id -g; hostname; if touch /new 2>/dev/null; then echo rw; else echo ro; fi";
/// As [`OPTIONS`] want it; the directory is made for the job.
const TOLD: &str = "/made/for/it\n7\n8\ninside\nro\n";
const OPTIONS: &[&str] = &[
    "--workdir",
    "/made/for/it",
    "--user",
    "7:8",
    "--hostname",
    "inside",
    "--read-only",
];

fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_scheduled_run_finds_its_container_as_one_of_the_hosts_own() {
    let dev = Dev::start();
    for by in [By::Host, By::Server] {
        assert_eq!(
            printed(&by.run(&dev, OPTIONS, TELL).output().unwrap()),
            TOLD
        );
        // Without a word of it, it is as the image says.
        let plain = printed(&by.run(&dev, &[], TELL).output().unwrap());
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[..3], ["/", "0", "0"], "{plain}");
        assert_eq!((lines.len(), lines[4]), (5, "rw"), "{plain}");
    }
    let mut unknown = By::Server.run(&dev, &["--user", "nobodyknows"], "true");
    let output = unknown.output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(text(&output.stderr).contains("nobodyknows"), "{output:?}");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_runners_runs_find_it_so_too() {
    let dev = Dev::start();
    let create = ["runner", "create", "teller", "--type", "small", "--image"];
    let job = [IMAGE, "--shell", TELL];
    let created = dev.command(&[&create[..], &job, OPTIONS].concat()).output();
    printed(&created.unwrap());
    let run = || dev.command(&["runner", "run", "teller"]).output().unwrap();
    assert_eq!(printed(&run()), TOLD);
    let edit = ["runner", "edit", "teller", "--read-only=false"];
    printed(
        &dev.command(&[&edit[..], &["--user", "0"]].concat())
            .output()
            .unwrap(),
    );
    let told = printed(&run());
    assert_eq!(told, "/made/for/it\n0\n0\ninside\nrw\n");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_api_says_it_and_the_host_tells_that_it_is_so() {
    let dev = Dev::start();
    let mut body = one_off(TELL);
    for (field, value) in [
        ("workdir", json!("/tmp")),
        ("user", json!("7:8")),
        ("hostname", json!("inside")),
        ("read_only_root", json!(true)),
    ] {
        body[field] = value;
    }
    let run = run_id(&dev.client.post("/v1/runs", &body).expect(201));
    let ended = dev.client.ended(&run);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let security = &ended["security"];
    assert_eq!(
        (&security["uid"], &security["gid"]),
        (&json!(7), &json!(8)),
        "{security}"
    );
    assert_eq!(security["read_only_root"], true);
    let logs = dev.command(&["logs", &run]).output().unwrap();
    assert_eq!(printed(&logs), "/tmp\n7\n8\ninside\nro\n");
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_has_the_variables_it_is_given() {
    let dev = Dev::start();
    for by in [By::Host, By::Server] {
        let run = idle(&dev, by);
        let tell = [
            "sh",
            "-c",
            "printf '<%s>' \"$A\" \"$EMPTY\" \"$OURS\" \"$HOME\"",
        ];
        let given = ["-e", "A=b c&d=%20\u{fc}\n+", "-e", "EMPTY=", "-e", "OURS"];
        let given = [&given[..], &["-e", "HOME=/elsewhere"]].concat();
        let exec = [&["exec"], &given[..], &[&run], &tell].concat();
        let output = by.davit(&dev, &exec).env("OURS", "from here").output();
        let told = "<b c&d=%20\u{fc}\n+><><from here></elsewhere>";
        assert_eq!(printed(&output.unwrap()), told);
        // The job's own otherwise.
        let plain = printed(&beside(&dev, by, &[&[run.as_str()], &tell[..]].concat()));
        assert!(plain.starts_with("<><><></"), "{plain}");
        for (wrong, words) in [("1A=b", "must match"), ("NOWHERE", "has no value")] {
            let output = beside(&dev, by, &["-e", wrong, &run, "true"]);
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            assert!(text(&output.stderr).contains(words), "{output:?}");
        }
        dev.local(&["cancel", &run]).output().unwrap();
    }
    let long = format!("A={}", "x".repeat(100 << 10));
    let run = idle(&dev, By::Server);
    let output = beside(&dev, By::Server, &["-e", &long, &run, "true"]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(text(&output.stderr).contains("57344"), "{output:?}");
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}
