//! Edits of a node's directory from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| quorate::storage::fuzzing::storage_directory(data));
