//! Images come whole or not at all, once for all who want them, and only those that are allowed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Test;
use super::registry_double::{Manner, RegistryDouble};
use super::story::{Record, Run, expect_says};
use crate::host::{CommandOutput, Host, REGISTRY_PASSWORD, REGISTRY_USER, run_command};
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![
    an_image_that_cannot_be_had_says_why,
    credentials_are_used_and_kept_nowhere,
    a_broken_transfer_leaves_nothing_and_can_be_repeated,
    concurrent_pulls_are_one,
    a_registry_that_stalls_is_given_up,
    a_pending_run_can_be_canceled_while_it_pulls,
    only_allowed_images_run,
    the_pull_policy_decides_who_is_asked,
    eviction_never_takes_an_image_in_use,
];

const PADDING_BYTES: usize = 512 * 1024;

fn an_image_that_cannot_be_had_says_why(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let missing = format!("{}/davit/nothing:1", host.registry());
    let closed = format!("{}/davit/busybox:1", host.registry_with_password());
    for (image, says) in [
        (missing.as_str(), &["davit/nothing:1", "does not exist"][..]),
        (&closed, &["davit/busybox:1", "credentials"]),
        ("127.0.0.1:9/davit/busybox:1", &["127.0.0.1:9", "cannot be reached"]),
    ] {
        let failed = host.davit(["run", "--pull", "always", image, "--", "true"])?.refused()?;
        expect_says(&failed.error_text(), says)?;
        let record = Run::newest(host)?.inspect(host)?;
        record.expect("/status", "failed")?.expect("/end_reason", "image_pull_failed")?;
        ensure!(record.is_null("/exit_code"), "nothing ran: {record}");
        expect_says(record.text("/message")?, says)?;
    }
    Ok(())
}

fn with_password(host: &Host, image: &str, password: &str) -> anyhow::Result<CommandOutput> {
    let mut command = host.davit_command()?;
    command.args(["run", "--pull", "always", "--registry-user", REGISTRY_USER]);
    command.args(["--registry-password-stdin", image, "--", "echo", "inside"]);
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start davit")?;
    let mut stdin = client.stdin.take().context("no stdin")?;
    writeln!(stdin, "{password}").context("cannot hand over the password")?;
    drop(stdin);
    let output = client.wait_with_output().context("cannot wait for davit")?;
    let (status, stdout, stderr) = (output.status, output.stdout, output.stderr);
    Ok(CommandOutput { command: format!("davit run {image}"), status, stdout, stderr })
}

fn credentials_are_used_and_kept_nowhere(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = format!("{}/davit/busybox:1", host.registry_with_password());
    let wrong = "a-wrong-password-4711";
    let refused = with_password(host, &image, wrong)?.refused()?;
    expect_says(&refused.error_text(), &["credentials"])?;
    let allowed = with_password(host, &image, REGISTRY_PASSWORD)?.success()?;
    ensure!(allowed.text() == "inside", "it printed {allowed}");

    // The wrong one is told apart from all other words; the right one is also the tests' own name.
    let mut grep = Command::new("grep");
    grep.args(["-rlaF", wrong]).arg(host.directory());
    let found = run_command(&mut grep, Duration::from_secs(60))?.text();
    ensure!(found.is_empty(), "the password is kept in {found}");
    Ok(())
}

fn a_broken_transfer_leaves_nothing_and_can_be_repeated(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(PADDING_BYTES)?;
    let image = registry.image();
    for (manner, says) in [
        (Manner::Truncated, &["sent only", "sha256:"][..]),
        (Manner::Damaged, &["digest", "sha256:"]),
    ] {
        registry.serve(manner);
        let failed = host.davit(["pull", &image])?.refused()?;
        expect_says(&failed.error_text(), says)?;
        let active = host.containerd().ctr(["content", "active"])?.success()?.text();
        ensure!(active.lines().count() <= 1, "a half download is kept: {active}");
        let listed = host.davit(["images", "-o", "json"])?.success()?.text();
        ensure!(!listed.contains(&image), "half an image is listed: {listed}");
    }
    registry.serve(Manner::Well);
    host.davit(["pull", &image])?.success()?;
    let run = Run::submit_argv(host, &[], &image, &["/bin/busybox", "echo", "whole"])?;
    run.wait_ended(host, 0)?.expect("/image_digest", registry.digest())?;
    ensure!(run.stdout_text(host)? == "whole\n", "it printed something else");
    remove(host, &image)
}

fn concurrent_pulls_are_one(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(PADDING_BYTES)?;
    registry.serve(Manner::Late(Duration::from_secs(3)));
    let image = registry.image();
    let submit = || Run::submit_argv(host, &["--pull", "always"], &image, &["/bin/busybox", "true"]);
    let runs = [submit()?, submit()?, submit()?];
    host.davit(["pull", &image])?.success()?;
    for run in &runs {
        run.wait_ended(host, 0)?.expect("/image_digest", registry.digest())?;
    }
    let asked = registry.layer_requests();
    ensure!(asked == 1, "the layer was fetched {asked} times");
    remove(host, &image)
}

fn a_registry_that_stalls_is_given_up(host: &mut Host) -> TestResult {
    let settings = host.settings().value("images.pull_stall_seconds", "2");
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(PADDING_BYTES)?;
    for manner in [Manner::Silent, Manner::Dripping] {
        registry.serve(manner);
        let began = Instant::now();
        let failed = host.davit(["pull", &registry.image()])?.refused()?;
        expect_says(&failed.error_text(), &["stalled", "2 s"])?;
        ensure!(began.elapsed() < Duration::from_secs(30), "{manner:?} took {:?}", began.elapsed());
    }
    Ok(())
}

fn a_pending_run_can_be_canceled_while_it_pulls(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(PADDING_BYTES)?;
    registry.serve(Manner::Silent);
    for command in ["stop", "cancel"] {
        let run = Run::submit_argv(host, &[], &registry.image(), &["/bin/busybox", "true"])?;
        let asked = registry.layer_requests();
        wait_for("the pull has begun", Duration::from_secs(30), || {
            ensure!(registry.layer_requests() > asked.saturating_sub(1), "not yet");
            run.inspect(host)?.expect("/phase", "pulling")?;
            Ok(())
        })?;
        run.davit(host, command, &[])?.success()?;
        let record = run.inspect(host)?;
        record.expect("/status", "canceled")?.expect("/end_reason", "canceled")?;
        ensure!(record.is_null("/started_at"), "it never began: {record}");
    }
    Ok(())
}

fn only_allowed_images_run(host: &mut Host) -> TestResult {
    let allowed = format!("{}/davit/busybox", host.registry());
    let settings = host.settings().value("images.allow", &format!("[{allowed:?}]"));
    host.start_executor(&settings)?;
    let refused = host.davit(["run", &host.image("entry")])?.refused()?;
    expect_says(&refused.error_text(), &["davit/entry:1", "not allowed"])?;
    let run = Run::submit(host, &[], "echo inside")?;
    let digest = run.wait_ended(host, 0)?.text("/image_digest")?.to_owned();
    ensure!(digest.starts_with("sha256:") && digest.len() == 71, "the digest is {digest}");
    host.stop_executor()?;

    // The same by content: whatever the name, these bytes may run.
    let settings = host.settings().value("images.allow", &format!("[{digest:?}]"));
    host.start_executor(&settings)?;
    Run::submit(host, &[], "echo inside")?.wait_ended(host, 0)?;
    host.davit(["run", &host.image("entry")])?.refused()?;
    Ok(())
}

fn the_pull_policy_decides_who_is_asked(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(PADDING_BYTES)?;
    let image = registry.image();
    let run = |policy: &str| {
        host.davit(["run", "--pull", policy, &image, "--", "/bin/busybox", "true"])
    };
    let refused = run("never")?.refused()?;
    expect_says(&refused.error_text(), &["never", &image])?;
    ensure!(registry.manifest_requests() == 0, "never is never");
    run("missing")?.success()?;
    let first = registry.manifest_requests();
    ensure!(first > 0, "it was missing");
    run("missing")?.success()?;
    run("never")?.success()?;
    ensure!(registry.manifest_requests() == first, "it was here already");
    run("always")?.success()?;
    ensure!(registry.manifest_requests() > first, "always asks");
    ensure!(registry.layer_requests() == 1, "what is here is not fetched again");
    remove(host, &image)
}

/// Removes an image as soon as the runs that used it are cleaned up.
fn remove(host: &Host, image: &str) -> TestResult {
    wait_for("the image can be removed", Duration::from_secs(30), || {
        host.davit(["image", "rm", image])?.success().map(drop)
    })
}

fn eviction_never_takes_an_image_in_use(host: &mut Host) -> TestResult {
    // Room for two of the three images: each is about 15 MB, packed and unpacked.
    let settings = host.settings().text("images.cache_bytes_max", "75MiB");
    host.start_executor(&settings)?;
    let listed = || -> anyhow::Result<Vec<Record>> {
        let output = host.davit(["images", "-o", "json"])?.success()?;
        Record::parse("images", &output.stdout)?.list("")
    };
    for image in listed()? {
        host.davit(["image", "rm", image.text("/name")?])?.success()?;
    }
    let three = [12 << 20; 3].map(RegistryDouble::start);
    let three = three.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let used = three[0].image();
    let run = Run::submit_argv(host, &[], &used, &["/bin/busybox", "sleep", "300"])?;
    run.wait_started()?;
    let refused = host.davit(["image", "rm", &used])?.refused()?;
    expect_says(&refused.error_text(), &[&used, "in use"])?;
    for registry in &three[1..] {
        host.davit(["pull", &registry.image()])?.success()?;
    }
    wait_for("an image is evicted", Duration::from_secs(30), || {
        let images = listed()?;
        let has = |name: &str| images.iter().any(|image| image.text("/name").ok() == Some(name));
        ensure!(has(&used), "the image in use was evicted");
        ensure!(!has(&three[1].image()), "the one unused for longest is still there: {images:?}");
        ensure!(has(&three[2].image()), "the newest was evicted");
        Ok(())
    })?;
    run.davit(host, "cancel", &[])?.success()?;
    Ok(())
}
