//! From an arm of a preset to a stack that is ready for requests.
//!
//! `BENCH_LLAMA_SERVER` says where llama-server is: a program to launch, or an `http://` address to attach to, in
//! which case nothing is started and the preset's speculation is whatever runs there ([`Stack::describe`] tells).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench_core::preset::StackKind;
use bench_core::stack::{Stack, StackError};

use crate::arm::ConnectRequest;
use crate::llama_server::{LlamaLaunch, LlamaServer};

/// The variable that says where llama-server is.
pub const LLAMA_SERVER_VAR: &str = "BENCH_LLAMA_SERVER";

/// Starts, loads or attaches to the arm's stack. Returns when it takes requests.
pub async fn connect(request: &ConnectRequest<'_>) -> Result<Arc<dyn Stack>, StackError> {
    match request.kind {
        StackKind::Native => crate::native::connect(request).await,
        StackKind::LlamaServer => connect_llama_server(request).await,
        kind
        @ (StackKind::AtomicLlamaServer | StackKind::LlamaSwap | StackKind::Vllm | StackKind::OpenAi) => {
            Err(not_connected(kind))
        }
    }
}

/// Where a stack was found, or how to get it.
pub fn availability(kind: StackKind) -> Result<String, StackError> {
    match kind {
        StackKind::Native => Ok("built in".to_owned()),
        StackKind::LlamaServer => find_llama_server().map(|place| match place {
            Place::Program(path) => path.display().to_string(),
            Place::Url(url) => format!("attached to {url} ({LLAMA_SERVER_VAR})"),
        }),
        kind
        @ (StackKind::AtomicLlamaServer | StackKind::LlamaSwap | StackKind::Vllm | StackKind::OpenAi) => {
            Err(not_connected(kind))
        }
    }
}

fn not_connected(stack: StackKind) -> StackError {
    StackError::Unsupported { stack, what: "be connected by this build".to_owned() }
}

async fn connect_llama_server(request: &ConnectRequest<'_>) -> Result<Arc<dyn Stack>, StackError> {
    let program = match find_llama_server()? {
        Place::Url(url) => return Ok(Arc::new(LlamaServer::attach(&url, request.serving.route)?)),
        Place::Program(program) => program,
    };
    let launch = LlamaLaunch {
        program,
        models: request.models,
        spec: request.spec,
        serving: request.serving,
        log: request.log_dir.join(format!("{}.log", request.label.replace('/', "-"))),
    };
    Ok(Arc::new(LlamaServer::launch(&launch).await?))
}

#[derive(Debug, PartialEq)]
enum Place {
    Program(PathBuf),
    Url(String),
}

fn find_llama_server() -> Result<Place, StackError> {
    let variable = std::env::var(LLAMA_SERVER_VAR).ok().filter(|value| !value.is_empty());
    locate(variable.as_deref(), std::env::var_os("PATH").as_deref())
}

fn locate(variable: Option<&str>, path: Option<&std::ffi::OsStr>) -> Result<Place, StackError> {
    let missing = |detail: String| StackError::NotInstalled {
        stack: StackKind::LlamaServer,
        detail,
        hint: format!(
            "install llama.cpp so that `llama-server` is on PATH, or set {LLAMA_SERVER_VAR} to its path or to the \
             http address of a running one"
        ),
    };
    match variable {
        Some(url) if url.starts_with("http://") => Ok(Place::Url(url.to_owned())),
        Some(program) if is_executable(Path::new(program)) => Ok(Place::Program(program.into())),
        Some(value) => Err(missing(format!("{LLAMA_SERVER_VAR} is `{value}`, which is no program"))),
        None => {
            let dirs = path.map(std::env::split_paths).into_iter().flatten();
            let found = dirs.map(|dir| dir.join("llama-server")).find(|path| is_executable(path));
            found.map(Place::Program).ok_or_else(|| missing("no `llama-server` on PATH".to_owned()))
        }
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_path() {
        let path = std::ffi::OsStr::new("/nonexistent:/also-not");
        assert_eq!(locate(Some("/bin/sh"), Some(path)).unwrap(), Place::Program("/bin/sh".into()));
        let url = "http://127.0.0.1:8080";
        assert_eq!(locate(Some(url), None).unwrap(), Place::Url(url.to_owned()));
        for (variable, path) in [(Some("/bin"), Some(path)), (None, Some(path)), (None, None)] {
            let error = locate(variable, path).unwrap_err();
            assert!(matches!(error, StackError::NotInstalled { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains(LLAMA_SERVER_VAR));
        }
    }
}
