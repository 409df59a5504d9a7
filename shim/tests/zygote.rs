//! The process that shims are forked from, asked over its socket as the executor asks.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::api;
use davit_rundir::{ZYGOTE_MESSAGE_BYTES_MAX, ZygoteReply, ZygoteRequest, bundle_link};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use rustix::process::{Pid, Signal};
use support::{Fixture, PATIENCE, client, patience, wait_for, wait_for_or_say};

struct Zygote {
    process: Child,
    control: OwnedFd,
}

impl Zygote {
    fn start() -> Self {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        // The shell leaves a descriptor open for it to inherit.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 7</dev/zero; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_containerd-shim-davit-v1"))
            .args(["-namespace", "test", "-address", "/none", "zygote"])
            .env_remove("TTRPC_ADDRESS")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self {
            process: command.spawn().unwrap(),
            control: ours,
        }
    }

    fn send(&self, message: &[u8]) {
        rustix::net::send(&self.control, message, SendFlags::NOSIGNAL).unwrap();
    }

    fn answer(&self) -> (ZygoteReply, Option<OwnedFd>) {
        let mut fds = [PollFd::new(&self.control, PollFlags::IN)];
        let bound = Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(poll(&mut fds, Some(&bound)).unwrap(), 1, "no answer");
        let mut bytes = [0; ZYGOTE_MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.control,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        (
            serde_json::from_slice(&bytes[..received.bytes]).unwrap(),
            fd,
        )
    }

    fn ask(&self, id: &str, socket: &Path) -> (ZygoteReply, Option<OwnedFd>) {
        let request = ZygoteRequest {
            id: id.to_owned(),
            socket: socket.to_owned(),
        };
        self.send(&serde_json::to_vec(&request).unwrap());
        self.answer()
    }

    fn spawn(&self, id: &str, socket: &Path) -> Shim {
        match self.ask(id, socket) {
            (ZygoteReply::Spawned { pid }, Some(pidfd)) => Shim {
                pid,
                pidfd,
                socket: socket.to_owned(),
            },
            other => panic!("no shim: {other:?}"),
        }
    }

    fn refusal(&self) -> String {
        match self.answer() {
            (ZygoteReply::Failed { problem }, None) => problem,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A forked shim; killed at the latest with the test.
struct Shim {
    pid: u32,
    pidfd: OwnedFd,
    socket: PathBuf,
}

impl Shim {
    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    async fn answers(&self) {
        // In an event loop of its own, with whose end the client's connection is gone for certain.
        let socket = self.socket.clone();
        let asked = std::thread::spawn(move || {
            let mut event_loop = tokio::runtime::Builder::new_current_thread();
            let event_loop = event_loop.enable_all().build().unwrap();
            event_loop.block_on(async {
                let request = api::ConnectRequest::default();
                let client = client(&socket).await;
                client.connect(patience(), &request).await.unwrap()
            })
        });
        assert_eq!(asked.join().unwrap().shim_pid, self.pid);
        // Whose socket it is can be asked of the socket.
        let stream = std::os::unix::net::UnixStream::connect(&self.socket).unwrap();
        let peer = rustix::net::sockopt::socket_peercred(&stream).unwrap();
        assert_eq!(peer.pid.as_raw_nonzero().get().cast_unsigned(), self.pid);
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _gone = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

fn request<T: Default>(change: impl FnOnce(&mut T)) -> T {
    let mut request = T::default();
    change(&mut request);
    request
}

#[tokio::test(flavor = "current_thread")]
async fn shims_outlive_the_zygote_and_the_zygote_goes_with_the_executor() {
    let dir = tempfile::tempdir().unwrap();
    let mut zygote = Zygote::start();
    let first = zygote.spawn("a", &dir.path().join("a"));
    let second = zygote.spawn("b", &dir.path().join("b"));
    first.answers().await;
    second.answers().await;
    zygote.process.kill().unwrap();
    zygote.process.wait().unwrap();
    first.answers().await;
    second.answers().await;

    // One that nobody kills ends when the executor's end of the socket is closed.
    let mut zygote = Zygote::start();
    let third = zygote.spawn("c", &dir.path().join("c"));
    let (replacement, _other) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    drop(std::mem::replace(&mut zygote.control, replacement));
    assert!(zygote.process.wait().unwrap().success());
    third.answers().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_forked_shim_serves_one_task_and_ends_with_it() {
    let fixture = Fixture::new("echo out; exit 3");
    let zygote = Zygote::start();
    let socket = fixture.bundle().with_file_name("shim");
    let shim = zygote.spawn(&fixture.id, &socket);
    let client = client(&socket).await;
    let id = fixture.id.clone();
    let create = fixture.create_request();
    client.create(patience(), &create).await.unwrap();
    assert_eq!(
        fs::read_link(bundle_link(&socket)).unwrap(),
        fixture.bundle()
    );
    let start = request(|start: &mut api::StartRequest| start.id.clone_from(&id));
    client.start(patience(), &start).await.unwrap();
    let wait = request(|wait: &mut api::WaitRequest| wait.id.clone_from(&id));
    let end = client.wait(patience(), &wait).await.unwrap();
    assert_eq!(end.exit_status, 3);
    assert!(!shim.has_ended());
    let delete = request(|delete: &mut api::DeleteRequest| delete.id.clone_from(&id));
    let deleted = client.delete(patience(), &delete).await.unwrap();
    assert_eq!(deleted.exit_status, 3, "the answer came before the end");
    wait_for("the shim's end", || shim.has_ended()).await;
    assert!(!socket.exists() && fs::read_link(bundle_link(&socket)).is_err());
    // Reaped by the zygote.
    wait_for("its reaping", || {
        !Path::new(&format!("/proc/{}", shim.pid)).exists()
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_create_that_fails_is_the_end_of_a_forked_shim() {
    let fixture = Fixture::new("exit 0");
    fs::write(fixture.bundle().join("fail-create"), "").unwrap();
    let zygote = Zygote::start();
    let socket = fixture.bundle().with_file_name("shim");
    let shim = zygote.spawn(&fixture.id, &socket);
    let client = client(&socket).await;
    let refused = client.create(patience(), &fixture.create_request()).await;
    assert!(
        format!("{refused:?}").contains("no such thing"),
        "{refused:?}"
    );
    wait_for("the shim's end", || shim.has_ended()).await;
    assert!(!socket.exists());
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_be_done_is_refused_and_the_next_request_served() {
    let dir = tempfile::tempdir().unwrap();
    let zygote = Zygote::start();
    zygote.send(b"{");
    assert!(zygote.refusal().contains("not understood"));
    zygote.send(&[b' '; ZYGOTE_MESSAGE_BYTES_MAX + 1]);
    assert!(zygote.refusal().contains("longer than"));
    let problem = |(reply, fd): (ZygoteReply, Option<OwnedFd>)| match reply {
        ZygoteReply::Failed { problem } if fd.is_none() => problem,
        other => panic!("{other:?}"),
    };
    let outside = problem(zygote.ask("../a", &dir.path().join("a")));
    assert!(outside.contains("file name"), "{outside}");
    let relative = problem(zygote.ask("a", Path::new("a")));
    assert!(relative.contains("absolute"), "{relative}");
    let nowhere = problem(zygote.ask("a", Path::new("/proc/none/a")));
    assert!(nowhere.contains("/proc/none"), "{nowhere}");

    let shim = zygote.spawn("a", &dir.path().join("a"));
    let twice = problem(zygote.ask("a", &dir.path().join("a")));
    assert!(twice.contains("living shim"), "{twice}");
    shim.answers().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_forked_shim_has_its_own_descriptors_session_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let zygote = Zygote::start();
    let socket = dir.path().join("own");
    let elder = zygote.spawn("elder", &dir.path().join("elder"));
    elder.answers().await;
    let shim = zygote.spawn("own", &socket);
    shim.answers().await;
    let open = |pid: u32| -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        // One that is closed between the two looks is none.
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets
            .map(|target| target.to_string_lossy().into_owned())
            .collect()
    };
    let sockets = |of: &[String]| -> BTreeSet<String> {
        let sockets = of.iter().filter(|target| target.starts_with("socket:"));
        sockets.cloned().collect()
    };
    // As many as its elder, once the answered connections are gone, and no socket of its or the zygote's.
    let alone = || {
        let (own, elder) = (open(shim.pid), open(elder.pid));
        let parent = open(zygote.process.id());
        let apart = [&elder, &parent]
            .iter()
            .all(|other| sockets(&own).is_disjoint(&sockets(other)));
        if apart && own.len() == elder.len() && !own.contains(&"/dev/zero".to_owned()) {
            Ok(())
        } else {
            Err((own, elder, parent))
        }
    };
    wait_for_or_say("descriptors of its own alone", alone).await;
    let pid = Pid::from_raw(shim.pid.cast_signed()).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
    let shown = fs::read_to_string(format!("/proc/{}/cmdline", shim.pid)).unwrap();
    let words: Vec<_> = shown.split('\0').take(6).collect();
    let expected = [
        "containerd-shim-davit-v1",
        "-id",
        "own",
        "daemon",
        "-namespace",
        "test",
    ];
    assert_eq!(words, expected);
}

#[tokio::test(flavor = "current_thread")]
async fn a_create_that_is_taken_back_is_waited_for_and_deleted() {
    let fixture = Fixture::new("exit 0");
    let zygote = Zygote::start();
    let socket = fixture.bundle().with_file_name("shim");
    let shim = zygote.spawn(&fixture.id, &socket);
    let client = client(&socket).await;
    let create = fixture.create_request();
    let id = fixture.id.clone();
    let delete = request(|delete: &mut api::DeleteRequest| delete.id.clone_from(&id));
    // As containerd does when its own client has gone: it does not wait for the one before it sends the other.
    let (created, deleted) = tokio::join!(
        client.create(patience(), &create),
        client.delete(patience(), &delete),
    );
    created.unwrap();
    deleted.unwrap();
    wait_for("the shim's end", || shim.has_ended()).await;

    // And one that never came.
    let shim = zygote.spawn(&fixture.id, &socket);
    let client = support::client(&socket).await;
    let deleted = client.delete(patience(), &delete).await;
    assert_eq!(support::code(deleted), ttrpc::Code::NOT_FOUND);
    wait_for("the shim's end", || shim.has_ended()).await;
}
