//! The tour of the API is run as it is written, so that it stays true.

use std::process::Command;

use crate::place::{Dev, IMAGE};

const TOUR: &str = include_str!("../../../../docs/api-tour.md");

/// What a reader would run: the blocks of shell, one after the other.
fn script(page: &str) -> String {
    let mut script = String::new();
    let mut is_shell = false;
    for line in page.lines() {
        match line {
            "```sh" => is_shell = true,
            "```" => is_shell = false,
            line if is_shell => script.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    script
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_tour_is_as_it_is_told() {
    let dev = Dev::start();
    let mut script = script(TOUR);
    let own = [
        (
            "api=http://127.0.0.1:7180\n",
            format!("api=http://{}\n", dev.client.address),
        ),
        (
            "token=$(cat /var/lib/davit-dev/token)\n",
            format!("token={}\n", dev.client.token),
        ),
        (
            "image=docker.io/library/busybox:stable\n",
            format!("image={IMAGE}\n"),
        ),
    ];
    for (theirs, ours) in own {
        assert_eq!(script.matches(theirs).count(), 1, "{theirs}");
        script = script.replace(theirs, &ours);
    }
    let told = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .output()
        .unwrap();
    let (out, steps) = (
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr),
    );
    assert!(told.status.success(), "{out}\n{steps}");
    for part in ["line 3", "event: state", "the answer", "x_BilledMicros"] {
        assert!(out.contains(part), "{part}: {out}\n{steps}");
    }
    dev.finish();
}
