//! The content store and the differ, for the image store: blobs in, layers out.

use std::time::Duration;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::{
    AbortRequest, ApplyRequest, Info, InfoRequest, ListContentRequest, ReadContentRequest,
    UpdateRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use containerd_client::tonic::Streaming;
use containerd_client::tonic::transport::Channel;
use containerd_client::types::Descriptor;
use prost_types::FieldMask;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::gone_is_fine;
use super::labels::LabelMap;
use super::{
    Call, Containerd, ContainerdError, LISTED_ITEMS_MAX, LeaseName, METADATA_DEADLINE_MS, Mount,
    REPLY_BYTES_MAX,
};

/// Messages under way to containerd in one write; each is answered before the next is sent.
const WRITE_MESSAGES_MAX: usize = 1;

impl Call<'_> {
    /// The next message of a listing, within this call's deadline.
    pub(super) async fn next<T>(
        self,
        stream: &mut Streaming<T>,
    ) -> Result<Option<T>, ContainerdError> {
        let deadline = Duration::from_millis(self.deadline_ms);
        match tokio::time::timeout(deadline, stream.message()).await {
            Ok(message) => message.map_err(|status| self.failed(status)),
            Err(_) => Err(self.late()),
        }
    }
}

impl Containerd {
    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Size of a blob that is there.
    pub(crate) async fn blob_size(&self, digest: &str) -> Result<Option<u64>, ContainerdError> {
        let request = self.request(InfoRequest {
            digest: digest.to_owned(),
        });
        let found = Call::metadata("look for blob", digest)
            .bound(self.content().info(request))
            .await;
        match found {
            Ok(reply) => Ok(reply.info.map(|info| u64::try_from(info.size).unwrap_or(0))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Labels of a blob that is there.
    pub(crate) async fn blob_labels(
        &self,
        digest: &str,
    ) -> Result<Option<LabelMap>, ContainerdError> {
        let request = self.request(InfoRequest {
            digest: digest.to_owned(),
        });
        let found = Call::metadata("look for labels of blob", digest)
            .bound(self.content().info(request))
            .await;
        match found {
            Ok(reply) => Ok(Some(reply.info.unwrap_or_default().labels)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a small blob; `None` if it is not there.
    pub(crate) async fn blob_read(
        &self,
        digest: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, ContainerdError> {
        let call = Call::metadata("read blob", digest);
        let request = self.request(ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        });
        let read = async {
            let mut parts = call.bound(self.content().read(request)).await?;
            let mut bytes = Vec::new();
            while let Some(part) = call.next(&mut parts).await? {
                if bytes.len() + part.data.len() > bytes_max {
                    return Err(call.malformed("is larger than davit reads"));
                }
                bytes.extend(part.data);
            }
            Ok(Some(bytes))
        };
        gone_is_fine(read.await)
    }

    /// Sets labels of a blob, leaving its others alone.
    pub(crate) async fn blob_label(
        &self,
        digest: &str,
        labels: LabelMap,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let request = self.request(UpdateRequest {
            info: Some(Info {
                digest: digest.to_owned(),
                labels,
                ..Info::default()
            }),
            update_mask: Some(FieldMask { paths }),
        });
        Call::metadata("label blob", digest)
            .bound(self.content().update(request))
            .await
            .map(drop)
    }

    /// Bytes of all blobs in the namespace.
    pub(crate) async fn content_bytes(&self) -> Result<u64, ContainerdError> {
        let call = Call::files("list", "blobs");
        let request = self.request(ListContentRequest::default());
        let mut pages = call.bound(self.content().list(request)).await?;
        let (mut bytes, mut items) = (0u64, 0usize);
        while let Some(page) = call.next(&mut pages).await? {
            items += page.info.len();
            if items > LISTED_ITEMS_MAX {
                return Err(call.malformed("lists more than davit handles"));
            }
            bytes += page
                .info
                .iter()
                .map(|info| u64::try_from(info.size).unwrap_or(0))
                .sum::<u64>();
        }
        Ok(bytes)
    }

    /// Unpacks a layer into `mounts` and syncs it to disk; returns the digest of the unpacked
    /// archive. Takes as long as it takes: the caller bounds it, dropping the call stops it.
    pub(crate) async fn apply_layer(
        &self,
        layer: Descriptor,
        mounts: Vec<Mount>,
    ) -> Result<String, ContainerdError> {
        let digest = layer.digest.clone();
        let call = Call::metadata("unpack layer", &digest);
        let request = self.request(ApplyRequest {
            diff: Some(layer),
            mounts,
            // Without it a power cut leaves layers whose files are blank (containerd #5854).
            sync_fs: true,
            ..ApplyRequest::default()
        });
        let mut client = DiffClient::new(self.channel());
        let reply = client
            .apply(request)
            .await
            .map_err(|status| call.failed(status))?
            .into_inner();
        reply
            .applied
            .map(|applied| applied.digest)
            .ok_or_else(|| call.malformed("names no digest"))
    }

    /// Drops a half-written blob; fine if there is none.
    async fn blob_abort(&self, reference: &str) -> Result<(), ContainerdError> {
        let request = self.request(AbortRequest {
            r#ref: reference.to_owned(),
        });
        gone_is_fine(
            Call::metadata("abort the write of", reference)
                .bound(self.content().abort(request))
                .await,
        )
    }
}

/// A blob being written. It ends with [`Self::commit`] or [`Self::abort`].
pub(crate) struct BlobWriter {
    /// `None` once nothing more will be sent.
    requests: Option<mpsc::Sender<WriteContentRequest>>,
    replies: Streaming<WriteContentResponse>,
    reference: String,
    digest: String,
    size: u64,
    offset: u64,
}

impl BlobWriter {
    /// Begins to write a blob of a known digest and size; `None` if it is there already.
    pub(crate) async fn open(
        containerd: &Containerd,
        lease: &LeaseName,
        reference: &str,
        digest: &str,
        size: u64,
    ) -> Result<Option<Self>, ContainerdError> {
        let call = Call::metadata("begin to write blob", digest);
        let (requests, receiver) = mpsc::channel(WRITE_MESSAGES_MAX);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total: as_i64(size),
            expected: digest.to_owned(),
            ..WriteContentRequest::default()
        };
        requests
            .try_send(first)
            .map_err(|_| call.malformed("was not awaited"))?;
        let stream = containerd.leased(lease, ReceiverStream::new(receiver));
        let opened = async {
            let mut replies = call.bound(containerd.content().write(stream)).await?;
            let status = call
                .next(&mut replies)
                .await?
                .ok_or_else(|| call.malformed("is missing"))?;
            Ok((replies, u64::try_from(status.offset).unwrap_or(0)))
        };
        match opened.await {
            Ok((replies, offset)) => Ok(Some(Self {
                requests: Some(requests),
                replies,
                reference: reference.to_owned(),
                digest: digest.to_owned(),
                size,
                offset,
            })),
            Err(error) if ContainerdError::is_already_exists(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes containerd has already: all of them, if another namespace holds the blob.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends `data`; returns once containerd has it.
    pub(crate) async fn write(&mut self, data: Vec<u8>) -> Result<(), ContainerdError> {
        let length = data.len() as u64;
        let request = WriteContentRequest {
            action: WriteAction::Write.into(),
            offset: as_i64(self.offset),
            data,
            ..WriteContentRequest::default()
        };
        self.exchange("write blob", request).await?;
        self.offset += length;
        Ok(())
    }

    /// Verifies size and digest and makes the blob part of the store; fine if another was first.
    pub(crate) async fn commit(&mut self, labels: LabelMap) -> Result<(), ContainerdError> {
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            offset: as_i64(self.offset),
            total: as_i64(self.size),
            expected: self.digest.clone(),
            labels,
            ..WriteContentRequest::default()
        };
        match self.exchange("commit blob", request).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => {
                self.requests = None;
                Ok(())
            }
        }
    }

    /// Drops what was written, unless it was committed.
    pub(crate) async fn abort(&mut self, containerd: &Containerd) -> Result<(), ContainerdError> {
        if self.requests.take().is_none() {
            return Ok(());
        }
        // containerd 1.7 notes the state of a write when its stream ends; aborted before that, its
        // directory would be made anew and stay.
        let call = Call::metadata("end the write of", &self.digest);
        while let Ok(Some(_)) = call.next(&mut self.replies).await {}
        containerd.blob_abort(&self.reference).await
    }

    async fn exchange(
        &mut self,
        operation: &'static str,
        request: WriteContentRequest,
    ) -> Result<(), ContainerdError> {
        let call = Call {
            operation,
            object: &self.digest,
            // A commit syncs the file: give it the time of a slow disk.
            deadline_ms: 6 * METADATA_DEADLINE_MS,
        };
        let Some(requests) = &self.requests else {
            return Err(call.malformed("was not awaited: the write has ended"));
        };
        if requests.send(request).await.is_err() {
            // The stream ended; its status says why.
            return match call.next(&mut self.replies).await {
                Err(error) => Err(error),
                Ok(_) => Err(call.malformed("ended the stream")),
            };
        }
        call.next(&mut self.replies)
            .await?
            .map(drop)
            .ok_or_else(|| call.malformed("ended the stream"))
    }
}

/// containerd counts in i64; sizes are checked to be far below.
fn as_i64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
