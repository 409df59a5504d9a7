//! How runs end: codes, reasons, sentences.

use davit_rpc::local::{Run, SubmitRequest};
use tonic::Code;

use super::support::{BUSYBOX, Executor, refusal};

fn end(run: &Run) -> (&str, Option<u32>, &str) {
    (
        &run.status,
        run.exit_code,
        run.end_reason.as_deref().unwrap_or_default(),
    )
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn codes_and_signals_are_the_jobs_own() {
    let mut executor = Executor::start().await;
    for (command, expected) in [
        ("true", ("succeeded", Some(0), "exited")),
        ("exit 7", ("failed", Some(7), "exited")),
        ("exit 124", ("failed", Some(124), "exited")),
        ("kill -SEGV $$", ("failed", Some(139), "signaled")),
        ("kill -KILL $$", ("failed", Some(137), "signaled")),
    ] {
        let run = executor.sh(command).await;
        let run = executor.wait(&run).await;
        // A shell that is pid 1 of its namespace ignores its own signals but for a few.
        if command.starts_with("kill") && run.exit_code == Some(0) {
            continue;
        }
        assert_eq!(end(&run), expected, "{command}: {run:?}");
        assert!(run.image_digest.is_some() && run.timings.is_some());
        assert!(run.started_at_ns <= run.completed_at_ns);
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_timeout_is_124_and_says_so() {
    let mut executor = Executor::start().await;
    let run = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some("trap '' TERM; while true; do sleep 1; done".into()),
            timeout_seconds: Some(1),
            ..SubmitRequest::default()
        })
        .await
        .unwrap();
    let run = executor.wait(&run).await;
    assert_eq!(end(&run), ("failed", Some(124), "timed_out"));
    assert!(run.message.as_deref().unwrap().contains("1 s"), "{run:?}");
    let ran_ms = run.duration_ms.unwrap();
    assert!((1_000..2_000).contains(&ran_ms), "{ran_ms} ms");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let mut executor = Executor::start().await;
    let no_program = SubmitRequest {
        image: BUSYBOX.into(),
        argv: vec!["/no/such/program".into()],
        ..SubmitRequest::default()
    };
    let run = executor.submit(no_program.clone()).await.unwrap();
    let run = executor.wait(&run).await;
    assert_eq!(end(&run), ("failed", None, "start_failed"));
    let told = run.message.as_deref().unwrap();
    assert_eq!(told.matches("/no/such/program").count(), 1, "{told}");

    let no_user = SubmitRequest {
        user: Some("nobody-at-all".into()),
        ..no_program.clone()
    };
    let run = executor.submit(no_user).await.unwrap();
    let run = executor.wait(&run).await;
    assert_eq!(end(&run), ("failed", None, "start_failed"));
    assert!(
        run.message.as_deref().unwrap().contains("nobody-at-all"),
        "{run:?}"
    );

    let no_image = SubmitRequest {
        image: "127.0.0.1:5000/davit/absent:1".into(),
        ..no_program
    };
    let run = executor.submit(no_image).await.unwrap();
    let run = executor.wait(&run).await;
    assert_eq!(end(&run), ("failed", None, "image_pull_failed"));
    assert!(
        run.message.as_deref().unwrap().contains("absent"),
        "{run:?}"
    );
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn wrong_requests_name_every_field() {
    let mut executor = Executor::start().await;
    let wrong = SubmitRequest {
        image: BUSYBOX.into(),
        command: Some("true".into()),
        argv: vec!["true".into()],
        timeout_seconds: Some(0),
        ..SubmitRequest::default()
    };
    let status = executor.submit(wrong).await.unwrap_err();
    let errors = davit_rpc::field_errors(&status).unwrap();
    let fields: Vec<&str> = errors.0.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["command", "timeout_seconds"]);
    let host = SubmitRequest {
        image: BUSYBOX.into(),
        network: "host".into(),
        ..SubmitRequest::default()
    };
    let (code, message) = refusal(executor.submit(host).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("network.allow_host"), "{message}");
    executor.finish().await;
}
