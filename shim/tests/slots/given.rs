//! A slot that is given a run, from assignment to end.

use containerd_shim_protos::api;
use davit_rundir::{ControlError, ControlErrorCode, ControlReply, ControlRequest, KillReason};
use davit_rundir::{SlotReply, SlotRequest};
use davit_types::{EndReason, ExitStatus};

use crate::host::{Host, assignment, control, end_of, output_of};
use crate::line::Line;
use crate::making::UID;
use crate::support::code;

fn assign(host: &Host, request: &SlotRequest) -> SlotReply {
    Line::connect(&host.slot_socket()).ask(request).unwrap()
}

/// The refusal of an assignment, which costs the slot.
async fn refused(host: &Host, request: &SlotRequest) -> ControlError {
    let SlotReply::Error(error) = assign(host, request) else {
        panic!("{request:?} was not refused");
    };
    assert!(!host.slot_socket().exists(), "it can be asked again");
    host.delete().await;
    error
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn it_is_a_run_like_any_other() {
    let host = Host::slot().await;
    assert_eq!(host.status().await, api::Status::CREATED);
    let error = host.start_by_containerd().await;
    assert_eq!(code(error), ttrpc::Code::FAILED_PRECONDITION);
    let run = host.run_for_slot();
    let script = "echo $1 $HOSTNAME $(hostname) $(id -u) $(pwd) $HOME; \
                  echo $(ls /proc/self/fd); readlink /proc/self/exe; echo to stderr >&2; exit 3";
    let assigned = assignment(&run, &["sh", "-c", script, "sh", "first"]);
    let mut line = Line::connect(&host.slot_socket());
    let reply = line.ask(&SlotRequest::Assign(Box::new(assigned)));
    let Some(SlotReply::Assigned(state)) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!((state.key, state.init_pid), (run.key(), host.created_pid));
    assert_eq!((state.started, state.deadline_boot_ns), (None, None));
    assert_eq!(run.read_state().unwrap().as_ref(), Some(&*state));
    assert!(!host.slot_socket().exists());
    assert!(line.closes(), "there is nothing more to be said");
    assert_eq!(host.status().await, api::Status::CREATED);

    let before_us = host.cpu_us();
    assert!(before_us > 0, "making a container takes time");
    let reply = control(&run, &ControlRequest::Start);
    let ControlReply::State(started) = reply else {
        panic!("{reply:?}");
    };
    let begun = started.started.unwrap();
    let deadline = begun.boot_ns + 20_000_000_000;
    assert_eq!(started.deadline_boot_ns, Some(deadline));

    let end = end_of(&run);
    assert_eq!(end.status, ExitStatus::Code(3));
    assert_eq!(end.end_reason, EndReason::Exited);
    assert_eq!(end.started, Some(begun));
    // The job pays for itself alone, but for the moment in which the init went to sleep.
    let own_us = host.cpu_us() - before_us;
    assert!(
        end.usage.cpu_us.abs_diff(own_us) < before_us / 2,
        "{} instead of {own_us} µs, after {before_us} for the container",
        end.usage.cpu_us
    );
    // ls itself has the directory open as its third.
    let output = output_of(&run);
    let expected = format!("first job-7 job-7 {UID} /work /\n0 1 2 3\n/bin/busybox\nto stderr\n");
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&output), sorted(&expected));
    host.delete().await;
    assert!(!run.socket_path().exists());
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn starting_twice_answers_the_same() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let state = host.begin(&run, &["sleep", "60"]);
    let again = control(&run, &ControlRequest::Start);
    assert_eq!(again, ControlReply::State(Box::new(state)));
    assert_eq!(host.status().await, api::Status::RUNNING);
    let cancelled = control(&run, &ControlRequest::Cancel);
    assert!(matches!(cancelled, ControlReply::State(_)));
    assert_eq!(end_of(&run).end_reason, EndReason::Canceled);
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn pause_and_deadline_are_kept() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    host.begin(&run, &["sleep", "60"]);
    let ControlReply::State(paused) = control(&run, &ControlRequest::Pause) else {
        panic!("not paused");
    };
    assert!(paused.is_paused());
    control(&run, &ControlRequest::Resume);
    control(&run, &ControlRequest::Extend { timeout_ms: 300 });
    let end = end_of(&run);
    assert_eq!(end.end_reason, EndReason::TimedOut);
    assert_eq!(end.pauses.len(), 1);
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_program_that_cannot_be_executed_is_named() {
    for (program, why) in [
        ("nope", "executable `nope` not found in PATH"),
        ("./text", "permission denied: `./text`"),
    ] {
        let host = Host::slot().await;
        let run = host.run_for_slot();
        let assigned = SlotRequest::Assign(Box::new(assignment(&run, &[program])));
        assert!(matches!(assign(&host, &assigned), SlotReply::Assigned(_)));
        let reply = control(&run, &ControlRequest::Start);
        let ControlReply::Error(error) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(error.code, ControlErrorCode::Failed);
        assert_eq!(error.message, why);
        let end = end_of(&run);
        assert_eq!(end.started, None);
        assert_eq!(end.status, ExitStatus::Code(127));
        assert_eq!(end.usage.wall_ms, 0);
        host.delete().await;
    }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn long_arguments_and_a_large_environment_arrive() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let long = "ä".repeat(8_000);
    let mut assigned = assignment(&run, &["sh", "-c", "echo ${#1} ${#LARGE}", "sh", &long]);
    assigned.env.push(format!("LARGE={}", "y".repeat(100_000)));
    let many = (0..500).map(|number| format!("V{number}={}", "z".repeat(100)));
    assigned.env.extend(many);
    let assigned = SlotRequest::Assign(Box::new(assigned));
    assert!(matches!(assign(&host, &assigned), SlotReply::Assigned(_)));
    control(&run, &ControlRequest::Start);
    assert_eq!(end_of(&run).status, ExitStatus::Code(0));
    assert_eq!(output_of(&run), "16000 100000\n");
    host.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_not_for_this_slot_is_refused_and_costs_it() {
    let host = Host::slot().await;
    let run = host.run_for(None, &host.id);
    let request = SlotRequest::Assign(Box::new(assignment(&run, &["true"])));
    let error = refused(&host, &request).await;
    assert!(error.message.contains("a container of its own"), "{error}");

    let host = Host::slot().await;
    let run = host.run_for(Some(host.slot_id()), "elsewhere");
    let request = SlotRequest::Assign(Box::new(assignment(&run, &["true"])));
    let error = refused(&host, &request).await;
    assert!(error.message.contains("elsewhere"), "{error}");

    let host = Host::slot().await;
    let run = host.run_for_slot();
    let first = Host::slot().await;
    let used = first.run_for_slot();
    first.begin(&used, &["sleep", "60"]);
    run.write_state(&used.read_state().unwrap().unwrap())
        .unwrap();
    let request = SlotRequest::Assign(Box::new(assignment(&run, &["true"])));
    let error = refused(&host, &request).await;
    assert!(error.message.contains("was used before"), "{error}");
    control(&used, &ControlRequest::Cancel);
    end_of(&used);
    first.delete().await;
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_cannot_be_told_to_an_init_is_refused_before_anything_is_made() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let request = SlotRequest::Assign(Box::new(assignment(&run, &[])));
    let error = refused(&host, &request).await;
    assert_eq!(error.code, ControlErrorCode::OutOfRange);
    assert_eq!(run.read_state().unwrap(), None);

    let host = Host::slot().await;
    let run = host.run_for_slot();
    let mut assigned = assignment(&run, &["true"]);
    assigned.hostname = "x".repeat(65);
    let request = SlotRequest::Assign(Box::new(assigned));
    assert_eq!(
        refused(&host, &request).await.code,
        ControlErrorCode::OutOfRange
    );
    let files = std::fs::read_dir(run.path()).unwrap().count();
    assert_eq!(files, 1, "only launch.json");
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_is_cancelled_before_its_program_was_begun() {
    let host = Host::slot().await;
    let run = host.run_for_slot();
    let request = SlotRequest::Assign(Box::new(assignment(&run, &["true"])));
    assert!(matches!(assign(&host, &request), SlotReply::Assigned(_)));
    control(&run, &ControlRequest::Cancel);
    let end = end_of(&run);
    assert_eq!((end.started, end.end_reason), (None, EndReason::Canceled));
    let state = run.read_state().unwrap().unwrap();
    assert_eq!(state.kill, Some(KillReason::Canceled));
    let late = control(&run, &ControlRequest::Start);
    assert!(matches!(late, ControlReply::Error(_)), "{late:?}");
    host.delete().await;
}
