//! What a proxy keeps on disk for a start without controller: the last-good snapshot, and its identity with the
//! bundles. Both are sealed; a file that does not open is left out and replaced at the next chance.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ca::jwt::JwtKey;
use mesh_ca::store::{FileStore, SealingKey, Store as _, open, seal};
use mesh_ca::tls::PeerTls;
use mesh_ca::{PrivateKey, Svid, TrustBundle, TrustBundles};
use mesh_model::{Delta, SpiffeId};
use mesh_xds::lastgood::{LastGood, SealError, Sealer, Store};
use mesh_xds::native;
use prost::Message;
use rustls::pki_types::CertificateDer;

const IDENTITY: &str = "mesh-proxy identity";
const SNAPSHOT: &str = "mesh-proxy snapshot";
/// An identity larger than this is not one of ours.
const MAX_CHAIN: usize = 8;

/// The files of one proxy.
pub(super) struct Kept {
    key: Arc<SealingKey>,
    identity: FileStore,
    pub(super) snapshot: Store,
}

/// A snapshot of an earlier life.
pub(super) struct Restored {
    pub(super) last: LastGood,
    pub(super) delta: Delta,
    pub(super) age: Duration,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeptIdentity {
    #[prost(bytes = "vec", repeated, tag = "1")]
    chain: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    bundles: Vec<KeptBundle>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeptBundle {
    #[prost(string, tag = "1")]
    trust_domain: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    roots: Vec<Vec<u8>>,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    /// SubjectPublicKeyInfo in DER.
    #[prost(bytes = "vec", repeated, tag = "4")]
    jwt_keys: Vec<Vec<u8>>,
}

impl Kept {
    pub(super) fn open(directory: &Path, key: Arc<SealingKey>) -> Self {
        let sealer = Arc::new(Sealing(Arc::clone(&key)));
        let snapshot = Store::new(directory.join("last-good"), sealer);
        Self { key, identity: FileStore::new(directory.join("identity")), snapshot }
    }

    /// Takes the kept identity and bundles into use, if they are whole.
    pub(super) fn restore_identity(&self, peer: &PeerTls, expected: Option<&SpiffeId>, now: SystemTime) {
        match self.read_identity() {
            Ok(Some((svid, bundles))) => {
                let ours = expected.is_none_or(|expected| expected == svid.id());
                if bundles.iter().len() > 0 {
                    peer.trust.publish(bundles);
                }
                if ours && !svid.remaining(now).is_zero() {
                    peer.source.publish(svid);
                }
            }
            Ok(None) => {}
            Err(problem) => tracing::warn!(problem, "the kept identity is not used"),
        }
    }

    fn read_identity(&self) -> Result<Option<(Svid, TrustBundles)>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Some(sealed) = self.identity.load().map_err(|e| text(&e))? else { return Ok(None) };
        let opened = open(&sealed, &self.key, IDENTITY).map_err(|e| text(&e))?;
        let kept = KeptIdentity::decode(opened.content.as_slice()).map_err(|e| text(&e))?;
        if kept.chain.len() > MAX_CHAIN {
            return Err(format!("{} certificates are too many", kept.chain.len()));
        }
        let key = PrivateKey::from_pkcs8(&kept.key).map_err(|e| text(&e))?;
        let chain = kept.chain.into_iter().map(CertificateDer::from).collect();
        let svid = Svid::new(chain, key).map_err(|e| text(&e))?;
        let bundle = |bundle: KeptBundle| {
            let trust_domain = bundle.trust_domain.parse().map_err(|e| text(&e))?;
            let roots = bundle.roots.into_iter().map(CertificateDer::from).collect();
            let keys = bundle.jwt_keys.iter().map(|key| JwtKey::from_spki(key)).collect::<Result<_, _>>();
            let keys = keys.map_err(|e| text(&e))?;
            let bundle = TrustBundle::new(trust_domain, roots, bundle.sequence).map_err(|e| text(&e))?;
            bundle.with_jwt_keys(keys).map_err(|e| text(&e))
        };
        let bundles = kept.bundles.into_iter().map(bundle).collect::<Result<TrustBundles, _>>()?;
        Ok(Some((svid, bundles)))
    }

    /// Writes the identity in use. A full disk keeps what was written before.
    pub(super) fn save_identity(&self, peer: &PeerTls) {
        let Some(svid) = peer.source.current() else { return };
        let bundle = |bundle: &TrustBundle| KeptBundle {
            trust_domain: bundle.trust_domain().to_string(),
            roots: bundle.roots().map(|root| root.to_vec()).collect(),
            sequence: bundle.sequence(),
            jwt_keys: bundle.jwt_keys().iter().map(|key| key.spki().to_vec()).collect(),
        };
        let kept = KeptIdentity {
            chain: svid.chain().iter().map(|der| der.to_vec()).collect(),
            key: svid.key().pkcs8().to_vec(),
            bundles: peer.trust.current().iter().map(bundle).collect(),
        };
        let sealed = seal(&kept.encode_to_vec(), &self.key, IDENTITY, 0);
        if let Err(error) = self.identity.save(&sealed) {
            tracing::warn!(%error, "the identity could not be kept");
        }
    }

    /// The last-good snapshot, if there is one that is whole.
    pub(super) fn restore_mesh(&self, now: SystemTime) -> Option<Restored> {
        let unusable = |problem: &dyn std::fmt::Display| {
            tracing::warn!(%problem, "the last-good snapshot is not used");
        };
        let last = self.snapshot.load(now).inspect_err(|e| unusable(e)).ok().flatten()?;
        let delta = native::restore(&last).inspect_err(|(key, e)| unusable(&format!("{key}: {e}"))).ok()?;
        Some(Restored { age: last.age(now), delta, last })
    }
}

/// Seals snapshots with the proxy's key.
struct Sealing(Arc<SealingKey>);

impl Sealer for Sealing {
    fn seal(&self, content: Vec<u8>) -> Result<Vec<u8>, SealError> {
        Ok(seal(&content, &self.0, SNAPSHOT, 0))
    }

    fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let opened = open(&sealed, &self.0, SNAPSHOT).map_err(|error| SealError(error.to_string()))?;
        Ok(opened.content.to_vec())
    }
}
