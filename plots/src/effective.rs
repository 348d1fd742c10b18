//! What was in force: first where arms differ, then everything.

use bench_core::preset::StackKind;
use bench_core::report::{ArmReport, Report};
use maud::{Markup, html};

use crate::charts::stacks;
use crate::words::variant;

/// A setting by its name, with each arm's value; `None` where an arm does not tell it.
struct Setting<'a> {
    name: &'a str,
    values: Vec<Option<&'a str>>,
}

impl Setting<'_> {
    fn differs(&self) -> bool {
        self.values.windows(2).any(|two| two[0] != two[1])
    }

    /// What most arms have; the first of those that are equally common.
    fn usual(&self) -> Option<&str> {
        let count = |value: &Option<&str>| self.values.iter().filter(|other| *other == value).count();
        let most = self.values.iter().map(count).max()?;
        self.values.iter().find(|value| count(value) == most).copied().flatten()
    }
}

/// Tables of differences, between stacks and inside each; behind folds the settings that are equal, and each arm's whole list.
pub(crate) fn configuration(report: &Report) -> Markup {
    let groups: Vec<(StackKind, Vec<&ArmReport>)> = stacks(report)
        .into_iter()
        .map(|(stack, arms)| (stack, arms.into_iter().filter(|arm| !arm.effective.is_empty()).collect()))
        .collect();
    let groups: Vec<_> = groups.iter().filter(|(_, arms)| !arms.is_empty()).collect();
    html! {
        section id="configuration" {
            h2 { "Configuration in force" }
            p { "Read back from each stack after it started, not copied from the preset. Only what differs is shown first; "
                span.differs { "≠ marks" } " what is not the most common value of its column." }
            (between(&groups))
            @for (stack, arms) in &groups { (inside(*stack, arms)) }
            @for arm in &report.arms {
                details { summary { "All settings of " (arm.label) } dl {
                    @if arm.effective.is_empty() { dt { "nothing" } dd { "it was never ready" } }
                    @for (name, value) in &arm.effective { dt { (name) } dd { code { (value) } } }
                } }
            }
        }
    }
}

/// What is one value inside each stack and not the same in all.
fn between(groups: &[&(StackKind, Vec<&ArmReport>)]) -> Markup {
    let arms: Vec<_> = groups.iter().flat_map(|(_, arms)| arms.iter().copied()).collect();
    let all = settings(&arms);
    let of_stacks = all.into_iter().filter_map(|setting| {
        let mut values = setting.values.iter();
        let of_each = groups.iter().map(|(_, arms)| -> Option<Option<&str>> {
            let mut own = values.by_ref().take(arms.len());
            let first = *own.next()?;
            // All are read, so that the next stack begins at its own.
            (own.filter(|other| **other != first).count() == 0 && first.is_some()).then_some(first)
        });
        let values = of_each.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
        Some(Setting { name: setting.name, values })
    });
    let differing: Vec<_> = of_stacks.filter(Setting::differs).collect();
    let names: Vec<_> = groups.iter().map(|(stack, _)| stack.as_str()).collect();
    html! { @if groups.len() > 1 && !differing.is_empty() {
        h3 { "Between stacks" }
        (table("stack", &names, &differing.iter().collect::<Vec<_>>()))
    } }
}

fn inside(stack: StackKind, arms: &[&ArmReport]) -> Markup {
    let settings = settings(arms);
    let (differing, equal): (Vec<_>, Vec<_>) = settings.iter().partition(|setting| setting.differs());
    let names: Vec<_> = arms.iter().map(|arm| variant(&arm.label)).collect();
    html! { @if arms.len() > 1 {
        h3 { "Between arms of " (stack) }
        @if differing.is_empty() { p { "All of them tell the same." } } @else { (table("arm", &names, &differing)) }
        @if !equal.is_empty() {
            details { summary { "Equal in all arms of " (stack) " (" (equal.len()) ")" } dl {
                @for setting in &equal { dt { (setting.name) } dd { code { (setting.values[0].unwrap_or("–")) } } }
            } }
        }
    } }
}

/// In the order in which they first appear. A name that an arm tells twice (as asked, and as read back) is two settings.
fn settings<'a>(arms: &[&'a ArmReport]) -> Vec<Setting<'a>> {
    let mut names: Vec<(&str, usize)> = Vec::new();
    for arm in arms {
        for (place, (name, _)) in arm.effective.iter().enumerate() {
            let nth = arm.effective[..place].iter().filter(|(other, _)| other == name).count();
            if !names.contains(&(name.as_str(), nth)) {
                names.push((name, nth));
            }
        }
    }
    let value = |arm: &'a ArmReport, (name, nth): (&str, usize)| {
        let mut named = arm.effective.iter().filter(move |(other, _)| other == name);
        named.nth(nth).map(|(_, value)| value.as_str())
    };
    let setting = |at: (&'a str, usize)| Setting {
        name: at.0,
        values: arms.iter().map(|arm| value(arm, at)).collect(),
    };
    names.into_iter().map(setting).collect()
}

fn table(first: &str, names: &[&str], settings: &[&Setting<'_>]) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label={ "Differing settings, by " (first) } { table.settings {
        thead { tr { th scope="col" { (first) } @for setting in settings { th scope="col" { (setting.name) } } } }
        tbody { @for (nth, name) in names.iter().enumerate() { tr {
            th scope="row" { (name) }
            @for setting in settings { (cell(setting.values[nth], setting.usual())) }
        } } }
    } } }
}

/// Longer command lines are told by the words in which they differ.
const LONG: usize = 60;

fn cell(value: Option<&str>, usual: Option<&str>) -> Markup {
    let text = value.unwrap_or("not told");
    let is_command = |text: &str| text.len() > LONG && text.contains(" -");
    let is_long = [value, usual].into_iter().flatten().any(is_command);
    html! { @match usual {
        _ if value == usual && is_long => td { "the most common one" },
        _ if value == usual => td { (text) },
        Some(usual) if is_long && value.is_some() => td.differs { "≠ " code { (changed(usual, text)) } },
        _ => td.differs { "≠ " (text) },
    } }
}

/// `+ words that came − words that went`.
fn changed(usual: &str, text: &str) -> String {
    let without = |from: &str, other: &str| -> Vec<String> {
        let other: Vec<_> = other.split_whitespace().collect();
        from.split_whitespace().filter(|word| !other.contains(word)).map(str::to_owned).collect()
    };
    let (came, went) = (without(text, usual), without(usual, text));
    let parts = [("+", came), ("−", went)].into_iter().filter(|(_, words)| !words.is_empty());
    let parts: Vec<_> = parts.map(|(sign, words)| format!("{sign} {}", words.join(" "))).collect();
    if parts.is_empty() { "the same words in another order".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_differs_from_what_most_arms_have() {
        let setting = |values: &[Option<&'static str>]| Setting { name: "threads", values: values.to_vec() };
        let odd = setting(&[Some("1"), Some("2"), Some("1")]);
        assert!(odd.differs() && odd.usual() == Some("1"));
        let untold = setting(&[None, None, Some("1")]);
        assert!(untold.differs() && untold.usual().is_none());
        assert!(!setting(&[Some("1"), Some("1")]).differs());
        assert_eq!(changed("serve --slots 1", "serve --slots 4 --draft"), "+ 4 --draft − 1");
    }
}
