//! Memory of a process, from `/proc/<pid>/smaps_rollup`.

use std::fs;

use anyhow::{Context as _, bail};

/// Private memory of process `pid`, clean and dirty, KiB.
pub(crate) fn private_kib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse(&text).with_context(|| format!("understand {path}"))
}

fn parse(text: &str) -> anyhow::Result<f64> {
    let kib = |field: &str| -> anyhow::Result<f64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let Some(value) = line.and_then(|rest| rest.trim().strip_suffix(" kB")) else {
            bail!("there is no line {field} in kB");
        };
        value
            .parse()
            .with_context(|| format!("{field} is {value:?}"))
    };
    Ok(kib("Private_Clean")? + kib("Private_Dirty")?)
}

/// The process whose command line is that of program `name` and holds `argument`.
pub(crate) fn find_process(name: &str, argument: &str) -> anyhow::Result<u32> {
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let entry = entry.context("list /proc")?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is not the one.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = line.split(|&byte| byte == 0);
        let program = arguments.next().unwrap_or_default();
        if program.ends_with(name.as_bytes()) && arguments.any(|other| other == argument.as_bytes())
        {
            return Ok(pid);
        }
    }
    bail!("no process {name} with argument {argument}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_clean_and_dirty() {
        let text = "55d0-7ffd [rollup]\nRss:  900 kB\nPss:     300 kB\nPss_Dirty: 7 kB\n\
                    Private_Clean:  40 kB\nPrivate_Dirty: 2 kB\n";
        assert!((parse(text).unwrap() - 42.0).abs() < f64::EPSILON);
        assert!(parse("Rss: 1 kB\n").is_err());
    }

    #[test]
    fn a_process_is_found_by_program_and_argument() {
        let mut child = std::process::Command::new("sleep")
            .arg("1987")
            .spawn()
            .unwrap();
        // Right after the fork the child's command line is still this test's.
        let begun = std::time::Instant::now();
        let found = loop {
            match find_process("sleep", "1987") {
                Err(error) if begun.elapsed().as_secs() > 10 => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
                Ok(pid) => break pid,
            }
        };
        assert_eq!(found, child.id());
        assert!(find_process("sleep", "1988").is_err());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
