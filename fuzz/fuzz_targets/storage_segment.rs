//! The frames of a segment from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::storage::fuzzing::storage_segment(data));
