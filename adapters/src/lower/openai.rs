//! Command lines of servers that the suite does not know: the preset's own `command`, filled in.

use std::fmt::Display;

use bench_core::preset::{AcceptanceRule, COMMAND_PLACEHOLDERS, ServingParams, SpecDecode, StackKind};
use bench_core::stack::StackError;

use super::unsupported;

/// The models as the server is to be told of them: files, or names on a model hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The model whose output counts.
    pub target: &'a str,
    /// The drafter.
    pub assistant: Option<&'a str>,
}

/// Program and arguments, with the placeholders filled in. `{draft_max}` is 0 for plain decoding. Braces around anything
/// else stay as they are, as in JSON.
///
/// # Errors
///
/// [`StackError::Unsupported`], where the command has no place for what the preset says of speculation: it would run
/// something else under the variant's name.
pub fn args(
    command: &[String],
    models: Names<'_>,
    spec: &SpecDecode,
    serving: &ServingParams,
    port: impl Display,
) -> Result<Vec<String>, StackError> {
    if command.is_empty() {
        return Err(cannot("be launched: its stack has no `command`"));
    }
    check_speculation(command, spec)?;
    let assistant = match models.assistant {
        None if mentions(command, "assistant") => {
            return Err(cannot(
                "be launched: its `command` has `{assistant}`, and no assistant model was given",
            ));
        }
        assistant => assistant.unwrap_or_default(),
    };
    let draft_max = spec.draft_max().map_or(0, std::num::NonZeroU32::get);
    let values = [
        port.to_string(),
        models.target.to_owned(),
        assistant.to_owned(),
        draft_max.to_string(),
        serving.context_tokens.to_string(),
        serving.threads.to_string(),
    ];
    Ok(command.iter().map(|word| filled(word, &values)).collect())
}

fn check_speculation(command: &[String], spec: &SpecDecode) -> Result<(), StackError> {
    let method = spec.method();
    match spec {
        SpecDecode::None => return Ok(()),
        SpecDecode::Ngram { .. } => {
            return Err(cannot("draft with ngram: its `command` has no place for the lengths of n-grams"));
        }
        SpecDecode::Mtp { .. } | SpecDecode::DraftModel { .. } if !mentions(command, "assistant") => {
            return Err(cannot(format!("draft with {method}: its `command` has no `{{assistant}}`")));
        }
        SpecDecode::Nextn { draft_min: 2.., .. } => {
            return Err(cannot("throw away short drafts: its `command` has no place for `draft_min`"));
        }
        SpecDecode::Mtp { .. } | SpecDecode::DraftModel { .. } | SpecDecode::Nextn { .. } => {}
    }
    if !mentions(command, "draft_max") {
        return Err(cannot(format!("draft with {method}: its `command` has no `{{draft_max}}`")));
    }
    match spec.acceptance() {
        None | Some(AcceptanceRule::SampleAndCompare) => Ok(()),
        Some(AcceptanceRule::Rejection | AcceptanceRule::Synthetic(_)) => {
            Err(cannot("be told how to accept drafts: its `command` has no place for it"))
        }
    }
}

fn mentions(command: &[String], placeholder: &str) -> bool {
    command.iter().any(|word| word.contains(&format!("{{{placeholder}}}")))
}

/// One pass, so that braces in a value are not filled in again.
fn filled(word: &str, values: &[String; COMMAND_PLACEHOLDERS.len()]) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let known = COMMAND_PLACEHOLDERS.iter().zip(values).find_map(|(name, value)| {
            let after = from[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value, after))
        });
        match known {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text + rest
}

fn cannot(what: impl Into<String>) -> StackError {
    unsupported(StackKind::OpenAi, what)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use bench_core::preset::{Device, DraftHead, KvType, Route};

    use super::*;

    const MODELS: Names<'static> = Names { target: "t{port}", assistant: Some("a") };

    fn n(value: u32) -> NonZeroU32 {
        NonZeroU32::new(value).unwrap()
    }

    fn mtp() -> SpecDecode {
        SpecDecode::Mtp {
            draft_max: n(3),
            acceptance: AcceptanceRule::default(),
            draft_head: DraftHead::Auto,
        }
    }

    fn fill(command: &str, models: Names<'_>, spec: &SpecDecode) -> Result<String, String> {
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        let serving = ServingParams {
            context_tokens: n(1024),
            kv_type: KvType::F16.into(),
            threads: n(2),
            route: Route::Chat,
            device: Device::Auto,
            ple_table: bench_core::preset::PleTable::Auto,
            slots: NonZeroU32::MIN,
        };
        let filled = args(&command, models, spec, &serving, 8080).map(|words| words.join(" "));
        filled.map_err(|error| error.to_string())
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        let command = r#"srv -m {target} -d={assistant} -k {draft_max} -c {context_tokens} -t {threads} -p {port} {"a":{draft_max}} {}"#;
        assert_eq!(
            fill(command, MODELS, &mtp()).unwrap(),
            r#"srv -m t{port} -d=a -k 3 -c 1024 -t 2 -p 8080 {"a":3} {}"#
        );
        assert_eq!(fill("srv {target} {draft_max}", MODELS, &SpecDecode::None).unwrap(), "srv t{port} 0");
    }

    #[test]
    fn a_command_without_a_place_for_it_does_not_speculate() {
        let said = |command: &str, spec: &SpecDecode| fill(command, MODELS, spec).unwrap_err();
        assert_eq!(
            said("srv {assistant}", &mtp()),
            "openai cannot draft with mtp: its `command` has no `{draft_max}`"
        );
        assert_eq!(
            said("srv {draft_max}", &mtp()),
            "openai cannot draft with mtp: its `command` has no `{assistant}`"
        );
        let ngram = SpecDecode::Ngram { draft_max: n(3), ngram_min: n(2), ngram_max: n(4) };
        assert!(said("srv {draft_max}", &ngram).contains("n-grams"));
        let rejection = SpecDecode::DraftModel { draft_max: n(3), acceptance: AcceptanceRule::Rejection };
        assert!(said("srv {draft_max} {assistant}", &rejection).contains("how to accept"));
        assert!(said("", &SpecDecode::None).contains("no `command`"));
        let alone = Names { assistant: None, ..MODELS };
        assert!(
            fill("srv {assistant}", alone, &SpecDecode::None).unwrap_err().contains("no assistant model")
        );
    }
}
