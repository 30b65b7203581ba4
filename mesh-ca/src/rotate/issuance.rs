//! Whom a rotation asks: the authority in this process, or one behind gRPC.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::rt::TokioIo;
use mesh_model::SpiffeId;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

use crate::authority::Authority;
use crate::csr::{CertificateClient, Fresh, Proof, RequestError};
use crate::grpc;
use crate::jwt::Token;
use crate::key::PrivateKey;
use crate::source::SvidSource;
use crate::svid::TrustBundles;
use crate::tls::{PeerTls, TlsError, client_config};

use super::schedule::LONGEST_QUESTION;
use super::within;

/// A future answer.
pub type Issuing<'a, T> = Pin<Box<dyn Future<Output = Result<T, RequestError>> + Send + 'a>>;

/// Somebody who issues SVIDs for one identity.
pub trait Issuance: Send + Sync + 'static {
    /// A new SVID with a new key, and the bundles.
    fn issue(&self) -> Issuing<'_, Fresh>;

    /// The bundles alone.
    fn bundles(&self) -> Issuing<'_, TrustBundles>;

    /// A token that names the same identity towards an audience.
    fn token(&self, audience: Vec<String>) -> Issuing<'_, Token> {
        drop(audience);
        Box::pin(std::future::ready(Err(RequestError::NoTokens)))
    }
}

/// The authority of this process.
#[derive(Debug)]
pub struct InProcess {
    authority: Arc<Authority>,
    id: SpiffeId,
}

impl InProcess {
    /// Issues for this identity; the caller vouches for it.
    pub fn new(authority: Arc<Authority>, id: SpiffeId) -> Self {
        Self { authority, id }
    }
}

impl Issuance for InProcess {
    fn issue(&self) -> Issuing<'_, Fresh> {
        Box::pin(async {
            let svid = self.authority.issue_svid(&self.id)?;
            let life = svid.remaining(self.authority.clock().wall());
            Ok(Fresh { svid, bundles: (*self.authority.trust().current()).clone(), life })
        })
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        Box::pin(async { Ok((*self.authority.trust().current()).clone()) })
    }

    fn token(&self, audience: Vec<String>) -> Issuing<'_, Token> {
        Box::pin(async move { Ok(self.authority.issue_token(&self.id, &audience)?) })
    }
}

/// A connection to the authority, its handshake done.
pub type Connected = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection under way.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

/// Reads the join token anew for each use; an empty one is none.
pub type TokenFn = Box<dyn Fn() -> io::Result<Zeroizing<String>> + Send + Sync>;

/// An authority behind gRPC. Each question opens its own connection, which presents the SVID of that moment;
/// without one that is still alive, the join token is the proof.
pub struct Remote {
    connect: Box<dyn Fn() -> Connecting + Send + Sync>,
    source: Arc<SvidSource>,
    token: Option<TokenFn>,
    /// Whose SVID is asked for, where it is not the asker's.
    of: Option<SpiffeId>,
    /// The key of a first request whose answer was lost: the token is bound to it.
    pending: Mutex<Option<PrivateKey>>,
}

impl Remote {
    /// An authority at an address, known by its identity and verified with the bundles of `identity`.
    ///
    /// # Errors
    /// When the TLS configuration is unusable.
    pub fn at(address: SocketAddr, authority: SpiffeId, identity: &PeerTls) -> Result<Self, TlsError> {
        let config = client_config(identity, vec![authority], &[grpc::ALPN])?;
        let connect = move || Box::pin(grpc::dial(address, Arc::clone(&config))) as Connecting;
        Ok(Self::through(connect, Arc::clone(&identity.source)))
    }

    /// An authority that `connect` reaches, for names that resolve anew or several addresses.
    pub fn through(
        connect: impl Fn() -> Connecting + Send + Sync + 'static,
        source: Arc<SvidSource>,
    ) -> Self {
        Self { connect: Box::new(connect), source, token: None, of: None, pending: Mutex::new(None) }
    }

    /// Proves the identity with a join token while there is no live SVID.
    pub fn with_token(
        mut self,
        read: impl Fn() -> io::Result<Zeroizing<String>> + Send + Sync + 'static,
    ) -> Self {
        self.token = Some(Box::new(read));
        self
    }

    /// Asks for the SVID of somebody else: a node for a pod. The token is the proof each time, because the SVID does not
    /// say who holds it.
    pub fn on_behalf_of(mut self, id: SpiffeId) -> Self {
        self.of = Some(id);
        self
    }

    async fn client(&self) -> Result<CertificateClient, RequestError> {
        let failed = |error: io::Error| RequestError::Connect(error.to_string());
        let stream = (self.connect)().await.map_err(failed)?;
        let mut stream = Some(TokioIo::new(stream));
        let once = tower::service_fn(move |_| {
            let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(stream)
        });
        // The address is never used: the connection is there already.
        let endpoint = Endpoint::from_static("http://certificate-authority");
        let channel: Result<Channel, _> = endpoint.connect_with_connector(once).await;
        Ok(CertificateClient::new(channel.map_err(|error| RequestError::Connect(error.to_string()))?))
    }

    async fn ask(&self) -> Result<Fresh, RequestError> {
        let now = self.source.clock().wall();
        if self.of.is_none() && !self.source.remaining().is_zero() {
            return self.client().await?.issue(PrivateKey::generate(), Proof::default(), now).await;
        }
        let token = match &self.token {
            Some(read) => {
                read().map_err(|error| RequestError::Connect(format!("the join token: {error}")))?
            }
            None => Zeroizing::default(),
        };
        let key = self.pending().get_or_insert_with(PrivateKey::generate).clone();
        let proof = Proof { token: Some(token.trim()), of: self.of.as_ref() };
        let fresh = self.client().await?.issue(key, proof, now).await?;
        *self.pending() = None;
        Ok(fresh)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<PrivateKey>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuance for Remote {
    fn issue(&self) -> Issuing<'_, Fresh> {
        Box::pin(within(LONGEST_QUESTION, self.ask()))
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        let ask = async { self.client().await?.bundles().await };
        Box::pin(within(LONGEST_QUESTION, ask))
    }

    fn token(&self, audience: Vec<String>) -> Issuing<'_, Token> {
        let ask = async move {
            // It would name whose certificate the connection shows.
            if self.of.is_some() {
                return Err(RequestError::NoTokens);
            }
            let mut client = self.client().await?;
            client.token(&audience, self.source.clock().wall()).await
        };
        Box::pin(within(LONGEST_QUESTION, ask))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("source", &self.source).finish_non_exhaustive()
    }
}
