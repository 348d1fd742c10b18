//! The rule that a tiny pair follows, and what greedy decoding makes of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::random::Stream;
use super::{EngineError, GgufError};

/// Which token follows which, and which of that the assistant knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedRule {
    /// `[id]`: the token the target puts after it.
    pub successor: Vec<u32>,
    /// `[id]`: whether the assistant drafts that token too.
    pub known: Vec<bool>,
    /// `[id]`: the token the assistant believes in front of it, where it believes in one.
    believed: Vec<Option<u32>>,
    /// `[id]`: the token in front of it on the cycle.
    previous: Vec<Option<u32>>,
    /// `[id]`: the token on the cycle that has the same embedding.
    stand_in: Vec<u32>,
}

/// What a greedy generation comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// All output tokens.
    pub tokens: Vec<u32>,
    /// Tokens proposed.
    pub drafted: u64,
    /// Proposed tokens that were emitted.
    pub accepted: u64,
    /// Target passes after the prefill.
    pub verify_steps: u64,
}

impl PlantedRule {
    /// A cycle through `words`, of which the assistant knows the share `acceptance`.
    pub(super) fn new(seed: u64, acceptance: f32, vocab: usize, words: &[usize]) -> Self {
        let id = |id: usize| u32::try_from(id).unwrap_or(u32::MAX);
        let mut stream = Stream::new(seed, "rule", 0);
        let mut cycle = words.to_vec();
        stream.shuffle(&mut cycle);
        let after = |i: usize| cycle[(i + 1) % cycle.len()];

        let mut stand_in: Vec<usize> = (0..vocab).map(|_| cycle[stream.below(cycle.len())]).collect();
        cycle.iter().for_each(|&word| stand_in[word] = word);
        let mut next = vec![0; vocab];
        let mut previous = vec![None; vocab];
        for (i, &word) in cycle.iter().enumerate() {
            next[word] = after(i);
            previous[after(i)] = Some(id(word));
        }

        let wrong = wrong_words(&mut stream, &cycle, acceptance);
        let mut believed = previous.clone();
        let mut is_known = vec![true; vocab];
        for (i, &word) in wrong.iter().enumerate() {
            is_known[word] = false;
            // One word alone has nobody to swap with: the assistant then knows nothing in front of its successor.
            let other = wrong[(i + 1) % wrong.len()];
            believed[next[word]] = (other != word).then(|| id(other));
        }
        Self {
            successor: stand_in.iter().map(|&word| id(next[word])).collect(),
            known: stand_in.iter().map(|&word| is_known[word]).collect(),
            believed,
            previous,
            stand_in: stand_in.into_iter().map(id).collect(),
        }
    }

    /// Output of greedy decoding after a prompt that ends with `last`, and the counts of drafting.
    ///
    /// The prefill gives the first token. Each verify step then drafts min(`draft_max`, remaining - 1) tokens, one
    /// after the other; those before the first unknown one are accepted, and the target adds one. `draft_max` 0 is
    /// decoding without drafts. `None` if `last` is not in the vocabulary.
    #[must_use]
    pub fn predict(&self, last: u32, tokens: usize, draft_max: usize) -> Option<Prediction> {
        let mut walk = Vec::with_capacity(tokens);
        let mut current = last;
        for _ in 0..tokens {
            current = *self.successor.get(current as usize)?;
            walk.push(current);
        }
        let mut prediction = Prediction { tokens: walk, drafted: 0, accepted: 0, verify_steps: 0 };
        let mut emitted = 1;
        while emitted < tokens {
            let drafted = draft_max.min(tokens - emitted - 1);
            let from = &prediction.tokens[emitted - 1..][..drafted];
            let accepted = from.iter().take_while(|&&id| self.known[id as usize]).count();
            prediction.drafted += drafted as u64;
            prediction.accepted += accepted as u64;
            prediction.verify_steps += 1;
            emitted += accepted + 1;
        }
        Some(prediction)
    }

    /// Reads what `write_tiny_pair` wrote.
    ///
    /// # Errors
    /// What the system refuses, or a file that is no rule.
    pub fn load(path: &Path) -> Result<Self, EngineError> {
        let io = |source| GgufError::Io { verb: "read", path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(io)?;
        Ok(serde_json::from_slice(&bytes).map_err(|error| io(error.into()))?)
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), GgufError> {
        let io = |source| GgufError::Io { verb: "write", path: path.to_owned(), source };
        let json = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        std::fs::write(path, json).map_err(io)
    }

    pub(super) fn stand_in(&self, id: usize) -> usize {
        self.stand_in[id] as usize
    }

    pub(super) fn follows(&self, id: usize) -> Option<usize> {
        self.previous[id].map(|id| id as usize)
    }

    pub(super) fn believed_to_follow(&self, id: usize) -> Option<usize> {
        self.believed[id].map(|id| id as usize)
    }
}

/// The words whose successor the assistant gets wrong, in random order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a vocabulary, 0 to 1 times its length"
)]
fn wrong_words(stream: &mut Stream, cycle: &[usize], acceptance: f32) -> Vec<usize> {
    let mut words = cycle.to_vec();
    stream.shuffle(&mut words);
    let known = (f64::from(acceptance) * cycle.len() as f64).round() as usize;
    words.split_off(known.min(cycle.len()))
}
