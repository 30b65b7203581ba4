//! libFuzzer's entry to the target `session`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::wire::session(bytes));
