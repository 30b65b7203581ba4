//! Roots, issuers and the plan by which they replace each other. Sans-IO: time comes in, steps come out.
//!
//! A root goes through three phases. *Announced*: it is in the bundle, the old one still signs. *Signing*: a
//! new issuer below it signs all new leaves; the old root and its issuers are *retiring*. *Dropped*: only when
//! every leaf that a retiring issuer may have signed has expired. An issuer needs no announcement, because it
//! travels with every chain and is trusted through its root; it goes from signing to retiring to dropped.

use std::time::{Duration, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{AuthorityError, Policy};
use crate::key::{PrivateKey, PublicKey};
use crate::profile::{Validity, sign_issuer, sign_leaf, sign_root, sign_server};
use crate::svid::TrustBundle;

/// All that a certificate can say is whole seconds: no leaf lives shorter.
const SECOND: Duration = Duration::from_secs(1);

/// Where a root or an issuer stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Trusted by all, signs nothing yet.
    Announced,
    /// Signs what is new.
    Signing,
    /// Signs nothing; trusted until this moment, when its last leaf has expired.
    Retiring(SystemTime),
}

/// A change of the hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new root is in the bundle.
    AnnounceRoot,
    /// A retired issuer is forgotten.
    DropIssuer,
    /// A retired root has left the bundle.
    DropRoot,
    /// A new issuer signs under the same root.
    SignWithIssuer,
    /// A new issuer signs under the new root.
    SignWithRoot,
}

/// What an operator wants to know about the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Each root's standing and the end of its life, oldest first.
    pub roots: Vec<(Standing, SystemTime)>,
    /// Each issuer's standing and the end of its life, oldest first.
    pub issuers: Vec<(Standing, SystemTime)>,
    /// Why an old root is still trusted: its last leaf may live until then.
    pub drop_blocked_until: Option<SystemTime>,
}

/// A certificate that signs, with its key.
#[derive(Debug, Clone)]
pub(super) struct Signatory {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKey,
    pub(super) standing: Standing,
    /// When it was made: half of the life is counted from here, not from the back-dated `notBefore`.
    pub(super) made: SystemTime,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// An issuer and the root above it.
#[derive(Debug, Clone)]
pub(super) struct Intermediate {
    pub(super) signatory: Signatory,
    /// Longest life it ever gave to a leaf; decides how long it retires.
    pub(super) longest_leaf: Duration,
}

/// The roots and issuers of one trust domain.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    pub(super) trust_domain: TrustDomain,
    pub(super) policy: Policy,
    pub(super) roots: Vec<Signatory>,
    pub(super) issuers: Vec<Intermediate>,
    pub(super) sequence: u64,
}

impl Signatory {
    fn half_spent(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.made).unwrap_or_default();
        now >= self.made + life / 2
    }

    pub(super) fn valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    pub(super) fn is(&self, standing: Standing) -> bool {
        self.standing == standing
    }

    fn retires(&self) -> Option<SystemTime> {
        match self.standing {
            Standing::Retiring(until) => Some(until),
            Standing::Announced | Standing::Signing => None,
        }
    }
}

impl Hierarchy {
    /// A trust domain with a fresh root and a fresh issuer.
    ///
    /// # Errors
    /// When the policy is unusable or the clock shows a time that no certificate can name.
    pub fn new(trust_domain: TrustDomain, policy: Policy, now: SystemTime) -> Result<Self, AuthorityError> {
        policy.check()?;
        let mut fresh = Self { trust_domain, policy, roots: vec![], issuers: vec![], sequence: 1 };
        let root = fresh.make_root(now, Standing::Signing)?;
        fresh.issuers.push(fresh.make_issuer(&root, now)?);
        fresh.roots.push(root);
        Ok(fresh)
    }

    /// The trust domain that this hierarchy vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Secrets for one purpose, one of each root: that of the root that signs first. Who shares the hierarchy has the
    /// same ones; they come and go with their roots, and tell nothing about them.
    pub fn secrets(&self, purpose: &str) -> Vec<Zeroizing<[u8; 32]>> {
        let signing = self.roots.iter().filter(|root| root.is(Standing::Signing));
        let others = self.roots.iter().filter(|root| !root.is(Standing::Signing));
        signing.chain(others).map(|root| root.key.secret(purpose)).collect()
    }

    /// The roots to trust now.
    ///
    /// # Errors
    /// When a stored root is unusable.
    pub fn bundle(&self) -> Result<TrustBundle, AuthorityError> {
        let roots = self.roots.iter().map(|root| root.certificate.clone()).collect();
        let bundle = TrustBundle::new(self.trust_domain.clone(), roots, self.sequence)?;
        Ok(bundle.with_jwt_keys(self.jwt_keys())?)
    }

    /// Takes every step that is due.
    ///
    /// # Errors
    /// When a new certificate cannot be signed; the steps before it stand.
    pub fn tick(&mut self, now: SystemTime) -> Result<Vec<Step>, AuthorityError> {
        let mut taken = Vec::new();
        while let Some(step) = self.due(now) {
            self.take(step, now)?;
            taken.push(step);
        }
        Ok(taken)
    }

    /// Announces a new root. When no root can sign any more (expired, or made while the clock was ahead)
    /// nothing is left to protect, and the new one signs at once.
    ///
    /// # Errors
    /// [`AuthorityError::RotationInProgress`] while the last rotation has not ended.
    pub fn rotate_root(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        if !self.roots.iter().any(|root| root.retires().is_none() && root.valid(now)) {
            return self.start_again(now);
        }
        if self.roots.len() > 1 {
            return Err(AuthorityError::RotationInProgress);
        }
        self.take(Step::AnnounceRoot, now)
    }

    /// Signs a leaf for a public key. The identity is the caller's to vouch for. The life is the shortest of
    /// `ttl`, the policy's and the issuer's.
    ///
    /// # Errors
    /// When the identity is foreign, or root or issuer are expired, or the clock is wrong.
    pub fn issue(
        &self,
        id: &SpiffeId,
        key: &PublicKey,
        ttl: Option<Duration>,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        self.check_domain(id)?;
        let ttl = ttl.unwrap_or(self.policy.leaf_ttl).clamp(SECOND, self.policy.leaf_ttl);
        let (signatory, validity) = self.for_leaf(ttl, now)?;
        let leaf = sign_leaf(id, key, validity, (&signatory.certificate, &signatory.key))?;
        Ok(vec![leaf, signatory.certificate.clone()])
    }

    /// Signs a leaf that names servers of the DNS and no identity. Returns the chain and the end of its life.
    ///
    /// # Errors
    /// As [`Self::issue`], and when a name is none of the DNS.
    pub fn issue_server(
        &self,
        names: &[String],
        key: &PublicKey,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, SystemTime), AuthorityError> {
        let (signatory, validity) = self.for_leaf(self.policy.leaf_ttl, now)?;
        let leaf = sign_server(names, key, validity, (&signatory.certificate, &signatory.key))?;
        Ok((vec![leaf, signatory.certificate.clone()], validity.not_after))
    }

    /// Who signs a leaf now, and from when to when it may hold.
    fn for_leaf(&self, ttl: Duration, now: SystemTime) -> Result<(&Signatory, Validity), AuthorityError> {
        let signatory = &self.signing_issuer(now)?.signatory;
        let validity = Validity {
            not_before: (now - self.policy.backdate).max(signatory.not_before),
            not_after: (now + ttl).min(signatory.not_after),
        };
        Ok((signatory, validity))
    }

    /// What an operator wants to know.
    pub fn status(&self) -> Status {
        let shown = |signatory: &Signatory| (signatory.standing, signatory.not_after);
        Status {
            roots: self.roots.iter().map(shown).collect(),
            issuers: self.issuers.iter().map(|issuer| shown(&issuer.signatory)).collect(),
            drop_blocked_until: self.roots.iter().find_map(Signatory::retires),
        }
    }

    fn start_again(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        let root = self.make_root(now, Standing::Signing)?;
        let issuer = self.make_issuer(&root, now)?;
        self.roots.retain(|old| old.retires().is_some() && old.valid(now));
        self.issuers.retain(|old| old.signatory.retires().is_some() && old.signatory.valid(now));
        self.roots.push(root);
        self.issuers.push(issuer);
        self.sequence += 1;
        Ok(())
    }

    fn signing_issuer(&self, now: SystemTime) -> Result<&Intermediate, AuthorityError> {
        let signing = self.issuers.iter().rfind(|issuer| issuer.signatory.is(Standing::Signing));
        let newest = self.roots.iter().map(|root| root.not_after).max().unwrap_or(SystemTime::UNIX_EPOCH);
        if newest < now {
            let trust_domain = self.trust_domain.clone();
            return Err(AuthorityError::RootExpired { trust_domain, not_after: newest });
        }
        let issuer = signing.ok_or(AuthorityError::IssuerExpired { not_after: now })?;
        if now < issuer.signatory.not_before {
            return Err(AuthorityError::ClockBeforeIssuer);
        }
        if issuer.signatory.not_after < now + SECOND {
            return Err(AuthorityError::IssuerExpired { not_after: issuer.signatory.not_after });
        }
        Ok(issuer)
    }

    pub(super) fn due(&self, now: SystemTime) -> Option<Step> {
        let over = |signatory: &Signatory| signatory.retires().is_some_and(|until| until < now);
        if self.issuers.iter().any(|issuer| over(&issuer.signatory)) {
            return Some(Step::DropIssuer);
        }
        if self.roots.iter().any(over) {
            return Some(Step::DropRoot);
        }
        let signing = self.roots.iter().rfind(|root| root.is(Standing::Signing))?;
        let announced = self.roots.iter().find(|root| root.is(Standing::Announced));
        // Waiting protects peers that know only the old root; an expired one protects nobody.
        let waited = |next: &Signatory| next.made + self.policy.trust_delay <= now || signing.not_after < now;
        if announced.is_some_and(waited) {
            return Some(Step::SignWithRoot);
        }
        // Too late for a quiet rotation: which root comes next is then a person's decision.
        if signing.not_after < now {
            return None;
        }
        if signing.half_spent(now) && self.roots.len() == 1 {
            return Some(Step::AnnounceRoot);
        }
        let issuer = self.issuers.iter().rfind(|issuer| issuer.signatory.is(Standing::Signing));
        let spent = issuer.is_none_or(|issuer| issuer.signatory.half_spent(now));
        // Below a root near its end a new issuer would live no longer than the old one.
        let gains = issuer.is_none_or(|issuer| issuer.signatory.not_after < signing.not_after);
        // Made while the clock was ahead; the clock is right again.
        let from_future = issuer.is_some_and(|issuer| now < issuer.signatory.not_before);
        let usable = signing.not_before <= now;
        (usable && (from_future || spent && gains)).then_some(Step::SignWithIssuer)
    }

    fn take(&mut self, step: Step, now: SystemTime) -> Result<(), AuthorityError> {
        match step {
            Step::AnnounceRoot => {
                let root = self.make_root(now, Standing::Announced)?;
                self.roots.push(root);
                self.sequence += 1;
            }
            Step::DropIssuer => self.issuers.retain(|issuer| stays(&issuer.signatory, now)),
            Step::DropRoot => {
                self.roots.retain(|root| stays(root, now));
                self.sequence += 1;
            }
            Step::SignWithIssuer => {
                let signing = self.roots.iter().rfind(|root| root.is(Standing::Signing));
                let issuer = self.make_issuer(signing.expect("a step needs a signing root"), now)?;
                self.retire_issuers(now);
                self.issuers.push(issuer);
            }
            Step::SignWithRoot => self.sign_with_announced(now)?,
        }
        Ok(())
    }

    fn sign_with_announced(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        let next = self.roots.iter().find(|root| root.is(Standing::Announced));
        let issuer = self.make_issuer(next.expect("a step needs an announced root"), now)?;
        let free = self.retire_issuers(now);
        for root in &mut self.roots {
            root.standing = match root.standing {
                Standing::Announced => Standing::Signing,
                Standing::Signing => Standing::Retiring(free),
                retiring @ Standing::Retiring(_) => retiring,
            };
        }
        self.issuers.push(issuer);
        Ok(())
    }

    /// Retires the issuers that sign, and says when the last leaf of any issuer may have expired.
    fn retire_issuers(&mut self, now: SystemTime) -> SystemTime {
        let mut free = now;
        for issuer in &mut self.issuers {
            let last_leaf = (now + issuer.longest_leaf).min(issuer.signatory.not_after);
            let until = issuer.signatory.retires().unwrap_or(last_leaf);
            issuer.signatory.standing = Standing::Retiring(until);
            free = free.max(until);
        }
        free
    }

    fn make_root(&self, now: SystemTime, standing: Standing) -> Result<Signatory, AuthorityError> {
        let not_before = whole_seconds(now - self.policy.backdate);
        let not_after = whole_seconds(now + self.policy.root_ttl);
        let key = PrivateKey::generate();
        let validity = Validity { not_before, not_after };
        let certificate = sign_root(&self.trust_domain, &key, validity)?;
        Ok(Signatory { certificate, key, standing, made: now, not_before, not_after })
    }

    fn make_issuer(&self, root: &Signatory, now: SystemTime) -> Result<Intermediate, AuthorityError> {
        let not_before = whole_seconds(now - self.policy.backdate).max(root.not_before);
        let not_after = whole_seconds(now + self.policy.issuer_ttl).min(root.not_after);
        let key = PrivateKey::generate();
        let validity = Validity { not_before, not_after };
        let above = (&root.certificate, &root.key);
        let certificate = sign_issuer(&self.trust_domain, key.public(), validity, above)?;
        let standing = Standing::Signing;
        let signatory = Signatory { certificate, key, standing, made: now, not_before, not_after };
        Ok(Intermediate { signatory, longest_leaf: self.policy.leaf_ttl })
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(time, |since| SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

fn stays(signatory: &Signatory, now: SystemTime) -> bool {
    signatory.retires().is_none_or(|until| until >= now)
}
