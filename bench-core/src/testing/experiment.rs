//! Simulated experiments: two arms on the same prompts in interleaved blocks, the truth planted.

use crate::random::SplitMix64;
use crate::stats::LogPair;

/// What is planted. All scatter is on the log scale, so 0.03 is about 3 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experiment {
    /// Blocks.
    pub blocks: u32,
    /// Prompts, the same in every block.
    pub prompts: u32,
    /// candidate / baseline, the geometric mean over these prompts (or over all, see [`Self::prompts_are_drawn`]).
    pub ratio: f64,
    /// Scatter of a block, for both arms alike: the machine's mood.
    pub block_noise: f64,
    /// Scatter of a block, for each arm by itself.
    pub arm_noise: f64,
    /// Scatter of a request.
    pub request_noise: f64,
    /// How far the ratio differs from prompt to prompt.
    pub prompt_spread: f64,
    /// Whether the prompts are drawn from a population with the planted ratio; else these very prompts have it.
    pub prompts_are_drawn: bool,
}

/// One prompt in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The block.
    pub block: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// The baseline's tokens a second.
    pub baseline: f64,
    /// The candidate's.
    pub candidate: f64,
}

impl Experiment {
    /// The measured values of one experiment; equal seeds give equal ones.
    #[must_use]
    pub fn cells(&self, seed: u64) -> Vec<Cell> {
        let mut random = SplitMix64::new(seed);
        let effects = self.prompt_effects(&mut random);
        let mut cells = Vec::with_capacity((self.blocks * self.prompts) as usize);
        for block in 0..self.blocks {
            let mood = self.block_noise * normal(&mut random);
            let of_arm = [0, 1].map(|_| self.arm_noise * normal(&mut random));
            for (prompt, effect) in (0..).zip(&effects) {
                // Prompts differ in speed on both arms, as they do in life.
                let speed = 100.0_f64.ln() + 0.2 * f64::from(prompt % 5) + mood;
                let mut log = |arm: usize| speed + of_arm[arm] + self.request_noise * normal(&mut random);
                let (baseline, candidate) = (log(0).exp(), (log(1) + self.ratio.ln() + effect).exp());
                cells.push(Cell { block, prompt, baseline, candidate });
            }
        }
        cells
    }

    /// The same as log ratios.
    #[must_use]
    pub fn pairs(&self, seed: u64) -> Vec<LogPair> {
        let pair = |cell: Cell| LogPair::new(cell.block, cell.prompt, cell.baseline, cell.candidate);
        self.cells(seed).into_iter().filter_map(pair).collect()
    }

    /// How far each prompt's log ratio is from the planted one.
    fn prompt_effects(&self, random: &mut SplitMix64) -> Vec<f64> {
        let drawn: Vec<f64> = (0..self.prompts).map(|_| self.prompt_spread * normal(random)).collect();
        let mean = if self.prompts_are_drawn { 0.0 } else { drawn.iter().sum::<f64>() / drawn.len() as f64 };
        drawn.into_iter().map(|effect| effect - mean).collect()
    }
}

/// An approximately normal number: the sum of twelve uniform ones.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
}
