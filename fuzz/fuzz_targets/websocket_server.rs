//! A client's frames, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::websocket_server(data));
