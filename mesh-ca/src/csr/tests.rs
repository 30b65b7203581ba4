//! Requests that hold and requests that do not.

use rcgen::{CertificateParams, KeyPair};

use super::*;

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let key = PrivateKey::generate();
    assert_eq!(parse(&request(&key)), Ok(key.public().clone()));
    let mut params = CertificateParams::new(["admin".to_owned()]).unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI("spiffe://cluster.local/admin".try_into().unwrap()));
    let wishful = params.serialize_request(&Signer(&key)).unwrap();
    assert_eq!(parse(wishful.der()), Ok(key.public().clone()));
}

#[test]
fn a_request_signed_by_another_key_or_changed_is_refused() {
    let der = request(&PrivateKey::generate());
    for place in 0..der.len() {
        let mut changed = der.clone();
        changed[place] ^= 0x40;
        assert!(parse(&changed).is_err(), "byte {place} may be changed");
    }
    for length in 0..der.len() {
        assert!(parse(&der[..length]).is_err());
    }
    assert_eq!(parse(&[&der[..], &[0]].concat()), Err(CsrError::Malformed));
}

#[test]
fn other_kinds_of_keys_are_refused() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        assert_eq!(parse(request.der()), Err(CsrError::Key));
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        proptest::prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn no_damage_makes_it_panic(places in proptest::collection::vec((0usize..400, 1u8..), 1..6)) {
        let mut der = request(&PrivateKey::generate());
        let length = der.len();
        places.iter().for_each(|(place, flip)| der[place % length] ^= flip);
        drop(parse(&der));
    }
}
