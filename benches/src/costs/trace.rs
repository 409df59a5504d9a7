//! What strace wrote down: which thread was which program when, and its system calls.
//!
//! A thread begins as the program of the thread that cloned it; execve makes it another one. A program
//! that executes itself again (`/proc/self/exe`) keeps its name; one executed by a descriptor (`/proc/self/fd/N`) is
//! named by its first argument.

use std::collections::BTreeMap;

/// Stands for the program of a container's first process, whatever it is at the moment.
pub(crate) const CONTAINER: &str = "container";

/// Whose costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// `davit executor serve`.
    Executor,
    /// davit's shim.
    Shim,
    /// crun, and whatever else is started on the way, containers' first processes apart.
    Runtime,
    /// containerd.
    Containerd,
    /// A container's first process, from its birth on: what sets it up inside, waits, and becomes the job.
    Container,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [
        Self::Executor,
        Self::Shim,
        Self::Runtime,
        Self::Containerd,
        Self::Container,
    ];

    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Executor => "executor",
            Self::Shim => "shim",
            Self::Runtime => "runtime",
            Self::Containerd => "containerd",
            Self::Container => "container",
        }
    }

    fn of_program(program: &str) -> Self {
        match program {
            "davit" => Self::Executor,
            "containerd-shim-davit-v1" => Self::Shim,
            "containerd" => Self::Containerd,
            CONTAINER => Self::Container,
            _ => Self::Runtime,
        }
    }
}

/// All that was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Times each system call was made.
    calls: BTreeMap<Role, BTreeMap<String, u64>>,
    execs: BTreeMap<Role, u64>,
    processes: BTreeMap<Role, u64>,
}

impl Counts {
    /// System calls in all.
    pub(crate) fn syscalls(&self, role: Role) -> u64 {
        self.calls(role).map(|(_, count)| count).sum()
    }

    /// Times a process became such a program.
    pub(crate) fn execs(&self, role: Role) -> u64 {
        self.execs.get(&role).copied().unwrap_or(0)
    }

    /// Processes that became such a program, once or several times.
    pub(crate) fn processes(&self, role: Role) -> u64 {
        self.processes.get(&role).copied().unwrap_or(0)
    }

    /// Each system call and how often it was made.
    pub(crate) fn calls(&self, role: Role) -> impl Iterator<Item = (&str, u64)> {
        let calls = self.calls.get(&role).into_iter().flatten();
        calls.map(|(name, count)| (name.as_str(), *count))
    }
}

/// The traces of all threads.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// Program at the beginning of its trace, as far as known.
    programs: BTreeMap<u32, String>,
    events: BTreeMap<u32, Vec<Event>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Call(String),
    /// It made that thread or process.
    Cloned {
        call: String,
        child: u32,
        /// In a pid namespace of its own: a container begins.
        contained: bool,
    },
    /// It became that program.
    Became {
        call: String,
        path: String,
    },
}

impl Traces {
    /// Of threads that are programs already.
    pub(crate) fn of_threads(programs: BTreeMap<u32, String>) -> Self {
        Self {
            programs,
            events: BTreeMap::new(),
        }
    }

    /// The trace of one thread.
    pub(crate) fn add(&mut self, thread: u32, text: &str) {
        let events = text.lines().filter_map(parse).collect();
        self.events.insert(thread, events);
    }

    /// Counts, following clones from the threads that were known.
    pub(crate) fn count(mut self) -> Counts {
        let mut counts = Counts::default();
        let mut known: Vec<(u32, String)> =
            std::mem::take(&mut self.programs).into_iter().collect();
        while let Some((thread, mut program)) = known.pop() {
            let mut executed = None;
            for event in self.events.remove(&thread).unwrap_or_default() {
                let call = match event {
                    Event::Call(call) => call,
                    Event::Cloned {
                        call,
                        child,
                        contained,
                    } => {
                        let program = if contained { CONTAINER } else { &program };
                        known.push((child, program.to_owned()));
                        call
                    }
                    Event::Became { call, path } => {
                        program = name_of(&path, &program);
                        let role = Role::of_program(&program);
                        *counts.execs.entry(role).or_default() += 1;
                        executed = Some(role);
                        call
                    }
                };
                let calls = counts.calls.entry(Role::of_program(&program)).or_default();
                *calls.entry(call).or_default() += 1;
            }
            if let Some(role) = executed {
                *counts.processes.entry(role).or_default() += 1;
            }
        }
        counts
    }
}

/// The name of the program at `path`, executed by `program`.
fn name_of(path: &str, program: &str) -> String {
    match path.rsplit('/').next() {
        _ if program == CONTAINER => program.to_owned(),
        Some(name) if !path.starts_with("/proc/") && !name.is_empty() => name.to_owned(),
        _ => program.to_owned(),
    }
}

/// `name(arguments) = result`: anything else in a trace is a signal or an end.
fn parse(line: &str) -> Option<Event> {
    let (name, rest) = line.split_once('(')?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let call = name.to_owned();
    let result = rest.rsplit_once(" = ").map(|(_, result)| result);
    Some(match name {
        "clone" | "clone3" | "fork" | "vfork" => match result.and_then(child) {
            Some(child) => Event::Cloned {
                call,
                child,
                contained: rest.contains("CLONE_NEWPID"),
            },
            None => Event::Call(call),
        },
        "execve" | "execveat" if result == Some("0") => {
            let mut quoted = rest.split('"').skip(1).step_by(2);
            let path = quoted.next().unwrap_or_default();
            // Executed by a descriptor: what it calls itself tells.
            let path = match quoted.next() {
                Some(called) if path.starts_with("/proc/self/fd/") => called,
                _ => path,
            };
            let path = path.to_owned();
            Event::Became { call, path }
        }
        _ => Event::Call(call),
    })
}

/// `1234`, or `2 /* 1234 in strace's PID NS */` from inside a pid namespace.
fn child(result: &str) -> Option<u32> {
    let outside = result.split_once("/* ").map(|(_, comment)| comment);
    let number = outside.unwrap_or(result).split(' ').next()?;
    number.parse().ok().filter(|child| *child > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_calls_clones_or_programs() {
        let call = |name: &str| Some(Event::Call(name.to_owned()));
        assert_eq!(parse("read(3, \"a(b) = c\", 5) = 5"), call("read"));
        assert_eq!(parse("exit_group(0) = ?"), call("exit_group"));
        assert_eq!(parse("clone(x) = -1 EAGAIN (Try again)"), call("clone"));
        assert_eq!(parse("execve(\"/x\", []) = -1 ENOENT (No)"), call("execve"));
        assert_eq!(parse("--- SIGCHLD {si_signo=SIGCHLD} ---"), None);
        assert_eq!(parse("+++ exited with 0 +++"), None);
        let cloned = |child| {
            Some(Event::Cloned {
                call: "clone3".to_owned(),
                child,
                contained: false,
            })
        };
        assert_eq!(parse("clone3({flags=0}, 88) = 77"), cloned(77));
        let inside = "clone3({flags=0}, 88) = 2 /* 78 in strace's PID NS */";
        assert_eq!(parse(inside), cloned(78));
        let became = Event::Became {
            call: "execve".to_owned(),
            path: "/usr/bin/crun".to_owned(),
        };
        let line = "execve(\"/usr/bin/crun\", [\"crun\", \"create\"], 0x7 /* 3 vars */) = 0";
        assert_eq!(parse(line), Some(became.clone()));
        let line =
            "execve(\"/proc/self/fd/9\", [\"/usr/bin/crun\", \"create\"], 0x7 /* 3 vars */) = 0";
        assert_eq!(parse(line), Some(became));
    }

    #[test]
    fn calls_go_to_the_program_that_a_thread_is_then() {
        let mut traces = Traces::of_threads(BTreeMap::from([(1, "containerd".to_owned())]));
        traces.add(1, "clone(child) = 2\nread(0) = 1\n");
        traces.add(
            2,
            "dup2(1, 2) = 2\nexecve(\"/opt/containerd-shim-davit-v1\", []) = 0\nvfork() = 3\n",
        );
        traces.add(3, "execve(\"/usr/bin/crun\", []) = 0\nexecve(\"/proc/self/fd/9\", [\"crun\"]) = 0\nclone3({flags=CLONE_NEWNS|CLONE_NEWPID}, 88) = 4\n");
        traces.add(
            4,
            "setsid() = 1\nexecve(\"/payload\", []) = 0\nwrite(1) = 1\n",
        );
        traces.add(9, "nobody(1) = 1\n");
        let counts = traces.count();
        let syscalls: Vec<u64> = Role::ALL.map(|role| counts.syscalls(role)).to_vec();
        assert_eq!(syscalls, [0, 2, 3, 3, 3]);
        let execs: Vec<u64> = Role::ALL.map(|role| counts.execs(role)).to_vec();
        assert_eq!(execs, [0, 1, 2, 0, 1]);
        let processes: Vec<u64> = Role::ALL.map(|role| counts.processes(role)).to_vec();
        assert_eq!(processes, [0, 1, 1, 0, 1]);
    }
}
