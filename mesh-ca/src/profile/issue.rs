//! The issuing side of the profile: roots, issuers and leaves as we sign them (X.509-SVID, sections 2 to 4).

use std::time::{Duration, SystemTime};

use mesh_model::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::key::{PrivateKey, PublicKey, Signer, Subject};

/// The last moment an X.509 certificate can name: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why a certificate could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The moment lies outside what a certificate can say.
    #[error("the clock shows a time that no certificate can name")]
    Clock,
    /// The encoder or the signature failed.
    #[error("the certificate could not be encoded: {0}")]
    Encode(String),
}

/// From when to when a certificate holds; whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Signs a root: it names its trust domain, so that a root and its domain cannot be mixed up.
pub(crate) fn sign_root(
    trust_domain: &TrustDomain,
    key: &PrivateKey,
    validity: Validity,
) -> Result<CertificateDer<'static>, SignError> {
    let mut params = signing(trust_domain, validity, "root")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    let certificate = params.self_signed(&Signer(key)).map_err(encode)?;
    Ok(certificate.der().clone())
}

/// Signs an issuer below a root. It never carries name constraints: path verification refuses every URI name
/// below such an issuer, and trust domains are kept apart by their bundles instead.
pub(crate) fn sign_issuer(
    trust_domain: &TrustDomain,
    key: &PublicKey,
    validity: Validity,
    root: (&CertificateDer<'_>, &PrivateKey),
) -> Result<CertificateDer<'static>, SignError> {
    let mut params = signing(trust_domain, validity, "issuer")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    sign(&params, key, root)
}

/// Signs a leaf: one URI name and nothing else that names anybody.
pub(crate) fn sign_leaf(
    id: &SpiffeId,
    key: &PublicKey,
    validity: Validity,
    issuer: (&CertificateDer<'_>, &PrivateKey),
) -> Result<CertificateDer<'static>, SignError> {
    let mut params = unnamed(validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri(&id.to_string())?];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    sign(&params, key, issuer)
}

/// Signs a leaf for a server that clients outside the mesh know by names of the DNS. It names no identity, so that no
/// peer of the mesh ever takes it for one.
pub(crate) fn sign_server(
    names: &[String],
    key: &PublicKey,
    validity: Validity,
    issuer: (&CertificateDer<'_>, &PrivateKey),
) -> Result<CertificateDer<'static>, SignError> {
    let mut params = unnamed(validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    let name = |name: &String| Ok(SanType::DnsName(name.as_str().try_into().map_err(encode)?));
    params.subject_alt_names = names.iter().map(name).collect::<Result<_, SignError>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(&params, key, issuer)
}

fn signing(
    trust_domain: &TrustDomain,
    validity: Validity,
    role: &str,
) -> Result<CertificateParams, SignError> {
    let mut params = unnamed(validity)?;
    let mark = u32::from_be_bytes(mesh_rt::random::secure());
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "service mesh");
    name.push(DnType::CommonName, format!("{role} {mark:08x}"));
    params.distinguished_name = name;
    params.subject_alt_names = vec![uri(&trust_domain.id())?];
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn unnamed(validity: Validity) -> Result<CertificateParams, SignError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = representable(validity.not_before)?.into();
    params.not_after = representable(validity.not_after)?.into();
    params.serial_number = Some(SerialNumber::from_slice(&mesh_rt::random::secure::<16>()));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn sign(
    params: &CertificateParams,
    key: &PublicKey,
    (certificate, secret): (&CertificateDer<'_>, &PrivateKey),
) -> Result<CertificateDer<'static>, SignError> {
    let issuer = Issuer::from_ca_cert_der(certificate, Signer(secret)).map_err(encode)?;
    let signed = params.signed_by(&Subject(key), &issuer).map_err(encode)?;
    Ok(signed.der().clone())
}

fn representable(time: SystemTime) -> Result<SystemTime, SignError> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| SignError::Clock)?;
    if since.as_secs() > LAST_SECOND {
        return Err(SignError::Clock);
    }
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

fn uri(text: &str) -> Result<SanType, SignError> {
    Ok(SanType::URI(text.try_into().map_err(encode)?))
}

fn encode(error: rcgen::Error) -> SignError {
    SignError::Encode(error.to_string())
}
