//! One voter.
