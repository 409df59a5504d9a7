//! An image's ENTRYPOINT, CMD, ENV, USER and WORKDIR are honoured and can be overridden; its labels
//! and volumes are not acted on.

use anyhow::ensure;

use super::Test;
use super::story::{Record, Run};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![the_image_config_is_honoured_and_overridden, labels_and_volumes_of_an_image_are_ignored];

fn the_image_config_is_honoured_and_overridden(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("entry");
    let printed = |options: &[&str], argv: &[&str]| -> anyhow::Result<String> {
        let mut arguments = vec!["run"];
        arguments.extend(options);
        arguments.extend([image.as_str(), "--"]);
        arguments.extend(argv);
        Ok(host.davit(arguments)?.success()?.text().replace('\n', "|"))
    };
    let as_is = printed(&[], &[])?;
    ensure!(as_is == "entry default-argument|1000|/work/dir|hello from the image", "{as_is}");
    // An argv replaces CMD and keeps ENTRYPOINT; the rest is replaced by what is named.
    let options = ["--user", "job:extra", "--workdir", "/tmp", "-e", "GREETING=a=b c"];
    let changed = printed(&options, &["one", "two"])?;
    ensure!(changed == "entry one two|1000|/tmp|a=b c", "{changed}");
    // An entrypoint replaces both.
    let replaced = printed(&["--entrypoint", "/bin/echo only"], &["this"])?;
    ensure!(replaced == "only this", "{replaced}");

    let script = "id -u; id -g; id -G; hostname; echo \"$EMPTY-$PATH\"; echo $HOME";
    let options = ["--user", "0:2000", "--hostname", "named", "--entrypoint", "/bin/sh -c"];
    let who = printed(&options, &[script])?;
    ensure!(who.starts_with("0|2000|2000|named|-/usr/local/bin:/usr/bin:/bin|"), "{who}");

    let refused = host.davit(["run", "--user", "nobody-here", &image])?.refused()?;
    ensure!(refused.error_text().contains("nobody-here"), "the user is not named: {refused}");
    Run::newest(host)?.inspect(host)?.expect("/end_reason", "start_failed")?;
    Ok(())
}

fn labels_and_volumes_of_an_image_are_ignored(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("entry");
    let options = ["--entrypoint", "/bin/sleep", "--label", "colour=blue"];
    let run = Run::submit_argv(host, &options, &image, &["300"])?;
    run.wait_started()?;
    let listed = host.containerd().ctr(["containers", "list", "--quiet"])?.success()?.text();
    let container = listed.lines().find(|line| line.contains(run.id())).unwrap_or_default();
    let info = host.containerd().ctr(["containers", "info", container])?.success()?;
    let info = Record::parse("container", &info.stdout)?;
    let labels = info.at("/Labels")?;
    ensure!(labels["davit.run-id"] == run.id(), "the image's label won: {labels}");
    for hostile in ["containerd.io/gc.root", "org.example.kind"] {
        ensure!(labels.get(hostile).is_none(), "{hostile} was copied: {labels}");
    }
    let mounts = info.list("/Spec/mounts")?;
    let volume = mounts.iter().any(|mount| mount.text("/destination").ok() == Some("/data"));
    ensure!(!volume, "the image's volume was mounted");
    // What the submitter attaches is davit's to tell, and stays out of the container record.
    run.inspect(host)?.expect("/labels/colour", "blue")?;
    ensure!(labels.get("colour").is_none(), "{labels}");
    run.davit(host, "cancel", &[])?.success()?;
    Ok(())
}
