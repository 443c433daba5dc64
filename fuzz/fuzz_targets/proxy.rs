//! Headers of the PROXY protocol, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::proxy(data));
