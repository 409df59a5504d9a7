//! Text rules over every file that git knows or would add.
//!
//! Absent on purpose: whatever rustfmt, clippy or rustdoc check already.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Longest source file, lines.
const FILE_LINES_MAX: usize = 400;

/// Longest function, lines from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what is inside.
const VAGUE_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

/// Marks of unfinished work; put together here so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    // With a reason it is a test for another place.
    concat!("#[", "ignore]"),
];

/// Hosts that code may name: documents and names of formats, never a place that something is fetched from.
const DOCUMENTS: &[&str] = &[
    "docs.kernel.org",
    "github.com",
    "in-toto.io",
    "json-schema.org",
    "man7.org",
    "opencontainers.org",
    "sigstore.dev",
    "spdx.org",
    "www.freedesktop.org",
    "www.kernel.org",
    "www.rfc-editor.org",
];

/// The only place that crates come from.
const CRATE_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the tree below `root`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for name in files(root)? {
        let Ok(bytes) = fs::read(root.join(&name)) else {
            // Deleted but not yet committed.
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        wrong.extend(wrong_in(&name, &text));
    }
    if !wrong.is_empty() {
        bail!("\n   {}", wrong.join("\n   "));
    }
    Ok(())
}

/// All files of the tree, from its root.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

/// What is wrong with one file, each a line `path:line: problem`.
fn wrong_in(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let base = name.rsplit('/').next().unwrap_or(name);
    let rust = base.ends_with(".rs");
    if rust {
        if !text.starts_with("//!") {
            wrong.push(format!(
                "{name}:1: a module begins with its header (//! purpose)"
            ));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{name}: {lines} lines, {FILE_LINES_MAX} allowed; split it"
            ));
        }
        wrong.extend(long_functions(text).map(|(at, lines)| {
            format!(
                "{name}:{at}: a function of {lines} lines, {FUNCTION_LINES_MAX} allowed; split it"
            )
        }));
        if VAGUE_NAMES.contains(&base) {
            wrong.push(format!("{name}: name it after what it holds"));
        }
    }
    if base == "Cargo.lock" {
        wrong.extend(wrong_sources(name, text));
        return wrong;
    }
    if !is_ours(base) {
        return wrong;
    }
    for (at, line) in (1..).zip(text.lines()) {
        if line.ends_with([' ', '\t']) {
            wrong.push(format!("{name}:{at}: trailing whitespace"));
        }
        if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
            wrong.push(format!("{name}:{at}: `{mark}`: finish it or leave it out"));
        }
        if !base.ends_with(".md") {
            let foreign = hosts(line).filter(|host| !is_harmless(host));
            wrong.extend(foreign.map(|host| format!("{name}:{at}: names the host {host}")));
        }
    }
    wrong
}

/// Line and length of each function that is too long. rustfmt puts a closing brace where its function begins.
fn long_functions(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let long = |at: usize| {
        let line = *lines.get(at)?;
        let indent = line.len() - line.trim_start().len();
        let is_code = !line.trim_start().starts_with("//");
        let begins = is_code && line.split_whitespace().take(6).any(|word| word == "fn");
        let signature = lines[at..]
            .iter()
            .find(|line| line.ends_with(['{', ';', '}']))?;
        if !begins || !signature.ends_with('{') {
            // A declaration, or all of it in a line.
            return None;
        }
        let ends = |line: &&str| line.strip_prefix(&" ".repeat(indent)) == Some("}");
        let is_next = |line: &&str| {
            line.get(indent..)
                .is_some_and(|rest| rest.starts_with("fn "))
        };
        let rest = &lines[at + 1..];
        let length = rest.iter().position(|line| ends(line) || is_next(line))? + 2;
        (length > FUNCTION_LINES_MAX).then_some((at + 1, length))
    };
    let found: Vec<_> = (0..lines.len()).filter_map(long).collect();
    found.into_iter()
}

/// Whether the file is written by hand, here: sources, manifests, scripts, documents.
fn is_ours(base: &str) -> bool {
    match base.rsplit_once('.') {
        Some((_, end)) => {
            ["rs", "toml", "proto", "sh", "md", "yml", "yaml", "service"].contains(&end)
        }
        // Scripts have no ending.
        None => base != "LICENSE",
    }
}

fn wrong_sources(name: &str, text: &str) -> Vec<String> {
    (1..)
        .zip(text.lines())
        .filter_map(|(at, line)| {
            let source = line.strip_prefix("source = ")?.trim_matches('"');
            (source != CRATE_SOURCE).then(|| format!("{name}:{at}: crate source {source}"))
        })
        .collect()
}

/// Hosts of the URLs in a line, without user and port.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let urls = line.split("://").skip(1).zip(line.split("://"));
    urls.filter(|(_, before)| before.ends_with("http") || before.ends_with("https"))
        .map(|(url, _)| {
            let end = url.find(|c: char| !c.is_ascii_alphanumeric() && !"-.@:[]".contains(c));
            let authority = &url[..end.unwrap_or(url.len())];
            let host = authority.rsplit('@').next().unwrap_or(authority);
            match host.strip_prefix('[') {
                Some(v6) => v6.split(']').next().unwrap_or(v6),
                None => host.split(':').next().unwrap_or(host).trim_end_matches('.'),
            }
        })
}

/// Loopback, a name that can never exist (RFC 2606), one without a domain, or a document.
fn is_harmless(host: &str) -> bool {
    let reserved = [
        "example",
        "invalid",
        "test",
        "localhost",
        "example.com",
        "example.org",
        "example.net",
    ];
    let below = |name: &&str| host == *name || host.ends_with(&format!(".{name}"));
    !host.contains('.')
        || host.starts_with("127.")
        || reserved.iter().any(below)
        || DOCUMENTS.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, text: &str) -> usize {
        wrong_in(name, text).len()
    }

    #[test]
    fn a_module_has_a_header_a_bound_and_a_name() {
        assert_eq!(wrong("a/b.rs", "//! Good.\n"), 0);
        assert_eq!(wrong("a/b.rs", "fn main() {}\n"), 1);
        assert_eq!(wrong("a/utils.rs", "//! Things.\n"), 1);
        assert_eq!(
            wrong("a/b.rs", &format!("//! Long.\n{}", "\n".repeat(400))),
            1
        );
    }

    #[test]
    fn a_function_has_a_bound() {
        let function = |lines: usize| {
            let body = "        let x = 1;\n".repeat(lines - 2);
            format!("//! x\nimpl X {{\n    pub(crate) async fn f() {{\n{body}    }}\n}}\n")
        };
        assert_eq!(wrong("a/b.rs", &function(70)), 0);
        assert_eq!(wrong("a/b.rs", &function(71)), 1);
    }

    #[test]
    fn unfinished_work_and_loose_ends_are_found() {
        for mark in UNFINISHED {
            assert_eq!(wrong("a/b.rs", &format!("//! x\n// {mark}\n")), 1, "{mark}");
            assert_eq!(wrong("scripts/demo", &format!("# {mark}\n")), 1, "{mark}");
        }
        assert_eq!(wrong("README.md", "text \n"), 1);
        assert_eq!(wrong("a/golden.txt", "text \n"), 0, "not ours to format");
    }

    #[test]
    fn only_harmless_hosts_may_be_named() {
        for good in [
            "http://127.0.0.1:5000/v2",
            "http://[::1]:5000",
            "https://user:word@registry.example/x",
            "http://localhost",
            "http://containerd",
            "https://{host}/v2",
            "https://docs.kernel.org/admin-guide",
        ] {
            assert_eq!(wrong("a.sh", good), 0, "{good}");
        }
        let scheme = "https:/";
        for bad in [
            "mirror.corp.net/simple",
            "user@10.0.0.1:8080",
            "docs.kernel.org.evil.io",
        ] {
            assert_eq!(wrong("a.sh", &format!("{scheme}/{bad}")), 1, "{bad}");
            assert_eq!(
                wrong("a.md", &format!("{scheme}/{bad}")),
                0,
                "documents may link"
            );
        }
    }

    #[test]
    fn crates_come_from_one_place() {
        assert_eq!(
            wrong("Cargo.lock", &format!("source = \"{CRATE_SOURCE}\"\n")),
            0
        );
        assert_eq!(wrong("Cargo.lock", "source = \"git+https:\"\n"), 1);
    }
}
