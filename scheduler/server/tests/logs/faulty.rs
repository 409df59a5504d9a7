//! An object store that fails, hangs and loses its caller where a test wants it to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn ObjectStore>,
    /// So many writes fail.
    pub(crate) failing: AtomicUsize,
    pub(crate) writes: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    /// Writes wait while this is true; with `after`, once they are done.
    hang: watch::Sender<Option<Hang>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hang {
    Before,
    After,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            failing: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            hang: watch::Sender::new(None),
        }
    }

    pub(crate) fn hang(&self, hang: Option<Hang>) {
        self.hang.send_replace(hang);
    }

    async fn wait(&self, here: Hang) {
        let mut hang = self.hang.subscribe();
        hang.wait_for(|hang| *hang != Some(here)).await.unwrap();
    }

    fn fails(&self) -> bool {
        let less = |failing: usize| failing.checked_sub(1);
        let order = Ordering::SeqCst;
        self.failing.fetch_update(order, order, less).is_ok()
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.wait(Hang::Before).await;
        if self.fails() {
            return Err(Error::Generic {
                store: "faulty",
                source: "as the test wants it".into(),
            });
        }
        let put = self.inner.put_opts(location, payload, options).await;
        self.wait(Hang::After).await;
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
