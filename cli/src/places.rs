//! Where stacks are, as `--at` says: `STACK=PLACE` for all arms of a stack, `STACK/VARIANT=PLACE` for one.
//!
//! A place is an address or a program; what it means is the adapter's word. The command line wins over the environment,
//! and is no part of the preset: an experiment is the same wherever a server stands.

use bench_core::preset::{Preset, StackKind};

use crate::failure::Failure;

/// The places given, later ones before earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    kind: StackKind,
    variant: Option<String>,
    at: String,
}

impl Places {
    /// Reads the arguments; every one has to be about an arm that the run has.
    pub(crate) fn parse(arguments: &[String], preset: &Preset) -> Result<Self, Failure> {
        arguments.iter().rev().map(|argument| place(argument, preset)).collect::<Result<_, _>>().map(Self)
    }

    /// Where an arm's stack is: what was said of the arm, or else of its stack.
    pub(crate) fn of(&self, kind: StackKind, variant: &str) -> Option<&str> {
        let of_stack = || self.0.iter().filter(|place| place.kind == kind);
        let of_arm = of_stack().find(|place| place.variant.as_deref() == Some(variant));
        of_arm.or_else(|| of_stack().find(|place| place.variant.is_none())).map(|place| place.at.as_str())
    }
}

fn place(argument: &str, preset: &Preset) -> Result<Place, Failure> {
    let wrong = |what: &str, hint: String| Failure::with_hint(format!("--at `{argument}`: {what}"), hint);
    let Some((arm, at)) = argument.split_once('=').filter(|(_, at)| !at.is_empty()) else {
        let hint = "write `--at vllm=http://127.0.0.1:8000` or `--at llama-server/mtp-3=/opt/llama-server`";
        return Err(wrong("expected STACK=PLACE or STACK/VARIANT=PLACE", hint.to_owned()));
    };
    let (stack, variant) = arm.split_once('/').map_or((arm, None), |(stack, variant)| (stack, Some(variant)));
    let stacks: Vec<_> = preset.stacks.iter().map(|choice| choice.kind.as_str()).collect();
    let kind = preset.stacks.iter().map(|choice| choice.kind).find(|kind| kind.as_str() == stack);
    let kind = kind.ok_or_else(|| {
        wrong(
            &format!("this run has no stack `{stack}`"),
            format!("it runs on {}; add one with `--stack`", stacks.join(", ")),
        )
    })?;
    if kind == StackKind::Native {
        return Err(wrong("the native engine runs in this process", "leave it out".to_owned()));
    }
    if let Some(variant) = variant
        && !preset.variants.iter().any(|known| known.label == variant)
    {
        let labels: Vec<_> = preset.variants.iter().map(|known| known.label.as_str()).collect();
        return Err(wrong(&format!("no variant `{variant}`"), format!("there are {}", labels.join(", "))));
    }
    Ok(Place { kind, variant: variant.map(str::to_owned), at: at.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quickstart() -> Preset {
        bench_presets::load("quickstart", &[]).unwrap()
    }

    fn parse(arguments: &[&str]) -> Result<Places, Failure> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Places::parse(&arguments, &quickstart())
    }

    #[test]
    fn an_arm_s_own_place_wins_over_its_stack_s_and_the_last_over_the_first() {
        let places = parse(&[
            "llama-server/mtp-3=http://a:1/x=y",
            "llama-server=http://b:2",
            "llama-server=http://c:3",
        ])
        .unwrap();
        assert_eq!(places.of(StackKind::LlamaServer, "mtp-3"), Some("http://a:1/x=y"));
        assert_eq!(places.of(StackKind::LlamaServer, "none"), Some("http://c:3"));
        assert_eq!(places.of(StackKind::Vllm, "none"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_does() {
        for (argument, what, hint) in [
            ("http://a:1", "expected STACK=PLACE", "--at vllm=http"),
            ("llama-server=", "expected STACK=PLACE", "--at vllm=http"),
            ("vllm=http://a:1", "no stack `vllm`", "native, llama-server"),
            ("native=/bin/x", "in this process", "leave it out"),
            ("llama-server/mtp-9=http://a:1", "no variant `mtp-9`", "none, mtp-1, mtp-3, ngram"),
        ] {
            let shown = format!("{:?}", parse(&[argument]).unwrap_err());
            assert!(shown.contains(what) && shown.contains(hint), "{argument}: {shown}");
        }
    }
}
