//! What is collected, and what never is, from trees that were made to mislead.

use super::*;
use crate::files::hashed::hex;
use sha2::{Digest, Sha256};
use std::os::unix::fs::symlink;

/// A root file system that needs no overlay, and where things are kept.
struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/work")).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn collect(&self, from: &[&str], bytes_max: u64, halt: &Halt) -> Vec<Extracted> {
        self.collect_told(from, bytes_max, halt, watch::Sender::default())
    }

    fn collect_told(
        &self,
        from: &[&str],
        bytes_max: u64,
        halt: &Halt,
        progress: watch::Sender<Progress>,
    ) -> Vec<Extracted> {
        let extract = |from: &&str| ExtractPath {
            from: (*from).to_owned(),
            to: "to".to_owned(),
        };
        let order = Order {
            extracts: from.iter().map(extract).collect(),
            workdir: "/work".to_owned(),
            mounts: vec![Mount {
                r#type: "bind".into(),
                source: self.root().display().to_string(),
                target: String::new(),
                options: Vec::new(),
            }],
            keep_in: self.dir.path().join("run/files"),
            bytes_max: Bytes(bytes_max),
            progress,
        };
        collect(&order, halt)
    }

    fn one(&self, from: &str) -> Extracted {
        self.collect(&[from], 1 << 20, &Halt::new()).remove(0)
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.dir.path().join("run/files"))
            .unwrap()
            .count()
    }
}

#[test]
fn files_and_directories_are_kept_with_their_digests() {
    let run = Run::new();
    fs::write(run.root().join("work/f"), "hello").unwrap();
    let kept = run.collect(&["f", ".", "/work/f"], 1 << 20, &Halt::new());
    let statuses: Vec<_> = kept.iter().map(|one| (one.status, one.kind)).collect();
    let file = (ExtractStatus::Ok, Some(ExtractKind::File));
    let directory = (ExtractStatus::Ok, Some(ExtractKind::Directory));
    assert_eq!(statuses, [file, directory, file]);
    assert_eq!((kept[0].bytes, run.kept()), (5, 3));
    let told = hex(Sha256::new().chain_update("hello"));
    assert_eq!(kept[0].sha256.as_ref(), Some(&told));
    let stored = fs::read(run.dir.path().join("run/files/1.tar")).unwrap();
    let told = hex(Sha256::new().chain_update(&stored));
    assert_eq!(kept[1].sha256.as_ref(), Some(&told));
    assert_eq!(kept[1].bytes, stored.len() as u64);
}

#[test]
fn links_lead_to_the_containers_own_files() {
    let run = Run::new();
    fs::create_dir(run.root().join("etc")).unwrap();
    fs::write(run.root().join("etc/passwd"), "the container's").unwrap();
    symlink("/etc/passwd", run.root().join("work/out")).unwrap();
    symlink("../../../../../../etc/passwd", run.root().join("work/up")).unwrap();
    let told = hex(Sha256::new().chain_update("the container's"));
    for from in ["out", "up", "../../../etc/passwd"] {
        assert_eq!(run.one(from).sha256.as_ref(), Some(&told), "{from}");
    }
    symlink("/etc/shadow", run.root().join("work/no")).unwrap();
    assert_eq!(run.one("no").status, ExtractStatus::Missing);
    symlink("loop", run.root().join("work/loop")).unwrap();
    assert_eq!(run.one("loop").status, ExtractStatus::Error);
}

#[test]
fn what_cannot_be_kept_says_why_and_leaves_nothing() {
    let run = Run::new();
    let says = |from: &str, status: ExtractStatus, because: &str| {
        let told = run.one(from);
        let message = told.message.unwrap_or_default();
        assert!(
            told.status == status && message.contains(because),
            "{from}: {message}"
        );
        assert_eq!((told.kind, told.sha256, run.kept()), (None, None, 0));
    };
    says(
        "absent",
        ExtractStatus::Missing,
        "/work/absent was not there",
    );
    says("/tmp/out", ExtractStatus::Missing, "/tmp");
    says("/dev/shm/x", ExtractStatus::Missing, "/dev");
    std::os::unix::net::UnixListener::bind(run.root().join("work/s")).unwrap();
    says("s", ExtractStatus::Error, "neither a file nor a directory");
    fs::write(run.root().join("work/big"), vec![0; 2 << 20]).unwrap();
    says(
        "big",
        ExtractStatus::Error,
        "files.extract_bytes_max = 1MiB",
    );
    let mut deep = run.root().join("deep");
    for _ in 0..140 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    says("/deep", ExtractStatus::Error, "deeper than 128");
    // Special files in a directory are left out, and told of.
    let told = run.one("/work");
    assert_eq!(told.status, ExtractStatus::Error, "it has the big one");
    fs::remove_file(run.root().join("work/big")).unwrap();
    let told = run.one("/work");
    assert_eq!(told.status, ExtractStatus::Ok);
    assert!(told.message.unwrap().contains("1 of its files"));
}

#[test]
fn the_bound_is_for_all_of_them_and_a_cancel_ends_it() {
    let run = Run::new();
    fs::write(run.root().join("work/f"), vec![1; 300_000]).unwrap();
    let kept = run.collect(&["f", "f", "f", "f"], 1 << 20, &Halt::new());
    let ok = kept.iter().filter(|one| one.status == ExtractStatus::Ok);
    assert_eq!((ok.count(), run.kept()), (3, 3));
    let halt = Halt::new();
    halt.cancel();
    let kept = run.collect(&["f"], 1 << 20, &halt);
    assert!(kept[0].message.as_ref().unwrap().contains("canceled"));
    assert_eq!(run.kept(), 0);
}

#[test]
fn what_is_told_of_can_be_read() {
    let run = Run::new();
    for name in ["a", "b"] {
        fs::write(run.root().join("work").join(name), vec![7; 9 << 20]).unwrap();
    }
    let (progress, mut told) = watch::channel(Progress::default());
    let files = run.dir.path().join("run/files");
    let reading = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(async {
            let (mut seen, mut last) = (0, Progress::default());
            while told.changed().await.is_ok() {
                let now = *told.borrow_and_update();
                assert!(now.at > last.at || now.at == last.at && now.bytes >= last.bytes);
                if now.bytes > 0 {
                    assert_eq!(now.kind, Some(ExtractKind::Directory));
                    let length = fs::metadata(kept_path(&files, now.at)).unwrap().len();
                    assert!(now.bytes <= length, "{now:?} of {length}");
                    seen += 1;
                }
                last = now;
            }
            (seen, last)
        })
    });
    run.collect_told(&[".", "/work"], 64 << 20, &Halt::new(), progress);
    let (seen, last) = reading.join().unwrap();
    // How often depends on who is quicker, what was told last does not.
    assert!(seen > 0 && last.at == 1, "{seen} {last:?}");
    assert!((17 << 20..19 << 20).contains(&last.bytes), "{last:?}");
}
