//! Every bad preset gives one clear error: what, which value, what was expected, a hint.

use std::num::NonZeroU32;

use bench_core::load::{Arrivals, Load};
use bench_core::preset::{AcceptanceRule, ModelSource, Preset};
use bench_presets::{PresetError, load, load_noted, parse};

/// A whole valid preset, to break in one place.
const GOOD: &str = r#"
name = "mine"
models.target = "t.gguf"
models.assistant = "a.gguf"
stacks = [{ kind = "native" }]

[[variants]]
label = "none"
method = "none"

[[variants]]
label = "mtp-3"
method = "mtp"
draft_max = 3

[[workload.prompts]]
id = "a"
text = "Once"
"#;

/// The error and hint of `GOOD` with `from` replaced, as the command line prints them.
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    said(parse(&GOOD.replacen(from, to, 1), "mine.toml", &[]))
}

fn set(overrides: &[&str]) -> String {
    let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
    said(parse(GOOD, "mine.toml", &overrides))
}

fn said(result: Result<Preset, PresetError>) -> String {
    match result.map_err(|error| (error.to_string(), error.hint())) {
        Ok(preset) => format!("no error, but the preset `{}`", preset.name),
        Err((error, None)) => error,
        Err((error, Some(hint))) => format!("{error}\nhint: {hint}"),
    }
}

#[test]
fn good_is_good() {
    let preset = parse(GOOD, "mine.toml", &[]).unwrap();
    assert_eq!(
        (preset.name.as_str(), preset.run.blocks.get(), preset.run.request_timeout_ms),
        ("mine", 5, 120_000)
    );
}

#[test]
fn keys_and_types_are_named_with_their_place() {
    for (from, to, expected) in [
        (
            "draft_max",
            "draftmax",
            "mine.toml:14:1: unknown key `variants[].draftmax`\nhint: did you mean `variants[].draft_max`?",
        ),
        (
            "name = \"mine\"",
            "blocks = 3",
            "mine.toml:2:1: unknown key `blocks`\nhint: did you mean `run.blocks`?",
        ),
        ("name = \"mine\"", "frob = 3", "mine.toml:2:1: unknown key `frob`"),
        (
            "draft_max = 3",
            "draft_max = \"three\"",
            "mine.toml:14:13: invalid type: string \"three\", expected i64",
        ),
        (
            "\"native\"",
            "\"vlm\"",
            "mine.toml:5:20: unknown variant `vlm`, expected one of `native`, `llama-server`, `atomic-llama-server`, `llama-swap`, `vllm`, `openai`",
        ),
        ("name = \"mine\"", "name = \"mine", "mine.toml:2:13: invalid basic string, expected `\"`"),
    ] {
        assert_eq!(broken(from, to), expected);
    }
}

#[test]
fn values_that_cannot_run_say_what_was_expected() {
    for (from, to, expected) in [
        (
            "draft_max = 3",
            "sweep_draft_max = [3, 2]",
            "mine.toml: `variants[1].sweep_draft_max[1]` is `2`, expected more than 3, the one before",
        ),
        (
            "draft_max = 3",
            "draft_max = 3\nsweep_draft_max = [1]",
            "mine.toml: `variants[1].sweep_draft_max` is `given`, expected no `draft_max` beside it",
        ),
        (
            "draft_max = 3",
            "sweep_draft_max = [1, 65]",
            "mine.toml: `variants.mtp-3-65.draft_max` is `65`, expected 1 to 64",
        ),
        ("draft_max = 3", "draft_max = 0", "mine.toml: `variants.mtp-3.draft_max` is `0`, expected 1 to 64"),
        (
            "draft_max = 3",
            "draft_max = 65",
            "mine.toml: `variants.mtp-3.draft_max` is `65`, expected 1 to 64",
        ),
        ("draft_max = 3", "", "mine.toml: `variants.mtp-3.draft_max` is missing, expected 1 to 64"),
        (
            "models.assistant = \"a.gguf\"",
            "",
            "mine.toml: `models.assistant` is missing, expected the path of a drafter, since `variants.mtp-3` drafts with one\n\
             hint: set `models.assistant = \"path.gguf\"`, or use `method = \"ngram\"`",
        ),
        (
            "method = \"none\"",
            "method = \"none\"\ndraft_head = \"dense\"",
            "mine.toml: `variants.none.draft_head` is `given`, expected no such key with this `method`\n\
             hint: remove it, or choose the method it belongs to",
        ),
        (
            "method = \"none\"",
            "method = \"none\"\ndraft_max = 2",
            "mine.toml: `variants.none.draft_max` is `given`, expected no such key with this `method`\n\
             hint: remove it, or choose the method it belongs to",
        ),
        ("name = \"mine\"", "", "mine.toml: `name` is missing, expected a name of `a-z`, `0-9` and `-`"),
        (
            "\"mtp-3\"",
            "\"none\"",
            "mine.toml: `variants[1].label` is `none`, expected a label no other variant has",
        ),
        (
            "\"mtp-3\"",
            "\"MTP 3\"",
            "mine.toml: `variants[1].label` is `MTP 3`, expected a name of `a-z`, `0-9` and `-`",
        ),
        (
            "stacks = [{ kind = \"native\" }]",
            "stacks = [{ kind = \"native\" }, { kind = \"native\" }]",
            "mine.toml: `stacks[1].kind` is `native`, expected each stack once",
        ),
        (
            "text = \"Once\"",
            "text = \"Once\"\nsystem = \"Be brief\"",
            "mine.toml: `workload.prompts[0].system` is `given`, expected no system message with `serving.route = \"completion\"`\n\
             hint: raw text has no system message: put it into `text`, or set `serving.route = \"chat\"`",
        ),
        (
            "text = \"Once\"",
            "text = \" \"",
            "mine.toml: `workload.prompts[0].text` is missing, expected the text of the prompt",
        ),
    ] {
        assert_eq!(broken(from, to), expected);
    }
}

/// The error of a variant with these keys, without the preset's name and the variant's.
fn variant(keys: &str) -> String {
    let said = broken("method = \"mtp\"\ndraft_max = 3", keys);
    said.trim_start_matches("mine.toml: ").replace("variants.mtp-3.", "")
}

#[test]
fn draft_lengths_are_said_once() {
    for (keys, expected) in [
        (
            "method = \"mtp\"\ndraft_max = 1\ndraft_block_size = 2",
            "`draft_block_size` is `given`, expected no `draft_max` beside it\nhint: both say the same: a block of B drafts B - 1 tokens",
        ),
        (
            "method = \"mtp\"\ndraft_block_size = 1",
            "`draft_block_size` is `1`, expected 2 to 65\nhint: a block holds the drafts and the token they follow: B drafts B - 1 tokens",
        ),
        (
            "method = \"mtp\"\ndraft_block_size = 66",
            "`draft_block_size` is `66`, expected 2 to 65\nhint: a block holds the drafts and the token they follow: B drafts B - 1 tokens",
        ),
        (
            "method = \"nextn\"\ndraft_max = 2\ndraft_min = 3",
            "`draft_min` is `3`, expected 0 to `draft_max`, which is 2",
        ),
        (
            "method = \"mtp\"\ndraft_max = 2\ndraft_min = 1",
            "`draft_min` is `given`, expected no such key with this `method`\nhint: remove it, or choose the method it belongs to",
        ),
    ] {
        assert_eq!(variant(keys), expected);
    }
    let block = GOOD.replace("draft_max = 3", "draft_block_size = 4");
    assert_eq!(parse(&block, "block", &[]).unwrap(), parse(GOOD, "max", &[]).unwrap());
}

#[test]
fn synthetic_acceptance_needs_one_set_of_rates() {
    for (keys, expected) in [
        (
            "",
            "`synthetic_rates` is missing, expected rates of acceptance, a draft position each\nhint: or write `synthetic_length`, the mean tokens of a verify step",
        ),
        ("synthetic_rates = [0.5]", "`synthetic_rates` is `[0.5]`, expected a rate for each of 2 drafts"),
        (
            "synthetic_rates = [0.5, 0.6]",
            "`synthetic_rates` is `[0.5, 0.6]`, expected shares from 0 to 1 that never increase\nhint: 0.6 after 0.5: marginal rates never increase, since a draft counts only if all before it did",
        ),
        (
            "synthetic_length = 3.5",
            "`synthetic_length` is `3.5`, expected 1 to 3\nhint: it is the mean tokens of a verify step, the bonus token included",
        ),
        (
            "synthetic_length = 2.0\nsynthetic_rates = [1.0, 0.0]",
            "`synthetic_length` is `2`, expected no `synthetic_rates` beside it",
        ),
    ] {
        let keys = format!("method = \"draft-model\"\ndraft_max = 2\nacceptance = \"synthetic\"\n{keys}");
        assert_eq!(variant(&keys), expected);
    }
    assert_eq!(
        variant("method = \"mtp\"\ndraft_max = 2\nsynthetic_length = 2.0"),
        "`synthetic_length` is `given`, expected no such key without `acceptance = \"synthetic\"`"
    );
    let good = "method = \"mtp\"\ndraft_max = 3\nacceptance = \"synthetic\"\nsynthetic_length = 2.75";
    let text = GOOD.replace("method = \"mtp\"\ndraft_max = 3", good);
    let spec = &parse(&text, "good", &[]).unwrap().variants[1].spec;
    let Some(AcceptanceRule::Synthetic(rates)) = spec.acceptance() else { panic!("{spec:?}") };
    assert_eq!(rates.marginal(), [1.0, 0.75, 0.0]);
}

#[test]
fn a_command_is_an_unknown_servers() {
    let stack = |stack: &str| broken("{ kind = \"native\" }", stack);
    assert_eq!(
        stack("{ kind = \"vllm\", command = [\"vllm\"] }"),
        "mine.toml: `stacks.vllm.command` is `given`, expected no such key with this `kind`\n\
         hint: the suite knows how to launch this stack; `kind = \"openai\"` is for servers that it does not know"
    );
    assert_eq!(
        stack("{ kind = \"openai\", command = [\"srv\", \"{\\\"a\\\": 1}\", \"-k\", \"{draftmax}\"] }"),
        "mine.toml: `stacks.openai.command` is `{draftmax}`, expected only `{port}`, `{target}`, `{assistant}`, `{draft_max}`, `{context_tokens}`, `{threads}`\n\
         hint: did you mean `{draft_max}`?"
    );
    assert_eq!(
        stack("{ kind = \"openai\", command = [] }"),
        "mine.toml: `stacks.openai.command` is missing, expected a program and its arguments, each a text of its own"
    );
}

#[test]
fn the_models_of_vllm_are_named_beside_the_files() {
    let hf = "models.target = \"t.gguf\"\nmodels.hf_assistant = \"org/a\"";
    assert_eq!(
        broken("models.target = \"t.gguf\"", hf),
        "mine.toml: `models.hf_target` is missing, expected the target of `models.hf_assistant`"
    );
    let hf = "models.target = \"t.gguf\"\nmodels.hf_target = \"--trust\"";
    assert!(broken("models.target = \"t.gguf\"", hf).contains("expected a folder, or a name on a model hub"));
    // A drafter that only vLLM reads is enough for vLLM alone.
    let hf = GOOD.replace(
        "models.assistant = \"a.gguf\"",
        "models.hf_target = \"org/t\"\nmodels.hf_assistant = \"org/a\"",
    );
    assert!(said(parse(&hf, "x", &[])).contains("`models.assistant` is missing"));
    assert!(parse(&hf.replace("\"native\"", "\"vllm\""), "x", &[]).is_ok());
    let bundled = said(load("quickstart", &["models.hf_target=x".to_owned()]));
    assert!(bundled.contains("`models.target` is missing"), "{bundled}");
}

#[test]
fn overrides_are_checked_like_text() {
    for (overrides, expected) in [
        (
            &["run.blocks"][..],
            "cannot apply `--set run.blocks`: there is no `=`\nhint: write `--set run.blocks=3`",
        ),
        (&["run.blcks=3"], "--set run.blcks=3: unknown key `run.blcks`\nhint: did you mean `run.blocks`?"),
        (
            &["run.blocks=many"],
            "cannot apply `--set run.blocks=many`: invalid type: string \"many\", expected i64",
        ),
        (&["run.blocks=0"], "mine.toml: `run.blocks` is `0`, expected 1 to 4294967295"),
        (
            &["variants.mtp-9.draft_max=1"],
            "cannot apply `--set variants.mtp-9.draft_max=1`: `variants` has no `mtp-9`, it has `none`, `mtp-3`",
        ),
        (
            &["variants.mtp-3=1"],
            "cannot apply `--set variants.mtp-3=1`: `variants[]` is a list element, not a value",
        ),
        (&["name.first=1"], "--set name.first=1: unknown key `name.first`"),
        (
            &["run.request_timeout=5h"],
            "mine.toml: `run.request_timeout` is `5h`, expected a duration above 0\nhint: write a whole number and `ms`, `s` or `m`, such as `30s`",
        ),
        (
            &["run.request_timeout=0s"],
            "mine.toml: `run.request_timeout` is `0s`, expected a duration above 0\nhint: write a whole number and `ms`, `s` or `m`, such as `30s`",
        ),
        (
            &["sampling.temperature=-1"],
            "mine.toml: `sampling.temperature` is `-1`, expected 0 (greedy) or more",
        ),
        (&["run.min_acceptance=2"], "mine.toml: `run.min_acceptance` is `2`, expected 0 to 1"),
        (&["run.max_restarts=-1"], "mine.toml: `run.max_restarts` is `-1`, expected 0 to 4294967295"),
        (
            &["run.kv_quality_tokens=-1"],
            "mine.toml: `run.kv_quality_tokens` is `-1`, expected 0 to 4294967295",
        ),
        (
            &["serving.device=tpu"],
            "cannot apply `--set serving.device=tpu`: unknown variant `tpu`, expected one of `auto`, `cpu`, `gpu`",
        ),
        (&["sampling.top_p=1.5"], "mine.toml: `sampling.top_p` is `1.5`, expected 0 to 1"),
        (&["sampling.seed=-1"], "mine.toml: `sampling.seed` is `-1`, expected 0 to 9223372036854775807"),
        (
            &["serving.context_tokens=128"],
            "mine.toml: `serving.context_tokens` is `128`, expected more than `workload.max_tokens`, which is 128\nhint: a request's prompt and output share the context",
        ),
    ] {
        assert_eq!(set(overrides), expected);
    }
}

#[test]
fn overrides_reach_values_sections_and_list_elements() {
    let overrides = [
        "variants.mtp-3.draft_max=2",
        "workload.prompts.0.text=a = b",
        "run.request_timeout=2m",
        "sampling.top_k=40",
    ];
    let overrides: Vec<_> = overrides.map(str::to_owned).to_vec();
    let preset = parse(GOOD, "mine.toml", &overrides).unwrap();
    assert_eq!(preset.variants[1].spec.draft_max().unwrap().get(), 2);
    assert_eq!(preset.workload.prompts[0].text, "a = b");
    assert_eq!(preset.run.request_timeout_ms, 120_000);
    assert_eq!(preset.sampling.top_k.unwrap().get(), 40);
}

#[test]
fn model_files_take_the_place_of_the_synthetic_pair() {
    let overrides = ["models.target=/m/t.gguf", "models.assistant=/m/a.gguf"].map(str::to_owned);
    let preset = load("quickstart", &overrides).unwrap();
    let expected =
        ModelSource::Files { target: "/m/t.gguf".into(), assistant: Some("/m/a.gguf".into()), hf: None };
    assert_eq!(preset.models, expected);
    let back = parse(
        "name = \"x\"\ninherits = \"quickstart\"\nmodels.target = \"t\"\nmodels.assistant = \"a\"",
        "x",
        &[],
    );
    assert!(matches!(back.unwrap().models, ModelSource::Files { .. }));
}

#[test]
fn a_bundled_pair_is_a_source_of_its_own() {
    let bundled = ModelSource::Bundled("nano".to_owned());
    let inherited = parse("name = \"x\"\ninherits = \"quickstart\"\nmodels.bundled = \"nano\"", "x", &[]);
    assert_eq!(inherited.unwrap().models, bundled);
    let overrides = ["models.bundled=nano".to_owned()];
    assert_eq!(parse(GOOD, "mine.toml", &overrides).unwrap().models, bundled);
    // And the other way round.
    let overrides = ["models.bundled=nano", "models.synth_tiny.seed=3"].map(str::to_owned);
    assert!(matches!(parse(GOOD, "mine.toml", &overrides).unwrap().models, ModelSource::SynthTiny(_)));
    assert_eq!(
        set(&["models.bundled=nanoo"]),
        "mine.toml: `models.bundled` is `nanoo`, expected the name of a bundled pair: `nano`\nhint: did you mean `nano`?"
    );
    let beside = broken("models.target", "models.bundled = \"nano\"\nmodels.target");
    assert!(
        beside
            .starts_with("mine.toml: `models.bundled` is `given beside another source`, expected one source"),
        "{beside}"
    );
}

#[test]
fn names_and_files_that_are_not_there() {
    let error = said(load("quikstart", &[]));
    assert_eq!(error, "no preset is called `quikstart`\nhint: did you mean `quickstart`?");
    let error = said(load("mine", &[]));
    assert!(error.ends_with("a file of your own is given by its path, such as `./mine.toml`"), "{error}");
    let error = said(load("./no/such.toml", &[]));
    assert!(error.starts_with("cannot read the preset `./no/such.toml`: "), "{error}");
}

#[test]
fn a_load_says_what_it_needs_and_what_it_has_no_use_for() {
    for (overrides, expected) in [
        (&["run.load=poisson"][..], "`run.rate`"),
        (&["run.load=poisson", "run.rate=0"], "above 0"),
        (&["run.load=gamma", "run.rate=2"], "`run.burstiness`"),
        (&["run.load=gamma", "run.rate=2", "run.burstiness=0"], "below 1 comes in bursts"),
        (&["run.load=ramp", "run.rate=2"], "`run.rate_end`"),
        (&["run.load=constant", "run.rate=2", "run.rate_end=3"], "hint: it belongs to `ramp`"),
        (&["run.rate=2"], "`run.load = \"closed\"`"),
        (&["run.load=trace"], "`run.trace`"),
        (&["run.load=trace", "run.trace=no/such.jsonl"], "docs/load.md"),
        (&["run.load=trace", "run.trace_us=[3,2]"], "`run.trace_us[1]`"),
        (&["run.load=trace", "run.trace_us=[1,2]", "run.requests=3"], "the length of the trace"),
        (
            &["run.load=poisson", "run.rate=2", "run.concurrency=2"],
            "hint: an open loop has a limit of its own",
        ),
        (&["run.load=poisson", "run.rate=2", "run.sweep_concurrency=[1,2]"], "no sweep in an open loop"),
        (&["run.sweep_concurrency=[2,2]"], "more than 2, the one before"),
        (&["run.sweep_concurrency=[1,4]", "run.concurrency=3"], "the greatest of `run.sweep_concurrency`"),
        (&["run.load=fast"], "fast"),
    ] {
        let said = set(overrides);
        assert!(said.contains(expected), "{overrides:?}: {said}");
    }
}

#[test]
fn a_sweep_over_draft_lengths_is_a_variant_of_each() {
    let text = GOOD.replace("draft_max = 3", "sweep_draft_max = [1, 3, 7]");
    let preset = parse(&text, "mine.toml", &[]).unwrap();
    let variants: Vec<_> =
        preset.variants.iter().map(|variant| (variant.label.as_str(), variant.spec.draft_max())).collect();
    let swept =
        [("mtp-3-1", NonZeroU32::new(1)), ("mtp-3-3", NonZeroU32::new(3)), ("mtp-3-7", NonZeroU32::new(7))];
    assert_eq!(variants[variants.len() - 3..], swept);

    let planted =
        text.replace("[1, 3, 7]", "[1, 2]\nacceptance = \"synthetic\"\nsynthetic_rates = [0.5, 0.25]");
    let preset = parse(&planted, "mine.toml", &[]).unwrap();
    let rates = preset.variants.iter().filter_map(|variant| match variant.spec.acceptance()? {
        AcceptanceRule::Synthetic(rates) => Some(rates.marginal().to_vec()),
        AcceptanceRule::SampleAndCompare | AcceptanceRule::Rejection => None,
    });
    assert_eq!(rates.collect::<Vec<_>>(), [vec![0.5], vec![0.5, 0.25]]);
}

#[test]
fn a_load_is_what_was_written() {
    let of = |overrides: &[&str]| {
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        parse(GOOD, "mine.toml", &overrides).unwrap()
    };
    let preset = of(&["run.load=gamma", "run.rate=2.5", "run.burstiness=0.5", "run.requests=7"]);
    let Load::Open(load) = &preset.run.load else { unreachable!("it is open") };
    assert_eq!(load.arrivals, Arrivals::Gamma { rate: 2.5, burstiness: 0.5 });
    assert_eq!((load.requests.get(), load.max_in_flight, preset.serving.slots.get()), (7, None, 8));
    let preset = of(&["run.load=constant", "run.rate=2", "run.max_in_flight=3"]);
    assert_eq!(preset.run.load.open().unwrap().requests.get(), 1, "one for each prompt");
    assert_eq!(preset.serving.slots.get(), 3);
    let preset = of(&["run.sweep_concurrency=[1,2,4]"]);
    assert_eq!((preset.run.concurrency.get(), preset.serving.slots.get()), (4, 4));
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("t.jsonl");
    std::fs::write(&trace, "{\"at_s\": 5}\n{\"at_s\": 5.5}\n").unwrap();
    let preset = of(&["run.load=trace", &format!("run.trace={}", trace.display())]);
    assert_eq!(preset.run.load.open().unwrap().arrivals, Arrivals::Trace { at_us: vec![0, 500_000] });
}

#[test]
fn a_file_of_prompts_is_read_checked_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("question.jsonl");
    let lines: String = (0..4)
        .map(|i| {
            format!(
                "{{\"question_id\": {i}, \"category\": \"c{}\", \"turns\": [\"q{i}\", \"more\"]}}\n",
                i % 2
            )
        })
        .collect();
    std::fs::write(&file, lines).unwrap();
    let path = format!("workload.file.path={}", file.display());
    let with = |more: &[&str]| {
        let mut overrides =
            vec![path.clone(), "workload.prompts=[]".to_owned(), "serving.route=chat".to_owned()];
        overrides.extend(more.iter().map(|text| (*text).to_owned()));
        parse(GOOD, "mine.toml", &overrides)
    };
    let texts = |preset: &Preset| -> Vec<String> {
        preset.workload.prompts.iter().map(|prompt| prompt.text.clone()).collect()
    };
    let all = with(&[]).unwrap();
    assert_eq!(texts(&all), ["q0", "q1", "q2", "q3"]);
    assert_eq!(all.workload.prompts[1].category, "c1");
    assert!(all.workload.prompts[0].later_turns.is_empty());
    let talked = with(&["workload.file.turns=2"]).unwrap();
    assert_eq!(talked.workload.prompts[0].later_turns, ["more"]);
    let some = with(&["workload.categories=[\"c0\"]", "workload.file.limit=1"]).unwrap();
    assert_eq!(texts(&some), ["q0"]);
    for (more, expected) in [
        (&["workload.file.sha256=abc"][..], "not the one the preset was written for"),
        (&["workload.categories=[\"x\"]"], "some of c0, c1"),
        (&["workload.file.format=sharegpt"], "conversations"),
        (&["serving.route=completion"], "route = \"chat\""),
        (&["workload.file.path=no/such.jsonl"], "a file that can be read"),
        (&["workload.set=suite"], "no file beside"),
    ] {
        let said = said(with(more));
        assert!(said.contains(expected), "{more:?}: {said}");
    }
}

#[test]
fn what_a_prompt_file_holds_and_is_not_asked_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("talks.jsonl");
    let said = |users: &[&str]| {
        let turns: Vec<_> =
            users.iter().map(|text| format!("{{\"from\":\"human\",\"value\":\"{text}\"}}")).collect();
        format!("{{\"conversations\":[{}]}}\n", turns.join(","))
    };
    let lines = [said(&["a", "b", "c"]), said(&["d", " ", "e"]), said(&[])].concat();
    std::fs::write(&file, lines).unwrap();
    let preset = dir.path().join("mine.toml");
    std::fs::write(&preset, GOOD).unwrap();
    let notes = |turns: u32| {
        let overrides = [
            format!("workload.file.path={}", file.display()),
            "workload.prompts=[]".to_owned(),
            "serving.route=chat".to_owned(),
            format!("workload.file.turns={turns}"),
        ];
        load_noted(preset.to_str().unwrap(), &overrides).unwrap().notes
    };
    let [first] = &notes(1)[..] else { panic!("{:?}", notes(1)) };
    assert!(first.contains("4 later user turns") && first.contains("1 records in which"), "{first}");
    let [all] = &notes(9)[..] else { panic!("{:?}", notes(9)) };
    assert!(all.contains("2 later user turns"), "a blank turn and what follows it: {all}");
    assert!(load_noted("quickstart", &[]).unwrap().notes.is_empty());
}

#[test]
fn a_conversation_is_written_as_turns_and_needs_messages() {
    let with = |prompts: &str, route: &str| {
        let overrides = [format!("workload.prompts={prompts}"), format!("serving.route={route}")];
        parse(GOOD, "mine.toml", &overrides)
    };
    let talk = with("[{ id = \"a\", turns = [\"one\", \"two\"] }]", "chat").unwrap();
    let prompt = &talk.workload.prompts[0];
    assert_eq!((prompt.text.as_str(), &prompt.later_turns[..]), ("one", &["two".to_owned()][..]));
    for (prompts, route, expected) in [
        ("[{ id = \"a\", turns = [\"one\", \"two\"] }]", "completion", "one turn with"),
        ("[{ id = \"a\", turns = [] }]", "chat", "at least one text"),
        ("[{ id = \"a\", turns = [\"one\", \" \"] }]", "chat", "turns[1]"),
        ("[{ id = \"a\", text = \"x\", turns = [\"one\"] }]", "chat", "either this or `text`"),
    ] {
        let said = said(with(prompts, route));
        assert!(said.contains(expected), "{prompts}: {said}");
    }
}

#[test]
fn synthetic_prompts_are_checked_and_come_alone() {
    let with = |more: &[&str]| {
        let mut overrides = vec!["workload.synthetic.input_tokens=[8, 32]", "workload.prompts=[]"];
        overrides.extend(more);
        let overrides: Vec<_> = overrides.into_iter().map(str::to_owned).collect();
        load("quickstart", &overrides)
    };
    let preset = with(&["workload.synthetic.count=3", "workload.synthetic.seed=5"]).unwrap();
    assert_eq!(preset.workload.prompts.len(), 6);
    let made_of = preset.workload.synthetic.as_ref().unwrap();
    assert_eq!((made_of.prompts(), made_of.seed), (preset.workload.prompts.clone(), 5));
    assert_eq!(preset.workload.prompts[1].category, "32 tokens");
    assert_eq!(bench_core::synthetic::MAX_SYNTHETIC_PROMPTS, 256, "presets/src/fields.rs says so");
    for (more, expected) in [
        (
            &["workload.synthetic.input_tokens=[0]"][..],
            "`workload.synthetic.input_tokens` is `0`, expected 1 to 1048576",
        ),
        (&["workload.synthetic.input_tokens=[-1]"], "is `-1`, expected 1 to"),
        (&["workload.synthetic.input_tokens=[1048577]"], "is `1048577`, expected 1 to"),
        (&["workload.synthetic.input_tokens=[]"], "is missing, expected at least one length"),
        (&["workload.synthetic.input_tokens=[8, 8]"], "is `8`, expected each length once"),
        (&["workload.synthetic.count=0"], "`workload.synthetic.count` is `0`, expected 1 to"),
        (&["workload.synthetic.count=129"], "at most 256 prompts of all lengths together, not 258"),
        (&["workload.synthetic.spread=1.5"], "`workload.synthetic.spread` is `1.5`, expected 0 to 1"),
        (&["workload.synthetic.spread=nan"], "`workload.synthetic.spread` is `NaN`, expected 0 to 1"),
        (&["workload.synthetic.seed=-1"], "`workload.synthetic.seed` is `-1`"),
        (
            &["workload.synthetic.input_tokens=[990]"],
            "expected at least 1086: prompts of `workload.synthetic` have up to 990",
        ),
        (&["workload.prompts=[{ id = \"a\", text = \"b\" }]"], "no such prompts beside `workload.prompts`"),
        (&["workload.set=suite"], "no such prompts beside `workload.set`"),
        (&["workload.file.path=x"], "no such prompts beside `workload.file`"),
        (&["workload.per_category=1"], "no such prompts beside `workload.per_category`"),
    ] {
        let error = with(more).unwrap_err().to_string();
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

#[test]
fn a_pass_that_time_ends_fits_its_load() {
    let with = |more: &[&str]| {
        let overrides: Vec<_> = more.iter().map(|text| (*text).to_owned()).collect();
        load("quickstart", &overrides)
    };
    let ends = |more: &[&str]| with(&[more, &["run.duration_s=10"]].concat()).unwrap().run;
    let requests = |more: &[&str]| ends(more).load.open().unwrap().requests.get();
    assert_eq!(ends(&[]).duration().unwrap().as_secs(), 10);
    // As many as fall into the time; a ramp has as many as its area; a trace no more than it has.
    assert_eq!(requests(&["run.load=poisson", "run.rate=3.0"]), u32::MAX);
    assert_eq!(requests(&["run.load=poisson", "run.rate=3.0", "run.requests=7"]), 7);
    assert_eq!(requests(&["run.load=ramp", "run.rate=2.0", "run.rate_end=4.0"]), 30);
    assert_eq!(requests(&["run.load=trace", "run.trace_us=[0, 5, 20000000]"]), 3);
    for (more, expected) in [
        (&["run.duration_s=0"][..], "`run.duration_s` is `0`, expected 1 to"),
        (&["run.duration_s=-3"], "`run.duration_s` is `-3`, expected 1 to"),
        (
            &["run.duration_s=60", "run.load=constant", "run.rate=1000000"],
            "expected at most 10000000 arrivals a pass, not 60000000",
        ),
    ] {
        let error = with(more).unwrap_err().to_string();
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    let error = load("nano-chat", &["run.duration_s=5".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("`run.duration_s` is `5`, expected no such key with conversations"), "{error}");
}
