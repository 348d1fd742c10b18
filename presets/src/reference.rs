//! docs/presets.md, made from the shipped presets and the table of keys. A test keeps the file equal to this.

use crate::fields::{FIELDS, Field};
use crate::{Shipped, shipped};

const HEAD: &str = "\
<!-- Made from presets/src/fields.rs and presets/presets/*.toml. To renew: BLESS=1 cargo test --release -p bench-presets -->

# Presets

A preset is one experiment: models, stacks, ways of speculating, prompts, sampling, repetition. It is the same for every
stack; what a stack cannot do is an error, never a silent difference.

```text
bench run quickstart                      a shipped preset, by name
bench run ./mine.toml                     a file: anything with a path separator, or ending in .toml
bench run quickstart --set run.blocks=10  one value changed
```

Everything in a preset is part of its hash. Runs of different hashes are not compared.

## Changing a value: `--set KEY=VALUE`

`KEY` is the dotted path of a key below. An element of a list goes by its label, kind or id, or by its index from 0:
`variants.mtp-3.draft_max=2`, `workload.prompts.0.text=Hello`. `VALUE` is read as TOML; what is not TOML is a string, so
paths need no quotes. Weights have one source: setting `models.target` or `models.assistant` drops `models.bundled` and
`models.synth_tiny`, and so each way round.

## Building on another preset: `inherits`

`inherits = \"quickstart\"` takes every key that is left out from there, except `name` and `description`. Sections merge
key by key; lists (`stacks`, `variants`, `workload.prompts`) are replaced whole.

## Model files

`models.target` and `models.assistant` are GGUF files. A relative path is looked for in the current directory, then in the
directory that `BENCH_MODELS_DIR` names. Shipped presets name files alone; one that lies elsewhere is given with
`--set models.target=/path/to/file.gguf`. Stacks that read no GGUF take `models.hf_target` and `models.hf_assistant`; a
preset for such stacks alone needs no files.

## What a preset becomes

`bench presets lower PRESET --stack STACK` prints the command line, JSON or YAML that a stack gets for each variant, or
what it cannot do. `bench presets schema` prints the JSON Schema that docs/preset.schema.json holds; an editor that knows
it completes and checks presets while they are written.
";

/// The text of docs/presets.md.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Shipped presets\n");
    let mut theme = None;
    for preset in shipped() {
        let Shipped { theme: of, name, description, toml } = preset;
        if theme != Some(of) {
            theme = Some(of);
            text.push_str(&format!("\n### {of}\n"));
        }
        text.push_str(&format!("\n#### `{name}`\n\n{description}\n\n```toml\n{toml}```\n"));
    }
    text.push_str("\n## Keys\n");
    let mut section = None;
    for field in FIELDS {
        let (of, name) = split(field);
        if section != Some(of) {
            section = Some(of);
            let title = if of.is_empty() { "Top level".to_owned() } else { format!("`{}`", heading(of)) };
            text.push_str(&format!(
                "\n### {title}\n\n| key | values | default | meaning |\n|---|---|---|---|\n"
            ));
        }
        let default = if field.default.is_empty() { "required" } else { field.default };
        text.push_str(&format!("| `{name}` | {} | {default} | {} |\n", field.values(), field.doc));
    }
    text
}

/// Section and name of a key.
fn split(field: &Field) -> (&'static str, &'static str) {
    field.path.rsplit_once('.').unwrap_or(("", field.path))
}

/// A section as TOML writes it.
fn heading(section: &str) -> String {
    match section.strip_suffix("[]") {
        Some(list) => format!("[[{list}]]"),
        None => format!("[{section}]"),
    }
}
