//! The truth rules: what has to hold before a number may be believed, as one table.
//!
//! Holds the rules and their words; `bench-results` evaluates them from the rows, the manifest and the environment
//! samples. A rule is never skipped in silence: it held, it was broken, it is unknown (nobody told what it needs), or it
//! does not apply, and each verdict comes with its evidence. `docs/truth.md` is written from [`RULES`].

use serde::{Deserialize, Serialize};

/// Names of the rules, as `report.json` spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleId {
    /// Every arm was asked the preset's prompts.
    PromptsEqual,
    /// Every arm was sent the same requests.
    RequestsEqual,
    /// No prompt token came from a cache.
    CacheEmpty,
    /// Where the length was asked for, it is what came.
    OutputLength,
    /// Arms that had to do the same work did.
    EqualWork,
    /// Warm-up is apart from what is measured.
    WarmUp,
    /// Speed has no trend.
    SteadyState,
    /// Tokens were chosen as asked.
    SamplingInForce,
    /// The stack says that it runs as asked.
    ConfigurationInForce,
    /// The model files are the preset's.
    ModelFile,
    /// One model and one process answered.
    OneAnswerer,
    /// No two sources dispute a token count.
    CountsUndisputed,
    /// Thinking tokens are told from answer tokens.
    ThinkingApart,
    /// Acceptance is claimed of text alone.
    AcceptanceOfText,
    /// The client was not what was measured.
    ClientValid,
    /// Nobody else used the machine.
    EnvironmentQuiet,
    /// The GPU ran at its full clock, for us alone.
    GpuUndisturbed,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruthVerdict {
    /// It holds, by evidence.
    Held,
    /// It asks nothing of this arm.
    DoesNotApply,
    /// What it needs was not told.
    Unknown,
    /// It does not hold.
    Broken,
}

impl TruthVerdict {
    /// The verdict in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::DoesNotApply => "does not apply",
            Self::Unknown => "unknown",
            Self::Broken => "BROKEN",
        }
    }
}

/// What a broken rule does to the arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// The arm is invalid: its numbers are shown and not compared.
    SetsAside,
    /// The reader is told; the arm stays comparable.
    Told,
    /// What the arm would claim of acceptance is withheld: rates, lengths, speeds against other arms, equal outputs. What
    /// does not depend on acceptance stays comparable.
    Refuses,
}

/// One rule with its verdict and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthCheck {
    /// The rule.
    pub rule: RuleId,
    /// What became of it.
    pub verdict: TruthVerdict,
    /// Why, with counts.
    pub evidence: String,
}

impl TruthCheck {
    /// Whether it makes its arm invalid.
    #[must_use]
    pub fn sets_aside(&self) -> bool {
        self.verdict == TruthVerdict::Broken && self.rule.rule().consequence == SetsAside
    }

    /// Whether it refuses what its arm would claim of acceptance.
    #[must_use]
    pub fn refuses_acceptance(&self) -> bool {
        self.verdict == TruthVerdict::Broken && self.rule.rule().consequence == Refuses
    }
}

/// One rule in words.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What holds if it holds.
    pub claim: &'static str,
    /// What it is decided by.
    pub evidence: &'static str,
    /// When it is broken.
    pub broken: &'static str,
    /// When it is unknown, or does not apply.
    pub open: &'static str,
    /// What a broken rule does.
    pub consequence: Consequence,
    /// What goes wrong without it.
    pub why: &'static str,
}

/// Probability with which [`RuleId::SteadyState`] calls an arm with steady speed unsteady.
pub const STEADY_FALSE_ALARM: f64 = 0.01;

/// A change of speed below this is no broken [`RuleId::SteadyState`], however sure it is.
pub const STEADY_LEAST_CHANGE: f64 = 0.02;

/// Share of all CPUs that others may use before [`RuleId::EnvironmentQuiet`] is broken.
pub const MOST_OTHERS_SHARE: f64 = 0.05;

/// Share of CPU time that the hypervisor may take, or that we may be throttled for.
pub const MOST_STOLEN_SHARE: f64 = 0.01;

/// Share of time in which somebody may have waited for memory.
pub const MOST_MEMORY_STALL: f64 = 0.01;

use Consequence::{Refuses, SetsAside, Told};

/// All rules, in the order of a report.
pub const RULES: [Rule; 17] = [
    Rule {
        id: RuleId::PromptsEqual,
        claim: "Every arm was asked the preset's prompts, letter by letter.",
        evidence: "SHA-256 of each row's prompt against the hash of the preset's prompt of that id. Of a later turn of a \
                   conversation: against that of the preset's turns and the arm's own answers before it, as its rows have \
                   them, thoughts left out.",
        broken: "some row's hash is another",
        open: "unknown before the first request",
        consequence: SetsAside,
        why: "Prompts drawn anew for each arm compare texts, not ways of decoding: acceptance alone differs threefold \
              between JSON and prose.",
    },
    Rule {
        id: RuleId::RequestsEqual,
        claim: "For every block and prompt, every arm was sent the same request: prompt, length, sampling, seed.",
        evidence: "SHA-256 of the whole request, row by row against the first arm that was asked the same. A later turn \
                   after another answer is another question: it is paired with nothing, and how many there were is said.",
        broken: "some row's hash differs from the first arm's",
        open: "unknown where rows carry no request hash; does not apply to a run of one arm",
        consequence: SetsAside,
        why: "Equal prompts with another length, temperature or seed are another experiment.",
    },
    Rule {
        id: RuleId::CacheEmpty,
        claim: "No prompt token came from a cache.",
        evidence: "Cached tokens as the stack counts them, in the answer (llama.cpp's `cache_n`, \
                   `prompt_tokens_details.cached_tokens`, the engine's own count), else by the difference of two readings \
                   of its counters (vLLM's `prefix_cache_hits_total`), which one request at a time has to itself. Caches \
                   are switched off in every request or command line that has a word for it; `workload.salted` makes each \
                   prompt a new one. Later turns of a conversation are asked the same of, though they begin with what was \
                   said before.",
        broken: "some request reports a cached token",
        open: "unknown where the stack does not count: that it was asked to cache nothing, or that prompts are salted, is \
               said and is no proof",
        consequence: SetsAside,
        why: "A prompt that is answered from the cache has no prefill; reuse between repetitions made time to first token \
              and throughput up to 132 % better than they are.",
    },
    Rule {
        id: RuleId::OutputLength,
        claim: "With `ignore_eos`, every request emitted `max_tokens` and ended by length.",
        evidence: "Output tokens and finish reason of every completed request; the distribution is shown either way.",
        broken: "some request has another length or another reason",
        open: "unknown where output was not counted; does not apply without `ignore_eos`",
        consequence: SetsAside,
        why: "Shorter outputs are faster requests. Throughput over unequal lengths weighs prompts unequally.",
    },
    Rule {
        id: RuleId::EqualWork,
        claim: "Where decoding is greedy, every arm emitted as many tokens as its baseline on the same block and prompt, \
                and ended for the same reason.",
        evidence: "Pairs of completed requests with the first arm of the stack; of a stack's first arm, with the first \
                   arm of all. Later turns of a conversation pair while both arms answered the same.",
        broken: "some pair differs in length or reason",
        open: "unknown without pairs or counts; does not apply to the first arm, to sampled output, and to synthetic \
               acceptance",
        consequence: Told,
        why: "Speculation does not change greedy output. Other lengths show rounding at a near tie, or a defect; the audit \
              of outputs tells which.",
    },
    Rule {
        id: RuleId::WarmUp,
        claim: "The arm had answered warm-up requests before its first measured one, and none of them is counted.",
        evidence: "Rows of phase `warmup`, by their time.",
        broken: "no warm-up request was completed before the first measured request",
        open: "unknown before the first request",
        consequence: Told,
        why: "First requests pay for page faults, graph capture and clock ramps: a cold start was seen to cost 39 %.",
    },
    Rule {
        id: RuleId::SteadyState,
        claim: "The arm's speed has no trend over blocks, none within the first block, and its first block is no \
                exception.",
        evidence: "Three t tests on log decode speed, each prompt against itself: the slope over block means, the first \
                   block against all others, and the slope over the requests of the first block. Together they raise a \
                   false alarm for 1 % of steady arms (normal noise of blocks and requests).",
        broken: "a test fires, and the change is 2 % or more",
        open: "unknown with fewer than 4 blocks in which every prompt was measured",
        consequence: Told,
        why: "A warming machine makes whatever comes later look better. Arms are interleaved ABBA, so that an even drift \
              cancels between them; the absolute figures still carry it. A trend that every block repeats is not seen: \
              prompts keep their order.",
    },
    Rule {
        id: RuleId::SamplingInForce,
        claim: "Temperature, top-k, top-p, min-p, penalties and seed in force are those that were sent.",
        evidence: "What the answer says of its sampling (llama.cpp's `generation_settings`; our engine in this process).",
        broken: "some answer names another value",
        open: "unknown where answers do not tell (OpenAI's routes, vLLM)",
        consequence: SetsAside,
        why: "Proxies and model presets rewrite sampling in silence; a higher temperature lowers acceptance.",
    },
    Rule {
        id: RuleId::ConfigurationInForce,
        claim: "KV cache type, way of speculating, drafts a round, context and device are what the preset asks for.",
        evidence: "What the stack says of itself after its start, and whether drafts were counted.",
        broken: "it says something else, plain decoding drafts, or speculation drafts nothing",
        open: "unknown where it does not say whether it speculates; what else it does not tell is listed",
        consequence: SetsAside,
        why: "Servers fall back in silence: to the CPU, to another KV type, to plain decoding.",
    },
    Rule {
        id: RuleId::ModelFile,
        claim: "The files that the stack loaded are the preset's.",
        evidence: "SHA-256 of the file that the stack names, where it can be read here; of our own start, the file that it \
                   was told to load.",
        broken: "the hash is another",
        open: "unknown where the stack names no file that can be read here",
        consequence: SetsAside,
        why: "A server that has been running since yesterday serves yesterday's model.",
    },
    Rule {
        id: RuleId::OneAnswerer,
        claim: "One model, in one process, gave all answers of the arm; a restart of ours is warmed up again.",
        evidence: "The model's name and the build's fingerprint in every answer; the start time of the process.",
        broken: "two names or fingerprints came, or the process changed without our doing",
        open: "unknown where answers name no model and the process has no start time",
        consequence: SetsAside,
        why: "A router in front may swap the model; a supervisor may restart a crashed server between two requests.",
    },
    Rule {
        id: RuleId::CountsUndisputed,
        claim: "Output tokens and drafts are known, and no two sources tell different counts.",
        evidence: "Token ids, usage, per-chunk counts, the response's and the counters' view of drafts; identities \
                   between the counts of one request.",
        broken: "two sources differ, counts contradict themselves, or a request's output was not counted",
        open: "unknown before the first completed request",
        consequence: SetsAside,
        why: "Several tokens share a chunk under speculation: counting chunks made peak throughput 2.5 times too low.",
    },
    Rule {
        id: RuleId::ThinkingApart,
        claim: "Thinking tokens and answer tokens are told apart in every request, and make up its output.",
        evidence: "Ids of marker tokens (`<|channel>`, `<think>`), else the server's field (`reasoning_content`, \
                   `reasoning`), else markers in the text, else the server's own count (`reasoning_tokens` of its usage); \
                   which of them is said. Where a server counts and we do, too, the two are held against each other.",
        broken: "thinking and answer tokens of some request do not add up to its output, or the server counts other \
                 thinking tokens by more than the two markers",
        open: "unknown where nothing tells, or where one chunk held the end of the thought and the beginning of the answer \
               and the server does not count",
        consequence: Told,
        why: "A reader waits for the answer, and a time to first token that waits for the first field `content` was seen \
              6 s too long; thinking and answer are drafted unequally well.",
    },
    Rule {
        id: RuleId::AcceptanceOfText,
        claim: "Where drafts are judged by the target, prompts are text.",
        evidence: "What the preset's prompts were made of (`workload.synthetic`), and how the arm accepts drafts.",
        broken: "the prompts are synthetic tokens, and the arm speculates",
        open: "does not apply to synthetic prompts where nothing is drafted, and with synthetic acceptance: speed at an \
               acceptance that is stated in advance is what such prompts are for",
        consequence: Refuses,
        why: "How much a drafter guesses of words drawn at random says nothing of text: it may be nothing, or a loop that \
              the target falls into.",
    },
    Rule {
        id: RuleId::ClientValid,
        claim: "The client was on time: what was measured is the stack, not the reader.",
        evidence: "The client's own lateness and CPU time during the passes.",
        broken: "the client was late beyond its limits",
        open: "does not apply to our own engine, which stamps in this process; unknown in runs that did not record it",
        consequence: SetsAside,
        why: "Clients add 21 to 330 ms to the time to first token at 64 to 512 streams, and print it as the server's.",
    },
    Rule {
        id: RuleId::EnvironmentQuiet,
        claim: "While the arm was measured, others used at most 5 % of the CPUs, the hypervisor took at most 1 %, our \
                group was throttled for at most 1 %, and tasks waited for memory for at most 1 % of the time.",
        evidence: "`environment.jsonl`: CPU time of all, of ours (this process and all it started) and stolen; \
                   throttled time of the control group; pressure stall information.",
        broken: "a limit is passed",
        open: "unknown without samples, and for a server that was attached to: if it runs here, its work cannot be told \
               from that of others",
        consequence: Told,
        why: "A neighbour's load slows whichever arm it meets.",
    },
    Rule {
        id: RuleId::GpuUndisturbed,
        claim: "While the arm was measured, no GPU was slowed down by heat, power or hardware limits, and no process but \
                ours was on it.",
        evidence: "`environment.jsonl`: throttle reasons and compute processes, read through NVML.",
        broken: "a reason to throttle was active, or another process held the GPU",
        open: "unknown where NVML tells nothing; does not apply on the CPU",
        consequence: Told,
        why: "A GPU at its power cap or thermal limit measures its cooling.",
    },
];

impl RuleId {
    /// The rule of this name.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        static TABLE: [Rule; RULES.len()] = RULES;
        // A test holds the table's order against that of the names.
        &TABLE[self as usize]
    }

    /// The name in reports: `prompts-equal`.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("{self:?}"))
    }
}

/// The same rule over all arms: the worst verdict, and the evidence of the arms that have it.
///
/// `arms` are labels with the arm's checks; an arm without checks was not measured.
#[must_use]
pub fn over_arms(arms: &[(&str, &[TruthCheck])]) -> Vec<TruthCheck> {
    RULES.iter().filter_map(|rule| worst(rule.id, arms)).collect()
}

fn worst(rule: RuleId, arms: &[(&str, &[TruthCheck])]) -> Option<TruthCheck> {
    let of_rule = |(label, checks): &(&str, &[TruthCheck])| {
        let check = checks.iter().find(|check| check.rule == rule)?;
        Some(((*label).to_owned(), check.clone()))
    };
    let all: Vec<_> = arms.iter().filter_map(of_rule).collect();
    let verdict = all.iter().map(|(_, check)| check.verdict).max()?;
    let with: Vec<_> = all.iter().filter(|(_, check)| check.verdict == verdict).collect();
    let (label, first) = with.first()?;
    let rest = match with.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more arms)"),
    };
    let evidence = format!("{label}: {}{rest}", first.evidence);
    Some(TruthCheck { rule, verdict, evidence })
}

const INTRO: &str = "\
# Truth rules

Published numbers in this field carry errors larger than the effects that they claim. Each rule below names one such
error, is checked in every run, and is printed with its verdict and its evidence: for each arm and for the whole run, in
`report.json` (`arms[].truth` and `truth`), `report.md` and on the page. `docs/contamination.md` shows each of them fire.

A rule is **held** by evidence, **broken** by evidence, or **unknown**, because nobody told what it needs. Unknown is not
held. A rule that asks nothing of an arm *does not apply*. Of a run, a rule's verdict is the worst of its arms.

A broken rule either *sets the arm aside*, which is then invalid: its numbers are shown with the reason and are not
compared; or it is *told*: the arm stays comparable, and the reader is warned; or it *refuses acceptance*: acceptance rate
and length, acceptance by position, speeds that depend on acceptance against other arms, and whether outputs are equal are
withheld with the reason, here and in `bench gate`, `bench compare` and exports, and time to first token stays comparable.

Written from the table in `bench-core/src/truth.rs`; `BLESS=1 cargo test --release -p bench-core truth` writes it anew.

";

/// `docs/truth.md`.
#[must_use]
pub fn document() -> String {
    let mut text = INTRO.to_owned();
    text.push_str("| rule | holds if | broken if | then |\n|---|---|---|---|\n");
    for rule in RULES {
        let then = match rule.consequence {
            SetsAside => "sets aside",
            Told => "told",
            Refuses => "refuses acceptance",
        };
        text.push_str(&format!("| `{}` | {} | {} | {then} |\n", rule.id.name(), rule.claim, rule.broken));
    }
    for Rule { id, evidence, open, why, .. } in RULES {
        text.push_str(&format!(
            "\n## `{}`\n\n{why}\n\n* *Evidence*: {evidence}\n* *Not decided*: {open}.\n",
            id.name()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for rule in RULES {
            assert_eq!(rule.id.rule().id, rule.id);
        }
        assert_eq!(RuleId::GpuUndisturbed as usize + 1, RULES.len(), "a name without a rule");
        assert_eq!(RuleId::CacheEmpty.name(), "cache-empty");
    }

    #[test]
    fn the_document_is_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/truth.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, document()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == document(), "docs/truth.md is not the table: run this test with BLESS=1");
    }

    #[test]
    fn limits_in_words_are_those_in_force() {
        let words = RuleId::EnvironmentQuiet.rule().claim;
        assert!(words.contains(&format!("{:.0} % of the CPUs", MOST_OTHERS_SHARE * 100.0)), "{words}");
        assert!(words.contains(&format!("took at most {:.0} %", MOST_STOLEN_SHARE * 100.0)), "{words}");
        assert!(
            words.contains(&format!("at most {:.0} % of the time", MOST_MEMORY_STALL * 100.0)),
            "{words}"
        );
        let steady = RuleId::SteadyState.rule();
        assert!(steady.evidence.contains(&format!("for {:.0} % of steady", STEADY_FALSE_ALARM * 100.0)));
        assert!(steady.broken.contains(&format!("{:.0} % or more", STEADY_LEAST_CHANGE * 100.0)));
    }

    #[test]
    fn over_arms_the_worst_verdict_counts() {
        let check = |verdict| {
            vec![TruthCheck { rule: RuleId::CacheEmpty, verdict, evidence: format!("{verdict:?}") }]
        };
        let (held, unknown, broken) =
            (check(TruthVerdict::Held), check(TruthVerdict::Unknown), check(TruthVerdict::Broken));
        let over = |arms: &[(&str, &[TruthCheck])]| {
            let all = over_arms(arms);
            assert_eq!(all.len(), 1, "rules that nobody checked are left out");
            (all[0].verdict, all[0].evidence.clone())
        };
        assert_eq!(over(&[("a", &held)]), (TruthVerdict::Held, "a: Held".to_owned()));
        assert_eq!(over(&[("a", &held), ("b", &unknown)]), (TruthVerdict::Unknown, "b: Unknown".to_owned()));
        assert_eq!(
            over(&[("a", &broken), ("b", &unknown), ("c", &broken)]),
            (TruthVerdict::Broken, "a: Broken (and 1 more arms)".to_owned())
        );
        assert!(broken[0].sets_aside() && !unknown[0].sets_aside());
        assert_eq!(over_arms(&[("skipped", &[])]), []);
    }
}
