//! Certificates of the two listeners, read once: a restart takes new ones, and loses nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{ServeError, place};
use crate::settings::ListenSettings;

/// What the two files of a listener hold.
struct Files<'a> {
    certificate: &'a Path,
    chain: Vec<u8>,
    key: String,
}

fn files(listener: &ListenSettings) -> Result<Option<Files<'_>>, ServeError> {
    let (Some(certificate), Some(key)) = (&listener.tls_certificate_file, &listener.tls_key_file)
    else {
        return Ok(None);
    };
    let chain = fs::read(certificate).map_err(|source| ServeError::Path {
        operation: "read",
        path: certificate.clone(),
        source,
    })?;
    let key = place::secret_file(key)?;
    Ok(Some(Files {
        certificate,
        chain,
        key,
    }))
}

/// For the link: HTTP/2.
pub(super) fn link_config(
    listener: &ListenSettings,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    server_config(listener, &[b"h2"])
}

/// For the API: HTTP/2 and HTTP/1.1.
pub(super) fn rest_config(
    listener: &ListenSettings,
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    server_config(listener, &[b"h2", b"http/1.1"])
}

fn server_config(
    listener: &ListenSettings,
    protocols: &[&[u8]],
) -> Result<Option<Arc<ServerConfig>>, ServeError> {
    let Some(Files {
        certificate: path,
        chain,
        key,
    }) = files(listener)?
    else {
        return Ok(None);
    };
    let content = |problem: &str| ServeError::Content {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| content("is not a chain of certificates in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| content("has a key file that is not a private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |source| ServeError::Tls {
        path: path.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(failed)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Some(Arc::new(config)))
}
