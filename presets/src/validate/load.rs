//! `run.load` and the keys that go with it, made into a [`Load`].

use std::num::NonZeroU32;
use std::time::Duration;

use bench_core::load::{Arrivals, Load, OpenLoad};
use bench_core::preset::PromptSpec;

use super::values::{Checked, count, invalid, missing};
use crate::error::InvalidValue;
use crate::raw::{LoadWord, RawRun};
use crate::trace::read_trace;

/// A schedule is made before its pass begins, and held in memory.
const MOST_ARRIVALS: f64 = 1e7;

/// Above this no client of this suite could follow.
const MOST_REQUESTS_PER_S: f64 = 1e6;

/// When requests are sent; without `run.requests` an open loop sends as many a pass as there are `prompts`.
pub(super) fn load(raw: &RawRun, prompts: usize) -> Checked<Load> {
    let word = raw.load.unwrap_or(LoadWord::Closed);
    refuse_others(raw, word)?;
    let arrivals = match word {
        LoadWord::Closed => return Ok(Load::Closed),
        LoadWord::Constant => Arrivals::Constant { rate: rate("run.rate", raw.rate)? },
        LoadWord::Poisson => Arrivals::Poisson { rate: rate("run.rate", raw.rate)? },
        LoadWord::Gamma => {
            Arrivals::Gamma { rate: rate("run.rate", raw.rate)?, burstiness: burstiness(raw.burstiness)? }
        }
        LoadWord::Ramp => Arrivals::Ramp {
            from: rate("run.rate", raw.rate)?,
            to: rate("run.rate_end", raw.rate_end)?,
            curve: raw.ramp.unwrap_or_default(),
        },
        LoadWord::Trace => Arrivals::Trace { at_us: trace(raw)? },
    };
    let given = match &arrivals {
        Arrivals::Trace { at_us } => at_us.len(),
        Arrivals::Constant { .. }
        | Arrivals::Poisson { .. }
        | Arrivals::Gamma { .. }
        | Arrivals::Ramp { .. } => prompts,
    };
    let duration = duration(raw)?;
    let given = match duration {
        None => u32::try_from(given).unwrap_or(u32::MAX),
        Some(duration) => fits(&arrivals, duration, raw.requests.is_some())?,
    };
    let requests = count("run.requests", raw.requests, given)?;
    if let Arrivals::Trace { at_us } = &arrivals
        && requests.get() as usize > at_us.len()
    {
        let expected = format!("at most {}, the length of the trace", at_us.len());
        return Err(invalid("run.requests", requests, expected));
    }
    let max_in_flight =
        raw.max_in_flight.map(|most| count("run.max_in_flight", Some(most), 1)).transpose()?;
    Ok(Load::Open(OpenLoad { arrivals, requests, max_in_flight }))
}

/// How long a measured pass goes on sending.
pub(super) fn duration(raw: &RawRun) -> Checked<Option<NonZeroU32>> {
    raw.duration_s.map(|seconds| count("run.duration_s", Some(seconds), 1)).transpose()
}

/// A conversation that began is one unit: an end in the middle of it would leave out its later turns, which are the long
/// ones.
pub(super) fn ends_no_conversation(duration: Option<NonZeroU32>, prompts: &[PromptSpec]) -> Checked<()> {
    match (duration, prompts.iter().find(|prompt| prompt.turns() > 1)) {
        (Some(seconds), Some(talk)) => {
            let expected = format!("no such key with conversations, such as prompt `{}`", talk.id);
            Err(invalid("run.duration_s", seconds, expected).hint(
                "a pass over conversations ends when the last one does; `run.requests` says how many begin",
            ))
        }
        _ => Ok(()),
    }
}

/// The most requests that a pass of this duration may send: as many as fall into it, or as many as a ramp of this length has.
fn fits(arrivals: &Arrivals, duration: NonZeroU32, has_requests: bool) -> Checked<u32> {
    let time = Duration::from_secs(duration.get().into());
    let (expected, most) = match arrivals {
        Arrivals::Constant { rate } | Arrivals::Poisson { rate } | Arrivals::Gamma { rate, .. } => {
            (rate * f64::from(duration.get()), None)
        }
        Arrivals::Ramp { from, to, curve } => {
            let requests = OpenLoad::requests_of_ramp(*from, *to, *curve, time);
            (requests, Some(requests))
        }
        Arrivals::Trace { at_us } => return Ok(u32::try_from(at_us.len()).unwrap_or(u32::MAX)),
    };
    if !has_requests && expected > MOST_ARRIVALS {
        return Err(invalid(
            "run.duration_s",
            duration,
            format!("at most {MOST_ARRIVALS} arrivals a pass, not {expected}"),
        )
        .hint("shorten the pass, lower the rate, or limit it by `run.requests`"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to MOST_ARRIVALS, and `as` saturates"
    )]
    Ok(most.map_or(u32::MAX, |most| most as u32))
}

/// The numbers of requests in flight of a sweep, and the greatest of them or `run.concurrency`.
pub(super) fn concurrency(raw: &RawRun, load: &Load) -> Checked<(NonZeroU32, Vec<NonZeroU32>)> {
    let sweep = raw.sweep_concurrency.as_deref().unwrap_or_default();
    let key = |index: usize| format!("run.sweep_concurrency[{index}]");
    let counts = sweep.iter().enumerate().map(|(index, n)| count(key(index), Some(*n), 1));
    let sweep: Vec<NonZeroU32> = counts.collect::<Checked<_>>()?;
    if let Some(index) = (1..sweep.len()).find(|index| sweep[*index] <= sweep[index - 1]) {
        let expected = format!("more than {}, the one before", sweep[index - 1]);
        return Err(invalid(key(index), sweep[index], expected));
    }
    let greatest = sweep.last().map_or(1, |most| most.get());
    let concurrency = count("run.concurrency", raw.concurrency, greatest)?;
    if !load.is_closed() {
        let hint = "an open loop has a limit of its own: `run.max_in_flight`";
        if !sweep.is_empty() {
            return Err(invalid("run.sweep_concurrency", "given", "no sweep in an open loop").hint(hint));
        }
        if concurrency.get() > 1 {
            return Err(invalid("run.concurrency", concurrency, "nothing but 1 in an open loop").hint(hint));
        }
    }
    match sweep.last() {
        // 1 is what presets that are inherited from say without meaning it.
        Some(&most) if concurrency == most || concurrency.get() == 1 => Ok((most, sweep)),
        Some(most) => {
            let expected = format!("{most}, the greatest of `run.sweep_concurrency`, or no such key");
            Err(invalid("run.concurrency", concurrency, expected))
        }
        None => Ok((concurrency, sweep)),
    }
}

/// Requests that a server has to answer at once, unless `serving.slots` says.
pub(super) fn slots(load: &Load, concurrency: NonZeroU32) -> NonZeroU32 {
    /// Of an open loop without a limit: what is beyond waits in the server.
    const UNLIMITED: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
    load.open().map_or(concurrency, |open| open.max_in_flight.unwrap_or(UNLIMITED))
}

/// A key of another kind of load would be read by nobody.
fn refuse_others(raw: &RawRun, word: LoadWord) -> Checked<()> {
    use LoadWord::{Constant, Gamma, Poisson, Ramp, Trace};
    const OPEN: &[LoadWord] = &[Constant, Poisson, Gamma, Ramp, Trace];
    let keys: [(&str, bool, &[LoadWord]); 8] = [
        ("rate", raw.rate.is_some(), &[Constant, Poisson, Gamma, Ramp]),
        ("rate_end", raw.rate_end.is_some(), &[Ramp]),
        ("ramp", raw.ramp.is_some(), &[Ramp]),
        ("burstiness", raw.burstiness.is_some(), &[Gamma]),
        ("trace", raw.trace.is_some(), &[Trace]),
        ("trace_us", raw.trace_us.is_some(), &[Trace]),
        ("requests", raw.requests.is_some(), OPEN),
        ("max_in_flight", raw.max_in_flight.is_some(), OPEN),
    ];
    let Some((key, _, of)) = keys.iter().find(|(_, given, of)| *given && !of.contains(&word)) else {
        return Ok(());
    };
    let of: Vec<_> = of.iter().map(|word| format!("`{}`", word.as_str())).collect();
    let expected = format!("no such key with `run.load = \"{}\"`", word.as_str());
    let hint = format!("it belongs to {}", of.join(", "));
    Err(invalid(format!("run.{key}"), "given", expected).hint(&hint))
}

fn rate(key: &str, value: Option<f64>) -> Checked<f64> {
    let expected = format!("requests a second, above 0, up to {MOST_REQUESTS_PER_S}");
    match value {
        None => Err(missing(key, expected)),
        Some(rate) if rate > 0.0 && rate <= MOST_REQUESTS_PER_S => Ok(rate),
        Some(rate) => Err(invalid(key, rate, expected)),
    }
}

fn burstiness(value: Option<f64>) -> Checked<f64> {
    let expected = "0.01 to 1000; 1 is Poisson, below 1 comes in bursts";
    match value {
        None => Err(missing("run.burstiness", expected)),
        Some(shape) if (0.01..=1000.0).contains(&shape) => Ok(shape),
        Some(shape) => Err(invalid("run.burstiness", shape, expected)),
    }
}

fn trace(raw: &RawRun) -> Checked<Vec<u64>> {
    let at_us = match (&raw.trace, &raw.trace_us) {
        (Some(_), Some(_)) => {
            return Err(invalid("run.trace_us", "given", "either this or `run.trace`"));
        }
        (None, None) => return Err(missing("run.trace", "a file of times, one JSON object a line")),
        (Some(path), None) => read_trace(path).map_err(|problem| InvalidValue {
            hint: Some("docs/load.md tells the format".to_owned()),
            ..invalid("run.trace", path, problem)
        })?,
        (None, Some(at_us)) => at_us.clone(),
    };
    match at_us.windows(2).position(|pair| pair[1] < pair[0]) {
        _ if at_us.is_empty() => Err(invalid("run.trace_us", "[]", "at least one time")),
        Some(index) => {
            let expected = format!("at least {}, the one before", at_us[index]);
            Err(invalid(format!("run.trace_us[{}]", index + 1), at_us[index + 1], expected))
        }
        None => Ok(at_us),
    }
}
