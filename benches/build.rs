//! Builds the payload: the static program that every measured container runs.
//!
//! Not a Cargo binary of its own, because `crt-static` is a flag of a whole target: here it is given
//! to this one program, and the benchmark carries the result inside itself.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "payload/main.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| {
        PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")))
    };
    let out = variable("OUT_DIR").join("payload");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=payload", "--target"])
        .arg(variable("TARGET"))
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols"])
        .args([
            "-Ctarget-feature=+crt-static",
            "-Crelocation-model=static",
            "-o",
        ])
        .arg(&out)
        .arg(SOURCE)
        .status()
        .unwrap_or_else(|error| panic!("start the compiler for {SOURCE}: {error}"));
    assert!(
        status.success(),
        "the payload {SOURCE} does not build: {status}"
    );
}
