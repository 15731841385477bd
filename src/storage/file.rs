//! Storage in files.
