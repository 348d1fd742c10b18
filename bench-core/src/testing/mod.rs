//! For tests only (feature `testing`): a stack that plays scripts, small valid documents to start
//! from, and simulated experiments whose truth is known.

mod documents;
mod experiment;
mod scripted;

pub use self::documents::{environment_sample, generate_request, host, manifest, preset, record, stack_info};
pub use self::experiment::{Cell, Experiment};
pub use self::scripted::{Script, ScriptedStack, Step};
