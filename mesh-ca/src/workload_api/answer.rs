//! What a workload is told, from its identity and the bundles of the moment. Pure: no streams, no clock of its own.

use std::collections::BTreeMap;
use std::time::SystemTime;

use mesh_model::TrustDomain;
use rustls_pki_types::CertificateDer;

use super::wire::{JwtBundlesResponse, X509BundlesResponse, X509Svid, X509SvidResponse};
use crate::jwt::jwks;
use crate::svid::{Svid, TrustBundles};

/// The certificate, its key and whom to trust. `None` when there is nothing to give: the certificate has expired, or no
/// root of its own trust domain is valid.
pub(super) fn x509_svid(svid: &Svid, bundles: &TrustBundles, now: SystemTime) -> Option<X509SvidResponse> {
    if svid.not_after() < now {
        return None;
    }
    let mut all = valid(bundles, now);
    let svid = X509Svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: joined(svid.chain()),
        x509_svid_key: svid.key().pkcs8().to_vec(),
        bundle: all.remove(&svid.id().trust_domain().id())?,
    };
    Some(X509SvidResponse { svids: vec![svid], federated_bundles: all })
}

/// Whom to trust. `None` when no root of the workload's own trust domain is valid: the standard demands it among them.
pub(super) fn x509_bundles(
    own: &TrustDomain,
    bundles: &TrustBundles,
    now: SystemTime,
) -> Option<X509BundlesResponse> {
    let bundles = valid(bundles, now);
    bundles.contains_key(&own.id()).then_some(X509BundlesResponse { bundles })
}

/// The keys of tokens. `None` when there are none of the workload's own trust domain.
pub(super) fn jwt_bundles(own: &TrustDomain, bundles: &TrustBundles) -> Option<JwtBundlesResponse> {
    let with_keys = bundles.iter().filter(|bundle| !bundle.jwt_keys().is_empty());
    let bundles = with_keys.map(|bundle| (bundle.trust_domain().id(), jwks(bundle.jwt_keys())));
    let bundles: BTreeMap<_, _> = bundles.collect();
    bundles.contains_key(&own.id()).then_some(JwtBundlesResponse { bundles })
}

/// The roots that have not expired, by the SPIFFE ID of their trust domain. Applications may not look at the time.
fn valid(bundles: &TrustBundles, now: SystemTime) -> BTreeMap<String, Vec<u8>> {
    let of_domain = bundles.iter().map(|bundle| (bundle.trust_domain().id(), joined(bundle.unexpired(now))));
    of_domain.filter(|(_, roots)| !roots.is_empty()).collect()
}

fn joined<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    certificates.into_iter().flat_map(|certificate| certificate.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_rt::{Clock, ManualClock};

    use super::*;
    use crate::{Authority, Policy};

    fn authority(domain: &str) -> (std::sync::Arc<Authority>, std::sync::Arc<ManualClock>) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_203_000));
        let policy = Policy::scaled(Duration::from_secs(600));
        (Authority::with_policy(domain.parse().unwrap(), policy, clock.clone()).unwrap(), clock)
    }

    #[test]
    fn other_trust_domains_come_apart_from_ones_own() {
        let (own, clock) = authority("cluster.local");
        let (other, _) = authority("other.test");
        let svid = own.issue_svid(&"spiffe://cluster.local/ns/x/sa/cart".parse().unwrap()).unwrap();
        let bundles = [own.bundle(), other.bundle()].into_iter().collect();
        let told = x509_svid(&svid, &bundles, clock.wall()).unwrap();
        assert_eq!(told.svids[0].bundle, joined(own.bundle().roots()));
        assert_eq!(told.svids[0].x509_svid, joined(svid.chain()));
        assert_eq!(told.svids[0].x509_svid_key, svid.key().pkcs8());
        let federated: Vec<_> = told.federated_bundles.into_iter().collect();
        assert_eq!(federated, [("spiffe://other.test".to_owned(), joined(other.bundle().roots()))]);
        let all = x509_bundles(&own.trust_domain(), &bundles, clock.wall()).unwrap();
        assert!(all.bundles.keys().eq(["spiffe://cluster.local", "spiffe://other.test"]), "{all:?}");
    }

    #[test]
    fn what_has_expired_is_not_given_away() {
        let (own, clock) = authority("cluster.local");
        let svid = own.issue_svid(&"spiffe://cluster.local/ns/x/sa/cart".parse().unwrap()).unwrap();
        let bundles = [own.bundle()].into_iter().collect();
        assert!(x509_svid(&svid, &bundles, svid.not_after()).is_some());
        assert!(x509_svid(&svid, &bundles, svid.not_after() + Duration::from_secs(1)).is_none());
        let end = own.bundle().not_after().unwrap() + Duration::from_secs(1);
        assert!(x509_bundles(&own.trust_domain(), &bundles, clock.wall()).is_some());
        assert!(x509_bundles(&own.trust_domain(), &bundles, end).is_none());
    }

    #[test]
    fn without_roots_of_its_own_domain_a_workload_is_told_nothing() {
        let (own, clock) = authority("cluster.local");
        let (other, _) = authority("other.test");
        let svid = own.issue_svid(&"spiffe://cluster.local/ns/x/sa/cart".parse().unwrap()).unwrap();
        let bundles = [other.bundle()].into_iter().collect();
        assert!(x509_svid(&svid, &bundles, clock.wall()).is_none());
        assert!(x509_bundles(&own.trust_domain(), &bundles, clock.wall()).is_none());
    }

    #[test]
    fn the_key_is_never_printed() {
        let (own, clock) = authority("cluster.local");
        let svid = own.issue_svid(&"spiffe://cluster.local/ns/x/sa/cart".parse().unwrap()).unwrap();
        let told = x509_svid(&svid, &[own.bundle()].into_iter().collect(), clock.wall()).unwrap();
        let text = format!("{told:?} {told:#?}");
        assert!(
            text.contains("spiffe://cluster.local/ns/x/sa/cart") && !text.contains("x509_svid_key"),
            "{text}"
        );
    }
}
