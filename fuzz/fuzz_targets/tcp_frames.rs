//! A stream of frames from any bytes, in reads of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::transport::tcp::fuzzing::tcp_frames(data));
