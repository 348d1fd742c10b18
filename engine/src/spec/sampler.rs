//! Chooses tokens from logits.

/// A seeded sampler.
#[derive(Debug)]
pub struct Sampler {}
