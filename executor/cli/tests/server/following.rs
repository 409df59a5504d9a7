//! Connections that break while a run is followed; signals to who follows.

use std::sync::atomic::Ordering;

use davit_scheduler::store::AttemptEnd;
use davit_types::EndReason;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{finished, text};
use crate::proxy::cutting;
use crate::runs::{RUN, detached, end_with, only_run};
use crate::world::{World, end};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_comes_once_over_connections_that_break_anywhere() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = detached(&acme).await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    world.write(peer, key, 1, 40).await;
    world.end(peer, key, 2, 0, 40).await;
    let whole = acme.davit(&["attach", &run.to_string()]).await;
    assert_eq!(whole.stdout.iter().filter(|b| **b == b'\n').count(), 27);

    // The run is seen; then streams break in their head, within an event, between two.
    let (address, connections) = cutting(world.address, |number| match number {
        0 => Some(4_000),
        1..14 => Some(400 + number * 97),
        _ => None,
    })
    .await;
    let broken = acme
        .through(address)
        .davit(&["attach", &run.to_string()])
        .await;
    assert_eq!(broken.status.code(), Some(0), "{}", text(&broken.stderr));
    assert!(connections.load(Ordering::SeqCst) > 5);
    assert_eq!(text(&broken.stdout), text(&whole.stdout));
    let said: String = text(&broken.stderr)
        .lines()
        .filter(|line| !line.starts_with("davit: the scheduler went away"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(said, text(&whole.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_ctrl_c_is_the_runs_and_the_second_kills_it() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let attached = acme.start(RUN);
    let run = only_run(&acme).await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let interrupt = || kill_process(Pid::from_child(&attached), Signal::INT).unwrap();
    interrupt();
    let stop = wanted(&world, run, 2).await;
    assert_eq!(stop.grace_ms, 10_000);
    interrupt();
    let kill = wanted(&world, run, 9).await;
    assert_eq!(kill.grace_ms, 0);
    let ended = AttemptEnd {
        reason: EndReason::Canceled,
        exit_code: Some(130),
        message: "stopped by the user".to_owned(),
        ..end(0, 0)
    };
    end_with(&world, peer, key, ended).await;
    let output = finished(attached).await;
    assert_eq!(output.status.code(), Some(130));
    let said = text(&output.stderr);
    for part in [
        "stopping with SIGINT",
        "cancelling",
        "canceled: stopped by the user",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// The stop that is wanted of a run, once it is with this signal.
async fn wanted(
    world: &World,
    run: davit_types::RunId,
    signal: i32,
) -> davit_scheduler::store::Stop {
    for _ in 0..2_000 {
        let views = world.service.store.runs(None, vec![run]).await.unwrap();
        let stop = views[0].active.as_ref().and_then(|live| live.desired.stop);
        if let Some(stop) = stop
            && stop.signal == signal
        {
            return stop;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("signal {signal} never arrives");
}
