//! A ratio in a word.

use crate::report::{Estimate, Verdict};

/// What a verdict is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// candidate / baseline; `None` if an arm is invalid or nothing was paired.
    pub ratio: Option<Estimate>,
    /// Chance of such blocks without a difference, adjusted for the metrics looked at.
    pub p_adjusted: Option<f64>,
    /// The level that `p_adjusted` has to reach.
    pub alpha: f64,
    /// A difference nobody would act on, as a share.
    pub margin: f64,
    /// The largest difference this machine showed between an arm and itself, as a share; `None` where it is not known.
    pub noise_floor: Option<f64>,
    /// Whether a ratio above 1 is faster.
    pub more_is_faster: bool,
}

/// What the evidence says, and why not more where it says nothing. Silence is never a pass: without an interval the
/// arms are not comparable, whatever the point says.
#[must_use]
pub fn verdict(evidence: &Evidence) -> (Verdict, Option<String>) {
    let ends = evidence.ratio.and_then(|ratio| Some((ratio.point, ratio.low?, ratio.high?)));
    let Some((point, low, high)) = ends else { return (Verdict::NotComparable, None) };
    let bound = evidence.margin.ln_1p();
    if low.ln() >= -bound && high.ln() <= bound {
        return (Verdict::Equivalent, None);
    }
    if low <= 1.0 && high >= 1.0 {
        return (Verdict::NotResolved, None);
    }
    if evidence.p_adjusted.is_none_or(|p| p > evidence.alpha) {
        return (Verdict::NotResolved, Some("not significant among all metrics (Holm)".to_owned()));
    }
    if let Some(floor) = evidence.noise_floor.filter(|floor| point.ln().abs() <= floor.ln_1p()) {
        let floor = format!("under the noise floor ({:.1} %)", floor * 100.0);
        return (Verdict::NotResolved, Some(floor));
    }
    let faster = (low > 1.0) == evidence.more_is_faster;
    (if faster { Verdict::Faster } else { Verdict::Slower }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(low: f64, high: f64) -> Evidence {
        Evidence {
            ratio: Some(Estimate { point: f64::midpoint(low, high), low: Some(low), high: Some(high) }),
            p_adjusted: Some(0.01),
            alpha: 0.05,
            margin: 0.01,
            noise_floor: None,
            more_is_faster: true,
        }
    }

    #[test]
    fn the_interval_decides_and_not_the_point() {
        let word = |evidence: Evidence| verdict(&evidence).0;
        assert_eq!(word(of(1.02, 2.0)), Verdict::Faster);
        assert_eq!(word(of(0.5, 0.98)), Verdict::Slower);
        assert_eq!(word(of(0.9, 2.0)), Verdict::NotResolved);
        assert_eq!(word(of(1.0, 2.0)), Verdict::NotResolved);
        assert_eq!(word(of(0.995, 1.005)), Verdict::Equivalent);
        assert_eq!(word(of(1.002, 1.005)), Verdict::Equivalent, "a difference nobody would act on");
        assert_eq!(word(Evidence { more_is_faster: false, ..of(1.02, 2.0) }), Verdict::Slower);
        assert_eq!(word(Evidence { more_is_faster: false, ..of(0.5, 0.9) }), Verdict::Faster);
        assert_eq!(word(Evidence { ratio: None, ..of(1.0, 1.0) }), Verdict::NotComparable);
        let no_ends = Estimate { point: 1.5, low: None, high: None };
        assert_eq!(word(Evidence { ratio: Some(no_ends), ..of(1.0, 1.0) }), Verdict::NotComparable);
    }

    #[test]
    fn what_is_not_claimed_says_why() {
        let (word, why) = verdict(&Evidence { p_adjusted: Some(0.06), ..of(1.02, 1.04) });
        assert!(word == Verdict::NotResolved && why.unwrap().contains("Holm"));
        assert_eq!(verdict(&Evidence { p_adjusted: None, ..of(1.02, 1.04) }).0, Verdict::NotResolved);
        let (word, why) = verdict(&Evidence { noise_floor: Some(0.035), ..of(1.02, 1.04) });
        assert_eq!((word, why.as_deref()), (Verdict::NotResolved, Some("under the noise floor (3.5 %)")));
        assert_eq!(verdict(&Evidence { noise_floor: Some(0.02), ..of(1.02, 1.04) }).0, Verdict::Faster);
    }
}
