//! Every file in `scenarios/` is a story: hosts and runs come and go, and what the engine answers is written beside it.
//!
//! A story is read line by line; `#` begins a comment. Times are milliseconds unless they end in `s` or `m`.
//!
//! ```text
//! rules seed=1 reserve_after=30s quarantine=3 window=60s probe_after=30s      first, or not at all
//! host NAME [region=R] [cpu=4] [memory=8GiB] [pids=1000] [disk=100GiB] [images=a,b] [labels=k:v,…] [state=…]
//! state HOST online|draining|offline|remote
//! remove HOST            image HOST +IMAGE|-IMAGE          warm RUNNER HOST
//! weight TENANT N        cap RUNNER N|none
//! run NAME [tenant=T] [runner=R] [cap=N] [priority=50] [cpu=1] [memory=1GiB] [pids=10] [disk=0] [region=R]
//!          [executors=a,b] [labels=k:v,…] [excluded=a,b] [image=I] [attempt=1]
//! runs N NAME …          NAME1 … NAMEn, as run
//! adopt NAME HOST …      as run
//! at TIME                the clock; never back
//! place [N]              a round, N assignments at most
//! end NAME               started NAME         failed NAME
//! refused WORDS… : LINE  the line is refused, in a sentence that holds the words
//! expect NAME… on HOST[,HOST…]        each is live on one of them
//! expect NAME… waits                  each is in the queue
//! expect NAME… waits: WORDS…          and the reason told holds the words
//! expect NAME is N ahead              so many go first
//! expect HOST holds N                 so many live runs
//! expect HOST stands online|draining|offline|remote|quarantined|probing
//! expect HOST kept for NAME|nobody    whom it is reserved for
//! would WORDS… : LINE    the run of the line, if it was submitted: the words told
//! ```

mod line;
mod story;

use std::fs;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(&dir).expect("the directory of scenarios is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it is readable").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_scenario_ends_as_it_says() {
    let files = files();
    assert!(files.len() >= 10, "where are they? {files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a scenario is text");
        if let Err(error) = story::tell(&text) {
            wrong.push(format!("{}:{error}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_wrong_scenario_says_where_and_what() {
    for (text, error) in [
        (
            "host a\nhots b",
            "2: `hots` is no command; did you mean `host`?",
        ),
        (
            "host a cpu=4 colour=red",
            "1: host: no key `colour`; there are region, cpu, memory, pids, disk, images, labels, state",
        ),
        ("host a cpu=lots", "1: cpu=lots: not a number"),
        (
            "host a memory=5XB",
            "1: memory=5XB: `5XB` is not a byte count; write digits with an optional unit, e.g. 512MiB",
        ),
        ("host a\n\nrun r\nrun r", "4: the name r is taken"),
        ("end r", "1: no run is called r"),
        ("at 5s\nat 4s", "2: time goes back, from 5000 ms to 4000 ms"),
        (
            "host a\nrun r\nplace\nexpect r waits",
            "4: r does not wait: assigned to a",
        ),
        (
            "run r\nplace\nexpect r on a",
            "3: r is not on a: no host is known",
        ),
        (
            "run r\nexpect r waits: too large",
            "2: r waits, but not for that: no host is known",
        ),
        ("host a\nrefused taken: host a", "2: not refused: host a"),
        ("end", "1: end: a name is missing"),
        ("host a\nexpect a stands tall", "2: a stands online"),
        ("host a\nrules seed=1", "2: rules come first"),
    ] {
        assert_eq!(story::tell(text), Err(error.to_owned()), "{text}");
    }
}
