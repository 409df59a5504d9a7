//! Tables for people: plain columns, no frames, nothing cut.

use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{Table, presets};
use davit_rpc::local::{HostInfo, Image, LinkState, Run, Usage};
use davit_types::Bytes;

use super::run::{RunJson, rfc3339};
use super::tree::Tree;
use super::{Paint, harmless};
use crate::error::CliError;

/// `davit ps`.
pub(crate) fn runs(runs: &[Run], paint: Paint) -> String {
    let mut table = with_header(&[
        "ID", "NAME", "STATUS", "EXIT", "REASON", "TYPE", "AGE", "DURATION", "IMAGE",
    ]);
    for run in runs {
        let exit = run
            .exit_code
            .map_or_else(|| "-".to_owned(), |code| code.to_string());
        table.add_row([
            run.id.clone(),
            name_of(run),
            shown_status(run),
            exit,
            run.end_reason.clone().unwrap_or_else(|| "-".to_owned()),
            run.instance_type.clone(),
            age(run.created_at_ns),
            run.duration_ms.map_or_else(|| "-".to_owned(), duration),
            harmless(&run.image),
        ]);
    }
    painted(&rendered(&table), runs, paint)
}

/// Colours go in afterwards, where the header says the column is: they have no width.
fn painted(table: &str, runs: &[Run], paint: Paint) -> String {
    let column = table.find("STATUS").unwrap_or_default();
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    for (line, run) in lines.iter_mut().skip(1).zip(runs) {
        let status = shown_status(run);
        let end = column + status.len();
        if line.get(column..end) == Some(&status) {
            line.replace_range(column..end, &paint.status(&status));
        }
    }
    lines.join("\n")
}

fn name_of(run: &Run) -> String {
    run.name.as_deref().map_or_else(|| "-".to_owned(), harmless)
}

/// The status, or the finer phase where it says more.
fn shown_status(run: &Run) -> String {
    match (run.status.as_str(), run.phase.as_str()) {
        ("pending", phase) => format!("pending ({phase})"),
        ("running", phase @ ("paused" | "stopping")) => format!("running ({phase})"),
        (status, _) => status.to_owned(),
    }
}

/// `davit usage`.
pub(crate) fn usage(runs: &[Run]) -> String {
    let mut table = with_header(&[
        "ID",
        "NAME",
        "TYPE",
        "WALL",
        "PAUSED",
        "BILLABLE",
        "CPU",
        "THROTTLED",
        "MEMORY PEAK",
        "READ",
        "WRITTEN",
        "PIDS PEAK",
        "OOM KILLS",
    ]);
    for run in runs {
        let used: Usage = run.usage.unwrap_or_default();
        table.add_row([
            run.id.clone(),
            name_of(run),
            run.instance_type.clone(),
            duration(used.wall_ms),
            duration(used.paused_ms),
            duration(used.billable_ms),
            duration(used.cpu_us / 1_000),
            duration(used.cpu_throttled_us / 1_000),
            used.memory_peak_bytes
                .map_or_else(|| "-".to_owned(), rounded),
            rounded(used.io_read_bytes),
            rounded(used.io_write_bytes),
            used.pids_peak
                .map_or_else(|| "-".to_owned(), |pids| pids.to_string()),
            used.oom_kills.to_string(),
        ]);
    }
    rendered(&table)
}

/// `davit images`.
pub(crate) fn images(images: &[Image]) -> String {
    let mut table = with_header(&["IMAGE", "DIGEST", "SIZE", "LAST USED", "IN USE"]);
    for image in images {
        table.add_row([
            harmless(&image.name),
            image.digest.clone(),
            rounded(image.size_bytes),
            age(image.last_used_at_ns),
            if image.in_use { "yes" } else { "no" }.to_owned(),
        ]);
    }
    rendered(&table)
}

/// `davit info`.
pub(crate) fn host(info: &HostInfo) -> String {
    let mut lines = vec![
        format!("davit        {}", info.davit_version),
        format!(
            "containerd   {}",
            match info.containerd_version.as_str() {
                "" => "does not answer",
                version => version,
            }
        ),
        format!("kernel       {}", info.kernel_version),
        format!("cgroup       {}", info.cgroup_parent),
    ];
    if !info.controllers.is_empty() {
        lines.push(format!("controllers  {}", info.controllers.join(" ")));
    }
    if !info.missing_controllers.is_empty() {
        lines.push(format!(
            "missing      {} (these limits are not enforced)",
            info.missing_controllers.join(" ")
        ));
    }
    lines.push(match &info.no_user_namespaces {
        None => "user ns      one for each container of crun or runc".to_owned(),
        Some(why) => format!("user ns      none: {why}"),
    });
    lines.push(match &info.no_bridge {
        None => "bridge       for runs that ask for it".to_owned(),
        Some(why) => format!("bridge       none: {why}"),
    });
    lines.push(match &info.no_disk_quotas {
        None => "disk quotas  on".to_owned(),
        Some(why) => format!("disk quotas  none: {why}"),
    });
    for runtime in &info.runtimes {
        lines.push(format!(
            "runtime      {} {} ({})",
            runtime.name, runtime.version, runtime.path
        ));
    }
    for size in &info.instance_types {
        lines.push(format!(
            "type         {}: {} CPU, {}, {} pids{}",
            size.slug,
            f64::from(size.cpu_millis) / 1000.0,
            Bytes(size.memory_bytes_max),
            size.pids_max,
            size.disk_bytes_max
                .map_or_else(String::new, |max| format!(", {} disk", Bytes(max)))
        ));
    }
    if let Some(link) = &info.link {
        lines.push(format!("scheduler    {}", scheduler(link)));
    }
    lines.extend(
        info.warnings
            .iter()
            .map(|warning| format!("warning      {warning}")),
    );
    lines.join("\n")
}

/// The link in one line.
fn scheduler(link: &LinkState) -> String {
    let since = rfc3339(link.since_unix_ns);
    let how = match (link.state.as_str(), &link.problem) {
        ("connected", _) => format!("connected since {since}"),
        (state, Some(problem)) => format!("{state} since {since}: {problem}"),
        (state, None) => state.to_owned(),
    };
    format!("{} {how}", link.server)
}

/// `davit inspect`: every field that has a value, nested ones indented.
pub(crate) fn details(run: &RunJson<'_>) -> Result<String, CliError> {
    let failed = |error| CliError::io("write the run")(std::io::Error::other(error));
    let text = serde_json::to_string(run).map_err(failed)?;
    let tree: Tree = serde_json::from_str(&text).map_err(failed)?;
    Ok(tree.details())
}

/// Without the blanks that fill up the last column.
pub(super) fn rendered(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

pub(super) fn with_header(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(names.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// `950 ms`, `12.3 s`, `4 m 05 s`, `2 h 03 m`.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{:03} s", milliseconds % 1_000),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
    }
}

pub(super) fn age(unix_ns: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = now.saturating_sub(unix_ns / 1_000_000_000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Bytes to one decimal: exact figures are in the JSON.
pub(super) fn rounded(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in units {
        if bytes >= size {
            return format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(950), "950 ms");
        assert_eq!(duration(12_345), "12.345 s");
        assert_eq!(duration(245_000), "4 m 05 s");
        assert_eq!(duration(7_380_000), "2 h 03 m");
        assert_eq!(rounded(1_610_612_736), "1.5 GiB");
        assert_eq!(rounded(17), "17 B");
    }

    #[test]
    fn a_run_is_one_row_with_its_finer_phase() {
        let paused = Run {
            id: "an-id".into(),
            status: "running".into(),
            phase: "paused".into(),
            ..Run::default()
        };
        let plain = Paint::of(&std::fs::File::open("/dev/null").unwrap());
        let shown = runs(&[paused], plain);
        assert_eq!(shown.lines().count(), 2);
        assert!(shown.contains("running (paused)"), "{shown}");
    }
}
