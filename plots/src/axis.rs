//! A value axis, linear or logarithmic, and its round ticks.

/// The value axis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// A value with a line of its own: 0 under bars, 1 under ratios. Logarithmic axes of rows draw none.
    pub(crate) reference: f64,
    /// Equal steps are equal factors. Never under bars, whose length would lie.
    pub(crate) is_log: bool,
    /// How a tick is written.
    pub(crate) tick: fn(f64) -> String,
}

impl Axis {
    /// Logarithmic from a little below the least of these to a little above the greatest; `None` without a positive one.
    pub(crate) fn log(values: impl Iterator<Item = f64> + Clone, tick: fn(f64) -> String) -> Option<Self> {
        let positive = values.filter(|value| *value > 0.0 && value.is_finite());
        let min = positive.clone().min_by(f64::total_cmp)? / 1.2;
        let max = positive.max_by(f64::total_cmp)? * 1.2;
        Some(Self { min, max, reference: min, is_log: true, tick })
    }

    /// Where a value lies, 0 at the lower end and 1 at the upper one; what is outside is put on the end.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let of = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let span = of(self.max) - of(self.min);
        if span > 0.0 { ((of(value) - of(self.min)) / span).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values inside the axis, about as many as asked.
    pub(crate) fn ticks(&self, about: f64) -> Vec<f64> {
        if self.is_log { log_ticks(self.min, self.max, about) } else { ticks(self.min, self.max, about) }
    }
}

/// 1, 2 and 5 times powers of ten; powers of ten alone where those are too many.
fn log_ticks(min: f64, max: f64, about: f64) -> Vec<f64> {
    let decades = (max / min).log10();
    let steps: &[f64] = if decades * 2.0 <= about { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf(min.log10().floor());
    while power <= max {
        let inside = steps.iter().map(|step| step * power).filter(|tick| (min..=max).contains(tick));
        ticks.extend(inside);
        power *= 10.0;
    }
    ticks
}

/// Steps of 1, 2 or 5 times a power of ten.
fn ticks(min: f64, max: f64, about: f64) -> Vec<f64> {
    let span = max - min;
    if !(span > 0.0 && span.is_finite()) {
        return vec![min];
    }
    let raw = span / about;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|nice| nice * power).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(10.0 * power);
    let mut ticks = Vec::new();
    let mut index = (min / step - 1e-9).ceil();
    while index * step <= max + step * 1e-9 {
        // `+ 0.0` turns -0 into 0, which would be written with its sign.
        ticks.push(index * step + 0.0);
        index += 1.0;
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert!(close(&ticks(0.0, 930.0, 5.0), &[0.0, 200.0, 400.0, 600.0, 800.0]));
        assert!(close(&ticks(0.9, 2.1, 4.0), &[1.0, 1.5, 2.0]));
        assert!(close(&ticks(3.0, 3.0, 4.0), &[3.0]));
    }

    #[test]
    fn a_log_axis_has_equal_factors_at_equal_distances() {
        let axis = Axis::log([1.2, 120.0, 0.0, f64::NAN].into_iter(), |tick| tick.to_string()).unwrap();
        assert!(close(&[axis.min, axis.max], &[1.0, 144.0]));
        assert!(close(&[12.0, 0.0, 1e9].map(|value| axis.share(value)), &[0.5, 0.0, 1.0]));
        assert!(close(&axis.ticks(7.0), &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]));
        assert!(close(&axis.ticks(3.0), &[1.0, 10.0, 100.0]));
        assert!(Axis::log([0.0].into_iter(), |tick| tick.to_string()).is_none());
    }
}
