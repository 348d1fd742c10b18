//! The shell of the composite action, run as GitHub's runner runs it, with the real binary.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::common::text;
use crate::planted::Planted;

#[derive(Deserialize)]
struct Action {
    inputs: BTreeMap<String, Input>,
    outputs: BTreeMap<String, serde_json::Value>,
    runs: Runs,
}

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    required: bool,
    default: Option<String>,
}

#[derive(Deserialize)]
struct Runs {
    using: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    shell: String,
    env: BTreeMap<String, String>,
    run: String,
}

fn action() -> Action {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/actions/bench-gate/action.yml");
    serde_norway::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Action {
    /// The environment of its step with these inputs, the others at their defaults.
    fn environment(&self, inputs: &[(&str, &str)]) -> Vec<(String, String)> {
        let value = |name: &str| {
            let given = inputs.iter().find(|(input, _)| *input == name).map(|(_, value)| (*value).to_owned());
            given.or_else(|| self.inputs[name].default.clone()).unwrap()
        };
        let resolved = |(variable, expression): (&String, &String)| {
            let input =
                expression.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}")).unwrap();
            (variable.clone(), value(input))
        };
        self.runs.steps[0].env.iter().map(resolved).collect()
    }
}

/// Exit code, `$GITHUB_OUTPUT`, what was said.
fn run(dir: &Path, inputs: &[(&str, &str)]) -> (i32, String, String) {
    let action = action();
    let output_file = dir.join("output");
    std::fs::write(&output_file, "").unwrap();
    std::fs::write(dir.join("step.sh"), &action.runs.steps[0].run).unwrap();
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-e", "-o", "pipefail", "step.sh"])
        .current_dir(dir)
        .envs(action.environment(&[&[("bench", env!("CARGO_BIN_EXE_bench"))], inputs].concat()))
        .env("GITHUB_OUTPUT", &output_file)
        .env("BENCH_CACHE_DIR", dir.join("models"))
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap();
    let (stderr, stdout) = text(&output);
    (output.status.code().unwrap(), std::fs::read_to_string(output_file).unwrap(), stdout + &stderr)
}

#[test]
fn the_action_is_well_formed() {
    let action = action();
    assert_eq!((action.runs.using.as_str(), action.runs.steps.len()), ("composite", 1));
    assert_eq!(action.runs.steps[0].shell, "bash");
    assert!(action.inputs.values().all(|input| input.required != input.default.is_some()));
    assert_eq!(action.outputs.keys().collect::<Vec<_>>(), ["exit-code", "verdict"]);
    // Inputs reach the script through the environment alone: no input becomes a part of the shell's text.
    assert!(!action.runs.steps[0].run.contains("${{"));
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gate.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for input in action.inputs.keys() {
        assert!(docs.contains(&format!("`{input}`")), "docs/gate.md does not tell of `{input}`");
    }
}

#[test]
fn its_shell_passes_verdicts_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    Planted::sound("base").store(dir);
    Planted::sound("sound").store(dir);
    Planted { slower: [1.0, 1.1], ..Planted::sound("slower") }.store(dir);
    Planted { blocks: 4, ..Planted::sound("short run").clone() }.store(dir);
    let of = |run_dir, more: &[(&str, &str)]| {
        run(dir, &[&[("run", run_dir), ("baseline", "base")], more].concat())
    };
    let (code, outputs, said) = of("sound", &[]);
    assert_eq!((code, outputs.as_str()), (0, "verdict=pass\nexit-code=0\n"), "{said}");
    assert!(dir.join("bench-gate.xml").exists());
    let (code, outputs, said) = of("slower", &[("fail-on", "regression")]);
    assert_eq!((code, outputs.as_str()), (1, "verdict=regression\nexit-code=1\n"), "{said}");
    // A directory with a blank in its name; what was not shown fails the job unless it may not.
    let (code, outputs, said) = of("short run", &[]);
    assert_eq!((code, outputs.as_str()), (2, "verdict=inconclusive\nexit-code=2\n"), "{said}");
    assert_eq!(of("short run", &[("fail-on", "regression")]).0, 0);
    let (code, _, said) = of("short run", &[("fail-on", "nothing")]);
    assert!(code == 2 && said.contains("expected inconclusive or regression"), "{said}");
    // What could not even be read is not forgiven.
    assert_eq!(of("nowhere", &[("fail-on", "regression"), ("junit", "other.xml")]).0, 2);

    let (code, _, said) =
        run(dir, &[("run", "slower"), ("candidate", "native/mtp"), ("against", "native/none")]);
    assert_eq!(code, 1, "{said}");
}
