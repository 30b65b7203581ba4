//! libFuzzer's entry to the target `resource_key`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::model::resource_key(bytes));
