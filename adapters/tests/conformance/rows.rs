//! Runs one fault on one stack through the runner, and words the row that comes of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bench_core::preset::Preset;
use bench_core::record::{CountSource, Outcome, RequestRecord};
use bench_core::runner::{RunPlan, RunnableArm, run};
use bench_core::stack::{FailureKind, FinishReason, SpecCounts};
use tokio_util::sync::CancellationToken;

use crate::scripts::Scenario;
use crate::server::{Seen, Server};
use crate::stacks::Case;

/// For everything that has to happen; never reached unless something hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// From the server's last byte to the user's Ctrl-C: time to read what was sent.
const BEFORE_CANCEL: Duration = Duration::from_millis(300);

/// The rows of a scenario, and what its server saw.
pub(crate) async fn play(case: &Case, scenario: Scenario) -> (Vec<RequestRecord>, Arc<Seen>) {
    let preset = preset(case, &scenario);
    let server = Server::start(scenario.site).await;
    let stack = case.attach(&scenario.url.unwrap_or_else(|| server.url.clone())).unwrap();
    let arms = [RunnableArm { label: case.label.to_owned(), stack: Arc::from(stack), concurrency: None }];
    let (cancel, mut rows, mut observer) = (CancellationToken::new(), Vec::new(), ());
    let plan = RunPlan {
        run_id: "conformance",
        preset: &preset,
        first_request_index: 0,
        shard: None,
        start_at: None,
    };
    let cancelling = async {
        if scenario.cancelled {
            server.seen.holding.notified().await;
            tokio::time::sleep(BEFORE_CANCEL).await;
            cancel.cancel();
        }
    };
    let running = run(plan, &arms, &mut rows, &mut observer, &cancel);
    let both = async { tokio::join!(running, cancelling).0 };
    tokio::time::timeout(LIMIT, both).await.expect("a run ends").expect("a row can be stored");
    (rows, Arc::clone(&server.seen))
}

fn preset(case: &Case, scenario: &Scenario) -> Preset {
    let mut preset = bench_core::testing::preset();
    preset.serving.route = case.route;
    preset.workload.prompts.truncate(scenario.requests);
    preset.workload.max_tokens = NonZeroU32::new(48).expect("not 0");
    preset.run.request_timeout_ms = scenario.timeout_ms;
    preset
}

/// A row in words: how it ended, how many tokens came and who counted them, what was drafted.
pub(crate) fn word(row: &RequestRecord) -> String {
    let end = match &row.outcome {
        Outcome::Completed { reason: FinishReason::Length } => "completed (length)".to_owned(),
        Outcome::Completed { reason: FinishReason::Stop } => "completed (stop)".to_owned(),
        Outcome::Failed { kind, death, .. } => {
            let death = if death.is_some() { ", with the server's death" } else { "" };
            format!("failed: {}{death}", word_kind(*kind))
        }
        Outcome::TimedOut { .. } => "timed out".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
    };
    let mut words = vec![end, word_output(row)];
    words.extend(row.spec.as_ref().map(word_spec));
    if let Some(other) = &row.spec_disputed {
        words.push(format!("the counters say {} of {}", other.accepted, other.drafted));
    }
    if row.restarted_in_silence {
        words.push("restarted in silence".to_owned());
    }
    words.join("; ")
}

fn word_kind(kind: FailureKind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

fn word_output(row: &RequestRecord) -> String {
    let source = match row.output.source {
        CountSource::TokenIds => "token_ids",
        CountSource::Usage => "usage",
        CountSource::Chunks => "chunks",
        CountSource::Unknown => "nobody",
    };
    let disputed = if row.output.disputed { ", disputed" } else { "" };
    match (row.output.tokens, row.timing.chunks.len()) {
        (Some(tokens), _) => format!("{tokens} tokens by {source}{disputed}"),
        (None, 0) => "no output".to_owned(),
        (None, chunks) => format!("{chunks} chunks that {source} counted"),
    }
}

fn word_spec(spec: &SpecCounts) -> String {
    let steps = spec.verify_steps.map_or_else(|| "unknown".to_owned(), |steps| steps.to_string());
    format!("{} of {} drafts accepted in {steps} steps", spec.accepted, spec.drafted)
}

/// What a failed row says.
pub(crate) fn detail(row: &RequestRecord) -> &str {
    match &row.outcome {
        Outcome::Failed { detail, .. } => detail,
        Outcome::Completed { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled => "",
    }
}
