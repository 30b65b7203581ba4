//! Identities and policies of the mesh in a program of one's own: an authority issues two identities, and the
//! engine decides which of them may come in. No proxy, no controller, no network.

use std::collections::BTreeMap;
use std::error::Error;

use mesh_ca::{Authority, SystemClock, profile};
use mesh_model::engine::{Verdict, authorize};
use mesh_model::policy::{Action, Patterns, PolicyRule, Source, TextPattern};
use mesh_model::{AuthorizationPolicy, ConnectionFacts, Kind, ObjectName, Origin, ResourceKey, SourceRef};

fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::in_memory("cluster.local".parse()?, SystemClock::shared())?;
    let policy = only("cluster.local/ns/shop/sa/web");
    for account in ["web", "cron"] {
        let asked = format!("spiffe://cluster.local/ns/shop/sa/{account}").parse()?;
        let svid = authority.issue_svid(&asked)?;
        // The identity is read back from the certificate: this is what a peer sees.
        let peer = profile::parse_svid_id(&svid.chain()[0])?;
        let verdict = enters(&policy, peer)?;
        println!("{asked}: allowed {}, because {}", verdict.allowed, verdict.reason);
        if verdict.allowed != (account == "web") {
            return Err(format!("{account} was judged wrongly").into());
        }
    }
    Ok(())
}

/// A policy that lets one identity in and refuses all others.
fn only(principal: &str) -> AuthorizationPolicy {
    let name = ObjectName::new("shop", "cart-policy");
    let principals = Patterns { any: vec![TextPattern::from(principal.to_owned())], none: vec![] };
    let from = vec![Source { principals, ..Source::default() }];
    AuthorizationPolicy {
        key: ResourceKey::local(Kind::Policy, name.clone()),
        source: SourceRef::new("AuthorizationPolicy", name, Origin::Builtin),
        action: Action::Allow,
        selector: BTreeMap::new(),
        rules: vec![PolicyRule { from, ..PolicyRule::default() }],
    }
}

/// Whether a connection from this peer may enter.
fn enters(policy: &AuthorizationPolicy, peer: mesh_model::SpiffeId) -> Result<Verdict, Box<dyn Error>> {
    let (source, destination) = ("10.0.0.1".parse()?, "10.0.0.2:8443".parse()?);
    let facts = ConnectionFacts { source, destination, peer: Some(peer), sni: None };
    Ok(authorize(&[policy.clone().into()], &facts, None))
}
