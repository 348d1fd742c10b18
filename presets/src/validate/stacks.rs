//! The stacks a preset runs on.

use std::collections::HashSet;

use bench_core::preset::{COMMAND_PLACEHOLDERS, StackChoice, StackKind};

use super::values::{Checked, invalid, missing};
use crate::error::InvalidValue;
use crate::fields::nearest;
use crate::raw::RawStack;

pub(super) fn stacks(raw: Vec<RawStack>) -> Checked<Vec<StackChoice>> {
    if raw.is_empty() {
        return Err(
            missing("stacks", "at least one stack").hint("write `[[stacks]]` and `kind = \"native\"`")
        );
    }
    let mut seen = HashSet::new();
    let choices = raw.into_iter().enumerate().map(|(index, stack)| {
        if !seen.insert(stack.kind) {
            return Err(invalid(format!("stacks[{index}].kind"), stack.kind, "each stack once"));
        }
        let command = command(&format!("stacks.{}.command", stack.kind), stack.kind, stack.command)?;
        Ok(StackChoice { kind: stack.kind, required: stack.required.unwrap_or(true), command })
    });
    choices.collect()
}

fn command(key: &str, kind: StackKind, command: Option<Vec<String>>) -> Checked<Vec<String>> {
    let Some(command) = command else { return Ok(Vec::new()) };
    if kind != StackKind::OpenAi {
        return Err(invalid(key, "given", "no such key with this `kind`")
            .hint("the suite knows how to launch this stack; `kind = \"openai\"` is for servers that it does not know"));
    }
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        return Err(missing(key, "a program and its arguments, each a text of its own"));
    }
    match command.iter().find_map(|word| unknown_placeholder(word)) {
        Some(name) => Err(unknown(key, name)),
        None => Ok(command),
    }
}

fn unknown(key: &str, name: &str) -> InvalidValue {
    let known: Vec<_> = COMMAND_PLACEHOLDERS.iter().map(|known| format!("`{{{known}}}`")).collect();
    let expected = format!("only {}", known.join(", "));
    let near = nearest(name, COMMAND_PLACEHOLDERS.into_iter());
    let hint = near.map(|near| format!("did you mean `{{{near}}}`?"));
    InvalidValue { hint, ..invalid(key, format!("{{{name}}}"), expected) }
}

/// A name between braces that is none of ours. Anything else between braces is left alone, such as JSON.
fn unknown_placeholder(word: &str) -> Option<&str> {
    let between = word.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let mut names = between.filter(|name| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_')
    });
    names.find(|name| !COMMAND_PLACEHOLDERS.contains(name))
}
