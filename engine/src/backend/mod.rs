//! Where the arithmetic runs. One module a device; the models call them and never the other way round.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
