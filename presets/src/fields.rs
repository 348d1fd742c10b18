//! Every key a preset may have: the one table behind the check for unknown keys, `--set`, and docs/presets.md.
//!
//! A test holds it against the types of `raw`: both know the same keys.

use bench_core::preset::KvType;

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Dotted path; `[]` stands for any element of a list.
    pub(crate) path: &'static str,
    /// What may stand there.
    pub(crate) kind: Kind,
    /// What holds if it is left out; empty where it must be given.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
}

/// What may stand at a key. Limits that depend on other keys are checked by `validate` alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A name of `a-z`, `0-9` and `-`.
    Label,
    /// Any text; what it should be, in words.
    Text(&'static str),
    /// true or false.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number: least, most where there is a limit of ours, in words where they say more.
    Whole(i64, Option<i64>, &'static str),
    /// A number: least, most, in words.
    Number(f64, Option<f64>, &'static str),
    /// A whole number and its unit.
    Duration,
    /// Types of the KV cache: one word, or keys and values apart.
    KvTypes,
    /// A list of texts, in words.
    Texts(&'static str),
    /// A list of shares, in words.
    Shares(&'static str),
    /// A list of whole numbers, in words.
    Counts(&'static str),
}

impl Field {
    /// What may stand there, in words.
    pub(crate) fn values(&self) -> String {
        match self.kind {
            Kind::Label => "`a-z`, `0-9`, `-`".to_owned(),
            Kind::Flag => "true, false".to_owned(),
            Kind::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Kind::KvTypes => {
                let names = KvType::ALL.map(|known| format!("`{}`", known.as_str()));
                format!("{}, or `KEYS/VALUES` of these", names.join(", "))
            }
            Kind::Duration => "duration: `500ms`, `30s`, `2m`".to_owned(),
            Kind::Text(words)
            | Kind::Whole(_, _, words)
            | Kind::Number(_, _, words)
            | Kind::Texts(words)
            | Kind::Shares(words)
            | Kind::Counts(words) => words.to_owned(),
        }
    }
}

const fn field(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Field {
    Field { path, kind, default, doc }
}

const ANY_COUNT: Kind = Kind::Whole(1, None, "1 or more");
const ANY_NUMBER: Kind = Kind::Whole(0, None, "0 or more");
const SHARE: Kind = Kind::Number(0.0, Some(1.0), "0 to 1");

/// All keys, in the order a preset is written in.
pub(crate) const FIELDS: &[Field] = &[
    field("name", Kind::Label, "", "Name of the preset; not inherited."),
    field(
        "description",
        Kind::Text("text"),
        "empty",
        "One or two sentences for `bench presets list`; not inherited.",
    ),
    field(
        "inherits",
        Kind::Text("name of a shipped preset"),
        "nothing",
        "Keys that are left out come from there. Lists are replaced whole.",
    ),
    field(
        "models.target",
        Kind::Text("path of a GGUF"),
        "",
        "The model whose output counts. Either this, `models.bundled` or `models.synth_tiny`. A relative path is looked \
         for in the current directory, then in `BENCH_MODELS_DIR`.",
    ),
    field(
        "models.assistant",
        Kind::Text("path of a GGUF"),
        "none",
        "The drafter; needed by `mtp` and `draft-model`.",
    ),
    field(
        "models.hf_target",
        Kind::Text("folder, or name on a model hub"),
        "none",
        "The target as transformers keeps it, for stacks that read no GGUF (vLLM, and `openai` servers where it is \
         given). Its weights have another format, which a report has to say.",
    ),
    field(
        "models.hf_assistant",
        Kind::Text("folder, or name on a model hub"),
        "none",
        "The drafter as transformers keeps it.",
    ),
    field(
        "models.bundled",
        Kind::OneOf(&["nano"]),
        "none",
        "A trained pair inside the binary, written to the cache on first use.",
    ),
    field(
        "models.synth_tiny.acceptance",
        SHARE,
        "0.7",
        "Share of tokens whose successor the assistant knows.",
    ),
    field(
        "models.synth_tiny.cycle",
        Kind::Whole(1, None, "2 or more"),
        "one over all tokens",
        "Length of the cycles the target walks. Short ones repeat within an output, which prompt lookup finds.",
    ),
    field(
        "models.synth_tiny.weights",
        Kind::OneOf(&["f32", "f16", "bf16", "q8_0"]),
        "`f16`",
        "Type of the matrices.",
    ),
    field(
        "models.synth_tiny.seed",
        ANY_NUMBER,
        "1",
        "Seed of all random weights; equal seeds give byte-equal files.",
    ),
    field(
        "stacks[].kind",
        Kind::OneOf(&["native", "llama-server", "atomic-llama-server", "llama-swap", "vllm", "openai"]),
        "",
        "A stack to run on, each at most once; report order.",
    ),
    field(
        "stacks[].required",
        Kind::Flag,
        "true",
        "`false`: where it is not installed its arms are skipped, and the run still succeeds.",
    ),
    field(
        "stacks[].command",
        Kind::Texts("program and arguments, a text each"),
        "none",
        "How to launch a server that the suite does not know, for `openai` alone. `{port}`, `{target}`, `{assistant}`, \
         `{draft_max}` (0 for plain decoding), `{context_tokens}` and `{threads}` are filled in.",
    ),
    field(
        "variants[].label",
        Kind::Label,
        "",
        "Unique name of a way of speculating; the first variant is the baseline.",
    ),
    field(
        "variants[].method",
        Kind::OneOf(&["none", "mtp", "nextn", "draft-model", "ngram"]),
        "",
        "Plain decoding, the Gemma 4 assistant, the target's own next-token layers, a smaller model of the same \
         vocabulary, or prompt lookup.",
    ),
    field(
        "variants[].draft_max",
        Kind::Whole(1, Some(64), "1 to 64"),
        "",
        "Most drafted tokens in a round. For every method but `none`.",
    ),
    field(
        "variants[].draft_block_size",
        Kind::Whole(2, Some(65), "2 to 65"),
        "`draft_max` + 1",
        "Another word for `draft_max`, one more: a block holds the drafts and the token they follow.",
    ),
    field(
        "variants[].sweep_draft_max",
        Kind::Counts("draft lengths, ascending"),
        "none",
        "In place of `draft_max`: a variant of each, `mtp` with 1 and 3 is `mtp-1` and `mtp-3`, each with the first of \
         `synthetic_rates`. Which draft length is best, and does any pay?",
    ),
    field(
        "variants[].draft_min",
        Kind::Whole(0, Some(64), "0 to `draft_max`"),
        "0",
        "Shorter drafts are thrown away. For `nextn`.",
    ),
    field(
        "variants[].acceptance",
        Kind::OneOf(&["sample-and-compare", "rejection", "synthetic"]),
        "`sample-and-compare`",
        "How drafts are accepted. `synthetic`: by coin flips in place of verification, so that speed is measured at a \
         chosen acceptance with any weights; the text is worth nothing then. For `mtp`, `nextn` and `draft-model`.",
    ),
    field(
        "variants[].synthetic_rates",
        Kind::Shares("a share for each of `draft_max` drafts"),
        "none",
        "Marginal acceptance: entry i is the share of rounds whose drafts 0 to i are all accepted. Never increases. For \
         `acceptance = \"synthetic\"`.",
    ),
    field(
        "variants[].synthetic_length",
        Kind::Number(1.0, Some(65.0), "1 to `draft_max` + 1"),
        "none",
        "In place of the rates: mean tokens of a verify step, the bonus token included. 2.8 is rates of 1, 0.8, 0.",
    ),
    field(
        "variants[].draft_head",
        Kind::OneOf(&["auto", "dense"]),
        "`auto`",
        "`auto`: drafts come from the tokens of the nearest centroids, where the assistant has centroids and the stack \
         reads them; `dense`: from the whole vocabulary. For `mtp`.",
    ),
    field("variants[].ngram_min", ANY_COUNT, "2", "Shortest n-gram that may match. For `ngram`."),
    field(
        "variants[].ngram_max",
        Kind::Whole(1, None, "at least `ngram_min`"),
        "4",
        "Longest n-gram, tried first. For `ngram`.",
    ),
    field(
        "variants[].kv_type",
        Kind::KvTypes,
        "`serving.kv_type`",
        "Types of the KV cache of this variant alone, so that one run interleaves several: which is really faster? Labels \
         should tell them, as `turbo3-mtp-3` does.",
    ),
    field(
        "serving.context_tokens",
        Kind::Whole(2, None, "above `workload.max_tokens`"),
        "4096",
        "Context of one request, prompt and output together.",
    ),
    field(
        "serving.kv_type",
        Kind::KvTypes,
        "`f16`",
        "Type of the KV cache, the drafter's included; of keys and of values apart as `q8_0/turbo3`. `turbo4-atomic` is what \
         atomic-llama.cpp calls `turbo4`.",
    ),
    field("serving.threads", ANY_COUNT, "4", "CPU threads a stack may use."),
    field(
        "serving.route",
        Kind::OneOf(&["completion", "openai-completion", "chat"]),
        "`completion`",
        "Raw text in the stack's own dialect, raw text by OpenAI's `/v1/completions`, or messages in the model's own \
         template.",
    ),
    field(
        "serving.device",
        Kind::OneOf(&["auto", "cpu", "gpu"]),
        "`auto`",
        "Where the models have to run. A stack that runs them elsewhere makes its arm invalid.",
    ),
    field(
        "serving.ple_table",
        Kind::OneOf(&["auto", "device", "host"]),
        "`auto`",
        "Where our engine on a GPU keeps the table of per-layer embeddings (E2B, E4B): in the GPU's memory, or in the \
         host's, from which a token's row is read over the bus. `auto`: the host's where the GPU has no room for it. Other \
         stacks cannot be told and refuse `device` and `host`. See gpu.md.",
    ),
    field(
        "serving.slots",
        ANY_COUNT,
        "`run.concurrency`, `run.max_in_flight`, or 8",
        "Requests that a launched llama.cpp server answers at once, each with `serving.context_tokens` of its own.",
    ),
    field("workload.max_tokens", ANY_COUNT, "128", "Output tokens of a request at most."),
    field(
        "workload.ignore_eos",
        Kind::Flag,
        "false",
        "Go on past end-of-generation tokens, so that every arm emits equally many.",
    ),
    field(
        "workload.salted",
        Kind::Flag,
        "false",
        "Begin every request's prompt with four groups of three digits of its own, the same in every arm and equally long, \
         so that no cache of prefixes can serve it.",
    ),
    field(
        "workload.set",
        Kind::OneOf(&["suite"]),
        "none",
        "Prompts from the binary in place of `workload.prompts`; needs `route = \"chat\"`.",
    ),
    field(
        "workload.file.path",
        Kind::Text("path of a JSON or JSONL file"),
        "none",
        "Prompts from a file in place of `workload.prompts`: our own lines (`text`, and `id`, `category`, `system`), ShareGPT's \
         `conversations`, or the question files of MT-Bench, Spec-Bench and SPEED-Bench. First turns unless `turns` says more; needs \
         `route = \"chat\"`.",
    ),
    field(
        "workload.file.format",
        Kind::OneOf(&["own", "sharegpt", "questions"]),
        "found by the keys",
        "Shape of the file.",
    ),
    field(
        "workload.file.sha256",
        Kind::Text("64 hexadecimal digits"),
        "none",
        "What the file has to be: another file is an error.",
    ),
    field(
        "workload.file.limit",
        ANY_COUNT,
        "all",
        "The first so many prompts of it, after `categories` were chosen.",
    ),
    field(
        "workload.file.turns",
        ANY_COUNT,
        "1",
        "User turns of a record at most. Above 1 a record of several is a conversation: each turn is sent with all that \
         was said before, answered by the arm itself. What is left out is counted and said.",
    ),
    field(
        "workload.synthetic.input_tokens",
        Kind::Counts("lengths in tokens, each once"),
        "",
        "Prompts of synthetic tokens in place of `workload.prompts`, for speed at these input lengths: words drawn at \
         random, each about one token. Each length is a category; what a prompt really was is read back. Claims about \
         acceptance are refused (docs/truth.md), unless acceptance is synthetic too.",
    ),
    field(
        "workload.synthetic.count",
        Kind::Whole(1, Some(256), "1 to 256, of all lengths together"),
        "8",
        "Prompts of each length. All begin with different words, so that none finds its prefix in a cache.",
    ),
    field(
        "workload.synthetic.spread",
        SHARE,
        "0",
        "Draw each prompt's length evenly from this share below the length to this share above it.",
    ),
    field("workload.synthetic.seed", ANY_NUMBER, "1", "Seed of words and lengths: the same everywhere."),
    field(
        "workload.categories",
        Kind::Texts("names of categories of the set, or of the file"),
        "all",
        "Which categories of the set or the file.",
    ),
    field(
        "workload.per_category",
        ANY_COUNT,
        "all",
        "Prompts of each category, evenly spaced over it: the same choice everywhere.",
    ),
    field("workload.prompts[].id", Kind::Label, "", "Unique name of a prompt."),
    field(
        "workload.prompts[].category",
        Kind::Text("text"),
        "`prose`",
        "Kind of text; results are grouped by it.",
    ),
    field("workload.prompts[].system", Kind::Text("text"), "none", "System message, for `route = \"chat\"`."),
    field(
        "workload.prompts[].text",
        Kind::Text("text"),
        "",
        "The user's message, or the raw text to continue.",
    ),
    field(
        "workload.prompts[].turns",
        Kind::Texts("the user's messages, in order"),
        "none",
        "In place of `text`: a conversation, for `route = \"chat\"`. Each message is sent when the answer to the one before \
         is complete, with all that was said before (docs/load.md).",
    ),
    field("sampling.temperature", Kind::Number(0.0, None, "0 or more"), "0", "0 is greedy."),
    field("sampling.top_k", ANY_COUNT, "off", "Keep the k most likely tokens."),
    field(
        "sampling.top_p",
        Kind::Number(0.0, Some(1.0), "above 0, to 1"),
        "off",
        "Keep the smallest set whose probability reaches p.",
    ),
    field("sampling.min_p", SHARE, "off", "Drop tokens less likely than this times the most likely."),
    field(
        "sampling.seed",
        ANY_NUMBER,
        "42",
        "Seed of the sampler; each request derives its own from it, block and prompt, equal over arms.",
    ),
    field(
        "run.blocks",
        ANY_COUNT,
        "5",
        "Measured passes of all arms over all prompts, interleaved. Intervals need 5.",
    ),
    field(
        "run.think_time_ms",
        ANY_NUMBER,
        "0",
        "Milliseconds from the end of an answer to the next turn of its conversation.",
    ),
    field("run.warmup_requests", ANY_NUMBER, "1", "Unmeasured requests an arm gets first."),
    field("run.concurrency", ANY_COUNT, "1", "Requests in flight at once on one arm, in a closed loop."),
    field(
        "run.sweep_concurrency",
        Kind::Counts("numbers of requests in flight, ascending"),
        "none",
        "Every arm once for each of them, as `stack/variant@4`: where does speculation stop paying? In place of \
         `run.concurrency`.",
    ),
    field(
        "run.load",
        Kind::OneOf(&["closed", "constant", "poisson", "gamma", "ramp", "trace"]),
        "`closed`",
        "`closed`: the next request when one has ended. The others send at times of their own, whatever the stack does; \
         rows tell both the intended and the actual time (docs/load.md).",
    ),
    field(
        "run.rate",
        Kind::Number(0.0, Some(1e6), "above 0"),
        "",
        "Requests a second, for `constant`, `poisson`, `gamma`, and at the beginning of a `ramp`.",
    ),
    field(
        "run.rate_end",
        Kind::Number(0.0, Some(1e6), "above 0"),
        "",
        "Requests a second at the end of a `ramp`.",
    ),
    field(
        "run.ramp",
        Kind::OneOf(&["linear", "exponential"]),
        "`linear`",
        "Whether the rate of a `ramp` changes by equal steps or by equal factors.",
    ),
    field(
        "run.burstiness",
        Kind::Number(0.01, Some(1000.0), "0.01 to 1000"),
        "",
        "Shape of the gaps of `gamma`, as vLLM's `--burstiness`: 1 is Poisson, below 1 comes in bursts.",
    ),
    field(
        "run.trace",
        Kind::Text("path of a JSONL file"),
        "none",
        "Times of `trace`: a JSON object a line with `at_s`, `at_ms` or `timestamp` (milliseconds), ascending.",
    ),
    field(
        "run.trace_us",
        Kind::Counts("microseconds, ascending"),
        "none",
        "The same times written out, from the first request on.",
    ),
    field(
        "run.requests",
        ANY_COUNT,
        "one for each prompt, or as long as the trace",
        "Requests of a pass of an open loop; prompts go around.",
    ),
    field(
        "run.duration_s",
        ANY_COUNT,
        "none",
        "Seconds for which a measured pass goes on sending. A closed loop goes around the prompts until then; an open loop \
         sends what is due before then, at most `requests`. What is in flight is waited for and counted (docs/load.md).",
    ),
    field(
        "run.max_in_flight",
        ANY_COUNT,
        "no limit",
        "Most requests in flight in an open loop. What it holds back is late in its row, never dropped.",
    ),
    field(
        "run.request_timeout",
        Kind::Duration,
        "`120s`",
        "A request that takes longer is a row with the outcome `timed_out`.",
    ),
    field(
        "run.max_restarts",
        ANY_NUMBER,
        "3",
        "How often a server that the suite started is started again after a crash, an arm; then the arm is given up.",
    ),
    field(
        "run.min_acceptance",
        SHARE,
        "0.01",
        "An arm whose drafts are accepted less often is invalid: something is wrong with its drafter. 0 switches it off.",
    ),
    field(
        "run.order",
        Kind::OneOf(&["abba", "random"]),
        "`abba`",
        "How a block goes through the arms: forward and backward in turn, or shuffled anew for every block from the seed.",
    ),
    field(
        "run.max_looks",
        Kind::Whole(1, Some(5), "1 to 5"),
        "1",
        "How often the run looks whether every comparison is settled, the last block included, and ends early if so. More than 1 makes all intervals wider: see docs/statistics.md.",
    ),
    field(
        "run.throughput_margin",
        SHARE,
        "0.01",
        "A difference of throughput nobody would act on: intervals within it are called equivalent.",
    ),
    field("run.ttft_margin", SHARE, "0.03", "The same for the time to first token."),
    field(
        "run.kv_quality_tokens",
        ANY_NUMBER,
        "256",
        "Positions at most on which the native engine compares a lossy KV cache (q8_0, turbo2 to 4) with f16 after the requests: KL divergence, top-1 agreement, acceptance. Costs two decode passes a position. 0: not at all, and the report says so.",
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
