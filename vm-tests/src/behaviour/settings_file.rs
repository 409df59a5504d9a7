//! A settings file is read whole or refused: the key, the value and what was meant are named.

use std::fs;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, expect_says};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![a_wrong_settings_file_is_refused, settings_can_be_shown_and_checked_by_an_editor];

fn a_wrong_settings_file_is_refused(host: &mut Host) -> TestResult {
    let file = host.directory().join("wrong.toml");
    let file_name = file.to_string_lossy();
    let nothing_made = host.directory().join("state");
    let cases: &[(&str, &[&str])] = &[
        ("cgroup_parnet = \"/x\"", &["cgroup_parnet", "cgroup_parent"]),
        ("[images]\npull_stal_seconds = 3", &["images.pull_stal_seconds", "pull_stall_seconds"]),
        ("live_runs_max = \"many\"", &["live_runs_max", "many"]),
        ("live_runs_max = 0", &["live_runs_max", "0", "1"]),
        ("state_dir = \"relative\"", &["state_dir", "relative", "absolute"]),
        ("default_runtime = \"lxc\"", &["default_runtime", "lxc", "crun"]),
        ("[containerd]\nsocket = 5", &["containerd.socket", "5"]),
        ("[[instance_types]]\nslug = \"a\"\nname = \"A\"\ncpu = 0.5", &["instance_types", "memory"]),
        ("live_runs_max = ", &["wrong.toml line 1"]),
    ];
    for (toml, says) in cases {
        let with_state = if toml.contains("state_dir") {
            (*toml).to_owned()
        } else {
            format!("state_dir = {nothing_made:?}\n{toml}")
        };
        let text = if toml.ends_with("= ") { (*toml).to_owned() } else { with_state };
        fs::write(&file, &text).context("cannot write the settings")?;
        let refused = host.davit(["executor", "serve", "--config", &file_name])?;
        ensure!(!refused.status.success(), "it was taken: {text}");
        expect_says(&refused.error_text(), &[&[&*file_name], *says].concat())?;
        ensure!(!nothing_made.exists(), "the state directory was made in spite of {text}");
    }
    let absent = host.davit(["executor", "serve", "--config", "/nowhere/davit.toml"])?;
    ensure!(!absent.status.success(), "a file that is not there was taken");
    expect_says(&absent.error_text(), &["/nowhere/davit.toml"])
}

fn settings_can_be_shown_and_checked_by_an_editor(host: &mut Host) -> TestResult {
    let file = host.directory().join("right.toml");
    fs::write(&file, "live_runs_max = 7\n[images]\ncache_bytes_max = \"3GiB\"\n")
        .context("cannot write the settings")?;
    let mut show = host.davit_command()?;
    show.args(["executor", "config", "--config"]).arg(&file);
    // The environment wins over the file.
    show.env("DAVIT_IMAGES__PULL_STALL_SECONDS", "11");
    let shown = crate::host::run_command(&mut show, std::time::Duration::from_secs(60))?.success()?;
    expect_says(&shown.text(), &["live_runs_max = 7", "pull_stall_seconds = 11"])?;
    let schema = host.davit(["executor", "schema"])?.success()?;
    let schema = Record::parse("schema", &schema.stdout)?;
    schema.at("/properties/images/properties/pull_stall_seconds")?;
    Ok(())
}
