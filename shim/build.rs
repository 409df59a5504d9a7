//! Builds the first process of a warm slot (`init/`), which the shim carries in itself.
//!
//! A package of its own would need a workspace that builds one member without a standard library, and something
//! that hands its binary to this one: `rustc` called once is less. It gets nothing of the shim's own flags.

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::Command;

const SOURCES: [&str; 4] = [
    "init/main.rs",
    "init/protocol.rs",
    "init/x86_64.rs",
    "init/aarch64.rs",
];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let output = Path::new(&env::var("OUT_DIR")?).join("init");
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .arg(SOURCES[0])
        .args(["--crate-name", "init", "--crate-type", "bin"])
        .args(["--edition", "2024", "--target", &env::var("TARGET")?])
        .arg("-o")
        .arg(output);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    for option in [
        "opt-level=s",
        "panic=abort",
        "force-unwind-tables=no",
        "codegen-units=1",
        "strip=symbols",
        // At a fixed address: nothing is there to relocate it, and nothing in it is worth hiding.
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-no-pie",
        "link-arg=-static",
        "link-arg=-nostdlib",
        "link-arg=-nostartfiles",
        "link-arg=-Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,norelro",
    ] {
        rustc.args(["-C", option]);
    }
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("the init of warm slots does not build: {status}").into());
    }
    Ok(())
}
