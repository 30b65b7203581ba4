//! libFuzzer's entry to the target `jwt_svid`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::peers::jwt_svid(bytes));
