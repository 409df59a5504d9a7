//! Image records: a name, the digest it stands for, and davit's labels.

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest,
    UpdateImageRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::types::Descriptor;
use prost_types::FieldMask;

use super::error::gone_is_fine;
use super::labels::LabelMap;
use super::{Call, Containerd, ContainerdError, REPLY_BYTES_MAX};

/// An image record.
#[derive(Clone, Debug)]
pub(crate) struct ImageRecord {
    pub(crate) name: String,
    pub(crate) target: Descriptor,
    pub(crate) labels: LabelMap,
}

impl ImageRecord {
    fn of(image: Image) -> Option<Self> {
        Some(Self {
            name: image.name,
            target: image.target?,
            labels: image.labels,
        })
    }
}

impl Containerd {
    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    pub(crate) async fn image_find(
        &self,
        name: &str,
    ) -> Result<Option<ImageRecord>, ContainerdError> {
        let request = self.request(GetImageRequest {
            name: name.to_owned(),
        });
        let found = Call::metadata("look for image", name)
            .bound(self.images().get(request))
            .await;
        match found {
            Ok(reply) => Ok(reply.image.and_then(ImageRecord::of)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn image_list(&self) -> Result<Vec<ImageRecord>, ContainerdError> {
        let request = self.request(ListImagesRequest::default());
        let reply = Call::metadata("list", "images")
            .bound(self.images().list(request))
            .await?;
        Ok(reply
            .images
            .into_iter()
            .filter_map(ImageRecord::of)
            .collect())
    }

    /// Makes the record, or points the existing one at the new target.
    pub(crate) async fn image_put(&self, record: ImageRecord) -> Result<(), ContainerdError> {
        let name = record.name.clone();
        let image = Image {
            name: record.name,
            labels: record.labels,
            target: Some(record.target),
            ..Image::default()
        };
        let create = self.request(CreateImageRequest {
            image: Some(image.clone()),
            ..CreateImageRequest::default()
        });
        let created = Call::metadata("record image", &name)
            .bound(self.images().create(create))
            .await;
        match created {
            Err(error) if error.is_already_exists() => {
                let update = self.request(UpdateImageRequest {
                    image: Some(image),
                    ..UpdateImageRequest::default()
                });
                Call::metadata("record image", &name)
                    .bound(self.images().update(update))
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Sets labels of an image, leaving its others alone; fine if it is gone.
    pub(crate) async fn image_label(
        &self,
        name: &str,
        labels: LabelMap,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let request = self.request(UpdateImageRequest {
            image: Some(Image {
                name: name.to_owned(),
                labels,
                // The mask leaves it alone, but without one containerd (2.1.9) dereferences nil
                // and dies.
                target: Some(Descriptor::default()),
                ..Image::default()
            }),
            update_mask: Some(FieldMask { paths }),
            ..UpdateImageRequest::default()
        });
        gone_is_fine(
            Call::metadata("label image", name)
                .bound(self.images().update(request))
                .await
                .map(drop),
        )
    }

    /// Removes the record; what only it held is gone on return. `false` if there was none.
    pub(crate) async fn image_delete(&self, name: &str) -> Result<bool, ContainerdError> {
        let request = self.request(DeleteImageRequest {
            name: name.to_owned(),
            sync: true,
            ..DeleteImageRequest::default()
        });
        gone_is_fine(
            Call::files("remove image", name)
                .bound(self.images().delete(request))
                .await
                .map(|()| true),
        )
    }
}
