//! What the tests of this crate share: a clock, identities, and a handshake over an in-memory pipe.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::tls::{PeerError, peer_identity, peer_name};
use mesh_model::SpiffeId;
use mesh_rt::ManualClock;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, NamedGroup, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// 20 November 2026, 19:30 UTC.
pub(crate) fn start() -> Arc<ManualClock> {
    ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000))
}

/// The identity of service account `name`.
pub(crate) fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/x/sa/{name}").parse().expect("a valid name")
}

/// What both ends of a handshake saw.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) client_saw: Option<SpiffeId>,
    pub(crate) server_saw: Option<SpiffeId>,
    pub(crate) group: NamedGroup,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) kind: rustls::HandshakeKind,
}

/// One connection with a byte each way; both sides' errors on failure.
pub(crate) async fn connect(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Met, String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepting = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        let _ = stream.read_u8().await?;
        Ok::<_, std::io::Error>(peer_identity(stream.get_ref().1))
    };
    let connecting = async {
        let mut stream = TlsConnector::from(client).connect(peer_name(), near).await?;
        // With TLS 1.3 the server's refusal of the client arrives only with the first read.
        let _ = stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        let seen = stream.get_ref().1;
        let group = seen.negotiated_key_exchange_group().expect("finished").name();
        let alpn = seen.alpn_protocol().map(<[u8]>::to_vec);
        Ok::<_, std::io::Error>((peer_identity(seen), group, alpn, seen.handshake_kind()))
    };
    match tokio::join!(connecting, accepting) {
        (Ok((client_saw, group, alpn, kind)), Ok(server_saw)) => {
            Ok(Met { client_saw, server_saw, group, alpn, kind: kind.expect("finished") })
        }
        (near, far) => Err(format!("client: {}; server: {}", told(near.err()), told(far.err()))),
    }
}

fn told(error: Option<std::io::Error>) -> String {
    let Some(error) = error else { return "fine".to_owned() };
    PeerError::of(&error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A client that presents any chain and believes any server, as an attacker's would.
pub(crate) fn blind_client(chain: Vec<CertificateDer<'static>>, pkcs8: &[u8]) -> Arc<ClientConfig> {
    blind_client_of(chain, pkcs8, (&rustls::version::TLS13, None))
}

/// As [`blind_client`], with one protocol version and perhaps one key exchange.
pub(crate) fn blind_client_of(
    chain: Vec<CertificateDer<'static>>,
    pkcs8: &[u8],
    (version, group): (&'static SupportedProtocolVersion, Option<&'static dyn SupportedKxGroup>),
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(group) = group {
        provider.kx_groups = vec![group];
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind));
    Arc::new(config.with_client_cert_resolver(Arc::new(Always::new(chain, pkcs8))))
}

/// A server that presents any chain and wants nothing from its clients.
pub(crate) fn blind_server(chain: Vec<CertificateDer<'static>>, pkcs8: &[u8]) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth();
    Arc::new(config.with_cert_resolver(Arc::new(Always::new(chain, pkcs8))))
}

/// Presents one chain whatever is wrong with it.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl Always {
    fn new(chain: Vec<CertificateDer<'static>>, pkcs8: &[u8]) -> Self {
        let key = PrivatePkcs8KeyDer::from(pkcs8).into();
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Self(Arc::new(CertifiedKey::new(chain, key)))
    }
}

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Believes everybody.
#[derive(Debug)]
struct Blind;

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
