//! Was the machine, and the client, fit to measure with?

use bench_core::environment::{GpuHost, Span};
use bench_core::preset::{Device, StackKind};
use bench_core::truth::{MOST_MEMORY_STALL, MOST_OTHERS_SHARE, MOST_STOLEN_SHARE, RuleId};

use super::{Facts, Finding};
use crate::client;

pub(super) fn client_valid(facts: &Facts<'_>) -> Finding {
    let (rule, Facts { loaded, arm, .. }) = (RuleId::ClientValid, facts);
    if arm.stack == StackKind::Native {
        return Finding::does_not_apply(rule, "the engine stamps its tokens itself, in this process");
    }
    Finding::broken_or(rule, client::reasons(loaded, arm), || {
        let Some((p50_ns, p99_ns)) = client::lateness(loaded, arm) else {
            return Finding::unknown(rule, "the run did not record its client's lateness");
        };
        let ms = |ns: u64| ns as f64 / 1e6;
        Finding::held(
            rule,
            format!("at worst {:.2} ms late at a pass's median, {:.2} at its p99", ms(p50_ns), ms(p99_ns)),
        )
    })
}

pub(super) fn environment_quiet(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::EnvironmentQuiet;
    let Some(span) = &facts.surroundings.span else {
        return Finding::unknown(rule, facts.surroundings.absence());
    };
    let limits = [
        ("others used", "of the CPUs", span.others_share, MOST_OTHERS_SHARE),
        ("the hypervisor took", "of CPU time", span.steal_share, MOST_STOLEN_SHARE),
        ("our group was throttled for", "of the time", span.throttled_share, MOST_STOLEN_SHARE),
        ("tasks waited for memory for", "of the time", span.memory_stall_share, MOST_MEMORY_STALL),
    ];
    let passed = |limit: &&(&str, &str, Option<f64>, f64)| limit.2.is_some_and(|share| share > limit.3);
    let words: Vec<_> = limits
        .iter()
        .filter(passed)
        .filter_map(|(what, of, share, most)| {
            Some(format!("{what} {} {of}, more than {}", percent((*share)?), percent(*most)))
        })
        .collect();
    let only_others = words.len() == 1 && span.others_share.is_some_and(|share| share > MOST_OTHERS_SHARE);
    if only_others && facts.server_is_here_and_not_ours() {
        return Finding::unknown(
            rule,
            format!("{}; the server that was attached to is among them", words[0]),
        );
    }
    Finding::broken_or(rule, words, || match span.others_share {
        Some(_) => Finding::held(rule, quiet(span)),
        None => Finding::unknown(rule, "who used the CPUs was not told"),
    })
}

fn quiet(span: &Span) -> String {
    let word = |share: Option<f64>| share.map_or_else(|| "not told".to_owned(), percent);
    format!(
        "of the CPUs we used {}, others {}, the hypervisor {}; throttled {}; stalled for memory {}, for a CPU {}",
        word(span.ours_share),
        word(span.others_share),
        word(span.steal_share),
        word(span.throttled_share),
        word(span.memory_stall_share),
        word(span.cpu_stall_share),
    )
}

pub(super) fn gpu_undisturbed(facts: &Facts<'_>) -> Finding {
    let rule = RuleId::GpuUndisturbed;
    if facts.is_on_cpu() {
        return Finding::does_not_apply(rule, "it ran on the CPU");
    }
    let surroundings = facts.surroundings;
    if let Some(GpuHost::Absent { reason }) = surroundings.gpu {
        return Finding::unknown(rule, format!("NVML is absent: {reason}"));
    }
    let Some(span) = &surroundings.span else { return Finding::unknown(rule, surroundings.absence()) };
    if span.gpus.is_empty() {
        return Finding::unknown(rule, "no GPU was read");
    }
    let (mut words, mut untold) = (Vec::new(), Vec::new());
    for (gpu, index) in span.gpus.iter().zip(0..) {
        match gpu.throttled_by.as_deref() {
            Some([]) => {}
            Some(reasons) => words.push(format!("GPU {index} was held down by: {}", reasons.join(", "))),
            None => untold.push(format!("throttle reasons of GPU {index}")),
        }
        match gpu.foreign_processes_max {
            Some(0) => {}
            Some(_) if facts.server_is_here_and_not_ours() => {
                untold.push(format!("whether GPU {index} served others than the attached server"));
            }
            Some(others) => words.push(format!("{others} processes of others on GPU {index}")),
            None => untold.push(format!("processes on GPU {index}")),
        }
    }
    Finding::broken_or(rule, words, || {
        if untold.is_empty() {
            return Finding::held(rule, format!("{} GPUs at no limit, without others", span.gpus.len()));
        }
        Finding::unknown(rule, format!("not told: {}", untold.join(", ")))
    })
}

impl Facts<'_> {
    /// Whether the server ran before the run, and is not ours.
    pub(super) fn is_attached(&self) -> bool {
        self.arm
            .info
            .as_ref()
            .is_some_and(|info| ["http://", "https://"].iter().any(|scheme| info.recipe.starts_with(scheme)))
    }

    /// An attached server on this machine: its work looks like that of others.
    fn server_is_here_and_not_ours(&self) -> bool {
        self.is_attached() && self.server_host().is_some_and(is_loopback)
    }

    /// Whether the arm's server is another machine: nothing that is read here is about it.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.is_attached() && !self.server_host().is_some_and(is_loopback)
    }

    fn server_host(&self) -> Option<&str> {
        let address = self.arm.info.as_ref()?.recipe.split_once("://")?.1;
        let host = address.split(['/', '?']).next()?;
        Some(host.rsplit_once(':').map_or(host, |(host, _port)| host))
    }

    /// Whether the arm is known to run on the CPU.
    pub(crate) fn is_on_cpu(&self) -> bool {
        let told = self.arm.info.as_ref().and_then(|info| info.device.as_deref());
        let asked = self.loaded.first().preset.serving.device == Device::Cpu;
        told.map_or(asked, |device| device.to_lowercase().starts_with("cpu"))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
