//! A hello and a reply from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::transport::tcp::fuzzing::tcp_handshake(data));
