//! The bytes of a batch, written out once by hand, so that a change of the encoding shows as a change of bytes.

use super::*;

/// One word for each four bytes, blanks between; little-endian machines only, as netlink is in host order.
fn words(bytes: &[u8]) -> String {
    bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
#[cfg(target_endian = "little")]
fn a_batch_is_these_bytes() {
    let rules = Rules {
        datagrams: BTreeMap::new(),
        names: None,
        exempt: Exempt::User(1337),
        inbound: None,
        only_new: false,
        outbound: 15001,
        refuse_others: false,
        table: TABLE,
    };
    let batch = rules.batch();
    let text = words(batch.bytes());
    let mut rest = text.as_str();
    for (what, expected) in GOLDEN {
        rest = rest
            .strip_prefix(expected)
            .unwrap_or_else(|| panic!("{what}:\n{expected}\nis not the start of\n{rest}"));
        rest = rest.trim_start();
    }
    assert_eq!(rest, "");
}

/// Header: length, type and flags, sequence, port; then `nfgenmsg`; then attributes.
const GOLDEN: &[(&str, &str)] = &[
    ("batch begins", "14000000 10000100 00000000 00000000 0000000a"),
    ("new table", "20000000 000a0504 01000000 00000000 01000000 09000100 6d657368 00000000"),
    ("delete table", "20000000 020a0500 02000000 00000000 01000000 09000100 6d657368 00000000"),
    ("new table again", "20000000 000a0504 03000000 00000000 01000000 09000100 6d657368 00000000"),
    (
        "new chain",
        "4c000000 030a0504 04000000 00000000 01000000 09000100 6d657368 00000000 \
         0d000300 6f757462 6f756e64 00000000 14000480 08000100 00000003 08000200 ffffff9c \
         08000700 6e617400",
    ),
    (
        "rule for the user",
        "b4000000 060a050c 05000000 00000000 01000000 09000100 6d657368 00000000 \
         0d000200 6f757462 6f756e64 00000000 84000480",
    ),
    (
        "meta skuid",
        "24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 \
         0000000a",
    ),
    (
        "is 1337, in host order",
        "2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 \
         0c000380 08000100 39050000",
    ),
    (
        "return",
        "30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 \
         10000280 0c000280 08000100 fffffffb",
    ),
    (
        "rule for loopback",
        "b4000000 060a050c 06000000 00000000 01000000 09000100 6d657368 00000000 \
         0d000200 6f757462 6f756e64 00000000 84000480",
    ),
    (
        "meta oif",
        "24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 \
         00000005",
    ),
    (
        "is 1, in host order",
        "2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 \
         0c000380 08000100 01000000",
    ),
    (
        "return",
        "30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 \
         10000280 0c000280 08000100 fffffffb",
    ),
    (
        "rule for the rest",
        "cc000000 060a050c 07000000 00000000 01000000 09000100 6d657368 00000000 \
         0d000200 6f757462 6f756e64 00000000 9c000480",
    ),
    (
        "meta l4proto",
        "24000180 09000100 6d657461 00000000 14000280 08000100 00000001 08000200 \
         00000010",
    ),
    (
        "is TCP",
        "2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 \
         0c000380 05000100 06000000",
    ),
    (
        "port 15001, in network order",
        "2c000180 0e000100 696d6d65 64696174 65000000 18000280 08000100 00000001 \
         0c000280 06000100 3a990000",
    ),
    ("redir", "1c000180 0a000100 72656469 72000000 0c000280 08000100 00000001"),
    ("batch ends", "14000000 11000100 08000000 00000000 0000000a"),
];
