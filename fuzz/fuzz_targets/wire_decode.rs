//! An envelope from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::transport::tcp::fuzzing::wire_decode(data));
