//! The identity that applications are given: the proxy's name under a key of its own, asked for when somebody first wants
//! it and kept fresh from then on.

use std::sync::{Arc, OnceLock};

use mesh_model::SpiffeId;
use tokio::task::JoinHandle;

use super::tokens::Tokens;
use crate::csr::{Fresh, RequestError};
use crate::jwt::{self, Token};
use crate::rotate::{Issuance, Issuing, Rotation};
use crate::source::SvidSource;
use crate::svid::TrustBundles;
use crate::tls::PeerTls;
use crate::trust::TrustSource;

/// One workload's applications.
pub(super) struct Application {
    /// Who the proxy is, and whom both trust.
    proxy: PeerTls,
    own: Arc<SvidSource>,
    issuance: Arc<dyn Issuance>,
    renewing: OnceLock<Renewing>,
    tokens: Tokens,
}

/// The task that keeps the identity fresh; it ends with the value.
struct Renewing(JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Application {
    pub(super) fn new(proxy: PeerTls, issuance: impl Issuance) -> Self {
        let own = SvidSource::empty(Arc::clone(proxy.source.clock()));
        Self {
            proxy,
            own,
            issuance: Arc::new(issuance),
            renewing: OnceLock::new(),
            tokens: Tokens::default(),
        }
    }

    /// Who the proxy is, and whom both trust.
    pub(super) fn proxy(&self) -> &PeerTls {
        &self.proxy
    }

    /// The identity, for now perhaps empty. The first call begins to ask for it; it needs a tokio runtime.
    pub(super) fn identity(&self) -> &Arc<SvidSource> {
        self.renewing.get_or_init(|| {
            let issuance = Arc::clone(&self.issuance);
            Renewing(tokio::spawn(keep_fresh(self.proxy.clone(), Arc::clone(&self.own), issuance)))
        });
        &self.own
    }
}

impl Application {
    /// A token that names this identity, which is the proxy's, towards an audience that is in order. It is checked before it
    /// is given away.
    ///
    /// # Errors
    /// When nobody gives one, or one that does not hold, and none of before still lives.
    pub(super) async fn token(&self, id: &SpiffeId, audience: Vec<String>) -> Result<Token, RequestError> {
        let now = || self.own.clock().wall();
        if let Some(token) = self.tokens.young(&audience, now()) {
            return Ok(token);
        }
        match self.new_token(id, &audience).await {
            Ok(token) => {
                self.tokens.keep(audience, token.clone(), now());
                Ok(token)
            }
            Err(error) => self.tokens.living(&audience, now()).ok_or(error),
        }
    }

    async fn new_token(&self, id: &SpiffeId, audience: &[String]) -> Result<Token, RequestError> {
        let token = self.issuance.token(audience.to_vec()).await?;
        let (bundles, now) = (self.proxy.trust.current(), self.own.clock().wall());
        for one in audience {
            let found = jwt::validate(token.expose(), one, &bundles, now)?.subject;
            if found != *id {
                return Err(RequestError::Identity { found, expected: id.clone() });
            }
        }
        Ok(token)
    }
}

/// Waits for the proxy's identity, for it is the proof, and takes no other name than that.
async fn keep_fresh(proxy: PeerTls, own: Arc<SvidSource>, issuance: Arc<dyn Issuance>) {
    let mut changes = proxy.source.subscribe();
    let id = loop {
        match proxy.source.current() {
            Some(svid) => break svid.id().clone(),
            None if changes.changed().await.is_err() => return,
            None => {}
        }
    };
    let issuance = ForApplication { issuance, trust: Arc::clone(&proxy.trust) };
    Rotation::new(own, proxy.trust, issuance).expecting(id).run().await;
}

/// Asks for certificates only: the proxy reads the bundles already, for both.
struct ForApplication {
    issuance: Arc<dyn Issuance>,
    trust: Arc<TrustSource>,
}

impl Issuance for ForApplication {
    fn issue(&self) -> Issuing<'_, Fresh> {
        self.issuance.issue()
    }

    fn bundles(&self) -> Issuing<'_, TrustBundles> {
        Box::pin(std::future::ready(Ok((*self.trust.current()).clone())))
    }
}
