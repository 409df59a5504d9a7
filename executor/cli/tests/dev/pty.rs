//! A terminal of a test's own, and a `davit` on it whose controlling terminal it is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::rest::WAIT;

/// Between two looks at something awaited.
const LOOK_MS: u64 = 20;

pub(crate) struct Pty {
    master: File,
    /// Kept open: a terminal that nobody has open loses what was written to it.
    slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    /// Held while nothing is read.
    resting: Arc<AtomicBool>,
}

/// A `davit` on a terminal; what it says on standard error is apart.
pub(crate) struct OnPty {
    process: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    pub(crate) fn new(rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(name, flags, Mode::empty()).unwrap();
        let master = File::from(master);
        let resting = Arc::new(AtomicBool::new(false));
        let seen = gathered(master.try_clone().unwrap(), Arc::clone(&resting));
        let pty = Self {
            master,
            slave,
            seen,
            resting,
        };
        pty.resize(rows, columns);
        pty
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// From now on nobody looks at it, or somebody does again.
    pub(crate) fn rests(&self, resting: bool) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    pub(crate) fn types(&self, bytes: &[u8]) {
        (&self.master).write_all(bytes).unwrap();
    }

    /// Types for as long as it takes: who does not read what is typed holds up nobody here.
    pub(crate) fn types_aside(&self, bytes: Vec<u8>) {
        let mut master = self.master.try_clone().unwrap();
        // The end of the terminal may come before that of what is typed.
        std::thread::spawn(move || drop(master.write_all(&bytes)));
    }

    /// All that was shown.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen()).into_owned()
    }

    /// Waits until `text` was shown.
    pub(crate) fn shows(&self, text: &str) {
        let begin = Instant::now();
        while !self.text().contains(text) {
            assert!(begin.elapsed() < WAIT, "no {text:?}: {:?}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(LOOK_MS));
        }
    }

    /// How it is set.
    pub(crate) fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    /// `command` with this terminal, and in the session that it controls.
    pub(crate) fn spawn(&self, command: &Command) -> OnPty {
        let end = || Stdio::from(self.slave.try_clone().unwrap());
        let mut process = Command::new("/usr/bin/setsid")
            .env_clear()
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(end())
            .stdout(end())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = gathered(process.stderr.take().unwrap(), Arc::default());
        OnPty { process, said }
    }
}

impl OnPty {
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            if begin.elapsed() > WAIT {
                self.process.kill().unwrap();
                panic!("it does not end: {}", self.said());
            }
            std::thread::sleep(std::time::Duration::from_millis(LOOK_MS));
        }
    }
}

impl Drop for OnPty {
    fn drop(&mut self) {
        // Ended already where the test went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn gathered(
    mut source: impl Read + Send + 'static,
    resting: Arc<AtomicBool>,
) -> Arc<Mutex<Vec<u8>>> {
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let all = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // A terminal whose other end nobody has open any more is an error.
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            all.lock().unwrap().extend(&buffer[..count]);
            while resting.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(LOOK_MS));
            }
        }
    });
    seen
}
