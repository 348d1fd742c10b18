//! Prompt files of every format: what is read, what is left out, what is refused and where.

use bench_presets::{FileFormat, PromptFile, PromptFileError, read_prompt_file};
use proptest::prelude::*;

fn read(text: &str) -> Result<PromptFile, PromptFileError> {
    read_prompt_file(text.as_bytes(), None)
}

fn refused(text: &str) -> String {
    read(text).map_or_else(|error| error.to_string(), |file| format!("was read: {file:?}"))
}

#[test]
fn our_own_lines_are_read_with_their_optional_fields() {
    let text = "\u{feff}{\"text\":\"One?\"}\n\n{\"id\":\"B_2\",\"category\":\"qa\",\"system\":\"Be brief.\",\"text\":\"Two?\"}\n";
    let file = read(text).unwrap();
    assert_eq!((file.format, file.records_left_out), (FileFormat::Own, 0));
    let ids: Vec<_> =
        file.prompts.iter().map(|prompt| (prompt.id.as_str(), prompt.category.as_str())).collect();
    assert_eq!(ids, [("line-1", "prose"), ("b-2", "qa")]);
    assert_eq!(file.prompts[1].system.as_deref(), Some("Be brief."));
}

#[test]
fn conversations_give_their_user_turns() {
    let text = r#"[
      {"id": "xYz_0", "conversations": [
        {"from": "system", "value": "You bake."},
        {"from": "human", "value": "How long does rye take?"}, {"from": "gpt", "value": "An hour."},
        {"from": "human", "value": "And wheat?"}]},
      {"id": "xYz_1", "conversations": [{"from": "gpt", "value": "I go on: ..."}]},
      {"id": "xYz_2", "conversations": [{"from": "user", "value": "Name a tree."}]}
    ]"#;
    let file = read(text).unwrap();
    assert_eq!((file.format, file.records_left_out), (FileFormat::ShareGpt, 1));
    let texts: Vec<_> =
        file.prompts.iter().map(|prompt| (prompt.id.as_str(), prompt.text.as_str())).collect();
    assert_eq!(texts, [("sharegpt-1", "How long does rye take?"), ("sharegpt-3", "Name a tree.")]);
    assert_eq!(file.prompts[0].later_turns, ["And wheat?"]);
    assert_eq!(file.prompts[0].system.as_deref(), Some("You bake."));
}

#[test]
fn question_files_of_three_benchmarks_are_read_alike() {
    let mt =
        r#"{"question_id": 81, "category": "writing", "turns": ["A letter.", "Shorter."], "reference": []}"#;
    let spec = r#"{"question_id": 241, "category": "rag", "turns": ["Answer from the text."]}"#;
    let speed = r#"{"question_id": "Ab-7", "category": "coding", "sub_category": "c", "turns": ["Sort."],
        "source": "own", "src_id": null, "difficulty": "easy", "multiturn": false}"#;
    let file = read(&format!("{mt}\n{spec}\n{}\n", speed.replace('\n', ""))).unwrap();
    assert_eq!(file.format, FileFormat::Questions);
    assert_eq!(file.prompts[0].later_turns, ["Shorter."]);
    let ids: Vec<_> =
        file.prompts.iter().map(|prompt| (prompt.id.as_str(), prompt.category.as_str())).collect();
    assert_eq!(ids, [("81", "writing"), ("241", "rag"), ("ab-7", "coding")]);
}

#[test]
fn what_is_wrong_is_told_with_its_line_what_was_found_and_what_was_expected() {
    assert!(refused("").starts_with("the file has no prompt"));
    assert!(
        refused("{\"text\":\"a\"}\n{\"text\":5}")
            .starts_with("line 2: invalid type: integer `5`, expected a string")
    );
    assert!(refused("{\"text\":\"a\"}\n{\"txt\":\"b\"}").starts_with("line 2: unknown field `txt`"));
    assert!(
        refused("{\"prompt\":\"a\"}")
            .starts_with("line 1: none of the known fields, expected an object with `text`")
    );
    assert!(refused("{\"text\":\"a\",\"turns\":[]}").starts_with("line 1: the fields of two formats"));
    assert!(refused("{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"A\",\"text\":\"2\"}").starts_with(
        "line 2: id `A`, of which rows keep `a`, as of `a` in line 1, expected an id of its own"
    ));
    assert!(
        refused("{\"id\":\"caf\u{e9}\",\"text\":\"1\"}\n{\"id\":\"caf\u{e8}\",\"text\":\"2\"}")
            .starts_with("line 2: id `caf\u{e8}`, of which rows keep `caf-`, as of `caf\u{e9}` in line 1")
    );
    assert!(
        refused("{\"id\":\"a\",\"text\":\"1\"}\n{\"id\":\"a\",\"text\":\"2\"}")
            .starts_with("line 2: id `a`, as in line 1")
    );
    for id in ["-1", "1.5", "null", "[1]"] {
        assert!(
            refused(&format!("{{\"question_id\":{id},\"category\":\"c\",\"turns\":[\"a\"]}}")).starts_with(
                "line 1: a `question_id` that is neither a whole number from 0 nor a text, expected an object"
            ),
            "{id}"
        );
    }
    assert!(
        refused("{\"question_id\":1,\"category\":\"c\",\"turns\":[]}").starts_with("line 1: no first turn")
    );
    assert!(
        refused("[\n{\"conversations\":[]},\n{\"conversations\":[\n{\"from\":1}]}]")
            .starts_with("line 4: invalid type")
    );
    assert!(refused("[{\"text\":\"a\"},\n").starts_with("line 2: EOF"));
    let parquet = read_prompt_file(b"PAR1\xff\xfe", None).unwrap_err();
    assert!(parquet.to_string().starts_with("byte 4 of the file is not UTF-8"));
}

#[test]
fn a_named_format_is_not_guessed() {
    let error = read_prompt_file(b"{\"text\":\"a\"}", Some(FileFormat::Questions)).unwrap_err();
    assert!(error.to_string().starts_with("line 1: missing field `question_id`"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [None, Some(FileFormat::Own), Some(FileFormat::ShareGpt), Some(FileFormat::Questions)] {
            drop(read_prompt_file(&bytes, format));
        }
    }

    /// Damage to a good file is read or refused, and a refusal names a line that there is.
    #[test]
    fn a_damaged_file_is_refused_at_a_line_of_its_own(at in 0usize..120, with in any::<u8>()) {
        let good = b"[{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]},\n{\"conversations\":[{\"from\":\"user\",\"value\":\"b\"}]}]";
        let mut bytes = good.to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        let lines = bytes.split(|byte| *byte == b'\n').count();
        if let Err(PromptFileError::Record { line, .. }) = read_prompt_file(&bytes, None) {
            prop_assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
    }
}
