//! Why two measurements are not compared, as one table: what differs, and what is done about it between two runs, between
//! runs that are reported as one sample, and between arms of one run.
//!
//! Holds the reasons and their treatment; [`crate::differences`] finds them in manifests and readings. Invariant: no
//! comparison is refused for a reason that is not here, and a test holds every row of the table against what is done.

use std::fmt;

use bench_core::truth::RuleId;

/// A difference between runs that a caller may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Another machine.
    Machine,
    /// Other model files.
    Models,
    /// Another way of serving: KV type, threads, context, device, route.
    Serving,
}

impl Allowed {
    /// As the command line has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Models => "models",
            Self::Serving => "serving",
        }
    }
}

/// What stands between two measurements and a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Both are the same run.
    SameRun,
    /// They have no arm in common.
    NoCommonArm,
    /// An arm that was asked for is not there.
    UnknownArm,
    /// Presets of another hash.
    Preset,
    /// Prompts of the same id and another text, or none in common.
    Prompts,
    /// Temperature, top-k, top-p, min-p, seed.
    Sampling,
    /// `workload.max_tokens`.
    OutputLength,
    /// `workload.ignore_eos`.
    IgnoreEos,
    /// Concurrency, load, deadlines, warm-up, think time.
    Sending,
    /// The suite's version.
    SuiteVersion,
    /// The build of a stack.
    StackBuild,
    /// Operating system, CPU, number of CPUs.
    Machine,
    /// The GPUs that NVML names.
    Gpu,
    /// Whether the models ran on CPUs or GPUs.
    Device,
    /// SHA-256 of the preset's model files.
    Models,
    /// SHA-256 of the file that the stack says it loaded.
    TargetFile,
    /// GGUF or safetensors.
    WeightFormat,
    /// `[serving]` of the preset.
    Serving,
    /// The KV type in force.
    KvType,
    /// At which position a chain of drafts is made.
    DraftPosition,
}

/// What is done about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Refused, always.
    Refused,
    /// Refused, unless the caller says that it is the question.
    Unless(Allowed),
    /// Refused by another reason, which it cannot be without.
    Through(Reason),
    /// Breaks a truth rule, which sets the arm aside.
    Rule(RuleId),
    /// No ground to refuse; the words say why.
    Open(&'static str),
}

/// A reason and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonRow {
    /// Which.
    pub reason: Reason,
    /// What differs, and from where it is known.
    pub differs: &'static str,
    /// How the refusal begins.
    pub says: &'static str,
    /// Two runs against each other: `bench compare`, and `bench gate` against a baseline.
    pub compared: Treatment,
    /// Several runs as one sample: `bench report A B`.
    pub merged: Treatment,
    /// Two arms of one run.
    pub arms: Treatment,
}

/// Why something is not compared, in words with both values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which row of the table.
    pub reason: Reason,
    /// For a reader.
    pub words: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

use Treatment::{Open, Refused, Rule, Through, Unless};

/// One run has one of it.
const ONE: Treatment = Open("one run has one");

/// All reasons, in the order of [`Reason`].
pub const REASONS: [ReasonRow; 20] = [
    ReasonRow {
        reason: Reason::SameRun,
        differs: "nothing: both have one run id",
        says: "both are the run",
        compared: Refused,
        merged: Refused,
        arms: Open("interleaved arms of one run are the best comparison"),
    },
    ReasonRow {
        reason: Reason::NoCommonArm,
        differs: "every arm's label",
        says: "no arm in common",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Open("an arm is paired by stack, variant and concurrency"),
    },
    ReasonRow {
        reason: Reason::UnknownArm,
        differs: "an arm that was asked for and is not in its run",
        says: "run",
        compared: Refused,
        merged: Open("no arm is asked for"),
        arms: Open("no arm is asked for"),
    },
    ReasonRow {
        reason: Reason::Preset,
        differs: "the preset, by its SHA-256",
        says: "presets",
        compared: Open(
            "what matters of it is compared key by key: blocks, margins and looks are no difference",
        ),
        merged: Refused,
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::Prompts,
        differs: "the text behind a prompt's id, or all ids",
        says: "prompts",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Rule(RuleId::PromptsEqual),
    },
    ReasonRow {
        reason: Reason::Sampling,
        differs: "temperature, top-k, top-p, min-p or seed, asked or in force",
        says: "sampling",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Rule(RuleId::SamplingInForce),
    },
    ReasonRow {
        reason: Reason::OutputLength,
        differs: "`workload.max_tokens`",
        says: "max_tokens",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Rule(RuleId::RequestsEqual),
    },
    ReasonRow {
        reason: Reason::IgnoreEos,
        differs: "`workload.ignore_eos`",
        says: "ignore_eos",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Rule(RuleId::RequestsEqual),
    },
    ReasonRow {
        reason: Reason::Sending,
        differs: "concurrency, load, deadline, warm-up, think time",
        says: "the way requests are sent",
        compared: Refused,
        merged: Through(Reason::Preset),
        arms: Open("arms of a sweep are paired at equal concurrency"),
    },
    ReasonRow {
        reason: Reason::SuiteVersion,
        differs: "the version of the suite",
        says: "versions of the suite",
        compared: Open("two builds are a question; `bench gate` has a rule for it"),
        merged: Refused,
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::StackBuild,
        differs: "the build that a stack tells of itself",
        says: "builds of",
        compared: Open("two builds are a question; `bench gate` has a rule for it"),
        merged: Refused,
        arms: Open("stacks are what is compared; two builds in one arm break `one-answerer`"),
    },
    ReasonRow {
        reason: Reason::Machine,
        differs: "operating system, CPU, number of CPUs (merged: also kernel, memory, CPU features)",
        says: "machines",
        compared: Unless(Allowed::Machine),
        merged: Refused,
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::Gpu,
        differs: "the names of the GPUs, as NVML tells them",
        says: "GPUs",
        compared: Unless(Allowed::Machine),
        merged: Refused,
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::Device,
        differs: "CPU or GPU, as the stack says of itself",
        says: "devices of",
        compared: Unless(Allowed::Serving),
        merged: Refused,
        arms: Refused,
    },
    ReasonRow {
        reason: Reason::Models,
        differs: "SHA-256 of the preset's target or assistant",
        says: "model files",
        compared: Unless(Allowed::Models),
        merged: Refused,
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::TargetFile,
        differs: "SHA-256 of the target that the stack says it loaded",
        says: "target files of",
        compared: Unless(Allowed::Models),
        merged: Refused,
        arms: Refused,
    },
    ReasonRow {
        reason: Reason::WeightFormat,
        differs: "GGUF or safetensors, by the stack",
        says: "formats of the weights of",
        compared: Unless(Allowed::Models),
        merged: Refused,
        arms: Refused,
    },
    ReasonRow {
        reason: Reason::Serving,
        differs: "`[serving]`: KV types, threads, context, device, route, slots",
        says: "serving",
        compared: Unless(Allowed::Serving),
        merged: Through(Reason::Preset),
        arms: ONE,
    },
    ReasonRow {
        reason: Reason::KvType,
        differs: "the KV types in force, as the stack says of itself; variants of one preset may ask for different ones, and \
                  are compared then: a note names them",
        says: "KV types of",
        compared: Unless(Allowed::Serving),
        merged: Refused,
        arms: Rule(RuleId::ConfigurationInForce),
    },
    ReasonRow {
        reason: Reason::DraftPosition,
        differs: "at which position the assistant drafts after n tokens: n (ours, llama.cpp) or n - 1 (vLLM), or what the \
                  stack says",
        says: "draft positions of",
        compared: Unless(Allowed::Serving),
        merged: Refused,
        arms: Refused,
    },
];

impl Reason {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static ReasonRow {
        static TABLE: [ReasonRow; REASONS.len()] = REASONS;
        // A test holds the table's order against that of the names.
        &TABLE[self as usize]
    }

    /// What a caller of a comparison of runs may ask about with it; `None`: never.
    pub(crate) fn may(self) -> Option<Allowed> {
        match self.row().compared {
            Unless(allowed) => Some(allowed),
            Refused | Through(_) | Rule(_) | Open(_) => None,
        }
    }

    /// Of two values of something that has a name of its own: `KV types of native/none and native/mtp`.
    pub(crate) fn of(self, named: impl fmt::Display) -> impl Fn(String) -> Refusal {
        let what = format!("{} {named}", self.row().says);
        move |values| Refusal { reason: self, words: format!("{what} differ: {values}") }
    }

    /// Refused with these words after those of the table.
    pub(crate) fn with(self, rest: impl fmt::Display) -> Refusal {
        Refusal { reason: self, words: format!("{} {rest}", self.row().says) }
    }

    /// Refused if these are not equal.
    pub(crate) fn if_differ<T: PartialEq + fmt::Debug>(self, a: &T, b: &T) -> Option<Refusal> {
        (a != b).then(|| self.with(format_args!("differ: {a:?} and {b:?}")))
    }

    /// Refused if these are known and not equal: what one of them does not know contradicts nothing.
    pub(crate) fn if_known_differ<T: PartialEq + fmt::Debug>(
        self,
        a: Option<T>,
        b: Option<T>,
    ) -> Option<Refusal> {
        a.zip(b).and_then(|(a, b)| self.if_differ(&a, &b))
    }
}

const INTRO: &str = "\
# What is not compared

Two measurements answer a question only if they differ in nothing but what is asked about. Each row is something that may
differ besides, and what is done about it: between two runs (`bench compare`, and `bench gate` against a baseline), between
runs that are to be reported as one sample (`bench report A B`), and between two arms of one run.

*Refused* ends the command and names all reasons at once; between arms of one run, the two have no ratio, and the verdict
\"not comparable\" says why, in every form of the report. What one side does not know contradicts nothing. `--allow` is for a
difference that is itself the question, and the result says so; `bench gate` takes the same from `[differences]` of its rules.
A rule in the last column is one of [truth.md](truth.md): it sets the arm aside, which then has no ratio. Shards of one run may be
of several machines. An import is compared with nothing.

Written from the table in `results/src/reasons.rs`; `BLESS=1 cargo test --release --workspace --test incomparable` writes it
anew.

| what differs | says | two runs | one sample | arms of one run |
|---|---|---|---|---|
";

/// `docs/incomparable.md`.
#[must_use]
pub fn incomparable_document() -> String {
    let mut text = INTRO.to_owned();
    for row in REASONS {
        let cells = [row.compared, row.merged, row.arms].map(words);
        text.push_str(&format!("| {} | {} … | {} |\n", row.differs, row.says, cells.join(" | ")));
    }
    text
}

fn words(treatment: Treatment) -> String {
    match treatment {
        Refused => "refused".to_owned(),
        Unless(allowed) => format!("refused, unless `--allow {}`", allowed.word()),
        Through(reason) => format!("refused: {}", reason.row().says),
        Rule(rule) => format!("rule `{}`", rule.name()),
        Open(why) => format!("not refused: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_names() {
        for row in REASONS {
            assert_eq!(row.reason.row().reason, row.reason);
        }
        assert_eq!(Reason::DraftPosition as usize + 1, REASONS.len(), "a name without a row");
    }
}
