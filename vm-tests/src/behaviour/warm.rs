//! Containers that wait for runs are in nobody's way: memory, images and other runs come first.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::registry_double::RegistryDouble;
use super::story::{Record, Run, await_warm_slots, expect_says};
use super::warm_story::{Hog, await_slots_of, layers, slots_of, slots_ready, stalled_us, traces_of};
use crate::host::Host;
use crate::outcome::{TestResult, skip};
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![
    short_memory_takes_the_slots_and_demand_brings_them_back => 300,
    a_run_that_thrashes_at_its_own_limit_costs_no_slot,
    a_removed_image_takes_its_slots_first,
    an_evicted_image_takes_its_slots_first,
    a_run_submitted_while_its_image_is_removed_runs_or_says_why => 300,
];

/// Memory the hog leaves to all others.
const LEFT_BYTES: u64 = 64 << 20;
/// What the executor says when it gives slots up.
const SHORT: &str = "memory runs short";
/// Removals of an image that a run meets.
const MEETINGS: u32 = 6;
/// How much later than the other one begins, from meeting to meeting.
const STAGGER: Duration = Duration::from_millis(40);

fn needs_pressure() -> TestResult {
    match stalled_us() {
        Ok(_) => Ok(()),
        Err(error) => skip(format!("this kernel does not tell when memory runs short: {error:#}")),
    }
}

/// A run of busybox that has ended, and whether it was given a slot.
fn run_once(host: &Host) -> anyhow::Result<bool> {
    let run = Run::submit(host, &[], "exit 0")?;
    run.wait_ended(host, 0)?;
    Ok(!run.record("launch")?.is_null("/slot"))
}

fn short_memory_takes_the_slots_and_demand_brings_them_back(host: &mut Host) -> TestResult {
    host.needs_controllers(&["memory"])?;
    needs_pressure()?;
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    ensure!(!run_once(host)?, "the first run finds no slot");
    let slots = await_slots_of(host, &image, 1)?;

    let before_us = stalled_us()?;
    let hog = Hog::start(LEFT_BYTES)?;
    let given_up = wait_for("the slots are given up", Duration::from_secs(120), || {
        let ready = slots_ready(host)?;
        let stalled_ms = (stalled_us()? - before_us) / 1_000;
        ensure!(ready == 0, "{ready} wait after {stalled_ms} ms of stalls");
        let traces = traces_of(host, &slots)?;
        ensure!(traces.is_empty(), "there is {traces:?}");
        Ok(())
    });
    drop(hog);
    given_up?;
    expect_says(&host.executor()?.log_tail(), &[SHORT])?;

    // Nobody asked: none is made. A run asks, and gets on without one.
    ensure!(slots_of(host, &image)?.is_empty(), "one was made that nobody asked for");
    ensure!(!run_once(host)?, "there was no slot to be given");
    await_slots_of(host, &image, 1)?;
    ensure!(run_once(host)?, "a slot is there and was not taken");
    Ok(())
}

fn a_run_that_thrashes_at_its_own_limit_costs_no_slot(host: &mut Host) -> TestResult {
    host.needs_controllers(&["memory"])?;
    needs_pressure()?;
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    run_once(host)?;
    let slots = await_slots_of(host, &image, 1)?;

    // Most of its memory is held by a buffer, the rest is too little for the file that all read.
    let thrash = "dd if=/dev/zero of=/file bs=1M count=48 2>/dev/null; \
                  dd if=/dev/zero bs=20M count=1 2>/dev/null | { for i in 1 2 3 4; do \
                  (while :; do cat /file >/dev/null; done) & done; wait; }";
    let run = Run::submit(host, &["--memory", "32MiB", "--cpu", "2"], thrash)?;
    run.wait_started()?;
    // Twice as long as the executor's trigger needs, four times over.
    for _ in 0..4 {
        wait_for("the host stalls", Duration::from_secs(60), || {
            let before_us = stalled_us()?;
            thread::sleep(Duration::from_secs(2));
            let stalled_ms = (stalled_us()? - before_us) / 1_000;
            ensure!(stalled_ms >= 300, "only {stalled_ms} ms in two seconds");
            Ok(())
        })?;
    }
    let now = slots_of(host, &image)?;
    ensure!(slots.is_subset(&now), "of {slots:?} there are {now:?}");
    let log = host.executor()?.log_tail();
    ensure!(!log.contains(SHORT), "a run's own limit passed for the host's memory: {log}");
    run.davit(host, "cancel", &[])?.success()?;
    Ok(())
}

/// A run of an image of a registry double, ended and cleaned up, and the slot that replaces it.
fn run_of(host: &Host, image: &str, options: &[&str], word: &str) -> anyhow::Result<Run> {
    Run::submit_argv(host, options, image, &["/bin/busybox", "echo", word])
}

fn a_removed_image_takes_its_slots_first(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let before = layers(host)?;
    let registry = RegistryDouble::start(1 << 20)?;
    let image = registry.image();
    run_of(host, &image, &[], "once")?.wait_ended(host, 0)?;
    let going = await_slots_of(host, &image, 1)?;
    let busybox = host.image("busybox");
    run_once(host)?;
    let staying = await_slots_of(host, &busybox, 1)?;
    // Of the image only what waits is left: nothing that is in use.
    wait_for("the image can be removed", Duration::from_secs(30), || {
        host.davit(["image", "rm", &image])?.success().map(drop)
    })?;
    let traces = traces_of(host, &going)?;
    ensure!(traces.is_empty(), "the image is removed, and there is {traces:?}");
    ensure!(slots_of(host, &busybox)? == staying, "another image's slots went too");
    expect_image_gone(host, &image)?;
    wait_for("its layer goes", Duration::from_secs(30), || {
        let now = layers(host)?;
        let new: Vec<_> = now.difference(&before).collect();
        // The one of busybox may be new as well.
        ensure!(new.len() <= 1, "layers that were not there before: {new:?}");
        Ok(())
    })?;

    // All there is of it now comes from the registry again.
    let fetched = registry.layer_requests();
    run_of(host, &image, &[], "twice")?.wait_ended(host, 0)?;
    ensure!(registry.layer_requests() == fetched + 1, "the layer was not fetched again");
    Ok(())
}

fn expect_image_gone(host: &Host, image: &str) -> TestResult {
    let listed = host.davit(["images", "-o", "json"])?.success()?.text();
    ensure!(!listed.contains(image), "the image is listed: {listed}");
    Ok(())
}

fn an_evicted_image_takes_its_slots_first(host: &mut Host) -> TestResult {
    // Room for two of the three images: each is about 15 MB, packed and unpacked.
    let settings = host.settings().text("images.cache_bytes_max", "75MiB");
    host.start_executor(&settings)?;
    let images = host.davit(["images", "-o", "json"])?.success()?;
    for image in Record::parse("images", &images.stdout)?.list("")? {
        host.davit(["image", "rm", image.text("/name")?])?.success()?;
    }
    let three = [12 << 20; 3].map(RegistryDouble::start);
    let three = three.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let oldest = three[0].image();
    run_of(host, &oldest, &[], "once")?.wait_ended(host, 0)?;
    let slots = await_slots_of(host, &oldest, 1)?;
    for registry in &three[1..] {
        host.davit(["pull", &registry.image()])?.success()?;
    }
    wait_for("the oldest image is evicted", Duration::from_secs(60), || {
        expect_image_gone(host, &oldest)
    })?;
    let traces = traces_of(host, &slots)?;
    ensure!(traces.is_empty(), "the image is evicted, and there is {traces:?}");
    for registry in &three[1..] {
        let listed = host.davit(["images", "-o", "json"])?.success()?.text();
        ensure!(listed.contains(&registry.image()), "a younger one was evicted: {listed}");
    }
    Ok(())
}

fn a_run_submitted_while_its_image_is_removed_runs_or_says_why(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let registry = RegistryDouble::start(1 << 20)?;
    let image = registry.image();
    let mut ran = 0;
    for meeting in 0..MEETINGS {
        run_of(host, &image, &[], "before")?.wait_ended(host, 0)?;
        await_warm_slots(host, 1)?;
        let policy = if meeting % 2 == 0 { "missing" } else { "never" };
        let word = format!("meeting {meeting}");
        let (removed, run) = thread::scope(|scope| {
            // Submitting takes longer than asking for a removal: the earlier half begins alone.
            let late = STAGGER * (meeting / 2);
            let host = &*host;
            let image = &image;
            let removing = scope.spawn(move || {
                thread::sleep(late);
                host.davit(["image", "rm", image])
            });
            let run = run_of(host, image, &["--pull", policy], &word);
            (removing.join(), run)
        });
        let removed = removed.ok().context("the remover panicked")??;
        if !removed.status.success() {
            expect_says(&removed.refused()?.error_text(), &[&image, "in use"])?;
        }
        ran += u32::from(ran_or_said_why(host, &run?, &image, &format!("{word}\n"))?);
    }
    ensure!(ran > 0, "none of {MEETINGS} ran");
    wait_for("the image goes", Duration::from_secs(30), || {
        // The last meeting may have removed it.
        host.davit(["image", "rm", &image])?;
        expect_image_gone(host, &image)
    })?;
    ensure!(slots_of(host, &image)?.is_empty(), "a slot outlives its image");
    Ok(())
}

/// Whether it ran; if not, it must name the image that was not here.
fn ran_or_said_why(host: &Host, run: &Run, image: &str, prints: &str) -> anyhow::Result<bool> {
    run.davit(host, "wait", &[])?;
    let record = run.inspect(host)?;
    if record.expect("/end_reason", "exited").is_ok() {
        record.expect("/exit_code", 0)?;
        let printed = run.stdout_text(host)?;
        ensure!(printed == prints, "it printed {printed:?}");
        return Ok(true);
    }
    record.expect("/status", "failed")?.expect("/end_reason", "image_pull_failed")?;
    ensure!(record.is_null("/exit_code"), "nothing ran: {record}");
    expect_says(record.text("/message")?, &[image, "never"])?;
    Ok(false)
}
