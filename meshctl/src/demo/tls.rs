//! The certificate that the sample service shows: given in files, or made for its name at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::Arguments;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// A certificate could not be made.
    #[error("{0}")]
    Make(#[from] rcgen::Error),
    /// A file cannot be read as PEM.
    #[error("{}: {source}", .path.display())]
    Read { path: PathBuf, source: rustls_pki_types::pem::Error },
    /// Certificate and key do not fit.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// An acceptor that offers HTTP/2 and HTTP/1.1.
pub(super) fn acceptor(arguments: &Arguments) -> Result<TlsAcceptor, Error> {
    let (chain, key) = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(chain), Some(key)) => read(chain, key)?,
        _ => make(&arguments.name)?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(chain: &Path, key: &Path) -> Result<Pair, Error> {
    let at = |path: &Path, source| Error::Read { path: path.to_path_buf(), source };
    let certificates = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
    let certificates = certificates.map_err(|source| at(chain, source))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| at(key, source))?;
    Ok((certificates, key))
}

fn make(name: &str) -> Result<Pair, Error> {
    let made = rcgen::generate_simple_self_signed([name.to_owned(), "localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok((vec![made.cert.into()], key))
}
