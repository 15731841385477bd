//! Seeds of both tiers.
