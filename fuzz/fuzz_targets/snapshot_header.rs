//! A snapshot from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::storage::fuzzing::snapshot_header(data));
