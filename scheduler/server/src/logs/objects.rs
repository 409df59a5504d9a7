//! The object store: where it is, how chunks are named, and how long anything there may take.

use std::collections::HashSet;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use davit_types::{RunId, RunKey};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig, parse_url_opts};
use url::Url;

use super::error::LogError;
use super::limits::{OBJECT_MS_MAX, STORE_TRY_MS_MAX};

/// Tries of one request inside the S3 client; a chunk as a whole is tried for longer.
const S3_RETRIES_MAX: usize = 2;

/// Where objects lie.
#[derive(Clone)]
pub enum ObjectSettings {
    /// A directory of this machine, for one scheduler.
    Directory {
        /// Made if it is not there.
        path: PathBuf,
    },
    /// A bucket, for one or several replicas.
    Url {
        /// `s3://bucket/prefix`, `gs://…`, `az://…`.
        url: String,
        /// As `object_store` names them: `aws_endpoint`, `aws_access_key_id`…
        options: Vec<(String, String)>,
    },
}

impl std::fmt::Debug for ObjectSettings {
    /// Without the options, which hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory { path } => f.debug_tuple("Directory").field(path).finish(),
            Self::Url { url, .. } => f.debug_tuple("Url").field(url).finish(),
        }
    }
}

/// Opens the object store; nothing is asked of it yet.
///
/// # Errors
/// A directory that cannot be made, a URL or an option nobody knows.
pub fn open_objects(settings: &ObjectSettings) -> Result<Arc<dyn ObjectStore>, LogError> {
    match settings {
        ObjectSettings::Directory { path } => {
            let failed = |source| failed("open", &path.display().to_string(), source);
            std::fs::create_dir_all(path).map_err(|source| {
                failed(object_store::Error::Generic {
                    store: "directory",
                    source: Box::new(source),
                })
            })?;
            // An acknowledged line must survive a power cut.
            let local = LocalFileSystem::new_with_prefix(path).map_err(failed)?;
            Ok(Arc::new(
                local.with_fsync(true).with_automatic_cleanup(true),
            ))
        }
        ObjectSettings::Url { url, options } => bucket(url, options),
    }
}

fn bucket(text: &str, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, LogError> {
    let invalid = |source: Box<dyn std::error::Error + Send + Sync>| {
        let store = "url";
        failed("open", text, object_store::Error::Generic { store, source })
    };
    let failed = |source| failed("open", text, source);
    let url = Url::parse(text).map_err(|error| invalid(error.into()))?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|e| invalid(e.into()))?;
    if scheme != ObjectStoreScheme::AmazonS3 {
        let (objects, prefix) = parse_url_opts(&url, options.iter().cloned()).map_err(failed)?;
        return Ok(below(Arc::from(objects), prefix));
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_url(text)
        .with_retry(RetryConfig {
            max_retries: S3_RETRIES_MAX,
            retry_timeout: Duration::from_millis(OBJECT_MS_MAX),
            ..RetryConfig::default()
        });
    for (name, value) in options {
        builder = builder.with_config(name.parse().map_err(failed)?, value);
    }
    Ok(below(Arc::new(builder.build().map_err(failed)?), prefix))
}

fn below(objects: Arc<dyn ObjectStore>, prefix: Path) -> Arc<dyn ObjectStore> {
    if prefix.as_ref().is_empty() {
        objects
    } else {
        Arc::new(PrefixStore::new(objects, prefix))
    }
}

fn failed(operation: &'static str, object: &str, source: object_store::Error) -> LogError {
    LogError::Object {
        operation,
        object: object.to_owned(),
        source: Arc::new(source),
    }
}

/// The name of a chunk. Its last line is part of it: a repeat with other boundaries is another object, so
/// nothing that is indexed is ever overwritten with something else.
pub(super) fn name(key: RunKey, first_id: u64, last_id: u64) -> String {
    format!(
        "logs/{}/{}/{first_id:020}-{last_id:020}",
        key.run, key.attempt
    )
}

/// Objects by name, each call within its time.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    pub(crate) async fn put(&self, object: &str, bytes: Bytes) -> Result<(), LogError> {
        let path = path(object)?;
        let put = self.store.put(&path, bytes.into());
        timed("write", object, OBJECT_MS_MAX, put).await.map(drop)
    }

    pub(crate) async fn read(&self, object: &str) -> Result<Bytes, LogError> {
        let path = path(object)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        timed("read", object, OBJECT_MS_MAX, read).await
    }

    /// Deletes objects; those that are gone already count as deleted. Which ones are not there any more.
    pub(super) async fn delete(&self, objects: &[String]) -> Result<HashSet<String>, LogError> {
        let paths: Vec<_> = objects
            .iter()
            .map(|object| path(object))
            .collect::<Result<_, _>>()?;
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let all = async { Ok(self.store.delete_stream(paths).collect::<Vec<_>>().await) };
        let first = objects.first().map_or("", String::as_str);
        let results = timed("delete", first, STORE_TRY_MS_MAX, all).await?;
        let is_gone = |result: &object_store::Result<Path>| {
            matches!(result, Ok(_) | Err(object_store::Error::NotFound { .. }))
        };
        if results.iter().all(is_gone) {
            return Ok(objects.iter().cloned().collect());
        }
        let deleted = results.into_iter().flatten();
        Ok(deleted.map(|path| path.to_string()).collect())
    }

    /// Deletes whatever lies there of a run.
    pub(super) async fn delete_run(&self, run: RunId) -> Result<(), LogError> {
        self.delete_below(&format!("logs/{run}")).await
    }

    /// Deletes whatever lies below a name.
    pub(crate) async fn delete_below(&self, name: &str) -> Result<(), LogError> {
        let path = path(name)?;
        let all = async {
            let found: Vec<_> = self.store.list(Some(&path)).try_collect().await?;
            let paths = found.into_iter().map(|meta| Ok(meta.location));
            let gone = self
                .store
                .delete_stream(futures::stream::iter(paths).boxed());
            gone.try_for_each(|_| async { Ok(()) }).await
        };
        timed("delete all below", name, STORE_TRY_MS_MAX, all).await
    }
}

fn path(object: &str) -> Result<Path, LogError> {
    Path::parse(object).map_err(|error| failed("name", object, error.into()))
}

async fn timed<T>(
    operation: &'static str,
    object: &str,
    max_ms: u64,
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, LogError> {
    match tokio::time::timeout(Duration::from_millis(max_ms), work).await {
        Ok(done) => done.map_err(|source| failed(operation, object, source)),
        Err(_) => Err(LogError::Slow {
            operation,
            object: object.to_owned(),
            max_ms,
        }),
    }
}
