//! libFuzzer's entry to the target `host_pattern`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::model::host_pattern(bytes));
