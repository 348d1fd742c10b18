//! `bench presets`: the list, the schema, and what every shipped preset becomes for every stack.
//!
//! The snapshots are to be read: a changed flag is a changed experiment. `INSTA_UPDATE=always` renews them.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

mod common;

use std::process::Output;

use bench_core::preset::StackKind;
use common::{bench, text};

fn presets(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    bench(dir.path()).arg("presets").args(args).output().expect("bench runs")
}

fn succeeds(args: &[&str]) -> String {
    let output = presets(args);
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
    out
}

/// What a preset becomes for every stack; a stack that can run none of its variants has exit code 1.
fn lowered(preset: &str) -> String {
    let mut all = String::new();
    for kind in StackKind::ALL {
        let output = presets(&["lower", preset, "--stack", kind.as_str()]);
        let (err, out) = text(&output);
        assert_eq!(err, "", "{preset} on {kind}");
        // What can be run is a line without a comment sign, in YAML below `models:`.
        let runs = out
            .lines()
            .any(|line| !line.starts_with('#') && line.contains("target ") || line.contains("--port"));
        assert_eq!(output.status.code(), Some(if runs { 0 } else { 1 }), "{preset} on {kind}: {out}");
        all.push_str(&format!("=== {kind}\n{out}"));
    }
    all
}

#[test]
fn every_shipped_preset_on_every_stack() {
    for preset in bench_presets::shipped() {
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots/lower", omit_expression => true }, {
            insta::assert_snapshot!(preset.name, lowered(preset.name));
        });
    }
}

#[test]
fn the_forks_older_flags_are_block_sizes() {
    let old = |preset: &str| {
        succeeds(&[
            "lower",
            preset,
            "--stack",
            "atomic-llama-server",
            "--dialect",
            "atomic-old",
            "--variant",
            "mtp-1",
        ])
    };
    // The first user's arguments, but for `--draft-max`, which never reached its six.
    let repro = old("dkq512-repro");
    assert!(repro.contains("--spec-type mtp --draft-block-size 2 --draft-max 1 --draft-min 0"), "{repro}");
    assert!(
        repro.contains("-ctk turbo3 -ctv turbo3 -ctkd turbo3 -ctvd turbo3 -fa on -ngl 99 -ngld 99"),
        "{repro}"
    );
    assert!(old("gemma-4-e4b-throughput").contains("--draft-block-size 2 "));
    let swap = ["lower", "dkq512-repro", "--stack", "llama-swap", "--dialect", "atomic-new"];
    assert!(succeeds(&swap).contains("-ctk turbo3"));
}

#[test]
fn one_variant_and_overrides() {
    let out = succeeds(&[
        "lower",
        "smoke",
        "--stack",
        "llama-server",
        "--variant",
        "mtp-3",
        "--set",
        "variants.mtp-3.draft_max=2",
    ]);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(
        out.starts_with("# llama-server/mtp-3\nllama-server -m ") && out.contains("--spec-draft-n-max 2 ")
    );
    let command = r#"stacks=[{ kind = "openai", command = ["my server", "{target}", "{draft_max}", "{port}", "{assistant}"] }]"#;
    let out = succeeds(&["lower", "smoke", "--stack", "openai", "--set", command]);
    let expected = "# openai/none\n'my server' nano-target-q8_0.gguf 0 8080 nano-assistant-q8_0.gguf\n\
                    # openai/mtp-3\n'my server' nano-target-q8_0.gguf 3 8080 nano-assistant-q8_0.gguf\n";
    assert_eq!(out, expected);
}

#[test]
fn what_cannot_be_asked_is_one_error_with_a_hint() {
    for (args, parts) in [
        (
            &["lower", "smoke", "--stack", "native", "--variant", "mtp-9"][..],
            ["no variant `mtp-9`", "hint: it has `none`, `mtp-3`"],
        ),
        (
            &["lower", "smoke", "--stack", "vllm", "--dialect", "upstream"],
            ["no dialect of vllm", "hint: llama-server speaks"],
        ),
        (
            &["lower", "smoke", "--stack", "llama-server", "--dialect", "atomic-new"],
            ["no dialect of llama-server", "hint: "],
        ),
        (
            &["lower", "smok", "--stack", "native"],
            ["no preset is called `smok`", "hint: did you mean `smoke`?"],
        ),
    ] {
        let output = presets(args);
        let (err, out) = text(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{args:?}");
        assert!(parts.iter().all(|part| err.contains(part)), "{args:?}: {err}");
    }
}

#[test]
fn the_list_groups_and_says_what_is_needed() {
    let list = succeeds(&["list"]);
    let at = |part: &str| list.find(part).unwrap_or_else(|| panic!("`{part}` is missing in:\n{list}"));
    assert!(at("Runs anywhere\n  quickstart ") < at("\n\nGemma 4 with its MTP assistant\n  gemma-4-e2b "));
    at("needs gemma-4-E4B-it-Q4_K_M.gguf and gemma-4-E4B-it-assistant.Q4_K_M.gguf");
    at("needs google/gemma-4-E2B-it and google/gemma-4-E2B-it-assistant");
    let anywhere = &list[..at("Gemma 4 with its MTP assistant")];
    assert!(!anywhere.contains("needs "), "{anywhere}");
    for preset in bench_presets::shipped() {
        assert_eq!(list.matches(&format!("  {} ", preset.name)).count(), 1, "{}", preset.name);
    }
}

#[test]
fn the_schema_is_json_and_the_shipped_one() {
    let schema = succeeds(&["schema"]);
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/preset.schema.json");
    assert_eq!(schema, std::fs::read_to_string(shipped).unwrap());
}

#[test]
fn model_files_are_looked_for_here_and_in_the_models_directory() {
    let dir = tempfile::tempdir().unwrap();
    let run = |preset: &str, models: Option<&str>| {
        let mut command = bench(dir.path());
        command.args(["run", preset, "--out", "run"]);
        command.env_remove("BENCH_MODELS_DIR").env_remove("BENCH_VLLM").env("PATH", "");
        models.map(|models| command.env("BENCH_MODELS_DIR", dir.path().join(models)));
        let output = command.output().unwrap();
        drop(std::fs::remove_dir_all(dir.path().join("run")));
        (output.status.code(), text(&output).0)
    };
    let (code, err) = run("gemma-4-e4b", None);
    assert_eq!(code, Some(1));
    let here = dir.path().canonicalize().unwrap().join("gemma-4-E4B-it-Q4_K_M.gguf");
    assert!(err.contains(&format!("looked for `{}`\n", here.display())), "{err}");
    assert!(
        err.contains(
            "hint: set its place with `--set models.target=/path/to/file.gguf`, or BENCH_MODELS_DIR"
        )
    );

    std::fs::create_dir(dir.path().join("gguf")).unwrap();
    let (_, err) = run("gemma-4-e4b", Some("gguf"));
    assert!(err.contains("` and `") && err.contains("gguf/gemma-4-E4B-it-Q4_K_M.gguf`"), "{err}");
    // The target is found there; the next that is missing is the assistant.
    std::fs::write(dir.path().join("gguf/gemma-4-E4B-it-Q4_K_M.gguf"), "no model").unwrap();
    let (_, err) = run("gemma-4-e4b", Some("gguf"));
    assert!(
        err.contains("`gemma-4-E4B-it-assistant.Q4_K_M.gguf` of `models.assistant` does not exist"),
        "{err}"
    );
    // vLLM reads none of them: it fails by itself, not for a missing GGUF.
    let (_, err) = run("vllm-recommended-e4b", None);
    assert!(!err.contains("does not exist") && err.contains("vllm"), "{err}");
}

/// Every set of flags that a shipped preset gives llama.cpp's server, with values of the first preset that has it.
fn distinct_command_lines() -> Vec<Vec<String>> {
    let mut seen = std::collections::BTreeMap::new();
    for preset in bench_presets::shipped() {
        let output = presets(&["lower", preset.name, "--stack", "llama-server"]);
        for line in text(&output).1.lines().filter(|line| line.starts_with("llama-server ")) {
            let words: Vec<String> = line.split(' ').skip(1).map(str::to_owned).collect();
            let flags: Vec<String> = words.iter().filter(|word| word.starts_with('-')).cloned().collect();
            let kv = words.iter().skip_while(|word| *word != "-ctk").nth(1).cloned();
            seen.entry((flags, kv)).or_insert(words);
        }
    }
    seen.into_values().collect()
}

#[test]
fn a_real_llama_server_knows_every_flag() {
    let program = std::env::var("BENCH_LLAMA_SERVER").ok().filter(|place| !place.starts_with("http"));
    let Some(program) = program else {
        assert!(std::env::var_os("BENCH_REQUIRE_LLAMA_SERVER").is_none(), "BENCH_LLAMA_SERVER is no program");
        eprintln!("SKIP: BENCH_LLAMA_SERVER is no program");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let lines = distinct_command_lines();
    assert!(lines.len() >= 6, "{lines:?}");
    for words in lines {
        // No model is there: it has to fail at loading one, after it has understood its arguments.
        let output =
            std::process::Command::new(&program).args(&words).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{words:?}");
        for refusal in ["usage:", "invalid argument", "error while handling argument", "has been removed"] {
            assert!(!said.contains(refusal), "{}: {said}", words.join(" "));
        }
        assert!(
            said.contains("failed to load model") || said.contains("Failed to init server"),
            "{words:?}: {said}"
        );
    }
}
