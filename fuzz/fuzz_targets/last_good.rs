//! libFuzzer's entry to the target `last_good`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::wire::last_good(bytes));
