//! Whether the server behind llama-swap died, told by llama-swap's own list and log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bench_core::stack::Death;

use super::RunningJson;
use crate::process::log_end;
use crate::server::Server;
use crate::stream::Watch;

/// What llama-swap writes when the server behind it is gone.
const SIGNS: [&str; 2] =
    ["upstream process exited unexpectedly", "recovered from upstream disconnection during streaming"];
/// Lines of its log that may be about the request that just broke.
const RECENT_LINES: usize = 40;

/// Asks llama-swap.
#[derive(Clone)]
pub(super) struct SwapWatch {
    server: Arc<Server>,
    model: String,
    /// Set when the server behind it is found dead, for whoever has to know that the next one is cold.
    died: Arc<AtomicBool>,
}

impl SwapWatch {
    pub(super) fn new(server: Arc<Server>, model: String, died: Arc<AtomicBool>) -> Self {
        Self { server, model, died }
    }

    async fn state(&self) -> Option<String> {
        let running: RunningJson = self.server.get_json("/running").await.ok()?;
        let entry = running.running.into_iter().find(|running| running.model == self.model);
        Some(entry.map_or_else(|| "not running".to_owned(), |entry| entry.state.unwrap_or_default()))
    }
}

#[async_trait]
impl Watch for SwapWatch {
    /// llama-swap itself may be the one that is gone; else its list says that the model does not run, or its log that it
    /// lost it (right after a crash the list once still said "ready").
    async fn death(&self) -> Option<Death> {
        if let Some(death) = self.server.watch().death().await {
            return Some(death);
        }
        let state = self.state().await?;
        let log = self.server.get_text("/logs").await.unwrap_or_default();
        let death = death_of(&self.model, &state, &log);
        if death.is_some() {
            self.died.store(true, Ordering::SeqCst);
        }
        death
    }
}

fn death_of(model: &str, state: &str, log: &str) -> Option<Death> {
    let lines: Vec<_> = log.lines().collect();
    let recent = lines[lines.len().saturating_sub(RECENT_LINES)..].join("\n");
    let told = SIGNS.into_iter().find(|sign| recent.contains(sign));
    if state == "ready" && told.is_none() {
        return None;
    }
    let end = log_end(&recent);
    let status = told.map_or_else(|| format!("llama-swap lists it as: {state}"), str::to_owned);
    Some(Death {
        program: format!("the server behind llama-swap (model {model})"),
        status,
        abort_site: end.abort_site,
        log_tail: end.tail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_runs_and_a_quiet_log_are_no_death() {
        assert_eq!(death_of("m", "ready", "[INFO] Request 200\n"), None);
        let old = format!("[WARN] <m> {}\n{}", SIGNS[0], "[INFO] fine\n".repeat(50));
        assert_eq!(death_of("m", "ready", &old), None, "an old death is another request's");
    }

    #[test]
    fn the_list_or_the_log_tells() {
        let log = "/src/fattn.cu:109: fatal error\n[WARN] <m> upstream process exited unexpectedly: signal: aborted\n";
        let death = death_of("m", "ready", log).unwrap();
        assert_eq!(death.status, SIGNS[0]);
        assert_eq!(death.abort_site.as_deref(), Some("fattn.cu:109: fatal error"));
        assert!(death.log_tail.last().unwrap().contains("aborted"));
        assert_eq!(death_of("m", "stopped", "").unwrap().status, "llama-swap lists it as: stopped");
    }
}
