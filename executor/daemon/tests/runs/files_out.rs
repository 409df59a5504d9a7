//! Files out of a run: what is kept of them, whatever the end, and what never is.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use davit_rpc::local::{
    ExtractPath, Extracted, FilesDownload, FilesPart, ReapRequest, Run, SubmitRequest,
    files_client::FilesClient,
};
use tonic::{Code, Status, Streaming};

use super::support::{BUSYBOX, Executor, WAIT, output, reference};

fn job(command: &str, from: &[&str]) -> SubmitRequest {
    let extracts = from.iter().enumerate().map(|(at, from)| ExtractPath {
        from: (*from).to_owned(),
        to: format!("to-{at}"),
    });
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        extracts: extracts.collect(),
        ..SubmitRequest::default()
    }
}

async fn ended(executor: &mut Executor, request: SubmitRequest) -> Run {
    let run = executor.submit(request).await.unwrap();
    executor.wait(&run).await
}

async fn parts(
    executor: &Executor,
    run: &Run,
    index: u32,
    follow: bool,
) -> Result<Streaming<FilesPart>, Status> {
    let request = FilesDownload {
        run: run.id.clone(),
        index,
        follow,
    };
    let mut files = FilesClient::new(executor.channel());
    Ok(files.download(request).await?.into_inner())
}

async fn download(executor: &Executor, run: &Run, index: u32) -> Result<Vec<u8>, Status> {
    let mut parts = parts(executor, run, index, false).await?;
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        bytes.extend(part.data);
    }
    Ok(bytes)
}

/// The members of an archive, and what files hold or links point to.
fn members(tar: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            text = format!("-> {}", target.display());
        }
        let path = entry.path().unwrap().display().to_string();
        found.insert(path, text);
    }
    found
}

fn one(run: &Run) -> &Extracted {
    assert_eq!(run.extracts.len(), 1, "{run:?}");
    &run.extracts[0]
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn files_come_out_whatever_the_end() {
    let mut executor = Executor::start().await;
    for (command, timeout, end) in [
        ("echo x > /out; exit 0", None, (Some(0), "exited")),
        ("echo x > /out; exit 3", None, (Some(3), "exited")),
        ("echo x > /out; sleep 60", Some(1), (Some(124), "timed_out")),
    ] {
        let request = SubmitRequest {
            timeout_seconds: timeout,
            ..job(command, &["/out"])
        };
        let run = ended(&mut executor, request).await;
        assert_eq!((run.exit_code, run.end_reason.as_deref().unwrap()), end);
        let told = one(&run);
        assert_eq!(
            (told.status.as_str(), told.kind.as_str(), told.bytes),
            ("ok", "file", 2)
        );
        // Of "x\n".
        let sha = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac";
        assert_eq!(told.sha256.as_deref(), Some(sha));
        let tar = download(&executor, &run, 0).await.unwrap();
        assert_eq!(members(&tar), [("out".to_owned(), "x\n".to_owned())].into());
    }
    // A user's cancel is an end as any other.
    let run = executor
        .submit(job("echo x > /out; echo up; sleep 60", &["/out"]))
        .await
        .unwrap();
    executor.wait_logged(&run, 1).await;
    let run = executor
        .client
        .cancel(reference(&run))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(run.end_reason.as_deref(), Some("canceled"));
    assert_eq!(one(&run).status, "ok");
    // What never began has none.
    let request = SubmitRequest {
        user: Some("nobody-at-all".into()),
        ..job("true", &["/out"])
    };
    assert!(ended(&mut executor, request).await.extracts.is_empty());
    // They go with the run, and by every name for it.
    let dir = Path::new(&run.run_dir).join("files");
    assert!(dir.join("0.tar").exists());
    executor.wait_clean().await;
    executor.client.remove(reference(&run)).await.unwrap();
    assert!(!dir.exists());
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_directory_is_what_the_job_saw_at_its_end() {
    let mut executor = Executor::start().await;
    let command = "mkdir -p out/a/b && cd out && echo 1 > a/b/f && ln -s /etc/passwd l && mkfifo p && \
                   rm /etc/group && mv /etc/passwd /etc/moved && rm -r /root && mkdir /root && echo r > /root/n";
    let request = SubmitRequest {
        workdir: Some("/data".into()),
        ..job(command, &["out", "/etc", "/root"])
    };
    let run = ended(&mut executor, request).await;
    assert_eq!(run.exit_code, Some(0), "{run:?}");
    let out = &run.extracts[0];
    assert_eq!(
        (out.status.as_str(), out.kind.as_str()),
        ("ok", "directory")
    );
    let told = out.message.as_deref().unwrap();
    assert!(
        told.contains("1 of its files") && told.ends_with('p'),
        "{told}"
    );
    let tar = download(&executor, &run, 0).await.unwrap();
    assert_eq!(tar.len() as u64, out.bytes);
    let wanted = [
        ("a/", ""),
        ("a/b/", ""),
        ("a/b/f", "1\n"),
        ("l", "-> /etc/passwd"),
    ];
    let wanted = wanted.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(members(&tar), wanted.into());
    // Merged with the image's: what was removed is gone, what was moved is there under its new name.
    let etc = members(&download(&executor, &run, 1).await.unwrap());
    assert!(
        !etc.contains_key("group") && !etc.contains_key("passwd"),
        "{etc:?}"
    );
    assert!(etc["moved"].contains("root"), "{etc:?}");
    let root = members(&download(&executor, &run, 2).await.unwrap());
    assert_eq!(root, [("n".to_owned(), "r\n".to_owned())].into());
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_link_leads_to_the_containers_files_and_never_to_the_hosts() {
    let mut executor = Executor::start().await;
    let host = Path::new("/var/lib/davit-test-host-file");
    std::fs::write(host, "the host's").unwrap();
    let command = "echo mine > /etc/passwd; ln -s /etc/passwd /abs; ln -s ../../../../etc/passwd /up; \
                   ln -s /var/lib/davit-test-host-file /host; ln -s /tmp/x /mem; echo 1 > /tmp/x; ln -s /proc/self/root/etc/shadow /magic";
    let from = [
        "/abs",
        "/up",
        "/../../etc/passwd",
        "/host",
        "/mem",
        "/tmp/x",
        "/magic",
        "/absent",
    ];
    let run = ended(&mut executor, job(command, &from)).await;
    std::fs::remove_file(host).unwrap();
    let statuses: Vec<&str> = run.extracts.iter().map(|one| one.status.as_str()).collect();
    let missing = ["missing"; 5];
    assert_eq!(statuses, [&["ok"; 3][..], &missing].concat(), "{run:#?}");
    for at in 0..3 {
        let tar = download(&executor, &run, at).await.unwrap();
        assert!(members(&tar).values().all(|text| text == "mine\n"));
    }
    assert!(run.extracts[5].message.as_deref().unwrap().contains("/tmp"));
    let refused = download(&executor, &run, 3).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let none = download(&executor, &run, 8).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_is_too_large_is_an_error_and_takes_no_room() {
    let mut executor = Executor::start_with_file_bounds("1000 3 1000000").await;
    // A sparse file of a terabyte is a terabyte when it is written out.
    let command = "dd if=/dev/zero of=/bomb bs=1M seek=1000000 count=1 2>/dev/null; echo small > /small; dd if=/dev/zero of=/big bs=1k count=990 2>/dev/null";
    let run = ended(&mut executor, job(command, &["/bomb", "/small", "/big"])).await;
    let statuses: Vec<&str> = run.extracts.iter().map(|one| one.status.as_str()).collect();
    assert_eq!(statuses, ["error", "ok", "error"], "{run:#?}");
    for at in [0, 2] {
        let told = run.extracts[at].message.as_deref().unwrap();
        assert!(told.contains("files.extract_bytes_max"), "{told}");
    }
    let kept = std::fs::read_dir(Path::new(&run.run_dir).join("files")).unwrap();
    assert_eq!(kept.count(), 1);
    assert_eq!(run.exit_code, Some(0));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_executor_killed_while_it_collects_collects_again() {
    let mut executor = Executor::start().await;
    let command = "dd if=/dev/urandom of=/big bs=1M count=64 2>/dev/null; sha256sum /big; echo up; sleep 0.1; exit 6";
    let run = executor
        .submit(job(command, &["/big", "/absent"]))
        .await
        .unwrap();
    let kept = Path::new(&run.run_dir).join("files/0.tar");
    let begin = Instant::now();
    while std::fs::metadata(&kept).map_or(0, |meta| meta.len()) == 0 {
        assert!(begin.elapsed() < WAIT, "nothing is collected");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    executor.kill();
    let end = Path::new(&run.run_dir).join("end.json");
    assert!(!end.exists(), "it was killed too late to tell");
    executor.restart().await;
    let (records, run) = executor.follow(&run, 0).await;
    assert_eq!(run.exit_code, Some(6), "{run:?}");
    let said = String::from_utf8(output(&records, "stdout")).unwrap();
    let told = &run.extracts[0];
    assert_eq!(told.status, "ok", "{run:?}");
    assert_eq!(told.sha256.as_deref(), said.split_whitespace().next());
    assert_eq!(run.extracts[1].status, "missing");
    // The mount that was read from went with its executor.
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&run.id), "{mounts}");
    let reaped = ReapRequest {
        age_seconds: Some(0),
    };
    let reaped = executor.client.reap(reaped).await.unwrap().into_inner();
    assert_eq!((reaped.snapshots, reaped.run_dirs), (0, 0), "{reaped:?}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn who_reads_along_has_the_files_while_they_are_collected() {
    let mut executor = Executor::start().await;
    let command = "mkdir /out; dd if=/dev/urandom of=/out/large bs=1M count=192 2> /dev/null; \
                   echo small > /small; echo up; sleep 2";
    let request = job(command, &["/out", "/small", "/absent"]);
    let run = executor.submit(request).await.unwrap();
    // Nothing of it yet: not without waiting.
    let refused = parts(&executor, &run, 0, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let refused = parts(&executor, &run, 3, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");

    let mut along = parts(&executor, &run, 0, true).await.unwrap();
    let first = along.message().await.unwrap().unwrap();
    assert_eq!(first.kind, "directory");
    let mut meanwhile = executor.client.clone();
    let now = meanwhile.get(reference(&run)).await.unwrap();
    let now = now.into_inner();
    assert_eq!(now.status, "running", "it was not collected any more");
    let (mut bytes, mut sha256) = (first.data, String::new());
    while let Some(part) = along.message().await.unwrap() {
        bytes.extend(part.data);
        sha256 = part.sha256;
    }
    let run = executor.wait(&run).await;
    assert_eq!(run.extracts[0].sha256.as_deref(), Some(sha256.as_str()));
    assert_eq!(run.extracts[0].bytes, bytes.len() as u64);
    assert!(bytes == download(&executor, &run, 0).await.unwrap());
    // Too late to read along, it is as without.
    let mut late = parts(&executor, &run, 1, true).await.unwrap();
    let part = late.message().await.unwrap().unwrap();
    assert_eq!(part.kind, "file");
    let refused = parts(&executor, &run, 2, true).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn who_reads_along_is_told_when_it_comes_to_nothing() {
    let mut executor = Executor::start_with_file_bounds("1000 3 4000000").await;
    let command = "dd if=/dev/zero of=/large bs=1M count=64 2> /dev/null; sleep 2";
    let run = executor.submit(job(command, &["/large"])).await.unwrap();
    let mut along = parts(&executor, &run, 0, true).await.unwrap();
    let told = loop {
        match along.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half of it ended as if it was whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), Code::FailedPrecondition, "{told}");
    executor.finish().await;
}
