//! Which prompts a run asks, as one thing that can be named, shown and compared.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::preset::Workload;
use crate::run_dir::{json_sha256, prompt_sha256};

/// The prompts of a run. Their order is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptSet {
    /// How many.
    pub prompts: u64,
    /// Kinds of text among them.
    pub categories: u64,
    /// SHA-256, hex, of the JSON list of their own hashes in ascending order: of the words, not of ids and categories.
    pub sha256: String,
    /// Whether they are made of synthetic tokens ([`crate::synthetic`]) and not text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

impl PromptSet {
    /// The set of a workload.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        let categories: BTreeSet<_> = workload.prompts.iter().map(|prompt| &prompt.category).collect();
        let mut hashes: Vec<_> = workload.prompts.iter().map(prompt_sha256).collect();
        hashes.sort_unstable();
        Self {
            prompts: workload.prompts.len() as u64,
            categories: categories.len() as u64,
            // A list of strings is always JSON.
            sha256: json_sha256(&hashes).unwrap_or_default(),
            synthetic: workload.synthetic.is_some(),
        }
    }
}

/// `240 prompts in 12 categories, 0a1b2c3d4e5f`.
impl fmt::Display for PromptSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural =
            |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let prompts = plural(self.prompts, "prompt", "prompts");
        let made_of = if self.synthetic { " of synthetic tokens" } else { "" };
        let categories = plural(self.categories, "category", "categories");
        let hash: String = self.sha256.chars().take(12).collect();
        write!(f, "{prompts}{made_of} in {categories}, {hash}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_its_words_in_any_order() {
        let mut workload = crate::testing::preset().workload;
        let set = PromptSet::of(&workload);
        assert_eq!((set.prompts, set.sha256.len()), (workload.prompts.len() as u64, 64));
        workload.prompts.reverse();
        assert_eq!(PromptSet::of(&workload), set);
        workload.prompts[0].id.push('x');
        assert_eq!(PromptSet::of(&workload), set, "another name is the same text");
        workload.prompts[0].text.push('x');
        assert_ne!(PromptSet::of(&workload).sha256, set.sha256);
    }
}
