//! Where runs live: all processes of this machine are looked at again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pause between two looks.
const LOOK_MS: u64 = 10;

/// What a marked run was seen in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Pid namespaces: one an attempt.
    pub(crate) places: BTreeSet<PathBuf>,
    /// The most of them at once.
    pub(crate) at_once: usize,
}

/// A run is marked by a word of its command that is nowhere else.
pub(crate) struct Watch {
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
    stop: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(marks: &[String]) -> Self {
        let seen: BTreeMap<_, _> = marks.iter().map(|m| (m.clone(), Seen::default())).collect();
        let (seen, stop) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicBool::new(false)));
        let (book, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let looking = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                look(&mut book.lock().unwrap());
                thread::sleep(Duration::from_millis(LOOK_MS));
            }
        });
        Self {
            seen,
            stop,
            looking: Some(looking),
        }
    }

    pub(crate) fn of(&self, mark: &str) -> Seen {
        self.seen.lock().unwrap()[mark].clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let looked = self.looking.take().map(JoinHandle::join);
        assert!(
            looked.is_none_or(|looked| looked.is_ok()),
            "the watch failed"
        );
    }
}

fn look(book: &mut BTreeMap<String, Seen>) {
    let mut now: BTreeMap<&String, BTreeSet<PathBuf>> = BTreeMap::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        // Most are no processes, or end while they are looked at.
        let Ok(command) = fs::read(path.join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).into_owned();
        let Some(mark) = book.keys().find(|mark| command.contains(*mark)) else {
            continue;
        };
        if let Ok(place) = fs::read_link(path.join("ns/pid")) {
            now.entry(mark).or_default().insert(place);
        }
    }
    let now: Vec<_> = now
        .into_iter()
        .map(|(mark, places)| (mark.clone(), places))
        .collect();
    for (mark, places) in now {
        let seen = book.get_mut(&mark).unwrap();
        seen.at_once = seen.at_once.max(places.len());
        seen.places.extend(places);
    }
}
