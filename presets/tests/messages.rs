//! Every bad preset gives one clear error: what, which value, what was expected, a hint.

use bench_core::preset::{ModelSource, Preset};
use bench_presets::{PresetError, load, parse};

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
            "\"vllm\"",
            "mine.toml:5:20: unknown variant `vllm`, expected `native` or `llama-server`",
        ),
        ("name = \"mine\"", "name = \"mine", "mine.toml:2:13: invalid basic string, expected `\"`"),
    ] {
        assert_eq!(broken(from, to), expected);
    }
}

#[test]
fn values_that_cannot_run_say_what_was_expected() {
    for (from, to, expected) in [
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
    let expected = ModelSource::Files { target: "/m/t.gguf".into(), assistant: Some("/m/a.gguf".into()) };
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
    assert_eq!(
        error,
        "no preset is called `quikstart`; shipped are `quickstart`, `smoke`, `nano-draft-length`, `nano-held-out`, `synthetic`\nhint: did you mean `quickstart`?"
    );
    let error = said(load("mine", &[]));
    assert!(
        error.ends_with("hint: a file of your own is given by its path, such as `./mine.toml`"),
        "{error}"
    );
    let error = said(load("./no/such.toml", &[]));
    assert!(error.starts_with("cannot read the preset `./no/such.toml`: "), "{error}");
}
