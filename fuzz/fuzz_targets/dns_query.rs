//! libFuzzer's entry to the target `dns_query`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::peers::dns_query(bytes));
