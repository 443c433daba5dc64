//! A server's answer to a WebSocket client, cut anywhere.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::websocket_response(data));
