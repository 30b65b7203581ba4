//! libFuzzer's entry to the target `certificate_request`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::peers::certificate_request(bytes));
