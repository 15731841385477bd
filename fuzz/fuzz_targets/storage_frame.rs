//! A frame's payload behind a sound log from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::storage::fuzzing::storage_frame(data));
