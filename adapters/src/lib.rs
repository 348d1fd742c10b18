//! Stacks behind one trait: our engine in this process, and HTTP servers.
//!
//! Everything that knows a particular stack's words (flags, routes, JSON fields, metric names) is in this crate and
//! nowhere else. It measures nothing: it stamps what arrives and hands it on.

mod arm;
mod arrival;
mod connect;
mod decoder;
#[doc(hidden)]
pub mod fuzzing;
mod http1;
pub mod llama_server;
pub mod llama_swap;
pub mod lower;
mod markers;
pub mod mock;
mod native;
mod open_files;
mod openai;
pub mod openai_server;
mod place;
pub mod process;
pub mod prometheus;
pub mod run_store;
mod secret;
pub mod serve;
mod server;
pub mod sse;
mod stream;
pub mod vllm;

pub use arm::{ConnectRequest, ModelPaths};
pub use connect::{availability, connect, is_attached};
pub use native::{kv_types, measure_kv_quality};
pub use open_files::raise_open_files;
pub use process::{Orphan, sweep_orphans};
pub use secret::Secret;
