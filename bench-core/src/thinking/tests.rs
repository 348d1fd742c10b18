//! The splitter over outputs cut in every way.

use std::time::Duration;

use proptest::prelude::*;

use tokio::time::Instant;

use super::*;

const OPEN: u32 = 100;
const CLOSE: u32 = 101;

fn markers() -> MarkerIds {
    MarkerIds::of_vocabulary(|text| match text {
        "<|channel>" => Some(OPEN),
        "<channel|>" => Some(CLOSE),
        _ => None,
    })
}

/// Chunk k comes k ms after `start`.
fn at(start: Instant, chunk: usize) -> Instant {
    start + Duration::from_millis(u64::try_from(chunk).unwrap())
}

/// (thinking, answer, chunk of the first answer token) by ids.
fn by_ids(mut splitter: Splitter, chunks: &[&[u32]]) -> (Option<u32>, Option<u32>, Option<usize>) {
    let start = Instant::now();
    for (index, ids) in chunks.iter().enumerate() {
        splitter.push(at(start, index), u32::try_from(ids.len()).ok(), Some(ids), "", 0);
    }
    let split = splitter.finish();
    let chunk = split.first_answer.map(|first| (0..chunks.len()).find(|&k| at(start, k) == first).unwrap());
    (split.thinking_tokens, split.answer_tokens, chunk)
}

/// The split of chunks (tokens, thinking text, answer text).
fn by_text(chunks: &[(u32, &str, &str)]) -> (Split<Instant>, Option<usize>) {
    let (mut splitter, start) = (Splitter::default(), Instant::now());
    for (index, (tokens, thinking, answer)) in chunks.iter().enumerate() {
        let text = format!("{thinking}{answer}");
        splitter.push(at(start, index), Some(*tokens), None, &text, thinking.len());
    }
    let split = splitter.finish();
    let chunk = split.first_answer.map(|first| (0..chunks.len()).find(|&k| at(start, k) == first).unwrap());
    (split, chunk)
}

fn counts(split: &Split<Instant>) -> (Option<u32>, Option<u32>) {
    (split.thinking_tokens, split.answer_tokens)
}

#[test]
fn ids_split_inside_a_chunk() {
    let split = by_ids(Splitter::after_prompt(markers(), &[2]), &[&[OPEN, 7], &[8, CLOSE, 9], &[10]]);
    assert_eq!(split, (Some(4), Some(2), Some(1)));
}

#[test]
fn a_thought_that_does_not_end_has_no_answer() {
    let split = by_ids(Splitter::after_prompt(markers(), &[2]), &[&[OPEN, 7], &[8]]);
    assert_eq!(split, (Some(3), Some(0), None));
    let (split, first) = by_text(&[(1, "", "<think>"), (2, "", "on and on")]);
    assert_eq!((counts(&split), first), ((Some(3), Some(0)), None));
}

#[test]
fn a_prompt_may_end_inside_a_thought_or_after_one() {
    let inside = by_ids(Splitter::after_prompt(markers(), &[2, OPEN, 7]), &[&[8, CLOSE], &[9]]);
    assert_eq!(inside, (Some(2), Some(1), Some(1)));
    // Thinking switched off: Gemma's prompt holds an empty thought.
    let after = by_ids(Splitter::after_prompt(markers(), &[2, OPEN, 7, CLOSE]), &[&[8, 9]]);
    assert_eq!(after, (Some(0), Some(2), Some(0)));
}

#[test]
fn of_a_prompt_that_is_not_known_the_first_marker_tells() {
    let unknown = || Splitter::new(markers());
    assert_eq!(by_ids(unknown(), &[&[8, CLOSE], &[9]]), (Some(2), Some(1), Some(1)));
    assert_eq!(by_ids(unknown(), &[&[8, 9]]), (None, None, None));
}

#[test]
fn a_field_splits_at_the_chunk() {
    let (split, first) = by_text(&[(2, "hm", ""), (1, "so", ""), (1, "", ""), (3, "", "Yes.")]);
    // The token without text was the end of the thought: it counts with what follows, as documented.
    assert_eq!((counts(&split), first), ((Some(3), Some(4)), Some(2)));
    assert_eq!(split.source, Some(SplitSource::ServerField));
    let (split, first) = by_text(&[(2, "hm", ""), (4, "so", "Yes"), (1, "", ".")]);
    assert_eq!((counts(&split), first), ((None, None), Some(1)));
    assert_eq!(split.unknown, Some(SplitUnknown::MixedChunk));
}

#[test]
fn markers_in_text_may_lie_across_chunks() {
    let chunks = [(1, "", "<thi"), (1, "", "nk>"), (1, "", "hm</"), (1, "", "think>"), (2, "", "Yes")];
    let (split, first) = by_text(&chunks);
    assert_eq!((counts(&split), first), ((Some(4), Some(2)), Some(4)));
    assert_eq!(split.source, Some(SplitSource::TextMarkers));
}

#[test]
fn a_text_that_only_closes_began_inside_and_a_quoted_marker_is_no_thought() {
    let (split, _) = by_text(&[(1, "", "hm"), (1, "", "</think>"), (1, "", "Yes")]);
    assert_eq!(counts(&split), (Some(2), Some(1)));
    let (split, first) = by_text(&[(1, "", "Write "), (3, "", "<think>x</think>")]);
    assert_eq!((split, first), (Split::untold(), None));
}

#[test]
fn a_chunk_that_does_not_tell_its_tokens_leaves_the_counts_unknown_and_not_the_moment() {
    let (mut splitter, now) = (Splitter::default(), Instant::now());
    splitter.push(now, None, None, "hm", 2);
    splitter.push(now, None, None, "Yes", 0);
    let split = splitter.finish();
    assert_eq!((counts(&split), split.unknown), ((None, None), Some(SplitUnknown::Uncounted)));
    assert_eq!(split.first_answer, Some(now));
}

/// What is left of the text of chunks (ids, thinking text, answer text) without thoughts.
fn answer_of(mut splitter: Splitter, chunks: &[(&[u32], &str, &str)]) -> String {
    let mut all = String::new();
    for (ids, thinking, answer) in chunks {
        let text = format!("{thinking}{answer}");
        let known = (!ids.is_empty()).then_some(*ids);
        splitter.push(Instant::now(), u32::try_from(ids.len().max(1)).ok(), known, &text, thinking.len());
        all.push_str(&text);
    }
    all.split_off(splitter.finish().thought_bytes)
}

#[test]
fn the_answer_is_the_text_after_the_last_thought_and_its_blanks() {
    let by_field = [(&[][..], "hm", ""), (&[], "so", "\n\nYes"), (&[], "", ".")];
    assert_eq!(answer_of(Splitter::default(), &by_field), "Yes.");
    let interleaved = [(&[][..], "hm", ""), (&[], "", "Yes"), (&[], "but", ""), (&[], "", "no")];
    assert_eq!(answer_of(Splitter::default(), &interleaved), "no");
    let by_text = [(&[][..], "", "<think>h"), (&[], "", "m</thi"), (&[], "", "nk>\nYes </think>")];
    assert_eq!(answer_of(Splitter::default(), &by_text), "Yes </think>");
    assert_eq!(answer_of(Splitter::default(), &[(&[][..], "", "<think>hm")]), "", "it has not answered");
    assert_eq!(answer_of(Splitter::default(), &[(&[][..], "", " Yes")]), " Yes", "nothing marks");

    let known = || Splitter::after_prompt(markers(), &[2]);
    let at_the_token = [(&[OPEN, 7][..], "", "hm"), (&[CLOSE][..], "", ""), (&[9][..], "", " Yes")];
    assert_eq!(answer_of(known(), &at_the_token), "Yes");
    let rendered = [(&[OPEN, 7][..], "", "<|channel>hm"), (&[8, CLOSE, 9][..], "", "so<channel|>Yes")];
    assert_eq!(answer_of(known(), &rendered), "Yes");
    // A chunk of both whose markers leave no text: its whole text stays.
    let unrendered = [(&[OPEN, 7][..], "", "hm"), (&[8, CLOSE, 9][..], "", "so Yes"), (&[10][..], "", ".")];
    assert_eq!(answer_of(known(), &unrendered), "so Yes.");
    assert_eq!(answer_of(known(), &[(&[7, 8][..], "", " Yes")]), " Yes");
}

#[test]
fn the_text_of_a_prompt_tells_what_its_ids_would() {
    let of = |prompt: &str, chunks: &[&[u32]]| by_ids(Splitter::after_text(markers(), prompt), chunks);
    assert_eq!(of("Hi<|channel>thought", &[&[8, CLOSE], &[9]]), (Some(2), Some(1), Some(1)));
    assert_eq!(of("Hi<|channel>thought<channel|>", &[&[8, 9]]), (Some(0), Some(2), Some(0)));
    assert_eq!(of("Hi", &[&[OPEN, 8], &[CLOSE, 9]]), (Some(3), Some(1), Some(1)));
}

#[test]
fn one_token_for_all_that_is_unknown_is_no_marker() {
    assert!(MarkerIds::of_vocabulary(|_| Some(3)).is_empty());
    assert_eq!(markers().to_string(), "100 .. 101");
}

/// The split of chunks of one token each, after the server's count.
fn told(texts: &[(&str, &str)], thinking: u32, output: u32) -> Split<Instant> {
    let (mut splitter, start) = (Splitter::default(), Instant::now());
    for (index, (thinking, answer)) in texts.iter().enumerate() {
        let text = format!("{thinking}{answer}");
        splitter.push(at(start, index), Some(1), None, &text, thinking.len());
    }
    splitter.told(thinking, output);
    splitter.finish()
}

#[test]
fn a_server_s_count_is_kept_beside_ours_and_is_the_split_where_there_is_none() {
    let ours = [("hm", ""), ("so", ""), ("", "Yes")];
    let split = told(&ours, 3, 3);
    assert_eq!((counts(&split), split.source), ((Some(2), Some(1)), Some(SplitSource::ServerField)));
    assert_eq!(
        (split.server_thinking_tokens, split.is_disputed()),
        (Some(3), false),
        "a marker more or less"
    );
    assert!(told(&[("", "<think>a</think>"), ("", "b")], 40, 2).is_disputed());

    let mixed = told(&[("hm", "Yes"), ("", ".")], 5, 8);
    assert_eq!((counts(&mixed), mixed.source), ((Some(5), Some(3)), Some(SplitSource::ServerCount)));
    assert!(mixed.unknown.is_none() && mixed.first_answer.is_some() && !mixed.is_disputed());

    // Nothing marks the text: where a thought ends is not known, and that there is none is.
    let hidden = told(&[("", "Yes"), ("", ".")], 5, 8);
    assert_eq!((counts(&hidden), hidden.first_answer, hidden.thought_bytes), ((Some(5), Some(3)), None, 0));
    let none = told(&[("", "Yes"), ("", ".")], 0, 2);
    assert!(counts(&none) == (Some(0), Some(2)) && none.first_answer.is_some());

    let absurd = told(&[("", "Yes")], 9, 8);
    assert_eq!((counts(&absurd), absurd.unknown), ((None, None), Some(SplitUnknown::NothingMarks)));
    assert_eq!(absurd.server_thinking_tokens, Some(9));
}

/// Cuts `all` after every place where `cuts` says so.
fn cut<'a, T>(all: &'a [T], cuts: &[bool]) -> Vec<&'a [T]> {
    let mut chunks = Vec::new();
    let mut from = 0;
    for place in 1..=all.len() {
        if place == all.len() || cuts[place % cuts.len()] {
            chunks.push(&all[from..place]);
            from = place;
        }
    }
    chunks
}

proptest! {
    #[test]
    fn any_chunking_of_ids_gives_the_same_split(
        ids in prop::collection::vec(prop_oneof![4 => 0..50_u32, 1 => Just(OPEN), 1 => Just(CLOSE)], 1..40),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let splitter = || Splitter::after_prompt(markers(), &[2]);
        let singles: Vec<_> = ids.chunks(1).collect();
        let (thinking, answer, first) = by_ids(splitter(), &singles);
        let chunks = cut(&ids, &cuts);
        let got = by_ids(splitter(), &chunks);
        prop_assert_eq!((got.0, got.1), (thinking, answer));
        prop_assert_eq!(usize::try_from(thinking.unwrap() + answer.unwrap()).unwrap(), ids.len());
        // The first answer token comes with the chunk that holds it.
        let holder = first.map(|place| {
            let ends = chunks.iter().scan(0, |end, chunk| { *end += chunk.len(); Some(*end) });
            ends.take_while(|&end| end <= place).count()
        });
        prop_assert_eq!(got.2, holder);
    }

    #[test]
    fn any_chunking_of_text_gives_the_same_split_or_none(
        thought in "[a-c<>/ ]{0,12}", answer in "[a-c<>/ ]{0,12}", closed in any::<bool>(),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        prop_assume!(!thought.contains("</think>"));
        let mut text = format!("<think>{thought}");
        let ends = if closed { text.push_str("</think>"); text.len() } else { text.len() + answer.len() };
        text.push_str(&answer);
        // Each letter is a token.
        let letters: Vec<char> = text.chars().collect();
        let chunks = cut(&letters, &cuts);
        let texts: Vec<String> = chunks.iter().map(|chunk| chunk.iter().collect()).collect();
        let sized: Vec<_> = texts.iter()
            .map(|text| (u32::try_from(text.len()).unwrap(), "", text.as_str())).collect();
        let (split, first) = by_text(&sized);
        let starts: Vec<usize> = texts.iter()
            .scan(0, |end, text| { *end += text.len(); Some(*end) }).collect();
        let is_mixed = ends < text.len() && !starts.contains(&ends);
        let expected = (u32::try_from(ends).ok(), u32::try_from(text.len() - ends).ok());
        prop_assert_eq!(counts(&split), if is_mixed { (None, None) } else { expected });
        prop_assert_eq!(split.unknown, is_mixed.then_some(SplitUnknown::MixedChunk));
        prop_assert_eq!(first, (ends < text.len()).then(|| starts.iter().take_while(|&&end| end <= ends).count()));
    }

    #[test]
    fn whatever_comes_counts_add_up_or_are_unknown(
        chunks in prop::collection::vec(
            (any::<Option<u8>>(), prop::option::of(prop::collection::vec(98..104_u32, 0..4)), ".{0,6}", any::<bool>()),
            0..12,
        ),
        known in any::<bool>(),
    ) {
        let mut splitter =
            if known { Splitter::after_prompt(markers(), &[]) } else { Splitter::default() };
        for (tokens, ids, text, is_thought) in &chunks {
            let field = if *is_thought { text.len() } else { 0 };
            splitter.push(Instant::now(), tokens.map(u32::from), ids.as_deref(), text, field);
        }
        let split = splitter.finish();
        prop_assert_eq!(split.thinking_tokens.is_some(), split.answer_tokens.is_some());
        prop_assert_eq!(split.thinking_tokens.is_none(), split.unknown.is_some());
        let text: String = chunks.iter().map(|(_, _, text, _)| text.as_str()).collect();
        prop_assert!(text.is_char_boundary(split.thought_bytes));
        if let (Some(SplitSource::ServerField | SplitSource::TextMarkers), Some(thinking), Some(answer)) =
            (split.source, split.thinking_tokens, split.answer_tokens)
        {
            let sum: u32 = chunks.iter().map(|(tokens, ..)| u32::from(tokens.unwrap_or(0))).sum();
            prop_assert_eq!(thinking + answer, sum);
        }
    }
}
