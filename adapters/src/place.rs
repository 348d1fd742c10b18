//! Where a stack is: a program to launch, or an address to attach to.
//!
//! The command line (`--at`) wins over the stack's variable, which wins over `PATH`. One table holds the names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bench_core::preset::StackKind;
use bench_core::stack::StackError;

/// Where a stack was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// To be launched.
    Program(PathBuf),
    /// Runs already.
    Url(String),
}

/// What a kind of stack is called.
struct Names {
    kind: StackKind,
    /// Variable with a program or an address.
    variable: &'static str,
    /// Program on `PATH`; `None` where the suite does not know one.
    program: Option<&'static str>,
    /// How to get it.
    install: &'static str,
}

const NAMES: [Names; 5] = [
    Names {
        kind: StackKind::LlamaServer,
        variable: "BENCH_LLAMA_SERVER",
        program: Some("llama-server"),
        install: "install llama.cpp so that `llama-server` is on PATH",
    },
    Names {
        kind: StackKind::AtomicLlamaServer,
        variable: "BENCH_ATOMIC_LLAMA_SERVER",
        program: None,
        install: "build the fork with turbo KV caches (its program is called llama-server, too)",
    },
    Names {
        kind: StackKind::LlamaSwap,
        variable: "BENCH_LLAMA_SWAP",
        program: Some("llama-swap"),
        install: "install llama-swap so that `llama-swap` is on PATH",
    },
    Names {
        kind: StackKind::Vllm,
        variable: "BENCH_VLLM",
        program: Some("vllm"),
        install: "install vLLM so that `vllm` is on PATH",
    },
    Names {
        kind: StackKind::OpenAi,
        variable: "BENCH_OPENAI",
        program: None,
        install: "start an OpenAI-compatible server, or give the preset's stack a `command`",
    },
];

/// Finds a stack; `given` is what the command line says.
pub(crate) fn find(kind: StackKind, given: Option<&str>) -> Result<Place, StackError> {
    let Some(names) = NAMES.iter().find(|names| names.kind == kind) else {
        return Err(StackError::Unsupported {
            stack: kind,
            what: "be anywhere but in this process".to_owned(),
        });
    };
    locate(names, given, variable(names).as_deref(), std::env::var_os("PATH").as_deref())
}

/// Whether anybody says where a stack is. What is said wrongly is an error and no reason to start something else.
pub(crate) fn is_said(kind: StackKind, given: Option<&str>) -> bool {
    given.is_some() || NAMES.iter().any(|names| names.kind == kind && variable(names).is_some())
}

fn variable(names: &Names) -> Option<String> {
    std::env::var(names.variable).ok().filter(|value| !value.is_empty())
}

fn locate(
    names: &Names,
    given: Option<&str>,
    variable: Option<&str>,
    path: Option<&OsStr>,
) -> Result<Place, StackError> {
    let missing = |detail: String| StackError::NotInstalled {
        stack: names.kind,
        detail,
        hint: match names.kind {
            // Its program alone would not know what to serve.
            StackKind::OpenAi => {
                format!("{}, or set {} to the http address of a running one", names.install, names.variable)
            }
            StackKind::Native
            | StackKind::LlamaServer
            | StackKind::AtomicLlamaServer
            | StackKind::LlamaSwap
            | StackKind::Vllm => format!(
                "{}, or set {} to its path or to the http address of a running one",
                names.install, names.variable
            ),
        },
    };
    let said = given.map(|value| ("--at", value)).or(variable.map(|value| (names.variable, value)));
    match said {
        Some((_, url)) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Place::Url(url.to_owned()))
        }
        Some((_, program)) if is_executable(Path::new(program)) => Ok(Place::Program(program.into())),
        Some((who, value)) => {
            Err(missing(format!("{who} says `{value}`, which is no program and no http address")))
        }
        None => {
            let Some(program) = names.program else {
                return Err(missing(format!("{} is not set", names.variable)));
            };
            let mut dirs = path.map(std::env::split_paths).into_iter().flatten();
            let found = dirs.find_map(|dir| Some(dir.join(program)).filter(|path| is_executable(path)));
            found.map(Place::Program).ok_or_else(|| missing(format!("no `{program}` on PATH")))
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

    fn names(kind: StackKind) -> &'static Names {
        NAMES.iter().find(|names| names.kind == kind).unwrap()
    }

    #[test]
    fn every_stack_but_ours_has_its_names() {
        for kind in StackKind::ALL.into_iter().filter(|kind| *kind != StackKind::Native) {
            let expected = format!("BENCH_{}", kind.as_str().to_uppercase().replace('-', "_"));
            assert_eq!(names(kind).variable, expected);
        }
    }

    #[test]
    fn the_command_line_wins_over_the_variable_over_the_path() {
        let (llama, path) = (names(StackKind::LlamaServer), OsStr::new("/nonexistent:/also-not"));
        let url = |text: &str| Ok::<_, String>(Place::Url(text.to_owned()));
        let found = |given, variable| locate(llama, given, variable, Some(path)).map_err(|e| e.to_string());
        assert_eq!(found(Some("http://a:1"), Some("/bin/sh")), url("http://a:1"));
        assert_eq!(found(None, Some("https://b:2")), url("https://b:2"));
        assert_eq!(found(None, Some("/bin/sh")), Ok(Place::Program("/bin/sh".into())));
        for (given, variable) in [(Some("/bin"), Some("/bin/sh")), (None, Some("/bin")), (None, None)] {
            let error = locate(llama, given, variable, Some(path)).unwrap_err();
            assert!(matches!(error, StackError::NotInstalled { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("BENCH_LLAMA_SERVER"));
        }
        assert!(
            locate(names(StackKind::OpenAi), None, None, None)
                .unwrap_err()
                .to_string()
                .contains("BENCH_OPENAI")
        );
    }
}
