//! JWT-SVIDs of the authority. Each root has a key for tokens that is derived from its own: it is announced, signs and
//! retires with its root, and needs no place of its own in the store.

use std::time::{Duration, SystemTime};

use mesh_model::SpiffeId;

use super::AuthorityError;
use super::hierarchy::{Hierarchy, Signatory, Standing};
use crate::jwt::{JwtKey, Token, checked_audience, mint};
use crate::key::PrivateKey;

/// Longest life of a token: whoever sees it may use it.
const TTL: Duration = Duration::from_secs(300);

impl Hierarchy {
    /// Signs a token that names this identity towards an audience. The identity is the caller's to vouch for. It lives for
    /// five minutes, or as long as a leaf if that is shorter: so no retired key is forgotten before its last token.
    ///
    /// # Errors
    /// When the identity is foreign, the audience is none, or no root can sign.
    pub fn issue_token(
        &self,
        id: &SpiffeId,
        audience: &[String],
        now: SystemTime,
    ) -> Result<Token, AuthorityError> {
        self.check_domain(id)?;
        checked_audience(audience)?;
        let signing = self.roots.iter().rfind(|root| root.is(Standing::Signing));
        let newest = signing.map_or(SystemTime::UNIX_EPOCH, |root| root.not_after);
        let trust_domain = self.trust_domain.clone();
        let expired = AuthorityError::RootExpired { trust_domain, not_after: newest };
        let root = signing.filter(|root| root.valid(now)).ok_or(expired)?;
        Ok(mint(id, audience, &signer(root), now, TTL.min(self.policy.leaf_ttl)))
    }

    /// The keys to validate tokens with, one of each root.
    pub(super) fn jwt_keys(&self) -> Vec<JwtKey> {
        self.roots.iter().map(|root| JwtKey::new(signer(root).public().clone())).collect()
    }

    pub(super) fn check_domain(&self, id: &SpiffeId) -> Result<(), AuthorityError> {
        if *id.trust_domain() == self.trust_domain {
            return Ok(());
        }
        let trust_domain = self.trust_domain.clone();
        Err(AuthorityError::ForeignTrustDomain { id: id.clone(), trust_domain })
    }
}

/// The key for tokens of a root.
fn signer(root: &Signatory) -> PrivateKey {
    // About one secret of four thousand million is no scalar of the curve.
    let derive = |n: u8| PrivateKey::from_scalar(&root.key.secret(&format!("mesh-ca JWT-SVID key {n}"))).ok();
    (0..=u8::MAX).find_map(derive).expect("one of 256 secrets is a scalar")
}
