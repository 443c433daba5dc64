//! Messages on a stream, by every framing, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::message_frame(data));
