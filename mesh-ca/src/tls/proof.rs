//! What the peer of a finished handshake proved, so that it can be asked again when trust changes. No connections.

use std::time::SystemTime;

use rustls::CommonState;
use rustls_pki_types::CertificateDer;

use super::verify::verify_chain;
use crate::profile::{Leaf, Purpose};
use crate::svid::TrustBundles;

/// A peer's certificates and when they were verified.
#[derive(Debug, Clone)]
pub struct Proof {
    chain: Vec<CertificateDer<'static>>,
    purpose: Purpose,
    at: SystemTime,
}

impl Proof {
    /// What the client of a connection proved at this time; `None` when it presented no certificate.
    pub fn of_client(connection: &CommonState, at: SystemTime) -> Option<Self> {
        Self::of(connection, Purpose::Client, at)
    }

    /// What the server of a connection proved at this time.
    pub fn of_server(connection: &CommonState, at: SystemTime) -> Option<Self> {
        Self::of(connection, Purpose::Server, at)
    }

    fn of(connection: &CommonState, purpose: Purpose, at: SystemTime) -> Option<Self> {
        Some(Self { chain: connection.peer_certificates()?.to_vec(), purpose, at })
    }

    /// Whether these bundles would have let the peer in at the time of its handshake: only trust that was
    /// withdrawn counts, not the time that has passed since.
    ///
    /// A root that goes when every certificate below it has expired was not withdrawn but had served its time; what it
    /// vouched for goes on as long as its trust domain is trusted. So a root that is to be distrusted has to go while
    /// certificates below it are valid, and connections that are older than that are ended by a policy.
    pub fn holds(&self, bundles: &TrustBundles, now: SystemTime) -> bool {
        verify_chain(&self.chain, bundles, self.at, self.purpose).is_ok() || self.has_expired(bundles, now)
    }

    /// Whether the certificate's life was over by now, in a trust domain that goes on.
    fn has_expired(&self, bundles: &TrustBundles, now: SystemTime) -> bool {
        let leaf = self.chain.first().and_then(|leaf| Leaf::parse(leaf).ok());
        leaf.is_some_and(|leaf| leaf.not_after() < now && bundles.of(leaf.id().trust_domain()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_rt::{Clock as _, ManualClock};

    use super::*;
    use crate::authority::{Authority, Policy};

    #[test]
    fn a_root_that_has_served_its_time_ends_nothing_and_one_that_is_withdrawn_does() {
        let life = Duration::from_secs(60);
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000));
        let domain: mesh_model::TrustDomain = "cluster.local".parse().unwrap();
        let authority = Authority::with_policy(domain.clone(), Policy::scaled(life), clock.clone()).unwrap();
        let id = "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap();
        let svid = authority.issue_svid(&id).unwrap();
        let at = clock.wall();
        let proof = Proof { chain: svid.chain().to_vec(), purpose: Purpose::Client, at };
        let old = TrustBundles::clone(&authority.trust().current());
        assert!(proof.holds(&old, at));

        // Another root alone, which never vouched for the peer.
        let other = Authority::with_policy(domain.clone(), Policy::scaled(life), clock.clone()).unwrap();
        let new = TrustBundles::clone(&other.trust().current());
        assert!(!proof.holds(&new, at + life / 2), "a root was withdrawn while its certificate was valid");
        let after = svid.not_after() + Duration::from_secs(1);
        assert!(proof.holds(&new, after), "a root went when its certificates had expired");

        let mut none = new;
        none.remove(&domain);
        assert!(!proof.holds(&none, after), "a trust domain that is trusted no more");
    }
}
