//! Rules of a gate (`bench gate --rules FILE`) from TOML.
//!
//! Everything may be left out; what is left out is as in [`GateRules::default`]. A file that names metrics is held to those
//! alone. Unknown keys are errors, with the key that was probably meant.

use std::collections::BTreeMap;

use bench_core::gate::{
    ArmPair, Differences, FloorPolicy, GateMetric, GateRules, MetricRule, OutputPolicy, Policy,
};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::error::{InvalidValue, Place, PresetError};
use crate::fields::nearest;

/// What holds where a file says nothing, with every key explained: to start from.
pub const DEFAULT_GATE_RULES: &str = include_str!("../gate/rules.toml");

/// Every key, with `*` for the name of a metric.
const KEYS: &[&str] = &[
    "alpha",
    "power",
    "min_blocks",
    "min_prompts",
    "noise_floor",
    "outputs",
    "max_age_days",
    "metrics",
    "metrics.*.margin",
    "arms",
    "arms.baseline",
    "arms.candidate",
    "differences",
    "differences.machine",
    "differences.models",
    "differences.serving",
    "differences.stack_version",
    "differences.suite_version",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    alpha: Option<f64>,
    power: Option<f64>,
    min_blocks: Option<i64>,
    min_prompts: Option<i64>,
    noise_floor: Option<FloorPolicy>,
    outputs: Option<OutputPolicy>,
    max_age_days: Option<i64>,
    metrics: Option<BTreeMap<GateMetric, RawMetric>>,
    #[serde(default)]
    arms: Vec<RawArms>,
    #[serde(default)]
    differences: RawDifferences,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetric {
    margin: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArms {
    baseline: String,
    candidate: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDifferences {
    machine: Option<Policy>,
    models: Option<Policy>,
    serving: Option<Policy>,
    stack_version: Option<Policy>,
    suite_version: Option<Policy>,
}

/// Reads rules. `origin` names the text in messages.
///
/// # Errors
///
/// What is no TOML, a key or metric that there is not, and a value that no gate can be held to.
pub fn parse_gate_rules(text: &str, origin: &str) -> Result<GateRules, PresetError> {
    let document = |error: &toml::de::Error| PresetError::Document {
        origin: origin.to_owned(),
        place: error.span().map(|span| Place::of(text, span.start)),
        message: error.message().to_owned(),
    };
    let parsed = DeTable::parse(text).map_err(|error| document(&error))?;
    if let Some((key, offset)) = find_unknown(parsed.get_ref(), "") {
        let place = Some(Place::of(text, offset));
        return Err(PresetError::UnknownKey { origin: origin.to_owned(), place, nearest: meant(&key), key });
    }
    let raw: Raw = toml::from_str(text).map_err(|error| document(&error))?;
    rules(raw).map_err(|source| source.at(origin))
}

/// The first key that means nothing, and its byte offset. Values of the wrong shape are left to the types.
fn find_unknown(table: &DeTable<'_>, section: &str) -> Option<(String, usize)> {
    table.iter().find_map(|(key, value)| {
        let path = join(section, key.get_ref());
        if !is_known(&path) {
            return Some((path, key.span().start));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            return find_unknown(inner, &path);
        }
        let DeValue::Array(elements) = value.get_ref() else { return None };
        elements.iter().find_map(|element| match element.get_ref().as_table() {
            Some(inner) => find_unknown(inner, &path),
            None => None,
        })
    })
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn is_known(path: &str) -> bool {
    match path.strip_prefix("metrics.") {
        None => KEYS.contains(&path),
        Some(rest) => {
            let (name, key) = rest.split_once('.').unwrap_or((rest, "margin"));
            key == "margin" && metric(name).is_some()
        }
    }
}

fn metric(name: &str) -> Option<GateMetric> {
    GateMetric::ALL.into_iter().find(|metric| metric.as_str() == name)
}

/// The key that was probably meant.
fn meant(path: &str) -> Option<String> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    let near = match section {
        "metrics" => nearest(name, GateMetric::ALL.iter().map(|metric| metric.as_str())),
        _ if section.starts_with("metrics.") => Some("margin"),
        _ => {
            let own = KEYS.iter().filter_map(|key| {
                let rest =
                    if section.is_empty() { key } else { key.strip_prefix(section)?.strip_prefix('.')? };
                (!rest.contains('.')).then_some(rest)
            });
            nearest(name, own)
        }
    };
    let elsewhere =
        || KEYS.iter().find(|key| key.rsplit('.').next() == Some(name)).map(|key| (*key).to_owned());
    near.map(|near| join(section, near)).or_else(elsewhere)
}

fn rules(raw: Raw) -> Result<GateRules, InvalidValue> {
    let defaults = GateRules::default();
    let metrics = match raw.metrics {
        None => defaults.metrics,
        Some(metrics) => metrics.into_iter().map(metric_rule).collect::<Result<_, _>>()?,
    };
    if metrics.is_empty() {
        return Err(invalid(
            "metrics",
            None,
            "at least one metric",
            Some("leave `[metrics]` out for the usual ones"),
        ));
    }
    let differences = Differences {
        machine: raw.differences.machine.unwrap_or(defaults.differences.machine),
        models: raw.differences.models.unwrap_or(defaults.differences.models),
        serving: raw.differences.serving.unwrap_or(defaults.differences.serving),
        stack_version: raw.differences.stack_version.unwrap_or(defaults.differences.stack_version),
        suite_version: raw.differences.suite_version.unwrap_or(defaults.differences.suite_version),
    };
    let same = |arms: RawArms| ArmPair {
        candidate: arms.candidate.unwrap_or_else(|| arms.baseline.clone()),
        baseline: arms.baseline,
    };
    Ok(GateRules {
        alpha: between("alpha", raw.alpha, (0.0, 0.5))?.unwrap_or(defaults.alpha),
        power: between("power", raw.power, (0.5, 1.0))?.unwrap_or(defaults.power),
        min_blocks: count("min_blocks", raw.min_blocks, 5)?.unwrap_or(defaults.min_blocks),
        min_prompts: count("min_prompts", raw.min_prompts, 5)?.unwrap_or(defaults.min_prompts),
        noise_floor: raw.noise_floor.unwrap_or(defaults.noise_floor),
        outputs: raw.outputs.unwrap_or(defaults.outputs),
        metrics,
        arms: raw.arms.into_iter().map(same).collect(),
        differences,
        max_age_days: count("max_age_days", raw.max_age_days, 1)?,
    })
}

fn metric_rule((metric, RawMetric { margin }): (GateMetric, RawMetric)) -> Result<MetricRule, InvalidValue> {
    let key = format!("metrics.{metric}.margin");
    let hint = (margin > 1.0).then_some("a share, not per cent: 0.03 is 3 %");
    if margin > 0.0 && margin < 1.0 {
        Ok(MetricRule { metric, margin })
    } else {
        Err(invalid(&key, Some(format!("{margin}")), "a share above 0 and below 1", hint))
    }
}

fn between(key: &str, value: Option<f64>, (least, most): (f64, f64)) -> Result<Option<f64>, InvalidValue> {
    match value {
        Some(value) if value > least && value < most => Ok(Some(value)),
        None => Ok(None),
        Some(value) => Err(invalid(
            key,
            Some(value.to_string()),
            &format!("a number above {least} and below {most}"),
            None,
        )),
    }
}

/// Below five clusters there is no interval.
fn count(key: &str, value: Option<i64>, least: u32) -> Result<Option<u32>, InvalidValue> {
    let Some(value) = value else { return Ok(None) };
    match u32::try_from(value) {
        Ok(count) if count >= least => Ok(Some(count)),
        Ok(_) | Err(_) => {
            Err(invalid(key, Some(value.to_string()), &format!("a whole number from {least} on"), None))
        }
    }
}

fn invalid(key: &str, value: Option<String>, expected: &str, hint: Option<&str>) -> InvalidValue {
    InvalidValue { key: key.to_owned(), value, expected: expected.to_owned(), hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, Option<String>) {
        let error = parse_gate_rules(text, "rules.toml").unwrap_err();
        (error.to_string(), error.hint())
    }

    #[test]
    fn the_shipped_text_is_the_default_and_so_is_nothing() {
        assert_eq!(parse_gate_rules(DEFAULT_GATE_RULES, "rules.toml").unwrap(), GateRules::default());
        assert_eq!(parse_gate_rules("", "rules.toml").unwrap(), GateRules::default());
        let without_hash = DEFAULT_GATE_RULES.replace("# max_age", "max_age").replace("\n# [[", "\n[[");
        let without_hash = without_hash.replace("# baseline", "baseline").replace("# candidate", "candidate");
        let all = parse_gate_rules(&without_hash, "rules.toml").unwrap();
        assert_eq!((all.max_age_days, all.arms.len()), (Some(30), 1), "every key is shown");
        for key in KEYS.iter().filter(|key| !key.contains('*')) {
            let name = key.rsplit('.').next().unwrap_or(key);
            assert!(DEFAULT_GATE_RULES.contains(name), "{key}");
        }
    }

    #[test]
    fn what_is_named_is_asked_and_nothing_else() {
        let text = "[metrics]\nacceptance_rate.margin = 0.1\n[[arms]]\nbaseline = \"vllm/none\"\n";
        let rules = parse_gate_rules(text, "rules.toml").unwrap();
        assert_eq!(rules.metrics, [MetricRule { metric: GateMetric::AcceptanceRate, margin: 0.1 }]);
        assert_eq!((&*rules.arms[0].baseline, &*rules.arms[0].candidate), ("vllm/none", "vllm/none"));
    }

    #[test]
    fn what_means_nothing_is_named_with_what_does() {
        for (text, what, hint) in [
            ("alpa = 0.1", "rules.toml:1:1: unknown key `alpa`", Some("did you mean `alpha`?")),
            (
                "\n[metrics.tokens_per_sec]",
                "2:10: unknown key `metrics.tokens_per_sec`",
                Some("did you mean `metrics.tokens_per_s`?"),
            ),
            (
                "[metrics.ttft_ms]\nmargn = 1",
                "`metrics.ttft_ms.margn`",
                Some("did you mean `metrics.ttft_ms.margin`?"),
            ),
            ("machine = \"warn\"", "unknown key `machine`", Some("did you mean `differences.machine`?")),
            (
                "[differences]\nmachines = \"warn\"",
                "`differences.machines`",
                Some("did you mean `differences.machine`?"),
            ),
            ("[[arms]]\nbase = \"a\"", "unknown key `arms.base`", None),
            ("alpha = 5", "`alpha` is `5`, expected a number above 0 and below 0.5", None),
            ("min_blocks = 4", "`min_blocks` is `4`, expected a whole number from 5 on", None),
            ("min_prompts = -4", "`min_prompts` is `-4`", None),
            (
                "[metrics]\n",
                "`metrics` is missing, expected at least one metric",
                Some("leave `[metrics]` out for the usual ones"),
            ),
            (
                "[metrics.ttft_ms]\nmargin = 3",
                "`metrics.ttft_ms.margin` is `3`",
                Some("a share, not per cent: 0.03 is 3 %"),
            ),
            ("[metrics.ttft_ms]\nmargin = nan", "is `NaN`, expected a share", None),
            ("noise_floor = \"never\"", "unknown variant `never`", None),
            ("alpha = ", "rules.toml:1:", None),
        ] {
            let (message, found) = error(text);
            assert!(message.contains(what), "{text}: {message}");
            assert_eq!(found.as_deref(), hint, "{text}: {message}");
        }
    }
}
