//! For tests only (feature `testing`): a stack that plays scripts, and small valid documents to start from.

mod documents;
mod scripted;

pub use self::documents::{environment_sample, generate_request, host, manifest, preset, record, stack_info};
pub use self::scripted::{Script, ScriptedStack, Step};
