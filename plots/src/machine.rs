//! The chart of run hygiene: what else the machine did while each arm was measured.

use bench_core::environment::Span;
use bench_core::report::{ArmReport, Report};
use maud::Markup;

use crate::charts::{Charts, Picture, footer, stacks};
use crate::rows::{Axis, Interval, Row, RowChart};
use crate::tables::table;
use crate::words::{number, percent, variant};

/// Adds what the report has numbers for.
pub(crate) fn add(report: &Report, charts: &mut Charts) {
    let why = "Run hygiene: the machine was not read while this run was made.";
    charts.offer("hygiene", hygiene(report), why);
}

fn hygiene(report: &Report) -> Option<(Picture, Markup)> {
    let spans = report.arms.iter().filter_map(|arm| arm.environment.as_ref());
    let max = spans.filter_map(|span| span.others_share).max_by(f64::total_cmp)?.max(0.05);
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    for (stack, arms) in stacks(report) {
        rows.push(Row::Group { text: stack.to_string(), stack: Some(stack) });
        for arm in arms {
            rows.push(row(arm));
            cells.extend(arm.environment.as_ref().map(|span| cell(arm, span)));
        }
    }
    let chart = RowChart {
        title: "Run hygiene".to_owned(),
        subtitle: "Share of the CPUs that others used while the arm was measured; beside it the mean clocks and power where \
                   the machine tells them. Equal bars are what makes arms comparable."
            .to_owned(),
        footer: footer(report),
        axis: Axis { min: 0.0, max, reference: 0.0, is_log: false, tick: percent },
        rows,
    };
    let head = ["arm", "others' CPU", "stolen", "load, highest", "CPU MHz", "GPU MHz", "GPU W", "GPU °C"];
    Some((Picture::Rows(chart), table(&head, &cells)))
}

/// Others' share is a matter of tenths of a per cent.
fn fine(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn row(arm: &ArmReport) -> Row {
    let label = variant(&arm.label).to_owned();
    let Some((span, share)) = arm.environment.as_ref().and_then(|span| Some((span, span.others_share?)))
    else {
        return Row::Gap { label, text: "the readings do not cover it".to_owned() };
    };
    let mut words = vec![fine(share)];
    words.extend(span.cpu_mhz.map(|mhz| format!("{mhz:.0} MHz")));
    let gpu = span.gpus.first();
    words.extend(gpu.and_then(|gpu| gpu.sm_clock_mhz).map(|mhz| format!("GPU {mhz:.0} MHz")));
    words.extend(gpu.and_then(|gpu| gpu.power_w).map(|watts| format!("{watts:.0} W")));
    let value = Interval { point: share, ends: None };
    Row::Bar { label, stack: arm.stack, strength: 1.0, hollow: !arm.valid, value, text: words.join(" · ") }
}

fn cell(arm: &ArmReport, span: &Span) -> Vec<String> {
    let dash = || "–".to_owned();
    let share = |value: Option<f64>| value.map_or_else(dash, fine);
    let plain = |value: Option<f64>| value.map_or_else(dash, number);
    let gpu = span.gpus.first();
    vec![
        arm.label.clone(),
        share(span.others_share),
        share(span.steal_share),
        plain(span.load_1m_max),
        plain(span.cpu_mhz),
        plain(gpu.and_then(|gpu| gpu.sm_clock_mhz)),
        plain(gpu.and_then(|gpu| gpu.power_w)),
        plain(gpu.and_then(|gpu| gpu.temperature_max_c).map(f64::from)),
    ]
}
