//! Every key a preset may have: the one table behind the check for unknown keys, `--set`, and docs/presets.md.
//!
//! A test holds it against the types of `raw`: both know the same keys.

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Dotted path; `[]` stands for any element of a list.
    pub(crate) path: &'static str,
    /// What may stand there.
    pub(crate) values: &'static str,
    /// What holds if it is left out; empty where it must be given.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
}

const fn field(path: &'static str, values: &'static str, default: &'static str, doc: &'static str) -> Field {
    Field { path, values, default, doc }
}

/// All keys, in the order a preset is written in.
pub(crate) const FIELDS: &[Field] = &[
    field("name", "`a-z`, `0-9`, `-`", "", "Name of the preset; not inherited."),
    field("description", "text", "empty", "One or two sentences for `bench presets list`; not inherited."),
    field(
        "inherits",
        "name of a shipped preset",
        "nothing",
        "Keys that are left out come from there. Lists are replaced whole.",
    ),
    field(
        "models.target",
        "path of a GGUF",
        "",
        "The model whose output counts. Either this, `models.bundled` or `models.synth_tiny`.",
    ),
    field("models.assistant", "path of a GGUF", "none", "The drafter; needed by `method = \"mtp\"`."),
    field(
        "models.bundled",
        "`nano`",
        "none",
        "A trained pair inside the binary, written to the cache on first use.",
    ),
    field(
        "models.synth_tiny.acceptance",
        "0 to 1",
        "0.7",
        "Share of tokens whose successor the assistant knows.",
    ),
    field(
        "models.synth_tiny.cycle",
        "2 or more",
        "one over all tokens",
        "Length of the cycles the target walks. Short ones repeat within an output, which prompt lookup finds.",
    ),
    field("models.synth_tiny.weights", "`f32`, `f16`, `bf16`, `q8_0`", "`f16`", "Type of the matrices."),
    field(
        "models.synth_tiny.seed",
        "0 or more",
        "1",
        "Seed of all random weights; equal seeds give byte-equal files.",
    ),
    field(
        "stacks[].kind",
        "`native`, `llama-server`",
        "",
        "A stack to run on, each at most once; report order.",
    ),
    field(
        "stacks[].required",
        "true, false",
        "true",
        "`false`: where it is not installed its arms are skipped, and the run still succeeds.",
    ),
    field(
        "variants[].label",
        "`a-z`, `0-9`, `-`",
        "",
        "Unique name of a way of speculating; the first variant is the baseline.",
    ),
    field(
        "variants[].method",
        "`none`, `mtp`, `ngram`",
        "",
        "Plain decoding, the Gemma 4 assistant, or prompt lookup.",
    ),
    field(
        "variants[].draft_max",
        "1 to 64",
        "",
        "Most drafted tokens in a round (a \"block size\" elsewhere is one more). For `mtp` and `ngram`.",
    ),
    field(
        "variants[].acceptance",
        "`sample-and-compare`, `rejection`",
        "`sample-and-compare`",
        "How sampled drafts are accepted. For `mtp`.",
    ),
    field(
        "variants[].draft_head",
        "`auto`, `dense`",
        "`auto`",
        "`auto`: drafts come from the tokens of the nearest centroids, where the assistant has centroids and the stack \
         reads them; `dense`: from the whole vocabulary. For `mtp`.",
    ),
    field("variants[].ngram_min", "1 or more", "2", "Shortest n-gram that may match. For `ngram`."),
    field("variants[].ngram_max", "at least `ngram_min`", "4", "Longest n-gram, tried first. For `ngram`."),
    field(
        "serving.context_tokens",
        "above `workload.max_tokens`",
        "4096",
        "Context of one request, prompt and output together.",
    ),
    field("serving.kv_type", "`f32`, `f16`, `q8_0`", "`f16`", "Type of the KV cache."),
    field("serving.threads", "1 or more", "4", "CPU threads a stack may use."),
    field(
        "serving.route",
        "`completion`, `chat`",
        "`completion`",
        "Raw text, or messages in the model's own template.",
    ),
    field("workload.max_tokens", "1 or more", "128", "Output tokens of a request at most."),
    field(
        "workload.ignore_eos",
        "true, false",
        "false",
        "Go on past end-of-generation tokens, so that every arm emits equally many.",
    ),
    field("workload.prompts[].id", "`a-z`, `0-9`, `-`", "", "Unique name of a prompt."),
    field("workload.prompts[].category", "text", "`prose`", "Kind of text; results are grouped by it."),
    field("workload.prompts[].system", "text", "none", "System message, for `route = \"chat\"`."),
    field("workload.prompts[].text", "text", "", "The user's message, or the raw text to continue."),
    field("sampling.temperature", "0 or more", "0", "0 is greedy."),
    field("sampling.top_k", "1 or more", "off", "Keep the k most likely tokens."),
    field("sampling.top_p", "above 0, to 1", "off", "Keep the smallest set whose probability reaches p."),
    field("sampling.min_p", "0 to 1", "off", "Drop tokens less likely than this times the most likely."),
    field(
        "sampling.seed",
        "0 or more",
        "42",
        "Seed of the sampler; each request derives its own from it, block and prompt, equal over arms.",
    ),
    field(
        "run.blocks",
        "1 or more",
        "5",
        "Measured passes of all arms over all prompts, interleaved. Intervals need 5.",
    ),
    field("run.warmup_requests", "0 or more", "1", "Unmeasured requests an arm gets first."),
    field("run.concurrency", "1 or more", "1", "Requests in flight at once on one arm."),
    field(
        "run.request_timeout",
        "duration: `500ms`, `30s`, `2m`",
        "`120s`",
        "A request that takes longer is a row with the outcome `timed_out`.",
    ),
];

/// Whether a path (with `[]` for elements) is a key or a section of keys.
pub(crate) fn is_known(path: &str) -> bool {
    FIELDS.iter().any(|field| match field.path.strip_prefix(path) {
        Some(rest) => rest.is_empty() || rest.starts_with('.') || rest.starts_with("[]"),
        None => false,
    })
}

/// The key that an unknown path was probably meant to be: a neighbour of a similar name, or a key of the same name
/// in another section.
pub(crate) fn nearest_key(path: &str) -> Option<String> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let neighbours = FIELDS.iter().filter_map(|field| {
        let rest = if section.is_empty() {
            field.path
        } else {
            field.path.strip_prefix(section)?.strip_prefix('.')?
        };
        Some(rest.split(['.', '[']).next().unwrap_or(rest))
    });
    if let Some(near) = nearest(name, neighbours) {
        return Some(if section.is_empty() { near.to_owned() } else { format!("{section}.{near}") });
    }
    let elsewhere = FIELDS.iter().find(|field| field.path.rsplit('.').next() == Some(name));
    elsewhere.map(|field| field.path.to_owned())
}

/// The candidate that is most like `word`, if one is: at most a third of the letters differ.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates.map(|candidate| (edit_distance(word, candidate), candidate)).min()?;
    (near.0 <= allowed).then_some(near.1)
}

/// Levenshtein distance, row by row.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("blcks", "blocks", 1)]
        {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
            assert_eq!(edit_distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn sections_and_keys_are_known_and_nothing_else() {
        for path in
            ["name", "run", "run.blocks", "variants", "variants[]", "variants[].label", "models.synth_tiny"]
        {
            assert!(is_known(path), "{path}");
        }
        for path in ["nam", "names", "run.block", "variants.label", "models.synth", ""] {
            assert!(!is_known(path) || path.is_empty(), "{path}");
        }
    }

    #[test]
    fn the_nearest_key_is_a_neighbour_or_a_namesake() {
        assert_eq!(nearest_key("run.blcks").as_deref(), Some("run.blocks"));
        assert_eq!(nearest_key("variants[].draftmax").as_deref(), Some("variants[].draft_max"));
        assert_eq!(nearest_key("concurrency").as_deref(), Some("run.concurrency"));
        assert_eq!(nearest_key("sampling.frobnicate"), None);
        assert_eq!(nearest_key("stack").as_deref(), Some("stacks"));
    }
}
