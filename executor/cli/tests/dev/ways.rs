//! The way to a console through the scheduler: input whole, replicas that send elsewhere, redirects, breaks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::consoles::fed;
use crate::place::{Dev, IMAGE, davit};
use crate::pty::Pty;
use crate::terminals::{By, beside, idle, text};

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn standard_input_reaches_scheduled_jobs_and_processes_beside_them() {
    let dev = Dev::start();
    let input: &'static [u8] = Vec::leak((0..1_u32 << 18).flat_map(u32::to_le_bytes).collect());
    let run = By::Server.run(&dev, &["-i"], "cat; exit 4");
    let output = fed(run, input);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );

    let run = idle(&dev, By::Server);
    let exec = ["exec", "-i", &run, "sh", "-c", "cat; echo err >&2; exit 7"];
    let output = fed(dev.command(&exec), input);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );
    assert_eq!(output.stderr, b"err\n");
    let output = beside(
        &dev,
        By::Server,
        &["-w", "/tmp", "-u", "7:8", &run, "sh", "-c", "pwd; id -u"],
    );
    assert_eq!(text(&output.stdout), "/tmp\n7\n");
    for (arguments, words) in [
        (&[run.as_str(), "nosuchprogram"][..], "nosuchprogram"),
        (&["-e", "1A=b", &run, "true"], "1A"),
        (&["01a00000-0000-7000-8000-000000000000", "true"], "run"),
    ] {
        let output = beside(&dev, By::Server, arguments);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(words), "{words}: {said}");
    }
    // Without input it is not typed at.
    let output = dev.command(&["attach", "-i", &run]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("without stdin"), "{output:?}");
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_runners_run_has_input_files_and_a_terminal() {
    let dev = Dev::start();
    let create = ["runner", "create", "reader", "--type", "small", "--image"];
    let job = [IMAGE, "--shell", "cat - in.txt; exit 4"];
    let created = dev.command(&[&create[..], &job].concat()).output().unwrap();
    assert!(created.status.success(), "{created:?}");
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("in.txt"), "from outside\n").unwrap();
    let files = files.path().to_str().unwrap();
    let run = |more: &[&str]| dev.command(&[&["runner", "run", "reader"], more].concat());
    let output = fed(run(&["-i", "--dir", files]), b"typed\n");
    assert_eq!(text(&output.stdout), "typed\nfrom outside\n", "{output:?}");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));

    let pty = Pty::new(33, 101);
    let ask = "test -t 0 && echo all; read x; stty size; echo \"<$x>\"; exit 5";
    let mut process = pty.spawn(&run(&["-it", "--shell", ask]));
    pty.shows("all\r\n");
    pty.types(b"typed\r");
    pty.shows("33 101\r\n");
    pty.shows("<typed>");
    assert_eq!(process.code(), Some(5), "{}", process.said());

    for wrong in [["--dir", "-"], ["--secret", "a=-"]] {
        let output = fed(run(&[&["-i"], &wrong[..]].concat()), b"");
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("standard input"), "{wrong:?}: {said}");
    }
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_ends_with_the_way_to_it() {
    let mut dev = Dev::start();
    let run = idle(&dev, By::Server);
    let begun = |dev: &Dev| {
        let pty = Pty::new(10, 20);
        let exec = ["exec", &run, "sh", "-c", "echo up; sleep 600"];
        let process = pty.spawn(&dev.command(&exec));
        pty.shows("up");
        process
    };
    // No word of the protocol is a signal: the process ends with its connection.
    let mut process = begun(&dev);
    process.signal(Signal::TERM);
    assert_eq!(process.code(), Some(143), "{}", process.said());
    let mut process = begun(&dev);
    dev.kill_and_restart();
    assert_eq!(process.code(), Some(125));
    let said = process.said();
    assert!(said.contains("console") && said.contains("over"), "{said}");
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}

/// What a replica says that has not the run's host.
const ELSEWHERE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    content-length: 104\r\n\r\n\
    {\"type\":\"urn:davit:problem:elsewhere\",\"title\":\"Elsewhere\",\"status\":503,\"detail\":\"repeat until it comes\"}";

/// Before a scheduler: answers the first `refused` connections that ask for a console with `answer`, and passes on the rest.
fn before(scheduler: SocketAddr, refused: usize, answer: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        // Open, so that who asks again on the same one waits for ever: that is the same replica.
        let mut held = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let console = text(&head).contains("/exec?");
            if console && count.fetch_add(1, Ordering::Relaxed) < refused {
                client.write_all(answer.as_bytes()).unwrap();
                held.push(client);
                continue;
            }
            let mut server = TcpStream::connect(scheduler).unwrap();
            server.write_all(&head).unwrap();
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut up, &mut server));
            std::thread::spawn(move || std::io::copy(&mut down, &mut client));
        }
    });
    (address, asked)
}

fn exec_at(dev: &Dev, address: SocketAddr, run: &str) -> Command {
    let mut command = Command::new(davit());
    command
        .env_clear()
        .args(["--server", &format!("http://{address}"), "--token-file"])
        .arg(dev.path().join("token"))
        .args(["exec", run, "sh", "-c", "echo there; exit 6"]);
    command
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn who_is_sent_elsewhere_asks_again_and_who_is_redirected_goes_nowhere() {
    let dev = Dev::start();
    let run = idle(&dev, By::Server);
    let (address, asked) = before(dev.client.address, 3, ELSEWHERE.to_owned());
    let output = exec_at(&dev, address, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "there\n");
    // Each over a connection of its own, or it would come to the same replica.
    assert_eq!(asked.load(Ordering::Relaxed), 4);

    let (address, asked) = before(dev.client.address, usize::MAX, ELSEWHERE.to_owned());
    let output = exec_at(&dev, address, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr).contains("repeat until it comes"),
        "{output:?}"
    );
    assert!(asked.load(Ordering::Relaxed) > 10);

    // A token goes nowhere else.
    let (other, followed) = before(dev.client.address, 0, String::new());
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{other}/v1/runs/{run}/exec?command=true\r\n\
         content-length: 0\r\n\r\n"
    );
    let (address, _) = before(dev.client.address, 1, redirect);
    let output = exec_at(&dev, address, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("307"), "{output:?}");
    assert_eq!(followed.load(Ordering::Relaxed), 0);
    dev.local(&["cancel", &run]).output().unwrap();
    dev.finish();
}
