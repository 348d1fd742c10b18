//! `workload.set`: which prompts a preset gets, and what is refused.

use bench_core::preset::Preset;
use bench_presets::{PresetError, parse, to_toml};

const HEAD: &str = r#"
name = "mine"
models.target = "t.gguf"
stacks = [{ kind = "native" }]
variants = [{ label = "none", method = "none" }]
serving.route = "chat"
"#;

fn with(workload: &str) -> Result<Preset, PresetError> {
    parse(&format!("{HEAD}[workload]\n{workload}"), "mine.toml", &[])
}

#[test]
fn a_set_becomes_its_prompts_in_the_sets_order() {
    let preset = with("set = \"suite\"\ncategories = [\"triage\", \"json\"]\nper_category = 2").unwrap();
    let ids: Vec<_> = preset.workload.prompts.iter().map(|prompt| prompt.id.as_str()).collect();
    assert_eq!(ids, ["json-01", "json-11", "triage-01", "triage-11"]);
    assert!(preset.workload.prompts[2].system.is_some());
    assert_eq!(parse(&to_toml(&preset).unwrap(), "again.toml", &[]).unwrap(), preset);
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let refused = |workload: &str| with(workload).unwrap_err().to_string();
    let set = "set = \"suite\"\n";
    assert!(
        refused(&format!("{set}categories = [\"jsn\"]"))
            .contains("`workload.categories` is `jsn`, expected some of json")
    );
    assert!(refused(&format!("{set}categories = []")).contains("`workload.categories` is `[]`"));
    assert!(refused(&format!("{set}per_category = 0")).contains("`workload.per_category` is `0`"));
    assert!(refused(&format!("{set}per_category = 1000")).contains("as many as each category has"));
    assert!(refused(&format!("{set}prompts = [{{ id = \"a\", text = \"b\" }}]")).contains("no set beside"));
    assert!(refused("categories = [\"json\"]").contains("no such key without `workload.set`"));
    let raw_text = parse(
        &format!("{HEAD}workload.set = \"suite\""),
        "mine.toml",
        &["serving.route=completion".to_owned()],
    );
    assert!(raw_text.unwrap_err().to_string().contains("expected `serving.route = \"chat\"`"));
}
