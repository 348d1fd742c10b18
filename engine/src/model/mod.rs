//! Gemma 4 on the CPU: a target model and its MTP assistant, from a GGUF file to logits.
//!
//! What it computes: embeddings, then layer by layer sandwich norms, query and key norms,
//! sliding and full attention with shared caches, GeGLU, per-layer embeddings, a final soft cap. It does not sample
//! and does not decide what to draft; see [`crate::spec`].

mod assistant;
mod config;
mod experts;
#[cfg(feature = "cuda")]
mod gpu;
mod layer;
mod mtp;
pub(crate) mod placement;
mod rope;
mod target;
mod tree;
mod weights;

pub use assistant::{Assistant, DraftHead, DraftPosition};
pub use config::{AssistantConfig, DecoderConfig, ExpertConfig, LayerConfig, TargetConfig};
#[cfg(feature = "cuda")]
pub use gpu::{CudaAssistant, CudaLoadOptions, CudaMtpProposer, CudaTarget};
pub use mtp::MtpProposer;
pub use placement::{MemoryNeed, PlePlace, PleTable};
pub use target::{CpuTarget, LoadOptions, MemoryPlan};
