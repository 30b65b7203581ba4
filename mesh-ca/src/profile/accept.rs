//! The verifier's side of the profile: one certificate in, typed facts or a typed refusal out.

use std::time::{Duration, SystemTime};

use mesh_model::identity::SpiffeIdError;
use mesh_model::{SpiffeId, TrustDomain};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_NAME_CONSTRAINTS;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Longest certificate looked at, in bytes. An identity of 2,048 bytes fits several times.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// Which side of a connection a certificate speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It opens the connection (`id-kp-clientAuth`).
    Client,
    /// It accepts the connection (`id-kp-serverAuth`).
    Server,
}

/// Which rule of the profile a certificate breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A leaf carries `cA` true (X.509-SVID, section 4.1).
    #[error("a leaf must not be a CA")]
    CaLeaf,
    /// A leaf may sign certificates (X.509-SVID, section 4.3).
    #[error("a leaf must not carry keyCertSign")]
    CertSign,
    /// A leaf may sign revocation lists (X.509-SVID, section 4.3).
    #[error("a leaf must not carry cRLSign")]
    CrlSign,
    /// The validity ended, in seconds after 1970.
    #[error("the certificate expired at {}", crate::text::utc(moment(*.0)))]
    Expired(i64),
    /// The extended key usage leaves out what the certificate is used for (X.509-SVID, section 4.4).
    #[error("the extended key usage does not allow {0:?} authentication")]
    ExtendedKeyUsage(Purpose),
    /// Key usage is absent, not critical, or without digitalSignature (X.509-SVID, section 4.3).
    #[error("a critical key usage with digitalSignature is required")]
    KeyUsage,
    /// Not DER, trailing bytes, or a malformed extension.
    #[error("the certificate cannot be read: {0}")]
    Malformed(&'static str),
    /// Name constraints in a leaf.
    #[error("a leaf must not carry name constraints")]
    NameConstraints,
    /// No URI subject alternative name (X.509-SVID, section 2).
    #[error("there is no URI subject alternative name")]
    NoUri,
    /// A signing certificate without `cA` or `keyCertSign`.
    #[error("a signing certificate needs cA and keyCertSign")]
    NotSigning,
    /// The validity begins, in seconds after 1970.
    #[error("the certificate becomes valid at {}", crate::text::utc(moment(*.0)))]
    NotYetValid(i64),
    /// The URI is not a SPIFFE ID.
    #[error("the URI is no SPIFFE ID: {0}")]
    SpiffeId(#[from] SpiffeIdError),
    /// A signing certificate of another trust domain, or one with a workload's identity.
    #[error("a signing certificate names {0:?}, which is not its trust domain")]
    TrustDomain(String),
    /// More than one URI subject alternative name (X.509-SVID, section 2).
    #[error("there are {0} URI subject alternative names, exactly one is allowed")]
    Uris(usize),
}

/// The facts of a leaf that keeps the profile; validity and purpose are checked by [`Leaf::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    id: SpiffeId,
    serial: String,
    spki: Vec<u8>,
    validity: (i64, i64),
    purposes: Option<(bool, bool)>,
}

impl Leaf {
    /// Reads a certificate in DER and checks every rule that needs neither a clock nor a purpose.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(der: &[u8]) -> Result<Self, ProfileError> {
        let certificate = read(der)?;
        let id = single_uri(&certificate)?.parse()?;
        check_constraints(&certificate)?;
        check_usage(&certificate)?;
        let purposes = extended_usage(&certificate)?.map(|usage| (usage.client_auth, usage.server_auth));
        let spki = certificate.public_key().raw.to_vec();
        let serial = crate::text::hex(certificate.raw_serial());
        Ok(Self { id, serial, spki, validity: validity(&certificate), purposes })
    }

    /// Checks validity at `now` and the purpose.
    ///
    /// # Errors
    /// [`ProfileError::Expired`], [`ProfileError::NotYetValid`] or [`ProfileError::ExtendedKeyUsage`].
    pub fn check(&self, now: SystemTime, purpose: Purpose) -> Result<(), ProfileError> {
        let (not_before, not_after) = self.validity;
        if now < moment(not_before) {
            return Err(ProfileError::NotYetValid(not_before));
        }
        if now > moment(not_after) {
            return Err(ProfileError::Expired(not_after));
        }
        let allowed = match (self.purposes, purpose) {
            (None, _) => true,
            (Some((client, _)), Purpose::Client) => client,
            (Some((_, server)), Purpose::Server) => server,
        };
        if allowed { Ok(()) } else { Err(ProfileError::ExtendedKeyUsage(purpose)) }
    }

    /// Who the certificate speaks for.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The serial number in hexadecimal digits.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// First moment of validity.
    pub fn not_before(&self) -> SystemTime {
        moment(self.validity.0)
    }

    /// Last moment of validity.
    pub fn not_after(&self) -> SystemTime {
        moment(self.validity.1)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

/// The facts of a certificate that may sign others: a root or an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    uris: Vec<String>,
    deepest: Option<u32>,
    spki: Vec<u8>,
    validity: (i64, i64),
}

impl Signing {
    /// Reads a certificate in DER that must be a CA with `keyCertSign`.
    ///
    /// # Errors
    /// [`ProfileError::Malformed`] or [`ProfileError::NotSigning`].
    pub fn parse(der: &[u8]) -> Result<Self, ProfileError> {
        let certificate = read(der)?;
        let constraints = certificate.basic_constraints();
        let constraints = constraints.map_err(|_| ProfileError::Malformed("basic constraints"))?;
        let ca = constraints.as_ref().is_some_and(|found| found.value.ca);
        let deepest = constraints.and_then(|found| found.value.path_len_constraint);
        let signs = key_usage(&certificate)?.is_some_and(|(usage, _)| usage.key_cert_sign());
        if !ca || !signs {
            return Err(ProfileError::NotSigning);
        }
        let spki = certificate.public_key().raw.to_vec();
        Ok(Self { uris: uris(&certificate)?, deepest, spki, validity: validity(&certificate) })
    }

    /// A signing certificate may name its own trust domain and nothing else (X.509-SVID, section 4.1).
    ///
    /// # Errors
    /// [`ProfileError::TrustDomain`] with the name found.
    pub fn check_trust_domain(&self, trust_domain: &TrustDomain) -> Result<(), ProfileError> {
        let expected = trust_domain.id();
        match self.uris.iter().find(|uri| **uri != expected) {
            Some(other) => Err(ProfileError::TrustDomain(other.clone())),
            None => Ok(()),
        }
    }

    /// Most issuers that may stand between it and a leaf; `None` when it sets no limit.
    pub fn deepest(&self) -> Option<u32> {
        self.deepest
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// First moment of validity.
    pub fn not_before(&self) -> SystemTime {
        moment(self.validity.0)
    }

    /// Last moment of validity.
    pub fn not_after(&self) -> SystemTime {
        moment(self.validity.1)
    }
}

/// The identity in a leaf certificate, if the leaf keeps the profile. Says nothing about who signed it.
///
/// # Errors
/// The first rule that it breaks.
pub fn parse_svid_id(der: &[u8]) -> Result<SpiffeId, ProfileError> {
    Leaf::parse(der).map(|leaf| leaf.id)
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, ProfileError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(ProfileError::Malformed("too long"));
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| ProfileError::Malformed("not an X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(ProfileError::Malformed("bytes after the certificate"));
    }
    let unread = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::ParseError { .. });
    if certificate.extensions().iter().any(|extension| unread(extension.parsed_extension())) {
        return Err(ProfileError::Malformed("an extension"));
    }
    Ok(certificate)
}

fn uris(certificate: &X509Certificate<'_>) -> Result<Vec<String>, ProfileError> {
    let names = certificate.subject_alternative_name();
    let names = names.map_err(|_| ProfileError::Malformed("subject alternative names"))?;
    let Some(names) = names else { return Ok(Vec::new()) };
    let mut uris = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::Invalid(..) => return Err(ProfileError::Malformed("a subject alternative name")),
            _ => {}
        }
    }
    Ok(uris)
}

fn single_uri(certificate: &X509Certificate<'_>) -> Result<String, ProfileError> {
    let mut uris = uris(certificate)?;
    match (uris.len(), uris.pop()) {
        (1, Some(uri)) => Ok(uri),
        (count, Some(_)) => Err(ProfileError::Uris(count)),
        (_, None) => Err(ProfileError::NoUri),
    }
}

fn check_constraints(certificate: &X509Certificate<'_>) -> Result<(), ProfileError> {
    let constraints = certificate.basic_constraints();
    let constraints = constraints.map_err(|_| ProfileError::Malformed("basic constraints"))?;
    if constraints.is_some_and(|found| found.value.ca) {
        return Err(ProfileError::CaLeaf);
    }
    let constrains = |extension: &x509_parser::extensions::X509Extension<'_>| {
        extension.oid == OID_X509_EXT_NAME_CONSTRAINTS
    };
    if certificate.extensions().iter().any(constrains) {
        return Err(ProfileError::NameConstraints);
    }
    Ok(())
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), ProfileError> {
    let (usage, critical) = key_usage(certificate)?.ok_or(ProfileError::KeyUsage)?;
    if usage.key_cert_sign() {
        return Err(ProfileError::CertSign);
    }
    if usage.crl_sign() {
        return Err(ProfileError::CrlSign);
    }
    if !critical || !usage.digital_signature() {
        return Err(ProfileError::KeyUsage);
    }
    Ok(())
}

fn key_usage(certificate: &X509Certificate<'_>) -> Result<Option<(KeyUsage, bool)>, ProfileError> {
    let usage = certificate.key_usage().map_err(|_| ProfileError::Malformed("key usage"))?;
    Ok(usage.map(|found| (*found.value, found.critical)))
}

fn extended_usage<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<Option<&'a ExtendedKeyUsage<'a>>, ProfileError> {
    let usage = certificate.extended_key_usage();
    let usage = usage.map_err(|_| ProfileError::Malformed("extended key usage"))?;
    Ok(usage.map(|found| found.value))
}

fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    let seconds = |time: ASN1Time| time.timestamp();
    (seconds(certificate.validity().not_before), seconds(certificate.validity().not_after))
}

/// Seconds since 1970 as a moment; dates before 1970 become 1970.
fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
