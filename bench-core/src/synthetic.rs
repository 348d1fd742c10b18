//! Prompts of synthetic tokens: as long as a question about speed needs them, and saying nothing.
//!
//! For prefill and serving at a stated input length, where a corpus has no text of that length. Words are drawn one by one
//! from a list of 256 common English words, each of which is one token of most vocabularies together with its space, so that
//! a prompt of n words is about n tokens. About: the first word has no space, templates add tokens of their own, and
//! tokenizers differ. What a prompt really was is in each row (`prompt_tokens`, read back); what was asked for is not
//! reported as if it had been measured.
//!
//! Such text is unlike any that a model was trained on, so how much of it a drafter guesses says nothing of text: claims
//! about acceptance are refused ([`crate::truth::RuleId::AcceptanceOfText`]).
//!
//! Pure: the prompts are a function of [`SyntheticPrompts`] alone. Invariant: no two of them begin with the same word, so
//! that a cache of prefixes finds nothing of one in another.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::preset::{PromptSpec, SpecDecode, Workload};
use crate::random::SplitMix64;

/// Why a claim about acceptance is refused, as the reader sees it.
pub const REFUSAL: &str = "prompts are synthetic tokens: acceptance says nothing about text";

/// Most prompts of a preset: each begins with a word of its own.
pub const MAX_SYNTHETIC_PROMPTS: usize = WORDS.len();

/// Most tokens of a prompt.
pub const MAX_SYNTHETIC_TOKENS: u32 = 1 << 20;

/// Which synthetic prompts are asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticPrompts {
    /// Lengths that are asked for, in tokens: each is a category of its own.
    pub input_tokens: Vec<NonZeroU32>,
    /// Prompts of each length.
    pub count: NonZeroU32,
    /// Each prompt's length is drawn evenly from this share below the length to this share above it; 0: all are equally long.
    pub spread: f64,
    /// Seed of words and lengths.
    pub seed: u64,
}

impl SyntheticPrompts {
    /// How many prompts there are.
    #[must_use]
    pub fn prompts_in_all(&self) -> usize {
        let count = usize::try_from(self.count.get()).unwrap_or(usize::MAX);
        self.input_tokens.len().saturating_mul(count)
    }

    /// The greatest length that a prompt may be asked to have, tokens.
    #[must_use]
    pub fn longest_tokens(&self) -> u32 {
        let longest = self.input_tokens.iter().map(|tokens| self.bounds(*tokens).1).max();
        longest.unwrap_or_default()
    }

    /// Least and greatest length around one that is asked for; at least one token.
    fn bounds(&self, tokens: NonZeroU32) -> (u32, u32) {
        // Above 2^32 it stays there; below 1 there is no prompt.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and a share up to 1 of a u32 is not negative"
        )]
        let half = (f64::from(tokens.get()) * self.spread).round() as u32;
        (tokens.get().saturating_sub(half).max(1), tokens.get().saturating_add(half))
    }

    /// The prompts. Lengths take turns, so that no stretch of a pass has all the long ones: in a closed loop with several
    /// streams they would wait for one another.
    #[must_use]
    pub fn prompts(&self) -> Vec<PromptSpec> {
        let mut random = SplitMix64::new(self.seed);
        let mut first_words = WORDS;
        shuffle(&mut first_words, &mut random);
        let of_length = |nth: u32| self.input_tokens.iter().map(move |tokens| (nth, *tokens));
        let all = (1..=self.count.get()).flat_map(of_length);
        all.zip(first_words)
            .map(|((nth, tokens), first)| {
                let (least, most) = self.bounds(tokens);
                let words = least + draw(&mut random, most - least + 1);
                PromptSpec {
                    id: format!("synthetic-{tokens}-{nth}"),
                    category: format!("{tokens} tokens"),
                    system: None,
                    text: text(first, words, &mut random),
                    later_turns: Vec::new(),
                }
            })
            .collect()
    }
}

/// Whether claims about acceptance of this arm mean nothing: drafts are judged by the target, on prompts that are no text.
/// Synthetic acceptance is stated in advance, and its speed is what such prompts are for.
#[must_use]
pub fn refuses_acceptance(workload: &Workload, spec: &SpecDecode) -> bool {
    let is_judged = spec.draft_max().is_some() && !spec.plants_acceptance();
    workload.synthetic.is_some() && is_judged
}

/// A number below `end`, which is not 0.
#[expect(clippy::cast_possible_truncation, reason = "an index below a u32 is a u32")]
fn draw(random: &mut SplitMix64, end: u32) -> u32 {
    random.index(end as usize) as u32
}

/// `first` and `words - 1` drawn words.
fn text(first: &str, words: u32, random: &mut SplitMix64) -> String {
    let mut text = first.to_owned();
    for _ in 1..words {
        text.push(' ');
        text.push_str(WORDS[random.index(WORDS.len())]);
    }
    text
}

/// Fisher and Yates.
fn shuffle(words: &mut [&str], random: &mut SplitMix64) {
    for last in (1..words.len()).rev() {
        words.swap(last, random.index(last + 1));
    }
}

/// Each is one token with its space before it; a run of the bundled pair on them is a test.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "animal", "answer", "apples", "ask", "back", "bad", "bag", "beach", "begin", "bell", "bicycle", "bill", "birds",
    "black", "blue", "boat", "body", "book", "both", "box", "bread", "break", "bridge", "bring", "build", "business",
    "buy", "cake", "call", "car", "carry", "cat", "chair", "child", "children", "city", "clean", "clock", "close",
    "cold", "color", "colour", "company", "cook", "copy", "cost", "country", "cup", "customer", "cut", "dark", "desk",
    "doctor", "dog", "door", "double", "driver", "ear", "early", "eat", "empty", "end", "engine", "example", "eye",
    "face", "fall", "family", "farm", "feel", "field", "find", "fire", "first", "fish", "five", "fix", "floor",
    "force", "forest", "four", "friend", "front", "game", "garden", "give", "gold", "good", "government", "great",
    "green", "grow", "guest", "half", "hand", "head", "hear", "heart", "height", "helmet", "hold", "horse", "hour",
    "house", "idea", "iron", "island", "jacket", "keep", "know", "lake", "lamp", "land", "large", "last", "late",
    "law", "learn", "left", "leg", "length", "letter", "light", "line", "little", "look", "machine", "man", "mark",
    "market", "men", "middle", "minutes", "money", "month", "moon", "morning", "mother", "mountain", "move", "name",
    "nation", "new", "next", "night", "north", "number", "nurse", "office", "old", "onions", "open", "order", "owner",
    "page", "paper", "part", "pay", "peaches", "people", "pillow", "play", "point", "potatoes", "power", "price",
    "print", "problem", "public", "question", "rain", "read", "reason", "red", "right", "river", "road", "roof",
    "room", "rope", "run", "sand", "say", "school", "sea", "second", "see", "sell", "send", "ship", "side", "sign",
    "silver", "single", "sit", "size", "sleep", "small", "smoke", "song", "sound", "soup", "speak", "speed", "square",
    "stand", "start", "state", "stick", "stone", "stop", "storm", "story", "street", "sun", "table", "take", "tax",
    "tea", "teacher", "tell", "ten", "think", "third", "three", "tool", "top", "trade", "tree", "turn", "user",
    "value", "voice", "wait", "walk", "wall", "warm", "watch", "water", "week", "weight", "white", "whole", "width",
    "win", "wind", "window", "woman", "wood", "word", "work", "world", "write", "year", "yellow", "young",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn synthetic(input_tokens: &[u32], count: u32) -> SyntheticPrompts {
        SyntheticPrompts {
            input_tokens: input_tokens.iter().filter_map(|tokens| NonZeroU32::new(*tokens)).collect(),
            count: NonZeroU32::new(count).unwrap(),
            spread: 0.0,
            seed: 1,
        }
    }

    fn words(prompt: &PromptSpec) -> Vec<&str> {
        prompt.text.split(' ').collect()
    }

    #[test]
    fn prompts_have_the_length_asked_for_and_share_no_first_word() {
        assert_eq!(WORDS.iter().collect::<HashSet<_>>().len(), WORDS.len(), "a word stands there twice");
        let asked = synthetic(&[1, 128, 512], 85);
        let prompts = asked.prompts();
        assert_eq!((prompts.len(), asked.prompts_in_all(), asked.longest_tokens()), (255, 255, 512));
        let lengths: Vec<_> = prompts.iter().take(4).map(|prompt| words(prompt).len()).collect();
        assert_eq!(lengths, [1, 128, 512, 1], "lengths take turns");
        let ids: HashSet<_> = prompts.iter().map(|prompt| &prompt.id).collect();
        let firsts: HashSet<_> = prompts.iter().map(|prompt| words(prompt)[0]).collect();
        assert_eq!((ids.len(), firsts.len()), (255, 255));
        assert_eq!((&*prompts[1].id, &*prompts[1].category), ("synthetic-128-1", "128 tokens"));
    }

    #[test]
    fn they_are_a_function_of_the_seed() {
        let asked = synthetic(&[64], 3);
        assert_eq!(asked.prompts(), asked.prompts());
        let other = SyntheticPrompts { seed: 2, ..asked.clone() };
        assert!(asked.prompts().iter().zip(other.prompts()).all(|(a, b)| a.text != b.text));
        // Published runs name a preset and a seed: the words must not change with a version.
        assert_eq!(synthetic(&[6], 1).prompts()[0].text, "doctor guest bring look storm send");
    }

    #[test]
    fn a_spread_is_drawn_evenly_around_the_length() {
        let asked = SyntheticPrompts { spread: 0.25, ..synthetic(&[100], 256) };
        let lengths: Vec<_> = asked.prompts().iter().map(|prompt| words(prompt).len()).collect();
        assert!(lengths.iter().all(|length| (75..=125).contains(length)), "{lengths:?}");
        let mean = lengths.iter().sum::<usize>() as f64 / 256.0;
        // Evenly from 75 to 125: standard error 14.7 / 16 = 0.92.
        assert!((mean - 100.0).abs() < 4.0 * 0.92, "{mean}");
        assert!(lengths.iter().any(|length| *length < 80) && lengths.iter().any(|length| *length > 120));
        assert_eq!(asked.longest_tokens(), 125);
        let all = SyntheticPrompts { spread: 1.0, ..synthetic(&[1], 4) };
        assert!(all.prompts().iter().all(|prompt| (1..=2).contains(&words(prompt).len())));
    }

    #[test]
    fn only_drafts_that_a_target_judges_are_refused() {
        use crate::preset::{AcceptanceRule, DraftHead, SyntheticRates};

        let mut workload = crate::testing::preset().workload;
        let mtp = |acceptance| SpecDecode::Mtp {
            draft_max: NonZeroU32::MIN,
            acceptance,
            draft_head: DraftHead::default(),
        };
        let ngram = SpecDecode::Ngram {
            draft_max: NonZeroU32::MIN,
            ngram_min: NonZeroU32::MIN,
            ngram_max: NonZeroU32::MIN,
        };
        let judged = [mtp(AcceptanceRule::SampleAndCompare), mtp(AcceptanceRule::Rejection), ngram];
        assert!(judged.iter().all(|spec| !refuses_acceptance(&workload, spec)), "prompts of text");
        workload.synthetic = Some(synthetic(&[8], 2));
        assert!(judged.iter().all(|spec| refuses_acceptance(&workload, spec)));
        let stated = AcceptanceRule::Synthetic(SyntheticRates::new(vec![0.5]).unwrap());
        assert!(!refuses_acceptance(&workload, &mtp(stated)));
        assert!(!refuses_acceptance(&workload, &SpecDecode::None));
    }
}
