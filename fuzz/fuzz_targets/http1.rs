//! libFuzzer's entry to the target `http1`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::http1::http1(bytes));
