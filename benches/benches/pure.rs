//! Micro-benchmarks of the parts that touch no host: `cargo bench -p davit-benches`, or with a filter,
//! `cargo bench -p davit-benches -- log/`.
//!
//! They find what grew, not what davit is worth: that is `cargo xtask bench`. The log is written to memory
//! where there is a tmpfs, so that a disk's mood is not measured.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput};
use davit_executor::images::{ImageConfig, ImageName};
use davit_executor::oci::{Arch, Controllers, HostFacts, ResolvedUser, SpecContext, build};
use davit_lifecycle::{Event, State, step};
use davit_rundir::log::{LineSplitter, LogReader, LogWriter, Stream};
use davit_rundir::{FORMAT_VERSION, RunDir, SpecRecord, Stamp, StateRecord};
use davit_types::{Bytes, InstanceType, OciRuntime, Resources, RunId, RunRequest, RunSpec, Tenant};

/// What a pipe holds: the shim reads, splits and writes so much at once.
const BATCH_BYTES: usize = 64 * 1024;
const LINE: &[u8] = b"2026-11-21T08:00:00Z INFO worker: step 1234 of 5678 took 12.3 ms, loss 0.1234, rate 1e-4, ok and so\n";
const TMPFS: &str = "/dev/shm";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    log(&mut criterion);
    specs(&mut criterion);
    lifecycle(&mut criterion);
    records(&mut criterion);
    criterion.final_summary();
}

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Bytes(BATCH_BYTES as u64));
    let batch: Vec<u8> = LINE.iter().copied().cycle().take(BATCH_BYTES).collect();

    group.bench_function("split", |bencher| {
        bencher.iter(|| {
            let mut splitter = LineSplitter::new();
            let mut lines = 0;
            splitter.push(black_box(&batch), |line, _, _| {
                lines += black_box(line).len()
            });
            lines
        });
    });

    group.bench_function("split, encode, write", |bencher| {
        bencher.iter_batched_ref(
            new_log,
            |(_keep, _, writer)| write(writer, &batch),
            BatchSize::PerIteration,
        );
    });

    let (_keep, dir, mut writer) = new_log();
    write(&mut writer, &batch);
    group.bench_function("read, decode", |bencher| {
        bencher.iter(|| {
            let mut reader = LogReader::open(&dir, 0).expect("the log was just written");
            let mut records = 0;
            while let Some(record) = reader.next().expect("the log is whole") {
                records += black_box(record).line.len();
            }
            records
        });
    });
    group.finish();
}

fn new_log() -> (tempfile::TempDir, RunDir, LogWriter) {
    let keep = if Path::new(TMPFS).is_dir() {
        tempfile::tempdir_in(TMPFS)
    } else {
        tempfile::tempdir()
    };
    let keep = keep.expect("a directory can be made");
    let dir = RunDir::create(keep.path(), &spec_record()).expect("the run directory is new");
    let writer = LogWriter::create(&dir, 1 << 40).expect("the run has no log yet");
    (keep, dir, writer)
}

fn write(writer: &mut LogWriter, batch: &[u8]) {
    LineSplitter::new().push(batch, |line, newline, partial| {
        let appended = writer.append(Stream::Stdout, line, newline, partial, 1);
        appended.expect("memory takes it");
    });
    writer.flush().expect("memory takes it");
}

fn specs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spec");
    let (run, image, host) = (run(), image(), host());
    let user = ResolvedUser {
        uid: 1_000,
        gid: 1_000,
        additional_gids: vec![1_000, 44],
        home: Some("/home/app".into()),
    };
    let context = SpecContext {
        cgroups_path: "/davit/0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001.1",
        user: &user,
        user_namespace: true,
        controllers: Controllers::ALL,
        run_dir: Path::new("/var/lib/davit/runs/0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001.1"),
        host: &host,
    };
    group.bench_function("build", |bencher| {
        bencher.iter(|| build(black_box(&run), black_box(&image), &context));
    });
    let spec = build(&run, &image, &context).expect("the image names a program");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&spec)));
    });
    group.bench_function("parse a request", |bencher| {
        bencher.iter_batched(request, parse, BatchSize::SmallInput);
    });
    group.bench_function("parse an image reference", |bencher| {
        let text = "registry.example.com:5000/team/project/app:1.2.3";
        bencher.iter(|| ImageName::parse(black_box(text)));
    });
    group.finish();
}

fn lifecycle(criterion: &mut Criterion) {
    // All pairs, as `step` is a table: one of them alone would be folded away.
    criterion.bench_function("lifecycle/all steps", |bencher| {
        bencher.iter(|| {
            let mut actions = 0;
            for state in State::ALL {
                for event in Event::ALL {
                    actions += step(black_box(state), black_box(event)).actions.len();
                }
            }
            actions
        });
    });
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let (spec, state) = (spec_record(), state_record());
    group.bench_function("encode spec.json", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&spec)));
    });
    let text = serde_json::to_vec(&spec).expect("records are JSON");
    group.bench_function("decode spec.json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<SpecRecord>(black_box(&text)));
    });
    group.bench_function("encode state.json", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&state)));
    });
    let text = serde_json::to_vec(&state).expect("records are JSON");
    group.bench_function("decode state.json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<StateRecord>(black_box(&text)));
    });
    group.finish();
}

fn request() -> RunRequest {
    RunRequest {
        image: "registry.example.com/team/app:1".to_owned(),
        argv: ["python3", "-m", "train", "--steps", "1000"]
            .map(str::to_owned)
            .into(),
        ..RunRequest::default()
    }
}

fn parse(request: RunRequest) -> RunSpec {
    let small = InstanceType {
        slug: "small".into(),
        name: "Small".into(),
        resources: Resources {
            cpu_millis: 500,
            memory_bytes_max: Bytes::mib(512),
            pids_max: 256,
        },
        price_second_micros: 4,
        disk_bytes_max: None,
    };
    request
        .parse(
            RunId::generate(),
            Tenant::local(),
            &[small],
            OciRuntime::Crun,
        )
        .expect("the request is right")
}

fn run() -> RunSpec {
    parse(request())
}

fn image() -> ImageConfig {
    ImageConfig {
        user: "app".into(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cmd: vec!["python3".into()],
        workdir: Some("/work".into()),
        ..ImageConfig::default()
    }
}

fn host() -> HostFacts {
    HostFacts {
        arch: Arch::X86_64,
        hosts_file: Some("/var/lib/davit/hosts".into()),
        bridge_resolv_conf: None,
        resolv_conf: Some("/etc/resolv.conf".into()),
        nofile_max: 65_536,
        throttle_counters: Vec::new(),
        memlock_bytes_max: 8 << 20,
    }
}

fn spec_record() -> SpecRecord {
    SpecRecord {
        version: FORMAT_VERSION,
        accepted: Stamp::now(),
        spec: run(),
        scheduled: None,
    }
}

fn state_record() -> StateRecord {
    StateRecord {
        version: FORMAT_VERSION,
        key: run().key(),
        boot_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        shim_pid: 4_242,
        init_pid: 4_243,
        created: Stamp::now(),
        started: Some(Stamp::now()),
        timeout_ms: 3_600_000,
        deadline_boot_ns: Some(1 << 50),
        pauses: Vec::new(),
        kill: None,
        network_before: None,
    }
}
