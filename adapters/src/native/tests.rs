//! The native stack over a scripted generator.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench_core::stack::FailureKind;
use bench_core::testing::stack_info;
use bench_core::thinking::{MarkerIds, SplitSource};
use futures_util::StreamExt;

use super::*;

/// Emits rounds of two tokens, 0 1 | 2 3 | ...; counts rounds.
struct Counting {
    rounds: Arc<AtomicUsize>,
    fails_after: Option<usize>,
}

impl Generate for Counting {
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, StackError> {
        match prompt {
            Prompt::Text(text) => Ok(text.bytes().map(u32::from).collect()),
            Prompt::Chat { .. } => Err(failed("no chat".to_owned())),
        }
    }

    fn generate(
        &mut self,
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        let mut finish = Finish::Length;
        let mut emitted = 0;
        while emitted < params.max_tokens {
            if self.fails_after == Some(emitted) {
                return Err(EngineError::ContextFull { needed: 9, capacity: 8 });
            }
            self.rounds.fetch_add(1, Ordering::SeqCst);
            let id = u32::try_from(emitted).unwrap();
            let tokens = [id, id + 1];
            let at = std::time::Instant::now();
            let step = StepEvent {
                tokens: &tokens,
                drafted: 3,
                accepted: 1,
                draft_ns: 1,
                verify_ns: 2,
                sample_ns: 3,
                at,
            };
            emitted += 2;
            if on_step(&step).is_break() {
                finish = Finish::Cancelled;
                break;
            }
        }
        let totals = SpecTotals {
            drafted: 6,
            accepted: 2,
            verify_steps: 2,
            accepted_per_position: vec![2, 0, 0],
            drafted_per_position: vec![2, 2, 2],
            accepted_histogram: vec![0, 2, 0, 0],
        };
        let prompt_tokens = prompt.len();
        Ok(GenerateSummary {
            prompt_tokens,
            output_tokens: emitted,
            finish,
            totals,
            top2_margins: vec![0.25, 1.0],
            prefill_ns: 1,
            draft_ns: 2,
            verify_ns: 3,
            sample_ns: 4,
        })
    }
}

/// Holds the text of the last round back.
#[derive(Default)]
struct LateText {
    held: String,
}

impl Decode for LateText {
    fn decode(&mut self, ids: &[u32]) -> String {
        let text: String = ids.iter().map(|id| format!("<{id}>")).collect();
        std::mem::replace(&mut self.held, text)
    }

    fn splitter(&self, prompt: &[u32]) -> Splitter {
        // Tokens 1 and 2 begin and end a thought.
        let id = |text: &str| match text {
            "<think>" => Some(1),
            "</think>" => Some(2),
            _ => None,
        };
        Splitter::after_prompt(MarkerIds::of_vocabulary(id), prompt)
    }

    fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

async fn stack(fails_after: Option<usize>) -> (NativeStack, Arc<AtomicUsize>) {
    let rounds = Arc::new(AtomicUsize::new(0));
    let generator = Counting { rounds: rounds.clone(), fails_after };
    let load = move || {
        Ok(Loaded {
            info: stack_info(),
            generator,
            decoder: LateText::default(),
            counter: Arc::new(|text: &str| text.len()),
        })
    };
    (NativeStack::start(load).await.unwrap(), rounds)
}

fn request(max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::Text("abc".to_owned()),
        max_tokens,
        ignore_eos: true,
        sampling: bench_core::testing::preset().sampling,
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn a_request_is_opened_answered_in_rounds_and_finished_with_its_counts() {
    let (stack, _) = stack(None).await;
    let events: Vec<_> = stack.generate(request(4)).await.unwrap().map(Result::unwrap).collect().await;
    let [
        StreamEvent::Opened { at: opened },
        StreamEvent::Tokens { at: first, count: Some(2), token_ids: Some(ids), .. },
        StreamEvent::Tokens { at: second, count: Some(2), text, .. },
        StreamEvent::Tokens { count: Some(0), text: rest, .. },
        StreamEvent::Finished {
            at: end,
            reason: FinishReason::Length,
            usage,
            spec: Some(spec),
            stack_timings,
            readback: _,
            split,
        },
    ] = &events[..]
    else {
        panic!("{events:#?}")
    };
    assert!(opened <= first && first <= second && second <= end);
    assert_eq!((&ids[..], text.as_str(), rest.as_str()), (&[0, 1][..], "<1><2>", "<3>"));
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.output_tokens), (Some(3), Some(0), Some(4)));
    assert_eq!((spec.drafted, spec.accepted, spec.verify_steps), (6, 2, Some(2)));
    assert_eq!(spec.source, SpecSource::Engine);
    // Tokens 0 and 3 answer, 1 and 2 are the markers: the split lies inside both rounds.
    assert_eq!((split.thinking_tokens, split.answer_tokens), (Some(2), Some(2)));
    assert_eq!(split.thought_bytes, "<0><1>".len(), "at the text that was there with the last marker");
    assert_eq!((split.first_answer, split.source), (Some(*first), Some(SplitSource::TokenIds)));
    assert_eq!(stack_timings.as_ref().unwrap()["verify_ns"], 3);
    let rounds = RoundTimes::read(stack_timings.as_ref().unwrap()).unwrap().unwrap();
    // The first tokens are the prefill's; the second ones are the only round, from stamp to stamp.
    let total_ns = u64::try_from(second.duration_since(*first).as_nanos()).unwrap();
    let round = Round { drafted: 3, accepted: 1, draft_ns: 1, verify_ns: 2, sample_ns: 3, total_ns };
    assert_eq!(rounds.iter().collect::<Vec<_>>(), [round]);
    assert_eq!(stack_timings.as_ref().unwrap()[TOP2_MARGINS], serde_json::json!([0.25, 1.0]));
}

#[tokio::test]
async fn dropping_the_stream_ends_the_generation_and_frees_the_engine() {
    let (stack, rounds) = stack(None).await;
    let mut events = stack.generate(request(u32::MAX - 1)).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(StreamEvent::Opened { .. }))));
    drop(events);
    let next: Vec<_> = stack.generate(request(2)).await.unwrap().collect().await;
    assert!(matches!(next.last(), Some(Ok(StreamEvent::Finished { .. }))));
    // What the first one did before it noticed is bounded by the channel.
    assert!(rounds.load(Ordering::SeqCst) <= EVENTS_AHEAD + 3);
}

#[tokio::test]
async fn an_engine_s_error_ends_the_stream_with_its_hint() {
    let (stack, _) = stack(Some(2)).await;
    let events: Vec<_> = stack.generate(request(4)).await.unwrap().collect().await;
    let Some(Err(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.kind(), FailureKind::Engine);
    assert!(error.hint().unwrap().contains("at least 9 tokens"));
}

#[tokio::test]
async fn a_load_that_fails_fails_the_start() {
    let load = || Err::<Loaded<Counting, LateText>, _>(failed("no such file".to_owned()));
    assert_eq!(NativeStack::start(load).await.unwrap_err().to_string(), "no such file");
}

#[tokio::test]
async fn after_a_shutdown_nothing_is_taken() {
    let (stack, _) = stack(None).await;
    stack.shutdown().await.unwrap();
    assert!(stack.generate(request(2)).await.is_err());
    stack.shutdown().await.unwrap();
}

#[test]
fn plain_decoding_has_no_counts_of_speculation() {
    assert_eq!(spec_counts(SpecTotals { verify_steps: 3, ..SpecTotals::default() }), None);
}
