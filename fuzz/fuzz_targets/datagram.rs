//! Datagrams of four peers: any bytes, any order, any time.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sockeye_fuzz::datagram(data));
