//! Who is asking for a certificate: attestors turn evidence into an identity. Certificates are issued elsewhere.
//!
//! The request itself contributes a public key and nothing else. What an attestor answers is derived from
//! what it verified, never from what the request says about itself.

mod token;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use mesh_model::SpiffeId;

pub use token::{JoinToken, LocalTokenAttestor, TokenError, TokenKey};

use crate::key::PublicKey;

/// What a request brings along.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The token in the request, as it came. Not yet verified.
    pub token: Option<&'a str>,
    /// The identity that the connection's handshake verified.
    pub peer: Option<&'a SpiffeId>,
    /// The address that the request comes from, if it came over a network.
    pub from: Option<IpAddr>,
    /// The key whose possession the request proves.
    pub key: &'a PublicKey,
    /// Whose certificate is asked for, where it is not the asker's own: nodes ask for their pods.
    pub asked: Option<&'a SpiffeId>,
}

/// Why evidence was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// Too many unexpired tokens are remembered; none can be forgotten safely.
    #[error("too many join tokens are in use, try again later")]
    Busy,
    /// The evidence that this attestor judges is absent; another one may decide.
    #[error("the request brings neither a token nor a verified certificate")]
    NoEvidence,
    /// The token does not hold.
    #[error("the join token is refused: {0}")]
    Token(#[from] TokenError),
    /// Whoever judges the evidence does not answer at present.
    #[error("{0}")]
    Unavailable(String),
    /// Another attestor's refusal, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// A future answer of an attestor.
pub type Attesting<'a> = Pin<Box<dyn Future<Output = Result<SpiffeId, AttestError>> + Send + 'a>>;

/// Judges one kind of evidence.
pub trait Attestor: Send + Sync + 'static {
    /// The identity that the evidence proves. [`AttestError::NoEvidence`] lets the next attestor decide; any
    /// other error is final.
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a>;
}

/// Renewal: a peer whose certificate was verified in the handshake keeps its identity.
#[derive(Debug, Clone, Copy, Default)]
pub struct PeerSvidAttestor;

impl Attestor for PeerSvidAttestor {
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a> {
        let proven = evidence.peer.cloned().ok_or(AttestError::NoEvidence);
        Box::pin(std::future::ready(proven.and_then(|id| own(id, evidence.asked))))
    }
}

/// The identity that was proven, unless another one's certificate is asked for.
fn own(id: SpiffeId, asked: Option<&SpiffeId>) -> Result<SpiffeId, AttestError> {
    match asked {
        Some(asked) if *asked != id => {
            Err(AttestError::Refused(format!("{id} was proven, which may not ask for {asked}")))
        }
        _ => Ok(id),
    }
}

/// Attestors in order; the first that finds its kind of evidence decides.
#[derive(Clone, Default)]
pub struct Attestors(Vec<Arc<dyn Attestor>>);

impl Attestors {
    /// Asks these attestors in this order.
    pub fn new(attestors: impl IntoIterator<Item = Arc<dyn Attestor>>) -> Self {
        Self(attestors.into_iter().collect())
    }
}

impl Attestor for Attestors {
    fn attest<'a>(&'a self, evidence: Evidence<'a>) -> Attesting<'a> {
        Box::pin(async move {
            for attestor in &self.0 {
                match attestor.attest(evidence).await {
                    Err(AttestError::NoEvidence) => {}
                    decided => return decided,
                }
            }
            Err(AttestError::NoEvidence)
        })
    }
}
