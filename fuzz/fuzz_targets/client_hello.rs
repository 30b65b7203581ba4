//! libFuzzer's entry to the target `client_hello`; what it checks is in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::peers::client_hello(bytes));
