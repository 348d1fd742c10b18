//! Attention in f64 on plain values: what every kernel is compared with.

use std::num::NonZeroU32;

use super::TreeMask;

/// Plain values and who sees what.
#[derive(Debug, Clone, Copy)]
pub struct OracleInput<'a> {
    /// `[q_rows][heads][head_dim]`
    pub q: &'a [f32],
    /// `[kv_heads][kv_len][head_dim]`, by position; as decoded from what is stored.
    pub k: &'a [f32],
    /// The same of values.
    pub v: &'a [f32],
    /// Query heads.
    pub heads: usize,
    /// KV heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Keys there are.
    pub kv_len: usize,
    /// Position of query row 0; row i is at `first_pos + i`.
    pub first_pos: usize,
    /// Positions a query sees, its own included.
    pub window: Option<NonZeroU32>,
    /// Who of the newest rows sees whom; `None` where each sees those before it.
    pub tree: Option<&'a TreeMask>,
    /// What scores are multiplied by; 1 for Gemma 4.
    pub scale: f64,
}

/// `softmax(scale q k) v` for every row and head, `[q_rows][heads][head_dim]`; zeros where nothing is seen.
#[must_use]
pub fn attention_f64(input: &OracleInput<'_>) -> Vec<f64> {
    let OracleInput { heads, kv_heads, head_dim, kv_len, .. } = *input;
    let mut out = vec![0.0; input.q.len()];
    for (i, (q, out)) in input.q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)).enumerate() {
        let (row, head) = (i / heads, i % heads);
        let kv_head = head / (heads / kv_heads);
        let of_head = kv_head * kv_len * head_dim..(kv_head + 1) * kv_len * head_dim;
        let seen = |values| seen_rows(input, row, values);
        let scores: Vec<f64> = seen(&input.k[of_head.clone()]).map(|k| input.scale * dot(q, k)).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (weight, v) in weights.iter().zip(seen(&input.v[of_head])) {
            for (out, v) in out.iter_mut().zip(v) {
                *out += weight / sum * f64::from(*v);
            }
        }
    }
    out
}

/// What `row` sees of one KV head's rows.
fn seen_rows<'a>(input: &OracleInput<'a>, row: usize, values: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
    let OracleInput { first_pos, window, tree, head_dim, .. } = *input;
    let position = first_pos + row;
    let sees = move |cell: usize| match tree {
        Some(tree) => tree.sees(row, cell, first_pos, window),
        None => cell <= position && window.is_none_or(|w| cell + w.get() as usize > position),
    };
    values.chunks_exact(head_dim).enumerate().filter(move |(cell, _)| sees(*cell)).map(|(_, values)| values)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: OracleInput<'static> = OracleInput {
        q: &[1.0, 0.0, 0.0, 1.0],
        k: &[1.0, 0.0, 0.0, 1.0, 2.0, 0.0],
        v: &[1.0, 10.0, 2.0, 20.0, 4.0, 40.0],
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        kv_len: 3,
        first_pos: 1,
        window: None,
        tree: None,
        scale: 1.0,
    };

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn rows_see_positions_up_to_their_own() {
        // Row 0 at position 1: scores 1, 0. Row 1 at position 2: scores 0, 1, 0.
        let e = std::f64::consts::E;
        let a = (e + 2.0) / (e + 1.0);
        let b = (1.0 + 2.0 * e + 4.0) / (2.0 + e);
        close(&attention_f64(&INPUT), &[a, 10.0 * a, b, 10.0 * b]);
    }

    /// Two children of one token at one position: each sees the past, their parent and itself.
    #[test]
    fn siblings_do_not_see_each_other() {
        let tree = TreeMask::from_parents(&[None, Some(0), Some(0)]).unwrap();
        let (q, k) = (&[0.0; 6], &[0.0; 6]);
        let one = OracleInput { q, k, first_pos: 0, tree: Some(&tree), ..INPUT };
        close(&attention_f64(&one), &[1.0, 10.0, 1.5, 15.0, 2.5, 25.0]);
        // A window of 2 positions still reaches the parent from the second child, 2 cells away.
        let window = OracleInput { window: NonZeroU32::new(2), ..one };
        close(&attention_f64(&window), &[1.0, 10.0, 1.5, 15.0, 2.5, 25.0]);
        let itself = OracleInput { window: NonZeroU32::new(1), ..one };
        close(&attention_f64(&itself), &[1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
    }

    #[test]
    fn a_window_and_a_missing_own_key_narrow_what_is_seen() {
        let window = NonZeroU32::new(1);
        close(&attention_f64(&OracleInput { window, ..INPUT }), &[2.0, 20.0, 4.0, 40.0]);
        // A drafting query at position 3 whose own key is not cached: it sees position 2 alone, then nothing.
        let draft = OracleInput { window: NonZeroU32::new(2), first_pos: 3, ..INPUT };
        close(&attention_f64(&draft), &[4.0, 40.0, 0.0, 0.0]);
    }
}
