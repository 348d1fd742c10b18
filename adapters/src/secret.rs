//! Keys of servers: they come from the environment, go into one header, and are in no record, log, report or error.
//!
//! A server may echo a key in an error or a log; whatever of a server's words becomes part of an error passes through
//! [`Secret::redact`] first.

use bench_core::preset::StackKind;
use bench_core::stack::{Death, StackError};
use reqwest::header::HeaderValue;

/// The variable with the key of every server that has none of its own.
const ANY_STACK: &str = "BENCH_API_KEY";

/// All variables that hold keys; servers that we start do not inherit them.
pub(crate) const VARIABLES: [&str; 6] = [
    ANY_STACK,
    "BENCH_LLAMA_SERVER_API_KEY",
    "BENCH_ATOMIC_LLAMA_SERVER_API_KEY",
    "BENCH_LLAMA_SWAP_API_KEY",
    "BENCH_VLLM_API_KEY",
    "BENCH_OPENAI_API_KEY",
];

/// What stands for a key that was in a server's words.
const REDACTED: &str = "[key]";

/// A key. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The key for a stack's server: its own variable (`BENCH_VLLM_API_KEY`), or else `BENCH_API_KEY`.
    #[must_use]
    pub fn of_stack(kind: StackKind) -> Option<Self> {
        let own = format!("BENCH_{}_API_KEY", kind.as_str().to_uppercase().replace('-', "_"));
        let read = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty());
        read(&own).or_else(|| read(ANY_STACK)).map(Self)
    }

    /// A key as it is.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// The value of the `Authorization` header; `None` if the key holds what no header can.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The text without the key.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, REDACTED)
    }

    /// The error without the key.
    pub(crate) fn redact_error(&self, error: StackError) -> StackError {
        let clean = |text: String| self.redact(&text);
        match error {
            StackError::Unreachable { address, detail } => {
                StackError::Unreachable { address: clean(address), detail: clean(detail) }
            }
            StackError::Status { address, status, message } => {
                StackError::Status { address: clean(address), status, message: clean(message) }
            }
            StackError::Protocol { what, excerpt } => {
                StackError::Protocol { what: clean(what), excerpt: clean(excerpt) }
            }
            StackError::Aborted { events, detail, death } => StackError::Aborted {
                events,
                detail: clean(detail),
                death: death.map(|death| Box::new(self.redact_death(*death))),
            },
            StackError::Exited(death) => StackError::Exited(Box::new(self.redact_death(*death))),
            // Our own words.
            error @ (StackError::NotInstalled { .. }
            | StackError::Unsupported { .. }
            | StackError::Engine { .. }
            | StackError::GivenUp { .. }
            | StackError::TimedOut { .. }) => error,
        }
    }

    fn redact_death(&self, death: Death) -> Death {
        Death {
            program: death.program,
            status: self.redact(&death.status),
            abort_site: death.abort_site.map(|site| self.redact(&site)),
            log_tail: death.log_tail.iter().map(|line| self.redact(line)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_s_variable_is_kept_from_children() {
        for kind in StackKind::ALL.into_iter().filter(|kind| *kind != StackKind::Native) {
            let own = format!("BENCH_{}_API_KEY", kind.as_str().to_uppercase().replace('-', "_"));
            assert!(VARIABLES.contains(&own.as_str()), "{own}");
        }
    }

    #[test]
    fn no_form_of_an_error_shows_the_key() {
        let key = Secret::new("sk-planted");
        let text = || "before sk-planted after".to_owned();
        let death = || {
            Box::new(Death {
                program: "p".to_owned(),
                status: text(),
                abort_site: Some(text()),
                log_tail: vec![text()],
            })
        };
        let errors = [
            StackError::Unreachable { address: text(), detail: text() },
            StackError::Status { address: text(), status: 401, message: text() },
            StackError::Protocol { what: text(), excerpt: text() },
            StackError::Aborted { events: 1, detail: text(), death: Some(death()) },
            StackError::Exited(death()),
        ];
        for error in errors {
            let clean = key.redact_error(error);
            let shown = format!("{clean} {clean:?} {:?}", clean.hint());
            assert!(!shown.contains("sk-planted") && shown.contains("before [key] after"), "{shown}");
        }
        assert_eq!(format!("{key:?}"), "Secret");
    }
}
