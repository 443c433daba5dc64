//! The body of a request, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::http_body(data));
