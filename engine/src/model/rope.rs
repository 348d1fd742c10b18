//! Rotary position embedding, NeoX pairing: element j turns with element j + `head_dim` / 2.
//!
//! Angle = position * base^(-2 j / `head_dim`) / `factor[j]`. "Proportional" RoPE of the full layers is only a factor
//! table: 1 for the first quarter of the pairs, 1e30 (no turn) for the rest; the exponent's divisor stays the whole
//! `head_dim`. Angles are f32 products, as in training; sine and cosine are computed once a pass for all layers.

/// Angles of one kind of layer for the rows of a pass.
#[derive(Debug)]
pub(super) struct Rope {
    /// `[head_dim / 2]`
    inverse_frequencies: Vec<f32>,
    /// `[rows][head_dim / 2]` of (cosine, sine)
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// For heads of `head_dim`; `factors` is `[head_dim / 2]`, or none for 1 everywhere.
    pub(super) fn new(head_dim: usize, base: f32, factors: Option<&[f32]>, max_rows: usize) -> Self {
        let inverse_frequencies = inverse_frequencies(head_dim, base, factors);
        Self { inverse_frequencies, turns: Vec::with_capacity(max_rows * head_dim / 2) }
    }

    /// Computes the turns of rows at `positions`.
    pub(super) fn prepare(&mut self, positions: impl Iterator<Item = usize>) {
        self.turns.clear();
        for position in positions {
            let turn = |frequency: &f32| {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                (cos, sin)
            };
            self.turns.extend(self.inverse_frequencies.iter().map(turn));
        }
    }

    /// Turns every head of `x`, `[rows][heads * head_dim]`, whose rows are the prepared ones from `first_row` on.
    pub(super) fn apply(&self, x: &mut [f32], heads: usize, first_row: usize) {
        let half = self.inverse_frequencies.len();
        let rows = x.chunks_exact_mut(heads * 2 * half);
        for (row, turns) in rows.zip(self.turns.chunks_exact(half).skip(first_row)) {
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

/// `[head_dim / 2]`: angle of a position for each pair; `factors` alike, or none for 1 everywhere.
#[expect(clippy::cast_possible_truncation, reason = "frequencies are computed in f64 and used in f32")]
pub(super) fn inverse_frequencies(head_dim: usize, base: f32, factors: Option<&[f32]>) -> Vec<f32> {
    let frequency = |j: usize| {
        let exponent = -2.0 * j as f64 / head_dim as f64;
        let factor = factors.map_or(1.0, |f| f64::from(f[j]));
        (f64::from(base).powf(exponent) / factor) as f32
    };
    (0..head_dim / 2).map(frequency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition in f64, with a quarter of the pairs turning, at a far position.
    #[test]
    fn turns_like_the_definition() {
        let head_dim = 64;
        let factors: Vec<f32> = (0..32).map(|j| if j < 8 { 1.0 } else { 1e30 }).collect();
        let mut rope = Rope::new(head_dim, 1e6, Some(&factors), 2);
        let start: Vec<f32> = (0..4 * head_dim).map(|i| (i as f32 * 0.37).sin()).collect();
        for position in [0, 1, 777, 4096] {
            let mut x = start.clone();
            rope.prepare([position, position + 1].into_iter());
            rope.apply(&mut x, 2, 0);
            for (i, got) in x.iter().enumerate() {
                let (row, head, e) = (i / 128, i % 128 / 64, i % 64);
                let j = e % 32;
                let angle =
                    if j < 8 { (position + row) as f64 * 1e6_f64.powf(-2.0 * j as f64 / 64.0) } else { 0.0 };
                let at = |e: usize| f64::from(start[row * 128 + head * 64 + e]);
                let expected = if e < 32 {
                    at(j) * angle.cos() - at(j + 32) * angle.sin()
                } else {
                    at(j + 32) * angle.cos() + at(j) * angle.sin()
                };
                let bound = 1e-6 + position as f64 * 1.3e-7;
                assert!((f64::from(*got) - expected).abs() < bound, "position {position} element {i}");
            }
        }
    }

    #[test]
    fn first_row_selects_the_prepared_row() {
        let mut rope = Rope::new(16, 1e4, None, 4);
        rope.prepare(5..9);
        let mut late: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let mut alone = late.clone();
        rope.apply(&mut late, 1, 3);
        rope.prepare(8..9);
        rope.apply(&mut alone, 1, 0);
        assert_eq!(late, alone);
    }
}
