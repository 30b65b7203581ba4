//! What an attacker brings: certificates of any content, streams of any message, frames of any order.

use std::sync::Arc;
use std::time::Duration;

use mesh_xds::proto::{DELTA_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::port::{Tls, set_life};

/// A client that presents a certificate below this issuer, changed at will, and believes every server.
pub(crate) fn presenting(
    issuer: &Issuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> Arc<ClientConfig> {
    let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
    params.distinguished_name = DistinguishedName::new();
    set_life(&mut params, [-1, 1]);
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let leaf = params.signed_by(&key, issuer).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = Arc::new(CertifiedKey::new(vec![leaf], key));
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_client_cert_resolver(Arc::new(Always(certified)));
    config.alpn_protocols = vec![mesh_ca::grpc::ALPN.to_vec()];
    Arc::new(config)
}

/// Presents one chain whatever is wrong with it.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
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

/// A stream of discovery, message by message.
pub(crate) struct Ads {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: tonic::Streaming<DeltaDiscoveryResponse>,
}

impl Ads {
    pub(crate) async fn open(channel: Channel) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(16);
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let request = Request::new(ReceiverStream::new(receiver));
        let responses = grpc.streaming(request, PathAndQuery::from_static(DELTA_PATH), codec).await?;
        Ok(Self { requests, responses: responses.into_inner() })
    }

    pub(crate) fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    pub(crate) async fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), String> {
        self.requests.send(request).await.map_err(|_| "the stream is over".to_owned())
    }

    /// The next response; its end counts as a refusal.
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.responses.message()).await;
        let next = next.map_err(|_| Status::deadline_exceeded("no answer"))?;
        next?.ok_or_else(|| Status::aborted("the stream ended"))
    }
}

/// `IssueCertificateRequest` as an attacker writes it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct IssueRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) csr: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) token: String,
    #[prost(uint64, tag = "3")]
    pub(crate) life: u64,
}

/// What of the answer counts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Issued {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) chain: Vec<Vec<u8>>,
}

/// Asks for a certificate.
pub(crate) async fn issue(channel: Channel, request: IssueRequest) -> Result<Issued, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/mesh.v1.CertificateService/IssueCertificate");
    let codec = ProstCodec::<IssueRequest, Issued>::default();
    Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
}

/// The URIs that a certificate names.
pub(crate) fn names(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => format!("{other:?}"),
    };
    names.value.general_names.iter().map(uri).collect()
}

/// The start of a connection of HTTP/2, with empty settings.
pub(crate) const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Adds a frame of this kind and these flags.
pub(crate) fn frame(out: &mut Vec<u8>, [kind, flags]: [u8; 2], stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Sends frames until the server ends the connection; whether it did, and how many bytes were taken.
pub(crate) async fn flood(stream: Tls, frames: impl Fn(u32) -> Vec<u8>, most: u32) -> (bool, usize) {
    const LIMIT: Duration = Duration::from_secs(5);
    let (mut reads, mut writes) = tokio::io::split(stream);
    let writing = async {
        let mut taken = HELLO.len();
        writes.write_all(HELLO).await.unwrap();
        for n in 0..most {
            let bytes = frames(n);
            match tokio::time::timeout(LIMIT, writes.write_all(&bytes)).await {
                Ok(Ok(())) => taken += bytes.len(),
                _ => break,
            }
        }
        taken
    };
    let reading = async {
        let mut all = Vec::new();
        // Until the end, by a farewell or a reset.
        reads.read_to_end(&mut all).await.is_ok() || !all.is_empty()
    };
    let (taken, ended) = tokio::join!(writing, tokio::time::timeout(Duration::from_secs(60), reading));
    (ended.is_ok(), taken)
}
