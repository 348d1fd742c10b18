//! What a request gets, and when: pure arithmetic of pace, stalls and the planted pattern of acceptance.

use std::num::NonZeroU32;
use std::time::Duration;

/// When chunks are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// First chunk, after the request was whole.
    pub ttft: Duration,
    /// From one chunk to the next.
    pub itl: Duration,
    /// Gaps that are longer.
    pub stall: Option<Stall>,
}

/// Every n-th gap of a request is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The n.
    pub every: NonZeroU32,
    /// By how much.
    pub extra: Duration,
}

/// Planted speculation: step i accepts `pattern[i mod len]` drafts, and all its tokens come in one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speculation {
    /// Accepted drafts, step by step; not empty, and no entry above `draft_max`.
    pattern: Vec<u32>,
    /// Drafted tokens of every step.
    draft_max: u32,
}

impl Speculation {
    /// # Errors
    ///
    /// The pattern is empty, or accepts more than is drafted.
    pub fn new(pattern: Vec<u32>, draft_max: u32) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("the pattern of accepted drafts is empty; expected numbers like 3,1,2,0".to_owned());
        }
        match pattern.iter().find(|&&accepted| accepted > draft_max) {
            Some(more) => Err(format!("the pattern accepts {more} of {draft_max} drafts")),
            None => Ok(Self { pattern, draft_max }),
        }
    }

    /// Drafted tokens of every step.
    #[must_use]
    pub fn draft_max(&self) -> u32 {
        self.draft_max
    }
}

/// The whole script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// When.
    pub pace: Pace,
    /// Tokens of a request that names no number.
    pub tokens: u32,
    /// Most tokens of any request, whatever it asks; it then ends with `stop`, as if the model had ended by itself.
    pub cap: Option<u32>,
    /// Tokens per chunk; `None`: one.
    pub speculation: Option<Speculation>,
    /// llama.cpp's `timings` come beside vLLM's `metrics`.
    pub timings: bool,
    /// The first write holds a chunk without content before the first with content, as vLLM's does.
    pub role_chunk: bool,
}

impl Script {
    /// Tokens for a request that asks for `asked`, and whether the cap cut it.
    pub(super) fn tokens_for(&self, asked: Option<u32>) -> (u32, bool) {
        let asked = asked.unwrap_or(self.tokens).max(1);
        let given = self.cap.map_or(asked, |cap| asked.min(cap.max(1)));
        (given, given < asked)
    }

    /// When chunk `index` (from 0) is due, after the request was whole.
    pub(super) fn due(&self, index: u32) -> Duration {
        let Pace { ttft, itl, stall } = self.pace;
        let stalled = stall.map_or(Duration::ZERO, |stall| stall.extra * (index / stall.every));
        ttft + itl * index + stalled
    }

    /// Tokens of chunk `index` when `left` are still to come: accepted drafts and one more.
    pub(super) fn chunk_tokens(&self, index: u32, left: u32) -> u32 {
        let accepted = self.speculation.as_ref().map_or(0, |speculation| {
            let step = usize::try_from(index).unwrap_or(usize::MAX) % speculation.pattern.len();
            speculation.pattern[step]
        });
        (accepted + 1).min(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(speculation: Option<Speculation>, stall: Option<Stall>) -> Script {
        let ms = Duration::from_millis;
        let pace = Pace { ttft: ms(50), itl: ms(10), stall };
        Script { pace, tokens: 128, cap: None, speculation, timings: false, role_chunk: true }
    }

    #[test]
    fn three_of_127_gaps_stall() {
        let stall = Stall { every: NonZeroU32::new(40).unwrap(), extra: Duration::from_millis(100) };
        let script = script(None, Some(stall));
        let gaps: Vec<_> = (1..128).map(|k| (script.due(k) - script.due(k - 1)).as_millis()).collect();
        assert_eq!(gaps.iter().filter(|&&gap| gap == 110).count(), 3);
        assert_eq!(gaps.iter().filter(|&&gap| gap == 10).count(), 124);
        assert_eq!(script.due(0).as_millis(), 50);
    }

    #[test]
    fn the_pattern_of_the_probe_makes_51_steps_of_128_tokens() {
        let script = script(Some(Speculation::new(vec![3, 1, 2, 0], 3).unwrap()), None);
        let (mut left, mut steps) = (128, 0);
        while left > 0 {
            left -= script.chunk_tokens(steps, left);
            steps += 1;
        }
        assert_eq!(steps, 51);
    }

    #[test]
    fn a_pattern_accepts_no_more_than_is_drafted() {
        assert!(Speculation::new(vec![3, 4], 3).unwrap_err().contains("4 of 3"));
        assert!(Speculation::new(vec![], 3).unwrap_err().contains("empty"));
    }

    #[test]
    fn the_cap_cuts_what_is_asked() {
        let mut script = script(None, None);
        assert_eq!((script.tokens_for(None), script.tokens_for(Some(7))), ((128, false), (7, false)));
        script.cap = Some(100);
        assert_eq!((script.tokens_for(None), script.tokens_for(Some(100))), ((100, true), (100, false)));
    }
}
