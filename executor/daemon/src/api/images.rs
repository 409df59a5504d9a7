//! The service of images.

use davit_rpc::local::{self, pull_event::Event};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::{Answers, Shutdown, convert, status};
use crate::credentials;
use crate::images::{Credentials, ImageError, ImageInfo, ImageStore, PullProgress};
use crate::settings::Settings;

type Answer<T> = Result<Response<T>, Status>;
type Pulling = std::pin::Pin<Box<dyn Future<Output = Result<ImageInfo, ImageError>> + Send>>;

/// Serves the [`ImageStore`].
#[derive(Clone, Debug)]
pub(crate) struct ImagesService {
    pub(crate) images: ImageStore,
    pub(crate) settings: Settings,
    pub(crate) shutdown: Shutdown,
}

impl ImagesService {
    async fn credentials(
        &self,
        request: &mut local::PullRequest,
    ) -> Result<Option<Credentials>, Status> {
        if let Some(given) = request.credentials.take() {
            return Ok(Some(credentials::given(given)));
        }
        let configured = credentials::configured(&self.settings, &request.image).await;
        configured.map_err(|error| status::secret(&error))
    }
}

/// A pull whose caller is told how it gets on. Dropped with the stream, the pull is given up, unless
/// a run waits for it too.
struct Pull {
    pulling: Option<Pulling>,
    progress: watch::Receiver<PullProgress>,
    shutdown: Shutdown,
}

impl Pull {
    async fn next(mut self) -> Result<Option<(local::PullEvent, Self)>, Status> {
        let Some(mut pulling) = self.pulling.take() else {
            return Ok(None);
        };
        let progress = &mut self.progress;
        let step = async {
            tokio::select! {
                done = &mut pulling => match done {
                    Ok(info) => Ok((Event::Image(convert::image(info)), true)),
                    Err(error) => Err(status::image(&error)),
                },
                Ok(()) = progress.changed() => {
                    let now = *progress.borrow_and_update();
                    Ok((Event::Progress(convert::progress(now)), false))
                }
            }
        };
        let (event, done) = self.shutdown.or(step).await?;
        if !done {
            self.pulling = Some(pulling);
        }
        Ok(Some((local::PullEvent { event: Some(event) }, self)))
    }
}

#[tonic::async_trait]
impl local::images_server::Images for ImagesService {
    type PullStream = Answers<local::PullEvent>;

    async fn pull(&self, request: Request<local::PullRequest>) -> Answer<Self::PullStream> {
        let mut request = request.into_inner();
        let credentials = self.credentials(&mut request).await?;
        let (sender, progress) = watch::channel(PullProgress::default());
        let images = self.images.clone();
        let pulling = async move { images.pull_only(&request.image, credentials, sender).await };
        let pull = Pull {
            pulling: Some(Box::pin(pulling)),
            progress,
            shutdown: self.shutdown.clone(),
        };
        Ok(Response::new(Box::pin(futures::stream::try_unfold(
            pull,
            Pull::next,
        ))))
    }

    async fn list(&self, _request: Request<local::Empty>) -> Answer<local::ImageList> {
        let images = self
            .images
            .list()
            .await
            .map_err(|error| status::image(&error))?;
        let images = images.into_iter().map(convert::image).collect();
        Ok(Response::new(local::ImageList { images }))
    }

    async fn remove(&self, request: Request<local::ImageRef>) -> Answer<local::Empty> {
        let image = request.into_inner().image;
        self.images
            .remove(&image)
            .await
            .map_err(|error| status::image(&error))?;
        Ok(Response::new(local::Empty {}))
    }
}
