//! A server's answer to an HTTP request, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::http_answer(data));
