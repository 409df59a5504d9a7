//! Images: list, pull, remove.

use davit_rpc::local::{Empty, ImageRef, PullEvent, PullRequest, pull_event::Event};

use super::{Context, run};
use crate::args::{Format, RegistryArgs};
use crate::error::CliError;
use crate::output::host::ImageJson;
use crate::output::progress::Progress;
use crate::output::{print_json, print_line, print_text, table};

/// `davit images`.
pub(super) async fn list(context: &Context) -> Result<(), CliError> {
    let images = context
        .client
        .images()
        .list(Empty {})
        .await?
        .into_inner()
        .images;
    match context.format {
        Format::Json => print_json(&images.iter().map(ImageJson::from).collect::<Vec<_>>()),
        Format::Table => print_text(&table::images(&images)),
    }
}

/// `davit image rm`.
pub(super) async fn remove(images: &[String], context: &Context) -> Result<(), CliError> {
    for image in images {
        context
            .client
            .images()
            .remove(ImageRef {
                image: image.clone(),
            })
            .await?;
        print_line(image)?;
    }
    Ok(())
}

/// `davit pull`.
pub(super) async fn pull(
    image: String,
    registry: &RegistryArgs,
    context: &Context,
) -> Result<(), CliError> {
    let request = PullRequest {
        image,
        credentials: run::credentials(registry)?,
    };
    let mut events = context.client.images().pull(request).await?.into_inner();
    let mut progress = Progress::new(true);
    while let Some(PullEvent { event }) = events.message().await? {
        match event {
            Some(Event::Progress(step)) => progress.show(&step),
            Some(Event::Image(image)) => {
                progress.clear();
                return match context.format {
                    Format::Json => print_json(&ImageJson::from(&image)),
                    Format::Table => print_line(&format!("{}  {}", image.name, image.digest)),
                };
            }
            None => {}
        }
    }
    Err(CliError::Protocol("the pulled image"))
}
