//! Stable virtual addresses: a hash of namespace and name, moved on where another service holds the place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_model::ObjectName;

/// What a service wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressClaim {
    /// Addresses that the user wrote. They are kept.
    pub written: Vec<IpAddr>,
    /// Whether an address of 240.0.0.0/8 is wanted.
    pub ipv4: bool,
    /// Whether an address of fd00:240::/96 is wanted.
    pub ipv6: bool,
}

/// Gives every service its addresses. Services are served in the order of their names; a written address is
/// never given to another service.
pub fn allocate(claims: &BTreeMap<ObjectName, AddressClaim>) -> BTreeMap<ObjectName, Vec<IpAddr>> {
    let mut taken: BTreeSet<u32> = claims.values().flat_map(|c| &c.written).filter_map(place_of).collect();
    let mut allocated = BTreeMap::new();
    for (name, claim) in claims {
        if !claim.written.is_empty() || !(claim.ipv4 || claim.ipv6) {
            allocated.insert(name.clone(), claim.written.clone());
            continue;
        }
        let Some(place) = free_place(name, &taken) else { continue };
        taken.insert(place);
        let v4 = claim.ipv4.then(|| IpAddr::V4(Ipv4Addr::from_bits(PREFIX << 24 | place)));
        let v6 = claim.ipv6.then(|| IpAddr::V6(Ipv6Addr::from_bits(PREFIX6 << 96 | u128::from(place))));
        allocated.insert(name.clone(), v4.into_iter().chain(v6).collect());
    }
    allocated
}

/// First byte of the IPv4 range.
const PREFIX: u32 = 240;
/// First four bytes of the IPv6 range.
const PREFIX6: u128 = 0xfd00_0240;
/// Places in the range; the first and last stay free.
const PLACES: u32 = 1 << 24;

fn free_place(name: &ObjectName, taken: &BTreeSet<u32>) -> Option<u32> {
    let first = u32::try_from(hash(name) % u64::from(PLACES)).unwrap_or_default();
    let usable = |place: &u32| *place != 0 && *place != PLACES - 1 && !taken.contains(place);
    (0..PLACES).map(|step| (first + step) % PLACES).find(usable)
}

fn place_of(address: &IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 240 => Some(v4.to_bits() & (PLACES - 1)),
        IpAddr::V6(v6) if v6.to_bits() >> 24 == PREFIX6 << 72 => {
            u32::try_from(v6.to_bits() & u128::from(PLACES - 1)).ok()
        }
        _ => None,
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
fn hash(name: &ObjectName) -> u64 {
    let bytes = name.namespace.bytes().chain([b'/']).chain(name.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants() -> AddressClaim {
        AddressClaim { ipv4: true, ..AddressClaim::default() }
    }

    #[test]
    fn an_address_depends_on_the_name_only() {
        let one = ObjectName::new("shop", "cart");
        let alone = allocate(&[(one.clone(), wants())].into());
        let many = (0..500).map(|n| (ObjectName::new("shop", format!("s{n}")), wants()));
        let crowd = allocate(&many.chain([(one.clone(), wants())]).collect());
        assert_eq!(alone[&one], crowd[&one]);
        assert!(matches!(alone[&one][0], IpAddr::V4(v4) if v4.octets()[0] == 240));
        let distinct: BTreeSet<_> = crowd.values().flatten().collect();
        assert_eq!(distinct.len(), 501);
    }

    #[test]
    fn a_written_address_is_kept_and_not_given_to_another() {
        let (one, two) = (ObjectName::new("shop", "cart"), ObjectName::new("shop", "thief"));
        let stolen = allocate(&[(one.clone(), wants())].into())[&one].clone();
        let written = AddressClaim { written: stolen.clone(), ..AddressClaim::default() };
        let both = allocate(&[(one.clone(), wants()), (two.clone(), written)].into());
        assert_eq!(both[&two], stolen);
        assert_ne!(both[&one], stolen);
    }

    #[test]
    fn both_families_share_their_place() {
        let name = ObjectName::new("shop", "cart");
        let claim = AddressClaim { ipv4: true, ipv6: true, ..AddressClaim::default() };
        let found = allocate(&[(name.clone(), claim)].into()).remove(&name).unwrap();
        let [IpAddr::V4(v4), IpAddr::V6(v6)] = found[..] else { panic!("{found:?}") };
        assert!(v6.to_string().starts_with("fd00:240:"));
        assert_eq!(v4.octets()[1..], v6.octets()[13..]);
        assert_eq!(place_of(&found[0]), place_of(&found[1]));
    }
}
