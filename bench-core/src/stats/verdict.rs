//! A ratio in a word.

use crate::report::{Estimate, Verdict};

/// What a paired ratio candidate / baseline of a speed says (above 1 is faster). Silence is never a pass: without an
/// interval the arms are not comparable, whatever the point says.
#[must_use]
pub fn verdict(ratio: Option<&Estimate>) -> Verdict {
    match ratio.and_then(|ratio| Some((ratio.low?, ratio.high?))) {
        None => Verdict::NotComparable,
        Some((low, _)) if low > 1.0 => Verdict::Faster,
        Some((_, high)) if high < 1.0 => Verdict::Slower,
        Some(_) => Verdict::NotResolved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_decides_and_not_the_point() {
        let ratio = |low, high| Estimate { point: 1.5, low, high };
        assert_eq!(verdict(Some(&ratio(Some(1.01), Some(2.0)))), Verdict::Faster);
        assert_eq!(verdict(Some(&ratio(Some(0.5), Some(0.99)))), Verdict::Slower);
        assert_eq!(verdict(Some(&ratio(Some(0.9), Some(2.0)))), Verdict::NotResolved);
        assert_eq!(verdict(Some(&ratio(Some(1.0), Some(2.0)))), Verdict::NotResolved);
        assert_eq!(verdict(Some(&ratio(None, None))), Verdict::NotComparable);
        assert_eq!(verdict(None), Verdict::NotComparable);
    }
}
