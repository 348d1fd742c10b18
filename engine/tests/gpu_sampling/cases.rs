//! Random steps: rows of logits of every kind, parameters of every kind, drafts that stand and drafts that fall; and what
//! the host makes of them.

use std::num::NonZeroU32;

use bench_engine::EngineError;
use bench_engine::spec::Draft;
use bench_engine::spec::accept::{self, Verdict};
use bench_engine::spec::sampler::{Sampler, SamplingParams};

/// `SplitMix64`.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) rows: Vec<Vec<f32>>,
    pub(crate) draft: Draft,
    pub(crate) params: SamplingParams,
    pub(crate) rejection: bool,
}

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Logits as models give them: about normal, a spread of 3.
    pub(crate) fn logits(&mut self, vocab: usize) -> Vec<f32> {
        (0..vocab).map(|_| ((0..4).map(|_| self.unit()).sum::<f32>() - 2.0) * 5.0).collect()
    }

    /// Rows of every kind: among them ties, suppressed tokens, one token far above all, zeros of both signs.
    fn row(&mut self, vocab: usize) -> Vec<f32> {
        let kind = self.below(9);
        let mut row = self.logits(vocab);
        let lucky = self.below(vocab);
        for (id, x) in row.iter_mut().enumerate() {
            match kind {
                0 => *x = 2.5,
                1 => *x = (*x * 0.5).round(),
                2 if id != lucky && id % 8 != 0 => *x = f32::NEG_INFINITY,
                3 if id == lucky => *x = 1e30,
                4 if id == lucky => *x += 40.0,
                5 => *x *= 20.0,
                6 if id != lucky => *x = f32::NEG_INFINITY,
                7 => *x = if *x > 0.0 { 0.0 } else { -0.0 },
                _ => {}
            }
        }
        row
    }

    fn params(&mut self, vocab: usize) -> SamplingParams {
        let vocab = u32::try_from(vocab).unwrap();
        SamplingParams {
            temperature: self.one_of(&[1.0, 1.0, 0.7, 0.05, 1e-6, 1e-38, 3.0]),
            top_k: NonZeroU32::new(self.one_of(&[
                0,
                0,
                0,
                1,
                2,
                20,
                64,
                vocab / 2,
                vocab - 1,
                vocab,
                u32::MAX,
            ])),
            top_p: self.one_of(&[
                None,
                None,
                Some(1.0),
                Some(0.0),
                Some(1e-6),
                Some(0.5),
                Some(0.95),
                Some(0.9999),
            ]),
            min_p: self.one_of(&[None, None, Some(0.0), Some(0.05), Some(0.5), Some(1.0)]),
            seed: self.next(),
        }
    }

    /// What a drafter sees of a step's rows that have a draft: the rows, almost the rows, rows of its own, or a few
    /// candidates of the rows, all other tokens suppressed.
    pub(crate) fn views(&mut self, step: &Step) -> Vec<Vec<f32>> {
        let kind = self.below(4);
        let vocab = step.rows[0].len();
        let mut view = |row: &Vec<f32>| match kind {
            0 => row.clone(),
            1 => row.iter().map(|x| x + 0.3 * self.unit()).collect(),
            2 => self.row(vocab),
            _ => {
                let mut few = vec![f32::NEG_INFINITY; vocab];
                for _ in 0..1 + vocab / 16 {
                    let id = self.below(vocab);
                    few[id] = row[id].max(-80.0);
                }
                few
            }
        };
        step.rows[..step.draft.tokens.len()].iter().map(&mut view).collect()
    }

    /// A step with up to 7 drafts over `vocab` tokens, at least 2.
    pub(crate) fn step(&mut self, vocab: usize) -> Step {
        let (drafted, rejection) = (self.below(8), self.below(2) == 1);
        let params = self.params(vocab);
        let rows: Vec<Vec<f32>> = (0..=drafted).map(|_| self.row(vocab)).collect();
        let mut drafter = Sampler::new(&SamplingParams { seed: self.next(), ..params.clone() }).unwrap();
        let mut draft = Draft::default();
        let knows = self.below(3);
        for row in &rows[..drafted] {
            // A drafter that is right, almost right, or has no idea; some tell their distribution.
            let noise = [0.0, 0.3, 4.0][knows];
            let view: Vec<f32> = row.iter().map(|x| x + noise * self.unit()).collect();
            let mut q = Vec::new();
            drafter.distribution(&view, &mut q).unwrap();
            draft.tokens.push(drafter.draw(&q).unwrap());
            draft.probs.push(if self.below(3) == 0 { Vec::new() } else { q });
        }
        Step { rows, draft, params, rejection }
    }
}

impl Step {
    /// What the host decides, and the sampler after it.
    pub(crate) fn on_host(&self) -> (Result<Verdict, EngineError>, Sampler) {
        let mut sampler = Sampler::new(&self.params).unwrap();
        let row = |i: usize| self.rows[i].as_slice();
        let mut probs = Vec::new();
        let verdict = if self.rejection {
            accept::rejection(&self.draft, row, &mut sampler, &mut probs)
        } else {
            accept::sample_and_compare(&self.draft.tokens, row, &mut sampler, &mut probs)
        };
        (verdict, sampler)
    }

    /// What to print of a step that went wrong.
    pub(crate) fn describe(&self) -> String {
        let (rejection, tokens) = (self.rejection, &self.draft.tokens);
        let told: Vec<bool> = self.draft.probs.iter().map(|q| !q.is_empty()).collect();
        let tops: Vec<(u32, f32)> = self
            .rows
            .iter()
            .filter_map(|row| bench_engine::spec::sampler::argmax(row).ok().map(|id| (id, row[id as usize])))
            .collect();
        format!(
            "vocabulary {}, rejection {rejection}, {:?}, drafts {tokens:?}, told q {told:?}, greatest logits {tops:?}",
            self.rows[0].len(),
            self.params
        )
    }
}

/// Asserts that somebody else decided as the host does, numbers taken included.
pub(crate) fn assert_is_the_hosts(
    step: &Step,
    case: usize,
    accepted: usize,
    next: Option<u32>,
    taken: usize,
) {
    let (verdict, mut sampler) = step.on_host();
    let verdict = verdict.unwrap();
    let got = (accepted, next);
    let wanted = (verdict.accepted, Some(verdict.next));
    assert!(
        got == wanted,
        "case {case}: (accepted, next) is {got:?}, the host's {wanted:?}; {}",
        step.describe()
    );
    let mut fresh = Sampler::new(&step.params).unwrap();
    fresh.skip(taken);
    assert_eq!(fresh.uniform(), sampler.uniform(), "case {case}: numbers taken; {}", step.describe());
}
