//! The bundled prompt set `suite`: our own prompts in categories, one JSONL file each, embedded in the binary.
//!
//! What for: `workload.set = "suite"` asks every stack the same realistic requests without a download. A choice of
//! `per_category` prompts is evenly spaced over a category's file, so it is the same on every machine. This module
//! reads no file of the user's. Invariant: ids are unique over all categories (a test holds it, and the set's hash).

use serde::Deserialize;

use crate::raw::RawPrompt;

/// One category's file.
pub(crate) struct Category {
    /// Name in `workload.categories` and in reports.
    pub(crate) name: &'static str,
    jsonl: &'static str,
}

/// All categories, in report order.
pub(crate) const CATEGORIES: &[Category] = &[
    Category { name: "json", jsonl: include_str!("../prompts/json.jsonl") },
    Category { name: "code", jsonl: include_str!("../prompts/code.jsonl") },
    Category { name: "math", jsonl: include_str!("../prompts/math.jsonl") },
    Category { name: "reasoning", jsonl: include_str!("../prompts/reasoning.jsonl") },
    Category { name: "lists", jsonl: include_str!("../prompts/lists.jsonl") },
    Category { name: "qa", jsonl: include_str!("../prompts/qa.jsonl") },
    Category { name: "writing", jsonl: include_str!("../prompts/writing.jsonl") },
    Category { name: "summarisation", jsonl: include_str!("../prompts/summarisation.jsonl") },
    Category { name: "extraction", jsonl: include_str!("../prompts/extraction.jsonl") },
    Category { name: "translation", jsonl: include_str!("../prompts/translation.jsonl") },
    Category { name: "dialogue", jsonl: include_str!("../prompts/dialogue.jsonl") },
    Category { name: "triage", jsonl: include_str!("../prompts/triage.jsonl") },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    category: String,
    system: Option<String>,
    text: String,
}

impl Category {
    /// The prompts in the file's order, or `count` of them evenly spaced.
    ///
    /// # Errors
    ///
    /// The line that is no prompt, and why; or a `count` above what the file holds.
    pub(crate) fn prompts(&self, count: Option<usize>) -> Result<Vec<RawPrompt>, String> {
        let mut all = self
            .jsonl
            .lines()
            .enumerate()
            .map(|(index, line)| parse(line).map_err(|error| format!("line {}: {error}", index + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(count) = count else {
            return Ok(all);
        };
        if count > all.len() {
            return Err(format!("`{}` has {} prompts", self.name, all.len()));
        }
        let len = all.len();
        let chosen: Vec<usize> = (0..count).map(|nth| nth * len / count).collect();
        let mut index = 0..;
        all.retain(|_| index.next().is_some_and(|index| chosen.contains(&index)));
        Ok(all)
    }
}

fn parse(line: &str) -> Result<RawPrompt, serde_json::Error> {
    let Line { id, category, system, text } = serde_json::from_str(line)?;
    Ok(RawPrompt { id: Some(id), category: Some(category), system, text: Some(text), turns: None })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sha2::{Digest, Sha256};

    use super::*;

    /// Published results name the set: whoever changes a prompt changes this, and says so in the changelog.
    const SHA256: &str = "b495aef51142816da5875ef440e86ba4abc760e8d7212a41ca4ca7c0354abd51";

    #[test]
    fn the_set_is_the_one_that_results_were_published_on() {
        let mut hash = Sha256::new();
        for category in CATEGORIES {
            hash.update(category.jsonl);
        }
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, SHA256);
    }

    #[test]
    fn every_category_has_twenty_different_prompts_of_its_name() {
        let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
        for category in CATEGORIES {
            let prompts = category.prompts(None).unwrap();
            assert_eq!(prompts.len(), 20, "{}", category.name);
            for prompt in prompts {
                assert_eq!(prompt.category.as_deref(), Some(category.name));
                assert!(ids.insert(prompt.id.clone()), "{:?} twice", prompt.id);
                assert!(texts.insert(prompt.text), "the text of {:?} twice", prompt.id);
            }
        }
    }

    #[test]
    fn what_is_to_be_summarised_is_there_and_of_a_length_worth_summarising() {
        let category = CATEGORIES.iter().find(|category| category.name == "summarisation").unwrap();
        for prompt in category.prompts(None).unwrap() {
            let text = prompt.text.unwrap();
            let (_, passage) = text.split_once("\n\n").unwrap();
            let words = passage.split_whitespace().count();
            assert!((120..=400).contains(&words), "{:?} has {words}", prompt.id);
        }
    }

    #[test]
    fn a_choice_is_evenly_spaced_and_never_more_than_there_is() {
        let ids = |count| -> Vec<_> {
            let prompts = CATEGORIES[0].prompts(Some(count)).unwrap();
            prompts.into_iter().map(|prompt| prompt.id.unwrap()).collect()
        };
        assert_eq!(ids(4), ["json-01", "json-06", "json-11", "json-16"]);
        assert_eq!(ids(20).len(), 20);
        assert_eq!(CATEGORIES[0].prompts(Some(21)).unwrap_err(), "`json` has 20 prompts");
    }

    #[test]
    fn a_bad_line_is_named() {
        let bad =
            Category { name: "bad", jsonl: "{\"id\":\"a\",\"category\":\"bad\",\"text\":\"x\"}\n{\"id\":1}" };
        assert!(bad.prompts(None).unwrap_err().starts_with("line 2: "));
    }
}
