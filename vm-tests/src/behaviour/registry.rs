//! The registry beside the tests serves their images, with and without a password, and containerd
//! runs them.

use anyhow::ensure;

use super::Test;
use crate::host::{Host, REGISTRY_PASSWORD, REGISTRY_USER};
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![registry_serves_images, registry_asks_for_a_password];

fn registry_serves_images(host: &mut Host) -> TestResult {
    for name in ["busybox", "python", "entry"] {
        let image = host.image(name);
        host.containerd().ctr(["images", "pull", "--plain-http", &image])?.success()?;
        let listed = host.containerd().ctr(["images", "list", "--quiet"])?.success()?.text();
        ensure!(listed.lines().any(|line| line == image), "{image} is not among {listed}");
    }

    // What is in the image, not only that it is there: containerd's own shim runs it.
    let image = host.image("python");
    let story = "import json, sys; print(json.dumps(sys.version_info[0]))";
    let arguments =
        ["run", "--rm", "--cpu-shares", "0", &image, "registry-test", "python3", "-c", story];
    let output = host.containerd().ctr(arguments)?.success()?;
    ensure!(output.text() == "3", "python3 printed: {output}");
    Ok(())
}

fn registry_asks_for_a_password(host: &mut Host) -> TestResult {
    let image = format!("{}/davit/busybox:1", host.registry_with_password());
    let pull = |credentials: &str| {
        host.containerd().ctr(["images", "pull", "--plain-http", "--user", credentials, &image])
    };
    let refused = pull(&format!("{REGISTRY_USER}:wrong"))?.expect_code(1)?;
    ensure!(refused.error_text().contains("401"), "it was refused for another reason: {refused}");
    pull(&format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}"))?.success()?;
    Ok(())
}
