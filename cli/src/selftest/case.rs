//! The cases: what the mock plays, and how it is asked.

/// One case of the self-test.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Arguments of `bench mock`.
    pub(crate) mock: &'static [&'static str],
    pub(crate) streams: u32,
    pub(crate) requests: u32,
    pub(crate) probe: Probe,
}

/// What a case is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Errors of TTFT and gaps between chunks, CPU, start, memory.
    Paced,
    /// Chunks a second.
    Unpaced,
    /// 3 of 127 gaps are 110 ms.
    Stall,
    /// 51 steps of 128 tokens, 78 drafts accepted.
    Speculation,
}

const PACE: [&str; 4] = ["--ttft-ms", "50", "--itl-ms", "10"];
const NO_PACE: [&str; 4] = ["--ttft-ms", "0", "--itl-ms", "0"];
const STALLS: [&str; 8] = ["--ttft-ms", "50", "--itl-ms", "10", "--stall-every", "40", "--stall-ms", "100"];
const SPECULATION: [&str; 8] = ["--ttft-ms", "50", "--itl-ms", "10", "--spec", "3,1,2,0", "--spec-k", "3"];

pub(crate) const TOKENS: u32 = 128;

pub(crate) const CASES: [Case; 8] = [
    case("paced-1", "1 stream at 10 ms a chunk", &PACE, (1, 4), Probe::Paced),
    case("paced-64", "64 streams at 10 ms a chunk", &PACE, (64, 192), Probe::Paced),
    case("paced-512", "512 streams at 10 ms a chunk", &PACE, (512, 1024), Probe::Paced),
    case("unpaced-1", "1 stream as fast as it goes", &NO_PACE, (1, 64), Probe::Unpaced),
    case("unpaced-64", "64 streams as fast as they go", &NO_PACE, (64, 512), Probe::Unpaced),
    case("unpaced-512", "512 streams as fast as they go", &NO_PACE, (512, 1024), Probe::Unpaced),
    case("stall", "3 of 127 gaps are 110 ms", &STALLS, (4, 16), Probe::Stall),
    case(
        "speculation",
        "3, 1, 2, 0 of 3 drafts accepted, around and around",
        &SPECULATION,
        (4, 16),
        Probe::Speculation,
    ),
];

const fn case(
    name: &'static str,
    what: &'static str,
    mock: &'static [&'static str],
    (streams, requests): (u32, u32),
    probe: Probe,
) -> Case {
    Case { name, what, mock, streams, requests, probe }
}

impl Case {
    /// The preset that asks.
    pub(crate) fn preset(&self) -> String {
        let (method, draft_max) = match self.probe {
            Probe::Speculation => ("draft-model", "draft_max = 3\n"),
            Probe::Paced | Probe::Unpaced | Probe::Stall => ("none", ""),
        };
        let (name, streams) = (self.name, self.streams);
        let mut text = format!(
            "name = \"selftest-{name}\"\ndescription = \"The client against the mock.\"\n\
             [[stacks]]\nkind = \"openai\"\nrequired = true\n\
             [models]\ntarget = \"mock.gguf\"\nassistant = \"mock-draft.gguf\"\n\
             [serving]\nroute = \"chat\"\n[sampling]\n\
             [workload]\nmax_tokens = {TOKENS}\nignore_eos = true\n\
             [run]\nconcurrency = {streams}\nblocks = 1\nwarmup_requests = 0\n\
             [[variants]]\nlabel = \"arm\"\nmethod = \"{method}\"\n{draft_max}"
        );
        for index in 0..self.requests {
            text += "[[workload.prompts]]\n";
            let prompt = "word ".repeat(31);
            text += &format!("id = \"p{index}\"\ncategory = \"mock\"\ntext = \"{prompt}{index}\"\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_one() {
        for case in &CASES {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("preset.toml");
            std::fs::write(&path, case.preset()).unwrap();
            let preset = bench_presets::load(path.to_str().unwrap(), &[]).unwrap();
            assert_eq!(preset.workload.prompts.len(), case.requests as usize, "{}", case.name);
            assert_eq!(preset.run.concurrency.get(), case.streams, "{}", case.name);
        }
    }
}
