//! An executor that cannot keep its promises on this host does not start, and says what is missing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Test, old_containerd};
use super::story::expect_says;
use crate::host::{CGROUP_ROOT, CommandOutput, ExecutorSettings, Host, run_command};
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    without_containerd_it_does_not_start,
    a_containerd_that_is_too_old_is_refused,
    without_a_controller_it_does_not_start,
    only_root_may_serve,
    one_executor_per_state_directory,
];

/// How long a refusal may take, seconds.
const REFUSAL_SECONDS_MAX: u64 = 60;

/// `davit executor serve` with these settings, which must not start.
fn refused(
    host: &Host,
    settings: &ExecutorSettings,
    through: &[&str],
) -> anyhow::Result<CommandOutput> {
    let file = host.directory().join("refused.toml");
    fs::write(&file, settings.to_toml()).context("cannot write the settings")?;
    let davit = host.binary("davit")?;
    let davit = davit.to_string_lossy();
    let words: Vec<&str> = through.iter().copied().chain([&*davit]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["executor", "serve", "--config"]).arg(&file);
    let output = run_command(&mut command, Duration::from_secs(REFUSAL_SECONDS_MAX))?;
    ensure!(!output.status.success(), "it started and stopped: {output}");
    Ok(output)
}

fn without_containerd_it_does_not_start(host: &mut Host) -> TestResult {
    let settings = host.settings().text("containerd.socket", "/run/nowhere/containerd.sock");
    let output = refused(host, &settings, &[])?;
    expect_says(&output.error_text(), &["/run/nowhere/containerd.sock", "containerd"])
}

fn a_containerd_that_is_too_old_is_refused(host: &mut Host) -> TestResult {
    let socket = host.directory().join("old.sock");
    old_containerd::serve(&socket, "v1.6.36")?;
    let settings = host.settings().text("containerd.socket", &socket.to_string_lossy());
    let output = refused(host, &settings, &[])?;
    expect_says(&output.error_text(), &["1.6.36", "too old", "1.7"])
}

fn without_a_controller_it_does_not_start(host: &mut Host) -> TestResult {
    let present = fs::read_to_string(Path::new(CGROUP_ROOT).join("cgroup.controllers"))
        .context("cannot read the controllers")?;
    let threaded = Path::new(CGROUP_ROOT).join("davit-threaded");
    let settings = host.settings().value("allow_missing_controllers", "false");
    let settings = if present.contains("memory") {
        // A threaded cgroup offers its children no memory controller.
        fs::create_dir(&threaded).context("cannot make a cgroup")?;
        fs::write(threaded.join("cgroup.type"), "threaded").context("cannot make it threaded")?;
        settings.text("cgroup_parent", "/davit-threaded/runs")
    } else {
        settings
    };
    let output = refused(host, &settings, &[]);
    for cgroup in [threaded.join("runs"), threaded] {
        if cgroup.exists() {
            fs::remove_dir(&cgroup).context("cannot remove the cgroup")?;
        }
    }
    expect_says(&output?.error_text(), &["memory", "controller", "allow_missing_controllers"])
}

fn only_root_may_serve(host: &mut Host) -> TestResult {
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    // A place that nobody may read from.
    let davit = host.binary("davit")?;
    let reachable = Path::new("/tmp/davit-for-nobody");
    fs::copy(&davit, reachable).context("cannot copy davit")?;
    let settings = host.settings();
    let output = refused(host, &settings, &nobody);
    fs::remove_file(reachable).context("cannot remove the copy")?;
    expect_says(&output?.error_text(), &["root"])
}

fn one_executor_per_state_directory(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let second_socket = host.directory().join("second.sock");
    let settings = settings.text("socket", &second_socket.to_string_lossy());
    let output = refused(host, &settings, &[])?;
    let state = host.directory().join("state");
    expect_says(&output.error_text(), &[&state.to_string_lossy(), "another executor"])?;
    // The first one is not disturbed.
    host.davit(["ps"])?.success()?;
    Ok(())
}
