//! A store, an object store that fails on demand, and logs over both; short words for lines.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use davit_scheduler::logs::{
    LogError, LogPage, LogRecord, LogSettings, LogStream, Logs, ObjectSettings, Receipt,
    open_objects,
};
use davit_scheduler::store::{Done, Event, Sender, StoreSettings};
use davit_types::RunKey;
use object_store::ObjectStore;
use tempfile::TempDir;

use crate::faulty::Faulty;
use crate::world::{Peer, World, end, segment, update};

pub(crate) struct Book {
    pub(crate) world: World,
    pub(crate) logs: Logs,
    pub(crate) objects: Arc<Faulty>,
    _dir: TempDir,
}

/// Nothing is stored before it is told to be, or a test waits for ever.
pub(crate) fn patient() -> LogSettings {
    LogSettings {
        flush_ms: 60_000,
        ..LogSettings::default()
    }
}

pub(crate) fn eager() -> LogSettings {
    LogSettings {
        flush_ms: 20,
        poll_ms: 20,
        ..LogSettings::default()
    }
}

impl Book {
    pub(crate) async fn open(settings: LogSettings) -> Self {
        let dir = TempDir::new().unwrap();
        let objects = directory(&dir.path().join("objects"));
        Self::over(dir, objects, settings).await
    }

    pub(crate) async fn over(
        dir: TempDir,
        objects: Arc<dyn ObjectStore>,
        settings: LogSettings,
    ) -> Self {
        let path = dir.path().join("store");
        let world = World::open(StoreSettings::Sqlite { path }).await;
        let objects = Arc::new(Faulty::new(objects));
        let logs = Logs::new(Arc::clone(&world.store), objects.clone(), settings);
        Self {
            world,
            logs,
            objects,
            _dir: dir,
        }
    }

    /// Logs of another replica, or of the same one after a crash.
    pub(crate) fn replica(&self, settings: LogSettings) -> Logs {
        Logs::new(
            Arc::clone(&self.world.store),
            self.objects.clone(),
            settings,
        )
    }

    pub(crate) async fn running(&self) -> (Peer, RunKey) {
        let peer = self.world.host().await;
        (peer, self.world.running(peer).await)
    }

    /// Ends the attempt after so many lines.
    pub(crate) async fn end(&self, peer: Peer, key: RunKey, lines: u64) {
        let segments = vec![segment(key, 0, 0, 1)];
        let ended = update(peer, key, 2, Event::Ended(end(1, lines)), segments);
        assert_eq!(self.world.report(ended).await, Ok(Done::Applied));
    }

    /// Everything that is stored.
    pub(crate) async fn stored(&self, key: RunKey) -> Vec<LogRecord> {
        all(&self.logs, key).await.unwrap()
    }

    pub(crate) async fn indexed(&self, key: RunKey) -> u64 {
        self.world.row(key.run).await.log_last_id
    }
}

/// Takes lines once there is room for them.
pub(crate) async fn admit(
    logs: &Logs,
    from: Sender,
    key: RunKey,
    records: Vec<LogRecord>,
) -> Result<Receipt, LogError> {
    loop {
        match logs.admit(from, key, records.clone()) {
            Err(LogError::NoRoom { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            admitted => return admitted,
        }
    }
}

pub(crate) fn directory(path: &Path) -> Arc<dyn ObjectStore> {
    let path = path.to_owned();
    open_objects(&ObjectSettings::Directory { path }).unwrap()
}

/// All pages of a log, in pages of a size that divides nothing.
pub(crate) async fn all(logs: &Logs, key: RunKey) -> Result<Vec<LogRecord>, LogError> {
    let mut found = Vec::new();
    let mut after_id = 0;
    loop {
        let page: LogPage = logs.page(key.run, key.attempt, after_id, 37, None).await?;
        found.extend(page.records);
        after_id = page.after_id;
        if !page.more {
            return Ok(found);
        }
    }
}

/// The host's log: line `id` is always the same.
pub(crate) fn line(id: u64) -> LogRecord {
    let stderr = id.is_multiple_of(3);
    LogRecord {
        id,
        unix_ns: 1_800_000_000_000_000_000 + id,
        stream: if stderr {
            LogStream::Stderr
        } else {
            LogStream::Stdout
        },
        partial: id.is_multiple_of(7),
        truncated: id.is_multiple_of(11),
        newline: !id.is_multiple_of(7),
        line: Bytes::from(format!("line {id} \u{0}\u{fffd}")),
    }
}

pub(crate) fn lines(first_id: u64, last_id: u64) -> Vec<LogRecord> {
    (first_id..=last_id).map(line).collect()
}

/// Ten lines of nearly 16 KiB each.
pub(crate) fn long_lines(first_id: u64) -> Vec<LogRecord> {
    let mut records = lines(first_id, first_id + 9);
    for record in &mut records {
        record.line = Bytes::from(vec![b'x'; 16_000]);
    }
    records
}
