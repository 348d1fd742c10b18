//! Several metrics, one claim: p-values adjusted so that all of them together keep the level.

/// Holm's step-down adjustment (1979): the chance that any metric without a difference is called different stays
/// within the level, however the metrics depend on each other. In the order given; an adjusted value is at least its
/// own and at most 1.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (done, &index) in order.iter().enumerate() {
        let left = (p_values.len() - done) as f64;
        highest = highest.max(left * p_values[index]).min(1.0);
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_r_has_it() {
        // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn lies_between_no_correction_and_bonferroni(p_values in prop::collection::vec(0.0_f64..=1.0, 1..8)) {
            for (got, own) in holm(&p_values).into_iter().zip(&p_values) {
                let bonferroni = (own * p_values.len() as f64).min(1.0);
                prop_assert!(*own <= got && got <= bonferroni, "{got} of {own}, {bonferroni}");
            }
        }
    }
}
