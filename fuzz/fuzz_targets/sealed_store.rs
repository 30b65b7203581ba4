//! libFuzzer's entry to the target `sealed_store`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::peers::sealed_store(bytes));
