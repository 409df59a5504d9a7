//! Runs and images as proptest makes them up.

use davit_executor::images::ImageConfig;
use davit_types::{Bytes, Capability, Command, EnvVar, NetworkMode, Resources, RunSpec};
use proptest::prelude::*;

use crate::run;

prop_compose! {
    fn any_command()(kind in 0..3, text in ".{0,40}", argv in prop::collection::vec(".{0,20}", 1..5))
        -> Command {
        match kind {
            0 => Command::Image,
            1 => Command::Shell(text),
            _ => Command::Argv(argv),
        }
    }
}

prop_compose! {
    pub(crate) fn any_run()(
        command in any_command(),
        entrypoint in prop::option::of(".{0,40}"),
        env in prop::collection::vec(("[A-Za-z_][A-Za-z0-9_]{0,9}", ".{0,20}"), 0..6),
        workdir in prop::option::of("/.{0,40}"),
        hostname in prop::option::of("[a-z0-9.-]{1,63}"),
        labels in prop::collection::btree_map(".{1,30}", ".{0,30}", 0..4),
        network in prop::sample::select(NetworkMode::ALL.to_vec()),
        read_only_root: bool,
        capabilities in prop::collection::btree_set(prop::sample::select(&Capability::ALL[..]), 0..4),
        numbers in (10..100_000u32, (4u64 << 20)..(1 << 44), 1..100_000u32),
    ) -> RunSpec {
        let mut run = run();
        run.command = command;
        run.entrypoint = entrypoint;
        run.env = env.into_iter().map(|(key, value)| EnvVar { key, value }).collect();
        run.workdir = workdir;
        run.hostname = hostname;
        run.labels = labels;
        run.network = network;
        run.read_only_root = read_only_root;
        run.capabilities = capabilities;
        run.instance_type.resources = Resources {
            cpu_millis: numbers.0,
            memory_bytes_max: Bytes(numbers.1),
            pids_max: numbers.2,
        };
        run
    }
}

prop_compose! {
    pub(crate) fn any_image()(
        user in ".{0,20}",
        env in prop::collection::vec((".{1,20}", ".{0,20}"), 0..6),
        entrypoint in prop::collection::vec(".{0,20}", 0..4),
        cmd in prop::collection::vec(".{0,20}", 0..4),
        workdir in prop::option::of("/.{0,40}"),
    ) -> ImageConfig {
        ImageConfig { user, env, entrypoint, cmd, workdir, stop_signal: None }
    }
}
