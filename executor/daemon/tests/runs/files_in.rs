//! Files into a run: what its job finds, and what is refused.

use std::time::{Duration, Instant};

use davit_rpc::local::{
    FilesEnd, FilesReply, FilesUpload, Run, SubmitRequest, files_client::FilesClient,
    files_reply::Reply, files_upload::Part,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::support::{BUSYBOX, Executor, WAIT, output};

/// An upload that the test feeds piece by piece.
struct Upload {
    run: Run,
    send: mpsc::Sender<FilesUpload>,
    replies: Streaming<FilesReply>,
}

impl Upload {
    async fn begin(executor: &Executor, request: SubmitRequest) -> Result<Self, Status> {
        let (send, messages) = mpsc::channel(64);
        send.send(part(Part::Submit(request))).await.unwrap();
        let answer = FilesClient::new(executor.channel())
            .submit(ReceiverStream::new(messages))
            .await?;
        let mut replies = answer.into_inner();
        let first = replies.message().await?.unwrap();
        let Some(Reply::Accepted(run)) = first.reply else {
            panic!("{first:?}");
        };
        Ok(Self { run, send, replies })
    }

    async fn data(&self, data: &[u8]) {
        // An upload that nobody wants any more is the test's to notice by its end.
        drop(self.send.send(part(Part::Data(data.to_vec()))).await);
    }

    /// Ends it and returns what is told of it.
    async fn finish(mut self, bytes: usize) -> Result<(Run, u64), Status> {
        let end = FilesEnd {
            bytes: bytes as u64,
        };
        drop(self.send.send(part(Part::End(end))).await);
        match self.replies.message().await?.unwrap().reply {
            Some(Reply::Taken(taken)) => Ok((self.run, taken.files)),
            other => panic!("{other:?}"),
        }
    }
}

fn part(part: Part) -> FilesUpload {
    FilesUpload { part: Some(part) }
}

fn shell(command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        ..SubmitRequest::default()
    }
}

/// A run with `tar` in its working directory; its output, and the run once it has ended.
pub async fn with(executor: &mut Executor, request: SubmitRequest, tar: &[u8]) -> (String, Run) {
    let upload = Upload::begin(executor, request).await.unwrap();
    for piece in tar.chunks(100_000) {
        upload.data(piece).await;
    }
    let run = upload.run.clone();
    // Of one that is refused the run's end tells.
    drop(upload.finish(tar.len()).await);
    let (records, ended) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    (text, ended)
}

/// Writes members with names that the `tar` crate would refuse to write.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, name: &str, kind: tar::EntryType, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, mode: u32, data: &str) -> Self {
        self.add(name, tar::EntryType::Regular, mode, "", data.as_bytes())
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(name, tar::EntryType::Symlink, 0o777, target, b"")
    }

    pub fn done(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_job_finds_its_files_where_it_begins_and_they_are_its_users() {
    let mut executor = Executor::start().await;
    let tar = Tar::default()
        .file("greeting", 0o640, "hello")
        .file("sub/deep/run", 0o6755, "#!/bin/sh\necho ran\n")
        .add("dir", tar::EntryType::Directory, 0o700, "", b"")
        .link("link", "sub/deep/run")
        .add("hard", tar::EntryType::Link, 0, "greeting", b"")
        .done();
    let look = "pwd; cat greeting; echo; ./link; stat -c '%n %u:%g %a %Y' greeting sub/deep/run dir hard; \
                stat -c '%u:%g' . sub; echo more > dir/new && cat dir/new";
    for (user, workdir, owner) in [
        (None, None, "0:0"),
        (Some("1000:2000"), None, "1000:2000"),
        (Some("1000:2000"), Some("/srv/made/here"), "1000:2000"),
    ] {
        let request = SubmitRequest {
            user: user.map(str::to_owned),
            workdir: workdir.map(str::to_owned),
            ..shell(look)
        };
        let (text, ended) = with(&mut executor, request, &tar).await;
        let time = 1_700_000_000;
        let wanted = format!(
            "{}\nhello\nran\ngreeting {owner} 640 {time}\nsub/deep/run {owner} 755 {time}\ndir {owner} 700 {time}\n\
             hard {owner} 640 {time}\n{owner}\n{owner}\nmore\n",
            workdir.unwrap_or("/work"),
        );
        assert_eq!(text, wanted, "{ended:?}");
        assert!(ended.files_in && ended.exit_code == Some(0), "{ended:?}");
    }
    // What the image has there stays, with its owner; a read-only root has the files too.
    let request = SubmitRequest {
        workdir: Some("/etc".into()),
        read_only_root: true,
        user: Some("1000".into()),
        ..shell("stat -c %u:%a /etc; test -s passwd && cat greeting; ! touch x 2>&1")
    };
    let (text, ended) = with(&mut executor, request, &tar).await;
    assert!(text.starts_with("0:755\nhello"), "{text} {ended:?}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_archive_that_tries_to_get_out_makes_no_job() {
    let mut executor = Executor::start().await;
    let escaped = std::path::Path::new("/var/lib/davit-escaped");
    let device = Tar::default().add("dev", tar::EntryType::Block, 0o666, "", b"");
    for (tar, member, because) in [
        (Tar::default().file("../up", 0o644, "x"), "`../up`", "`..`"),
        (
            Tar::default().file("/var/lib/davit-escaped", 0o644, "x"),
            "`/var/lib/davit-escaped`",
            "absolute",
        ),
        (
            Tar::default()
                .link("a", "/var/lib")
                .file("a/davit-escaped", 0o644, "x"),
            "`a/davit-escaped`",
            "symbolic link",
        ),
        (
            Tar::default().add("h", tar::EntryType::Link, 0, "../../etc/passwd", b""),
            "`h`",
            "`..`",
        ),
        (
            Tar::default().add("h", tar::EntryType::Link, 0, "etc/passwd", b""),
            "`h`",
            "not before it",
        ),
        (device, "`dev`", "device"),
    ] {
        let (text, ended) = with(&mut executor, shell("echo ran"), &tar.done()).await;
        assert_eq!(text, "");
        assert_eq!(ended.end_reason.as_deref(), Some("start_failed"));
        let told = ended.message.unwrap();
        assert!(told.contains(member) && told.contains(because), "{told}");
        assert!(!escaped.exists());
    }
    // An image's links lead nowhere but into the image: `workdir` goes by way of one that the job would see.
    let hidden = SubmitRequest {
        workdir: Some("/tmp/x".into()),
        ..shell("echo ran")
    };
    let (text, ended) = with(&mut executor, hidden, &Tar::default().done()).await;
    assert_eq!(text, "");
    assert!(ended.message.unwrap().contains("/tmp"));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn too_much_is_refused_by_the_name_of_the_bound() {
    let mut executor = Executor::start_with_file_bounds("1000 3 1000000").await;
    let many = Tar::default()
        .file("a", 0o644, "")
        .file("b", 0o644, "")
        .file("c", 0o644, "");
    let (text, _) = with(&mut executor, shell("ls"), &many.0.clone()).await;
    assert_eq!(text, "a\nb\nc\n");
    let too_many = many.file("d", 0o644, "").done();
    let too_large = Tar::default().file("a", 0o644, &"x".repeat(1_001)).done();
    for (tar, bound) in [
        (too_many, "files.upload_files_max = 3 files"),
        (too_large, "files.upload_bytes_max = 1000 bytes"),
    ] {
        let (text, ended) = with(&mut executor, shell("echo ran"), &tar).await;
        assert_eq!(text, "");
        let told = ended.message.unwrap();
        assert!(told.contains(bound), "{told}");
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_does_not_arrive_whole_makes_no_job() {
    let mut executor = Executor::start().await;
    let tar = Tar::default()
        .file("a", 0o644, "1")
        .file("b", 0o644, "2")
        .done();
    // The caller goes away.
    let upload = Upload::begin(&executor, shell("echo ran")).await.unwrap();
    upload.data(&tar[..1_500]).await;
    let Upload { run, send, replies } = upload;
    drop(send);
    let (records, ended) = executor.follow(&run, 0).await;
    assert!(records.is_empty());
    assert_eq!(ended.end_reason.as_deref(), Some("start_failed"));
    let told = ended.message.unwrap();
    assert!(told.contains("broke off after 1500 bytes"), "{told}");
    drop(replies);
    // It goes away without a word.
    let upload = Upload::begin(&executor, shell("echo ran")).await.unwrap();
    upload.data(&tar).await;
    let run = upload.run.clone();
    drop(upload);
    let (records, ended) = executor.follow(&run, 0).await;
    assert!(records.is_empty());
    assert!(ended.message.unwrap().contains("broke off after"));
    // It says that there was more.
    let upload = Upload::begin(&executor, shell("echo ran")).await.unwrap();
    upload.data(&tar).await;
    let run = upload.run.clone();
    let refused = upload.finish(tar.len() + 1).await.unwrap_err();
    assert!(refused.message().contains("said to be sent"), "{refused:?}");
    assert!(executor.follow(&run, 0).await.0.is_empty());
    // What is wrong with the request is told before any file is sent.
    let wrong = SubmitRequest {
        workdir: Some("relative".into()),
        ..shell("echo ran")
    };
    assert!(Upload::begin(&executor, wrong).await.is_err());
    // Nor does a run without its image want them; whoever sends them hears why.
    let no_image = SubmitRequest {
        image: "127.0.0.1:5000/davit/absent:1".into(),
        ..shell("echo ran")
    };
    let upload = Upload::begin(&executor, no_image).await.unwrap();
    upload.data(&tar).await;
    let refused = upload.finish(tar.len()).await.unwrap_err();
    assert!(refused.message().contains("davit/absent"), "{refused:?}");
    // A cancel does not wait for what never comes.
    let upload = Upload::begin(&executor, shell("echo ran")).await.unwrap();
    upload.data(&tar[..512]).await;
    let begin = Instant::now();
    let run = upload.run.clone();
    let request = super::support::reference(&run);
    let ended = executor.client.cancel(request).await.unwrap().into_inner();
    assert_eq!(ended.end_reason.as_deref(), Some("canceled"));
    assert!(begin.elapsed() < WAIT);
    drop(upload);
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_executor_killed_amid_an_upload_begins_no_job() {
    let mut executor = Executor::start().await;
    let warm = executor.sh("true").await;
    executor.wait(&warm).await;
    let tar = Tar::default().file("a", 0o644, "1").done();
    for (delay_ms, whole) in [
        (0, false),
        (40, false),
        (0, true),
        (5, true),
        (15, true),
        (30, true),
        (60, true),
    ] {
        let request = shell("cat a; sleep 0.2; exit 5");
        let upload = Upload::begin(&executor, request).await.unwrap();
        upload.data(&tar[..600]).await;
        let run = upload.run.clone();
        if whole {
            upload.data(&tar[600..]).await;
            let end = FilesEnd {
                bytes: tar.len() as u64,
            };
            drop(upload.send.send(part(Part::End(end))).await);
        }
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        executor.kill_and_restart().await;
        let (records, ended) = executor.follow(&run, 0).await;
        let text = output(&records, "stdout");
        match ended.end_reason.as_deref() {
            // All files were in their places, and the job had them.
            Some("exited") => assert!(whole && text == b"1" && ended.exit_code == Some(5)),
            Some("start_failed") => {
                let told = ended.message.unwrap();
                assert!(told.contains("went with the executor"), "{told}");
                assert_eq!(text, b"");
            }
            other => panic!("killed after {delay_ms} ms, {whole}: {other:?} {ended:?}"),
        }
    }
    executor.finish().await;
}
