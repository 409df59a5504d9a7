//! Manifests and indexes: hostile JSON, bounded before it is parsed and checked after.

use serde::Deserialize;

use crate::oci::Arch;

use super::config::ParsedConfig;
use super::reference::is_sha256;
use super::{ImageError, ImageName};

/// Largest manifest or index, bytes.
pub(super) const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Largest config, bytes.
pub(super) const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most layers of an image.
const LAYERS_MAX: usize = 120;
/// Most manifests of an index.
const INDEX_ENTRIES_MAX: usize = 1_000;
/// Platforms named in an error.
const SHOWN_PLATFORMS_MAX: usize = 8;

pub(super) const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
pub(super) const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
const LAYER_TYPES: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// A blob as a manifest announces it. Digest and size were checked to be sane, not to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) config: Layer,
    pub(super) layers: Vec<Layer>,
}

/// A list of manifests by platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) media_type: String,
    entries: Vec<(Layer, Platform)>,
}

/// What a reference or digest stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Index(Index),
    Manifest(Manifest),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

/// Parses a manifest or an index of at most [`MANIFEST_BYTES_MAX`] bytes; `announced` is the media
/// type it came with.
pub(super) fn parse(
    image: &ImageName,
    bytes: &[u8],
    announced: Option<&str>,
) -> Result<Document, ImageError> {
    let malformed = |problem: String| ImageError::Malformed {
        image: image.to_string(),
        what: "manifest",
        problem,
    };
    let raw: RawDocument =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if raw.schema_version != 2 {
        return Err(ImageError::Unsupported {
            image: image.to_string(),
            problem: format!(
                "its manifest has schema version {}, davit reads 2",
                raw.schema_version
            ),
        });
    }
    // What the content says of itself counts; the header is a fallback of old OCI manifests.
    let announced = announced.map_or("", |kind| kind.split(';').next().unwrap_or("").trim());
    match (raw.config, raw.layers, raw.manifests) {
        (Some(config), Some(layers), None) => {
            let media_type = choose_type(&raw.media_type, announced, MANIFEST_TYPES, image)?;
            parse_manifest(image, media_type, config, layers).map(Document::Manifest)
        }
        (None, None, Some(manifests)) => {
            let media_type = choose_type(&raw.media_type, announced, INDEX_TYPES, image)?;
            parse_index(image, media_type, manifests).map(Document::Index)
        }
        // Both at once is how one document is passed off as two kinds.
        _ => Err(malformed(
            "is neither an image manifest nor an index".to_owned(),
        )),
    }
}

fn choose_type(
    own: &str,
    announced: &str,
    known: [&str; 2],
    image: &ImageName,
) -> Result<String, ImageError> {
    if !own.is_empty() && !known.contains(&own) {
        return Err(ImageError::Unsupported {
            image: image.to_string(),
            problem: format!("its manifest has the media type `{}`", shown(own)),
        });
    }
    let kind = [own, announced, known[0]]
        .into_iter()
        .find(|kind| known.contains(kind))
        .unwrap_or(known[0]);
    Ok(kind.to_owned())
}

fn parse_manifest(
    image: &ImageName,
    media_type: String,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
) -> Result<Manifest, ImageError> {
    if layers.len() > LAYERS_MAX {
        return Err(ImageError::TooLarge {
            image: image.to_string(),
            what: "the number of layers",
            bound: format!("{LAYERS_MAX} layers"),
        });
    }
    if layers.is_empty() {
        return Err(ImageError::Unsupported {
            image: image.to_string(),
            problem: "it has no layers".to_owned(),
        });
    }
    if config.size > CONFIG_BYTES_MAX as u64 {
        return Err(ImageError::TooLarge {
            image: image.to_string(),
            what: "the config",
            bound: format!("{CONFIG_BYTES_MAX} bytes"),
        });
    }
    let config = check(image, config, &CONFIG_TYPES)?;
    let layers = layers
        .into_iter()
        .map(|layer| check(image, layer, &LAYER_TYPES))
        .collect::<Result<_, _>>()?;
    Ok(Manifest {
        media_type,
        config,
        layers,
    })
}

fn parse_index(
    image: &ImageName,
    media_type: String,
    manifests: Vec<RawDescriptor>,
) -> Result<Index, ImageError> {
    if manifests.len() > INDEX_ENTRIES_MAX {
        return Err(ImageError::TooLarge {
            image: image.to_string(),
            what: "the number of manifests in the index",
            bound: format!("{INDEX_ENTRIES_MAX} manifests"),
        });
    }
    let entries = manifests
        .into_iter()
        // Attestations and artifacts beside the images are not ours to judge.
        .filter(|entry| MANIFEST_TYPES.contains(&entry.media_type.as_str()))
        .map(|mut entry| {
            let platform = entry.platform.take().unwrap_or_default();
            Ok((check(image, entry, &MANIFEST_TYPES)?, platform))
        })
        .collect::<Result<_, ImageError>>()?;
    Ok(Index {
        media_type,
        entries,
    })
}

fn check(image: &ImageName, raw: RawDescriptor, known: &[&str]) -> Result<Layer, ImageError> {
    if !known.contains(&raw.media_type.as_str()) {
        return Err(ImageError::Unsupported {
            image: image.to_string(),
            problem: format!("it holds a blob of media type `{}`", shown(&raw.media_type)),
        });
    }
    if !is_sha256(&raw.digest) {
        return Err(ImageError::Unsupported {
            image: image.to_string(),
            problem: format!("`{}` is no sha256 digest", shown(&raw.digest)),
        });
    }
    Ok(Layer {
        media_type: raw.media_type,
        digest: raw.digest,
        size: raw.size,
    })
}

/// A hostile text, short and printable.
fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

impl Document {
    /// The manifest in it; an index within an index is refused.
    pub(super) fn into_manifest(self, image: &ImageName) -> Result<Manifest, ImageError> {
        match self {
            Self::Manifest(manifest) => Ok(manifest),
            Self::Index(_) => Err(ImageError::Unsupported {
                image: image.to_string(),
                problem: "its index holds another index".to_owned(),
            }),
        }
    }
}

impl Index {
    /// The manifest for this host.
    pub(super) fn choose(&self, image: &ImageName) -> Result<&Layer, ImageError> {
        let wanted = Arch::NATIVE.image_name();
        let fits = |platform: &Platform| {
            platform.os == "linux"
                && platform.architecture == wanted
                // v1 is the baseline of amd64, v8 of arm64; higher ones need not run here.
                && matches!(platform.variant.as_str(), "" | "v1" | "v8")
        };
        self.entries
            .iter()
            .find(|(_, platform)| fits(platform))
            .map(|(entry, _)| entry)
            .ok_or_else(|| ImageError::NoPlatform {
                image: image.to_string(),
                wanted: format!("linux/{wanted}"),
                offered: self.platforms(),
            })
    }

    fn platforms(&self) -> String {
        let shown: Vec<String> = self
            .entries
            .iter()
            .take(SHOWN_PLATFORMS_MAX)
            .map(|(_, platform)| shown(&format!("{}/{}", platform.os, platform.architecture)))
            .collect();
        if shown.is_empty() {
            "none".to_owned()
        } else {
            shown.join(", ")
        }
    }
}

impl Manifest {
    /// Whether a config belongs to this manifest and to this host.
    pub(super) fn check_config(
        &self,
        image: &ImageName,
        parsed: &ParsedConfig,
    ) -> Result<(), ImageError> {
        if parsed.diff_ids.len() != self.layers.len() {
            return Err(ImageError::Malformed {
                image: image.to_string(),
                what: "config",
                problem: format!(
                    "it names {} layers, the manifest {}",
                    parsed.diff_ids.len(),
                    self.layers.len()
                ),
            });
        }
        let wanted = Arch::NATIVE.image_name();
        if parsed.os != "linux" || parsed.architecture != wanted {
            return Err(ImageError::NoPlatform {
                image: image.to_string(),
                wanted: format!("linux/{wanted}"),
                offered: shown(&format!("{}/{}", parsed.os, parsed.architecture)),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
