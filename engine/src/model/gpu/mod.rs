//! Gemma 4 on a GPU: the same models as on the CPU, with weights, caches and the choice of tokens on the device.
//!
//! A pass over up to 8 rows is one captured graph whose launches do not depend on how much is cached: positions are
//! read on the device. What comes back to the host is the ids of the greatest logits; logits themselves only when they
//! are asked for. Invariants: a row's bits depend on the tokens before it alone, not on the rows verified beside it;
//! every layer's attention was planned when the model was loaded, so what cannot run fails before the first token.

mod assistant;
mod attention;
mod drafts;
mod experts;
mod layer;
mod mtp;
mod sampling;
mod target;
mod weights;

pub use assistant::CudaAssistant;
pub use mtp::CudaMtpProposer;
pub use target::{CudaLoadOptions, CudaTarget};
