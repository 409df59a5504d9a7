//! The table that is kept in the tree, so that growth is seen.

use super::allocations::Allocated;
use super::trace::{Counts, Role};

/// Calls made less than this often per launch are summed up as others.
const SHOWN_PER_LAUNCH_MIN: f64 = 2.0;

/// The table, as Markdown.
pub(super) fn markdown(counts: &Counts, allocated: &[(Role, Allocated)], launches: u32) -> String {
    let each = |count| per_launch(count, launches);
    let mut text = String::from(
        "# What a launch costs\n\n\
         Written by `cargo xtask bench costs`: per launch, from submit until all is cleaned up and warm slots are\n\
         filled again. Counts, not times: they hardly depend on the machine, so a change here is a change of davit,\n\
         or of a version below it. containerd's idle wake-ups are in its figures.\n\
         A container's first process is listed from its birth: it sets itself up, waits, and becomes the job.\n\
         Allocations are calls of the allocator and what they asked for; all shims, and the process they are forked\n\
         from, count as one.\n\n\
         | who | processes that executed a program | execve | system calls | allocations | of KiB |\n\
         |---|---|---|---|---|---|\n",
    );
    for role in Role::ALL {
        let (processes, execs) = (each(counts.processes(role)), each(counts.execs(role)));
        let (name, syscalls) = (role.name(), each(counts.syscalls(role)));
        let allocations = allocated.iter().find(|(who, _)| *who == role).map_or_else(
            || "– | –".to_owned(),
            |(_, of)| {
                let kib = each(of.bytes) / 1024.0;
                format!("{:.0} | {kib:.0}", each(of.allocations))
            },
        );
        text.push_str(&format!(
            "| {name} | {processes:.1} | {execs:.1} | {syscalls:.0} | {allocations} |\n"
        ));
    }
    for role in [Role::Executor, Role::Shim, Role::Runtime, Role::Container] {
        text.push_str(&format!(
            "\n## {}\n\n| call | per launch |\n|---|---|\n",
            role.name()
        ));
        let mut calls: Vec<(&str, f64)> = counts
            .calls(role)
            .map(|(name, count)| (name, each(count)))
            .collect();
        calls.sort_by(|(a, of_a), (b, of_b)| of_b.total_cmp(of_a).then(a.cmp(b)));
        let shown = calls.partition_point(|(_, count)| *count >= SHOWN_PER_LAUNCH_MIN);
        for (name, count) in &calls[..shown] {
            text.push_str(&format!("| {name} | {count:.1} |\n"));
        }
        let others: f64 = calls[shown..].iter().map(|(_, count)| count).sum();
        text.push_str(&format!(
            "| {} others | {others:.1} |\n",
            calls.len() - shown
        ));
    }
    text
}

/// `count` divided by the launches.
pub(super) fn per_launch(count: u64, launches: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = count as f64;
    count / f64::from(launches)
}

#[cfg(test)]
mod tests {
    use super::super::trace::Traces;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn calls_are_shown_per_launch_and_rare_ones_summed_up() {
        let mut traces = Traces::of_threads(BTreeMap::from([(1, "davit".to_owned())]));
        traces.add(1, &format!("{}fsync(3) = 0\n", "read(0) = 1\n".repeat(5)));
        let of_shims = Allocated {
            allocations: 50,
            bytes: 4_096,
        };
        let text = markdown(&traces.count(), &[(Role::Shim, of_shims)], 2);
        let lines = [
            "| executor | 0.0 | 0.0 | 3 | – | – |\n",
            "| shim | 0.0 | 0.0 | 0 | 25 | 2 |\n",
        ];
        for line in lines {
            assert!(text.contains(line), "{text}");
        }
        assert!(
            text.contains("| read | 2.5 |\n| 1 others | 0.5 |\n"),
            "{text}"
        );
    }
}
