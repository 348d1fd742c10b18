//! The one error type of the crate.

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A GGUF file cannot be read or written.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::GgufError),
    /// The GPU could not do what was asked.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::backend::cuda::CudaError),
    /// The sequence would outgrow the context it was given.
    #[error("{needed} tokens do not fit into a context of {capacity}")]
    ContextFull {
        /// Tokens that were to be held.
        needed: usize,
        /// Tokens that can be held.
        capacity: usize,
    },
    /// A token id that the vocabulary does not have.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Ids run from 0 to this, exclusive.
        vocab_size: usize,
    },
    /// A logit that no token can be chosen by.
    #[error("the logit of token {id} is {value}, expected a finite number")]
    BadLogit {
        /// The first such token.
        id: u32,
        /// Its logit: NaN or +inf, or -inf where every logit is.
        value: f32,
    },
    /// Any of the others, in a named model file.
    #[error("`{path}`: {source}", path = path.display())]
    InFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// The model's chat template cannot be compiled or rendered.
    #[error("chat template: {detail}")]
    ChatTemplate {
        /// What minijinja, or the template itself, says.
        detail: String,
    },
    /// The disk cannot hold what is to be written.
    #[error("`{dir}` has {free} free, {needed} are needed", dir = dir.display(), free = bytes_in_words(*free), needed = bytes_in_words(*needed))]
    NoSpace {
        /// Where.
        dir: std::path::PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Drafting with an assistant was asked for, but none was named.
    #[error("drafting with MTP for `{}` needs an assistant model, but none was given", target.display())]
    MissingAssistant {
        /// The target's file.
        target: std::path::PathBuf,
    },
    /// An argument that makes no sense.
    #[error("{what}: got {got}, expected {expected}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// Its value.
        got: String,
        /// What would do.
        expected: String,
    },
    /// A model file that the engine cannot run.
    #[error("{what}: got {got}, expected {expected}")]
    Model {
        /// Which key or tensor.
        what: String,
        /// Its value.
        got: String,
        /// What would do.
        expected: String,
        /// What the user can do about it, where that is known.
        hint: Option<&'static str>,
    },
    /// The system has not that much memory to give.
    #[error("no memory for {what}: {bytes} bytes")]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much.
        bytes: usize,
        /// Why not.
        source: std::collections::TryReserveError,
    },
    /// The system gave no more threads.
    #[error("could not start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why not.
        source: std::io::Error,
    },
}

impl EngineError {
    /// Names the model file that this is about.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Gguf(error) => error.hint(),
            #[cfg(feature = "cuda")]
            Self::Cuda(error) => error.hint(),
            Self::ContextFull { needed, .. } => {
                Some(format!("set the context to at least {needed} tokens, or shorten the request"))
            }
            Self::Model { hint, .. } => hint.map(str::to_owned),
            Self::OutOfMemory { .. } => {
                Some("set a smaller context, or a smaller KV type (f16, q8_0)".to_owned())
            }
            Self::Threads { .. } => Some("ask for fewer threads".to_owned()),
            Self::BadLogit { .. } => Some(
                "check that the weights are undamaged; an f32 KV cache rules out overflow there".to_owned(),
            ),
            Self::InFile { source, .. } => source.hint(),
            Self::ChatTemplate { .. } => {
                Some("prompts of the route `completion` need no template".to_owned())
            }
            Self::NoSpace { .. } => Some("free some space, or choose another directory".to_owned()),
            Self::MissingAssistant { .. } => Some(
                "name the GGUF file of the target's own assistant, or choose n-gram lookup or no speculation"
                    .to_owned(),
            ),
            Self::UnknownToken { .. } | Self::InvalidArgument { .. } => None,
        }
    }

    /// The same error with a hint, where it can carry one.
    #[must_use]
    pub(crate) fn hint_with(mut self, text: &'static str) -> Self {
        if let Self::Model { hint, .. } = &mut self {
            *hint = Some(text);
        }
        self
    }
}

/// `1.5 GiB`.
fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
