//! The last good SVID and bundles on disk, sealed, so that a proxy that starts alone is somebody at once.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use mesh_model::TrustDomain;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::jwt::JwtKey;
use crate::key::PrivateKey;
use crate::store::{SealingKey, Store, StoreError, open, seal};
use crate::svid::{Svid, SvidError, TrustBundle, TrustBundles};
use crate::text::{hex, unhex};

/// What binds sealed bytes to this use.
const PURPOSE: &str = "mesh-ca last good SVID";

/// Why nothing could be restored or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The bytes opened, but do not fit together.
    #[error("{name}: the kept identity is unusable: {reason}")]
    Content {
        /// The store.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The store failed, or its bytes do not open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An identity as it was kept.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The SVID; may have expired since.
    pub svid: Svid,
    /// Whom to trust.
    pub bundles: TrustBundles,
}

/// Keeps the last good identity in a store.
pub struct Keep {
    store: Box<dyn Store>,
    key: SealingKey,
    generation: Mutex<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    chain: Vec<String>,
    key: String,
    bundles: Vec<BundleForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleForm {
    trust_domain: TrustDomain,
    sequence: u64,
    roots: Vec<String>,
    #[serde(default)]
    jwt_keys: Vec<String>,
}

impl Drop for Form {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Keep {
    /// Keeps identities in this store, sealed with this key.
    pub fn new(store: impl Store, key: SealingKey) -> Self {
        Self { store: Box::new(store), key, generation: Mutex::new(0) }
    }

    /// The identity kept last; `None` when there is none yet.
    ///
    /// # Errors
    /// When the store cannot be read, another key sealed it, or it is damaged.
    pub fn restore(&self) -> Result<Option<Restored>, KeepError> {
        let Some(bytes) = self.store.load()? else { return Ok(None) };
        let opened = open(&bytes, &self.key, PURPOSE).map_err(|source| StoreError::Sealed {
            name: self.store.name(),
            source,
            previous: self.store.previous_generation(),
        })?;
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) = opened.generation;
        let unusable = |reason: String| KeepError::Content { name: self.store.name(), reason };
        let form: Form =
            serde_json::from_slice(&opened.content).map_err(|error| unusable(error.to_string()))?;
        read(&form).map(Some).map_err(|error| unusable(error.to_string()))
    }

    /// Keeps an identity. Blocks on the store's file.
    ///
    /// # Errors
    /// When the store cannot be written; the identity kept before stays.
    pub fn save(&self, svid: &Svid, bundles: &TrustBundles) -> Result<(), KeepError> {
        let bundle = |bundle: &TrustBundle| BundleForm {
            trust_domain: bundle.trust_domain().clone(),
            sequence: bundle.sequence(),
            roots: bundle.roots().map(|root| hex(root)).collect(),
            jwt_keys: bundle.jwt_keys().iter().map(|key| hex(key.spki())).collect(),
        };
        let form = Form {
            version: 1,
            chain: svid.chain().iter().map(|certificate| hex(certificate)).collect(),
            key: hex(svid.key().pkcs8()),
            bundles: bundles.iter().map(bundle).collect(),
        };
        // Room enough from the start: a vector that grows would leave copies of the key behind.
        let roots: usize = form.bundles.iter().flat_map(|bundle| &bundle.roots).map(String::len).sum();
        let keys: usize = form.bundles.iter().flat_map(|bundle| &bundle.jwt_keys).map(String::len).sum();
        let chain: usize = form.chain.iter().map(String::len).sum();
        let mut content = Zeroizing::new(Vec::with_capacity(4096 + 2 * (roots + keys + chain)));
        serde_json::to_writer(&mut *content, &form).expect("the form has string keys");
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.save(&seal(&content, &self.key, PURPOSE, *generation + 1))?;
        *generation += 1;
        Ok(())
    }
}

fn read(form: &Form) -> Result<Restored, SvidError> {
    let certificate = |text: &String| {
        let der = unhex(text).map(|der| der.to_vec()).unwrap_or_default();
        CertificateDer::from(der)
    };
    let chain = form.chain.iter().map(certificate).collect();
    let key = unhex(&form.key).unwrap_or_default();
    let svid = Svid::new(chain, PrivateKey::from_pkcs8(&key)?)?;
    let bundle = |bundle: &BundleForm| {
        let roots = bundle.roots.iter().map(certificate).collect();
        let key = |text: &String| JwtKey::from_spki(&unhex(text).unwrap_or_default());
        let keys = bundle.jwt_keys.iter().map(key).collect::<Result<_, _>>()?;
        TrustBundle::new(bundle.trust_domain.clone(), roots, bundle.sequence)?.with_jwt_keys(keys)
    };
    let bundles = form.bundles.iter().map(bundle).collect::<Result<_, _>>()?;
    Ok(Restored { svid, bundles })
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("store", &self.store.name()).finish_non_exhaustive()
    }
}
