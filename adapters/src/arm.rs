//! What an arm needs, for whichever stack.

use std::path::{Path, PathBuf};

use bench_core::preset::{ServingParams, SpecDecode, StackKind};

/// Files of an arm's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPaths {
    /// The model whose output counts, GGUF.
    pub target: PathBuf,
    /// The drafter, GGUF.
    pub assistant: Option<PathBuf>,
}

/// What an arm needs.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// Which stack.
    pub kind: StackKind,
    /// The arm's label; names its log.
    pub label: &'a str,
    /// The weights.
    pub models: &'a ModelPaths,
    /// How to speculate.
    pub spec: &'a SpecDecode,
    /// How to serve.
    pub serving: &'a ServingParams,
    /// An existing directory for logs of servers.
    pub log_dir: &'a Path,
}
