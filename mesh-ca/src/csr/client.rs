//! The client of certificate requests. It checks what it gets before anybody uses it.

use std::time::{Duration, SystemTime};

use mesh_model::SpiffeId;
use rustls_pki_types::CertificateDer;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::wire::{
    BUNDLES, Bundle, FetchBundlesRequest, FetchBundlesResponse, ISSUE, IssueCertificateRequest,
    IssueCertificateResponse, IssueTokenRequest, IssueTokenResponse, MAX_MESSAGE, TOKEN,
};
use crate::jwt::{JwtKey, Token};
use crate::key::PrivateKey;
use crate::svid::{Svid, SvidError, TrustBundle, TrustBundles};
use crate::tls::{PeerError, verify_svid};

/// Longest life of a token that is believed of an answer.
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Why no certificate came, or none that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection failed.
    #[error("the certificate authority cannot be reached: {0}")]
    Connect(String),
    /// The authority's answer does not fit together.
    #[error("the answer of the certificate authority is unusable: {0}")]
    Answer(#[from] SvidError),
    /// A bundle names no trust domain.
    #[error("a bundle of the certificate authority names no trust domain: {0}")]
    Bundle(#[from] mesh_model::identity::SpiffeIdError),
    /// The authority itself failed, inside this process.
    #[error(transparent)]
    Authority(#[from] crate::authority::AuthorityError),
    /// Nobody gives tokens here.
    #[error("tokens are not given here")]
    NoTokens,
    /// The token does not hold under the bundles in use.
    #[error("the new token does not hold: {0}")]
    Token(#[from] crate::jwt::JwtError),
    /// The certificate is for somebody else.
    #[error("the certificate is for {found}, expected {expected}")]
    Identity {
        /// Whose it is.
        found: mesh_model::SpiffeId,
        /// Whose it should be.
        expected: mesh_model::SpiffeId,
    },
    /// The authority refused.
    #[error("the certificate authority refused: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// No answer in time.
    #[error("no answer from the certificate authority within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The certificate does not hold under the bundles that came with it.
    #[error("the new certificate does not hold: {0}")]
    Unverified(#[from] PeerError),
}

/// A new SVID and whom to trust.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The SVID.
    pub svid: Svid,
    /// The bundles of all trusted domains.
    pub bundles: TrustBundles,
    /// Life left by the authority's clock, which may be right where ours is wrong.
    pub life: Duration,
}

/// Why somebody may have a certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proof<'a> {
    /// The token that shows who asks; without one the connection's own certificate does.
    pub token: Option<&'a str>,
    /// Whose certificate is asked for; without it the asker's own.
    pub of: Option<&'a SpiffeId>,
}

/// A client of `mesh.v1.CertificateService` over a connected channel.
#[derive(Debug, Clone)]
pub struct CertificateClient(Grpc<Channel>);

impl CertificateClient {
    /// A client over this channel.
    pub fn new(channel: Channel) -> Self {
        let grpc = Grpc::new(channel);
        Self(grpc.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
    }

    /// Asks for an SVID for a key. The answer must hold at `now` under the bundles that come with it.
    ///
    /// # Errors
    /// When the authority refuses, cannot be reached, or answers with something unusable.
    pub async fn issue(
        &mut self,
        key: PrivateKey,
        proof: Proof<'_>,
        now: SystemTime,
    ) -> Result<Fresh, RequestError> {
        let asked = IssueCertificateRequest {
            csr: super::request(&key),
            attestation_token: proof.token.unwrap_or_default().to_owned(),
            ttl_seconds: 0,
            identity: proof.of.map(ToString::to_string).unwrap_or_default(),
        };
        let answer: IssueCertificateResponse = self.call(ISSUE, asked).await?;
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let svid = Svid::new(chain, key)?;
        let bundles = decoded(answer.bundles)?;
        verify_svid(&svid, &bundles, now)?;
        let longest = svid.not_after().duration_since(svid.not_before()).unwrap_or_default();
        let life = Duration::from_secs(answer.ttl_seconds).min(longest);
        Ok(Fresh { svid, bundles, life })
    }

    /// Asks for a token that names us towards an audience, as our certificate does.
    ///
    /// # Errors
    /// As [`CertificateClient::issue`].
    pub async fn token(&mut self, audience: &[String], now: SystemTime) -> Result<Token, RequestError> {
        let asked = IssueTokenRequest { audience: audience.to_vec() };
        let answer: IssueTokenResponse = self.call(TOKEN, asked).await?;
        let life = Duration::from_secs(answer.ttl_seconds).min(LONGEST_TOKEN_LIFE);
        Ok(Token::new(answer.token, now + life))
    }

    /// Reads the bundles.
    ///
    /// # Errors
    /// As [`CertificateClient::issue`].
    pub async fn bundles(&mut self) -> Result<TrustBundles, RequestError> {
        let answer: FetchBundlesResponse = self.call(BUNDLES, FetchBundlesRequest {}).await?;
        decoded(answer.bundles)
    }

    async fn call<Q, A>(&mut self, path: &'static str, asked: Q) -> Result<A, RequestError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|error| RequestError::Connect(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(Request::new(asked), path, ProstCodec::default()).await;
        Ok(answer.map_err(|status| RequestError::Refused(Box::new(status)))?.into_inner())
    }
}

fn decoded(bundles: Vec<Bundle>) -> Result<TrustBundles, RequestError> {
    let bundle = |bundle: Bundle| {
        let roots = bundle.roots.into_iter().map(CertificateDer::from).collect();
        let keys = bundle.jwt_keys.iter().map(|key| JwtKey::from_spki(key)).collect::<Result<_, _>>();
        let keys = keys.map_err(SvidError::from)?;
        let bundle = TrustBundle::new(bundle.trust_domain.parse()?, roots, bundle.sequence)?;
        Ok(bundle.with_jwt_keys(keys)?)
    };
    bundles.into_iter().map(bundle).collect()
}
