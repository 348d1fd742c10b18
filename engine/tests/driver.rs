//! The driver with scripted models: logits that depend on every cached token, so that a cache which is rolled back
//! wrongly by one token changes the output.

#![expect(
    clippy::unwrap_used,
    clippy::panic_in_result_fn,
    reason = "scripted models check what the driver promises"
)]
#![expect(clippy::cast_possible_truncation, reason = "hashes reduced to the vocabulary")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use bench_engine::EngineError;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::driver::{Drafting, Driver};
use bench_engine::spec::generation::{Finish, GenerateParams, GenerateSummary};
use bench_engine::spec::ngram::NgramProposer;
use bench_engine::spec::sampler::{SamplingParams, argmax};
use bench_engine::spec::{Draft, DraftRequest, LogitRows, Proposer, Target};

const VOCAB: u32 = 24;

/// `SplitMix64`'s mixing step.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn unit(x: u64) -> f32 {
    (mix(x) >> 40) as f32 / (1u64 << 24) as f32
}

/// A model whose cache is the tokens themselves. The last token decides most (so that text repeats and lookup can
/// work), a hash of the whole prefix decides the rest.
#[derive(Debug, Clone)]
struct Toy {
    seed: u64,
    cache: Vec<u32>,
    rows: Vec<Vec<f32>>,
    capacity: usize,
    passes: usize,
    /// Tokens every `truncate` forgets to drop: 0 in a right model.
    leak: usize,
}

impl Toy {
    fn new(seed: u64) -> Self {
        Self { seed, cache: Vec::new(), rows: Vec::new(), capacity: 256, passes: 0, leak: 0 }
    }

    fn logits_after(&self, prefix: &[u32]) -> Vec<f32> {
        let whole = prefix.iter().fold(self.seed, |h, &t| mix(h ^ u64::from(t)));
        let last = mix(self.seed ^ u64::from(*prefix.last().unwrap()) << 32);
        (0..u64::from(VOCAB)).map(|id| 2.0 * unit(last ^ id) + 0.5 * unit(whole ^ id)).collect()
    }
}

impl Target for Toy {
    fn vocab_size(&self) -> usize {
        VOCAB as usize
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn forward(&mut self, tokens: &[u32], rows: LogitRows) -> Result<(), EngineError> {
        if let Some(&id) = tokens.iter().find(|&&t| t >= VOCAB) {
            return Err(EngineError::UnknownToken { id, vocab_size: VOCAB as usize });
        }
        let needed = self.cache.len() + tokens.len();
        assert!(needed <= self.capacity, "the driver let the cache overflow");
        let first = match rows {
            LogitRows::Last => needed,
            LogitRows::All => self.cache.len() + 1,
        };
        self.cache.extend_from_slice(tokens);
        self.rows = (first..=needed).map(|len| self.logits_after(&self.cache[..len])).collect();
        self.passes += 1;
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        &self.rows[row]
    }

    fn truncate(&mut self, len: usize) {
        let kept = if len == 0 { 0 } else { len + self.leak };
        self.cache.truncate(kept);
    }
}

/// Knows what the target will say, but errs in a share of its drafts; checks what the driver promises.
#[derive(Debug)]
struct Oracle {
    knows: f32,
    calls: u64,
}

impl Proposer<Toy> for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn reset(&mut self) {
        self.calls = 0;
    }

    fn propose(
        &mut self,
        toy: &mut Toy,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        if toy.leak == 0 {
            assert!(!toy.is_empty() && toy.cache == request.tokens[..request.tokens.len() - 1]);
            let hidden_before_last = toy.logits_after(&toy.cache);
            assert_eq!(toy.logits(request.hidden_row), hidden_before_last, "the wrong row starts the draft");
        }
        let mut text = request.tokens.to_vec();
        for _ in 0..request.max {
            self.calls += 1;
            let right = argmax(&toy.logits_after(&text))?;
            let knows = unit(toy.seed ^ self.calls << 20) < self.knows;
            text.push(if knows { right } else { (right + 1) % VOCAB });
        }
        draft.tokens = text.split_off(request.tokens.len());
        Ok(())
    }
}

/// What a run gave.
#[derive(Debug, PartialEq)]
struct Output {
    tokens: Vec<u32>,
    per_step: Vec<(usize, u32, u32)>,
    summary: GenerateSummary,
}

/// A run and how to vary it.
struct Case<'p> {
    prompt: Vec<u32>,
    params: GenerateParams,
    eog: Vec<u32>,
    proposer: Option<&'p mut dyn Proposer<Toy>>,
    draft_max: usize,
    acceptance: AcceptanceRule,
    steps_wanted: usize,
}

impl<'p> Case<'p> {
    fn plain(seed: u64) -> Self {
        Self {
            prompt: (0..1 + seed % 9).map(|i| (mix(seed ^ i) % u64::from(VOCAB)) as u32).collect(),
            params: GenerateParams { max_tokens: 48, ignore_eos: false, sampling: SamplingParams::greedy() },
            eog: Vec::new(),
            proposer: None,
            draft_max: 3,
            acceptance: AcceptanceRule::SampleAndCompare,
            steps_wanted: usize::MAX,
        }
    }

    fn drafted_by(seed: u64, proposer: &'p mut dyn Proposer<Toy>, draft_max: usize) -> Self {
        Self { proposer: Some(proposer), draft_max, ..Self::plain(seed) }
    }

    fn run(self, toy: &mut Toy) -> Result<Output, EngineError> {
        let (mut tokens, mut per_step) = (Vec::new(), Vec::new());
        let drafting = self.proposer.map(|proposer| Drafting {
            proposer,
            draft_max: self.draft_max,
            acceptance: self.acceptance,
        });
        let mut driver = Driver { target: toy, drafting, eog: &self.eog };
        let summary = driver.generate(&self.prompt, &self.params, &mut |event| {
            tokens.extend_from_slice(event.tokens);
            per_step.push((event.tokens.len(), event.drafted, event.accepted));
            if per_step.len() < self.steps_wanted {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(Output { tokens, per_step, summary })
    }
}

fn ngram() -> NgramProposer {
    NgramProposer::new(NonZeroUsize::MIN, NonZeroUsize::new(3).unwrap()).unwrap()
}

/// Everything that must hold of the counts of a run that ended by length.
fn check_counts(output: &Output, toy: &Toy) {
    let totals = &output.summary.totals;
    assert_eq!(output.tokens.len(), output.summary.output_tokens);
    assert_eq!(output.summary.output_tokens as u64, 1 + totals.verify_steps + totals.accepted);
    assert_eq!(toy.passes as u64, 1 + totals.verify_steps);
    assert_eq!(totals.drafted_per_position.iter().sum::<u64>(), totals.drafted);
    assert_eq!(totals.accepted_per_position.iter().sum::<u64>(), totals.accepted);
    assert!(totals.accepted_per_position.iter().zip(&totals.drafted_per_position).all(|(a, d)| a <= d));
    let (drafted, accepted) =
        output.per_step.iter().fold((0, 0), |(d, a), step| (d + u64::from(step.1), a + u64::from(step.2)));
    assert_eq!((drafted, accepted), (totals.drafted, totals.accepted));
    assert!(output.per_step[1..].iter().all(|&(tokens, _, accepted)| tokens == accepted as usize + 1));
    assert_eq!(
        (output.per_step[0].0, output.per_step[0].1),
        (1, 0),
        "the first event is the prefill's token"
    );
}

#[test]
fn greedy_output_does_not_depend_on_the_proposer() {
    let (mut accepted, mut rejected) = ([0; 2], [0; 2]);
    for seed in 0..60 {
        let plain = Case::plain(seed).run(&mut Toy::new(seed)).unwrap();
        assert_eq!(plain.tokens.len(), 48);
        for draft_max in 1..=7 {
            let mut oracle = Oracle { knows: 0.7, calls: 0 };
            let mut ngram = ngram();
            let proposers: [&mut dyn Proposer<Toy>; 2] = [&mut oracle, &mut ngram];
            for (kind, proposer) in proposers.into_iter().enumerate() {
                let mut toy = Toy::new(seed);
                let name = proposer.name();
                let output = Case::drafted_by(seed, proposer, draft_max).run(&mut toy).unwrap();
                assert_eq!(output.tokens, plain.tokens, "model {seed}, {name}, draft_max {draft_max}");
                assert_eq!(output.summary.finish, Finish::Length);
                check_counts(&output, &toy);
                accepted[kind] += output.summary.totals.accepted;
                rejected[kind] += output.summary.totals.drafted - output.summary.totals.accepted;
            }
        }
    }
    // A comparison in which one of the two never happens would prove nothing.
    assert!(
        accepted.iter().chain(&rejected).all(|&n| n > 1000),
        "{accepted:?} accepted, {rejected:?} rejected"
    );
}

#[test]
fn a_cache_that_keeps_a_rejected_draft_is_caught() {
    let caught = (0..20)
        .filter(|&seed| {
            let plain = Case::plain(seed).run(&mut Toy::new(seed)).unwrap();
            let mut leaking = Toy { leak: 1, ..Toy::new(seed) };
            let mut oracle = Oracle { knows: 0.5, calls: 0 };
            let output = Case::drafted_by(seed, &mut oracle, 4).run(&mut leaking).unwrap();
            output.tokens != plain.tokens
        })
        .count();
    assert!(caught >= 19, "only {caught} of 20 leaking caches changed the output");
}

#[test]
fn comparing_keeps_even_the_sampled_output() {
    for seed in 0..30 {
        let sampling = SamplingParams { temperature: 0.8, seed, ..SamplingParams::greedy() };
        let params = GenerateParams { max_tokens: 40, ignore_eos: false, sampling };
        let plain = Case { params: params.clone(), ..Case::plain(seed) }.run(&mut Toy::new(seed)).unwrap();
        let mut oracle = Oracle { knows: 0.9, calls: 0 };
        let mut toy = Toy::new(seed);
        let output = Case { params, ..Case::drafted_by(seed, &mut oracle, 4) }.run(&mut toy).unwrap();
        assert_eq!(output.tokens, plain.tokens, "seed {seed}");
        check_counts(&output, &toy);
    }
}

#[test]
fn rejection_sampling_runs_through_the_driver() {
    let sampling = SamplingParams { temperature: 0.8, seed: 4, ..SamplingParams::greedy() };
    let params = GenerateParams { max_tokens: 200, ignore_eos: false, sampling };
    let mut oracle = Oracle { knows: 1.0, calls: 0 };
    let mut toy = Toy::new(4);
    let case = Case { params, acceptance: AcceptanceRule::Rejection, ..Case::drafted_by(4, &mut oracle, 4) };
    let output = case.run(&mut toy).unwrap();
    check_counts(&output, &toy);
    let totals = &output.summary.totals;
    assert!(totals.accepted > 0 && totals.accepted < totals.drafted, "{totals:?}");
}

/// Draws its drafts with the sampler it is given, from logits that are not quite the target's.
#[derive(Debug, Default)]
struct Sampling {
    rounds_with_sampler: usize,
    rounds_without: usize,
}

impl Proposer<Toy> for Sampling {
    fn name(&self) -> &'static str {
        "sampling"
    }

    fn reset(&mut self) {}

    fn propose(
        &mut self,
        toy: &mut Toy,
        request: DraftRequest<'_>,
        draft: &mut Draft,
    ) -> Result<(), EngineError> {
        let Some(sampler) = request.sampler else {
            self.rounds_without += 1;
            return Ok(());
        };
        self.rounds_with_sampler += 1;
        let mut text = request.tokens.to_vec();
        for _ in 0..request.max {
            let logits: Vec<f32> = toy.logits_after(&text).iter().map(|x| 0.7 * x).collect();
            let mut q = Vec::new();
            sampler.distribution(&logits, &mut q)?;
            text.push(sampler.draw(&q)?);
            draft.probs.push(q);
        }
        draft.tokens = text.split_off(request.tokens.len());
        Ok(())
    }
}

#[test]
fn only_rejection_of_sampled_tokens_lends_the_sampler_to_the_drafter() {
    let run = |temperature, acceptance| {
        let sampling = SamplingParams { temperature, seed: 8, ..SamplingParams::greedy() };
        let params = GenerateParams { max_tokens: 64, ignore_eos: false, sampling };
        let mut proposer = Sampling::default();
        let case = Case { params, acceptance, ..Case::drafted_by(8, &mut proposer, 3) };
        let mut toy = Toy::new(8);
        let output = case.run(&mut toy).unwrap();
        check_counts(&output, &toy);
        (proposer.rounds_with_sampler > 0, proposer.rounds_without > 0, output.summary.totals.accepted > 0)
    };
    assert_eq!(run(0.9, AcceptanceRule::Rejection), (true, false, true));
    assert_eq!(run(0.9, AcceptanceRule::SampleAndCompare), (false, true, false));
    assert_eq!(run(0.0, AcceptanceRule::Rejection), (false, true, false));
}

#[test]
fn a_perfect_drafter_gives_the_counts_of_the_plan() {
    // 20 tokens: 1 from the prefill, four rounds of 3 + 1, and for the last 3 a round that drafts only 2.
    let mut oracle = Oracle { knows: 1.0, calls: 0 };
    let mut case = Case::drafted_by(3, &mut oracle, 3);
    case.params.max_tokens = 20;
    let output = case.run(&mut Toy::new(3)).unwrap();
    let totals = output.summary.totals;
    assert_eq!((totals.drafted, totals.accepted, totals.verify_steps), (14, 14, 5));
    assert_eq!(totals.drafted_per_position, [5, 5, 4]);
    assert_eq!(totals.accepted_per_position, [5, 5, 4]);
    assert_eq!(output.per_step.last(), Some(&(3, 2, 2)));
}

#[test]
fn a_drafter_that_knows_nothing_costs_rounds_but_no_tokens() {
    let mut oracle = Oracle { knows: 0.0, calls: 0 };
    let mut case = Case::drafted_by(3, &mut oracle, 3);
    case.params.max_tokens = 6;
    let totals = case.run(&mut Toy::new(3)).unwrap().summary.totals;
    // Five rounds of which the last has room for no draft: 3 + 3 + 2 + 1 + 0.
    assert_eq!((totals.drafted, totals.accepted, totals.verify_steps), (9, 0, 5));
}

#[test]
fn an_end_token_inside_a_round_ends_the_output_there() {
    let plain = Case::plain(5).run(&mut Toy::new(5)).unwrap();
    let end = plain.tokens[6];
    let first = plain.tokens.iter().position(|&t| t == end).unwrap();
    let run = |knows, ignore_eos| {
        let mut oracle = Oracle { knows, calls: 0 };
        let mut case = Case { eog: vec![23, end], ..Case::drafted_by(5, &mut oracle, 7) };
        case.params.ignore_eos = ignore_eos;
        case.run(&mut Toy::new(5)).unwrap()
    };
    for knows in [0.0, 0.6, 1.0] {
        let output = run(knows, false);
        assert_eq!(output.tokens, plain.tokens[..=first], "the end token is emitted, nothing after it");
        assert_eq!(output.summary.finish, Finish::Stop);
        let accepted: u32 = output.per_step.iter().map(|step| step.2).sum();
        assert_eq!(u64::from(accepted), output.summary.totals.accepted);
        assert!(output.summary.totals.accepted < output.tokens.len() as u64);
        assert_eq!(run(knows, true).tokens, plain.tokens, "ignored");
    }
}

#[test]
fn the_caller_can_end_it() {
    let mut case = Case::plain(1);
    case.steps_wanted = 4;
    let output = case.run(&mut Toy::new(1)).unwrap();
    assert_eq!((output.tokens.len(), output.summary.finish), (4, Finish::Cancelled));
    // The next generation starts from an empty cache.
    let mut toy = Toy::new(1);
    let first = Case::plain(1).run(&mut toy).unwrap();
    assert_eq!(Case::plain(1).run(&mut toy).unwrap().tokens, first.tokens);
}

#[test]
fn a_context_that_just_holds_everything_is_enough() {
    let needed = 1 + 48 - 1;
    let run = |capacity| {
        let mut oracle = Oracle { knows: 0.8, calls: 0 };
        let case = Case { prompt: vec![2], ..Case::drafted_by(9, &mut oracle, 7) };
        case.run(&mut Toy { capacity, ..Toy::new(9) })
    };
    assert_eq!(run(needed).unwrap().tokens, run(256).unwrap().tokens);
    let error = run(needed - 1).unwrap_err();
    assert!(matches!(error, EngineError::ContextFull { needed: 48, capacity: 47 }), "{error}");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let check = |case: Case<'_>, what: &str| {
        let error = case.run(&mut Toy::new(0)).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    check(Case { prompt: Vec::new(), ..Case::plain(0) }, "prompt tokens: got 0");
    check(Case { prompt: vec![VOCAB], ..Case::plain(0) }, "token id 24");
    let mut case = Case::plain(0);
    case.params.max_tokens = 0;
    check(case, "max_tokens: got 0");
    check(Case::drafted_by(0, &mut ngram(), 0), "draft_max: got 0");
    let mut case = Case::plain(0);
    case.params.sampling.temperature = -1.0;
    check(case, "temperature");
    check(
        Case::drafted_by(0, &mut Rogue { tokens: vec![1; 9] }, 3),
        "tokens drafted: got 9, expected at most 3",
    );
    check(Case::drafted_by(0, &mut Rogue { tokens: vec![VOCAB] }, 3), "token id 24");
}

/// Drafts what it is told, right or not.
#[derive(Debug)]
struct Rogue {
    tokens: Vec<u32>,
}

impl Proposer<Toy> for Rogue {
    fn name(&self) -> &'static str {
        "rogue"
    }

    fn reset(&mut self) {}

    fn propose(&mut self, _: &mut Toy, _: DraftRequest<'_>, draft: &mut Draft) -> Result<(), EngineError> {
        draft.tokens.clone_from(&self.tokens);
        Ok(())
    }
}
