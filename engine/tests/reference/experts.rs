//! The mixture of experts of a layer: every expert is run on every row, and those that the row did not choose weigh 0.

use super::{Reference, add, gelu, rms};

impl Reference<'_> {
    /// `norm(dense) + norm(sum over the chosen of weight * expert(norm(h)))`; the router sees `h` under a norm of its own.
    pub(super) fn with_experts(&self, i: usize, h: &[Vec<f64>], dense: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let [pre, dense_post, post] =
            ["pre_ffw_norm_2.weight", "post_ffw_norm_1.weight", "post_ffw_norm_2.weight"]
                .map(|part| self.vector(&name(part)));
        let scale = self.vector(&name("ffn_gate_inp.scale"));
        let router_input = |h: &Vec<f64>| -> Vec<f64> {
            let normed = rms(h, None, self.eps);
            normed.iter().zip(&scale).map(|(x, s)| x / (self.hidden_size as f64).sqrt() * s).collect()
        };
        let inputs: Vec<Vec<f64>> = h.iter().map(router_input).collect();
        let weights: Vec<Vec<f64>> = self
            .times(&name("ffn_gate_inp.weight"), &inputs)
            .iter()
            .map(|logits| self.shares(i, logits))
            .collect();
        let experts = self.experts(i);
        let row = |((h, dense), weights): ((&Vec<f64>, &Vec<f64>), &Vec<f64>)| {
            let x = rms(h, Some(&pre), self.eps);
            let mut sum = vec![0.0; x.len()];
            for (expert, weight) in experts.iter().zip(weights) {
                sum.iter_mut().zip(expert.run(&x)).for_each(|(sum, y)| *sum += weight * y);
            }
            add(&rms(dense, Some(&dense_post), self.eps), &rms(&sum, Some(&post), self.eps))
        };
        h.iter().zip(dense).zip(&weights).map(row).collect()
    }

    /// A softmax over all experts, of which the greatest are kept, made to sum to 1 and scaled by expert.
    fn shares(&self, i: usize, logits: &[f64]) -> Vec<f64> {
        let used = self.file.u32("gemma4.expert_used_count").unwrap() as usize;
        let total: f64 = logits.iter().map(|l| l.exp()).sum();
        let shares: Vec<f64> = logits.iter().map(|l| l.exp() / total).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
        let kept: f64 = order[..used].iter().map(|e| shares[*e]).sum();
        let name = format!("blk.{i}.ffn_down_exps.scale");
        let scale = if self.has(&name) { self.vector(&name) } else { vec![1.0; logits.len()] };
        let mut weights = vec![0.0; logits.len()];
        order[..used].iter().for_each(|e| weights[*e] = shares[*e] / kept * scale[*e]);
        weights
    }

    fn experts(&self, i: usize) -> Vec<Expert> {
        let rows = |part: &str| self.rows(&format!("blk.{i}.{part}_exps.weight"));
        let width = self.file.u32("gemma4.expert_feed_forward_length").unwrap() as usize;
        let gates: Vec<[Vec<Vec<f64>>; 2]> = if self.has(&format!("blk.{i}.ffn_gate_up_exps.weight")) {
            let both = rows("ffn_gate_up");
            both.chunks(2 * width).map(|both| [both[..width].to_vec(), both[width..].to_vec()]).collect()
        } else {
            let (gate, up) = (rows("ffn_gate"), rows("ffn_up"));
            gate.chunks(width).zip(up.chunks(width)).map(|(gate, up)| [gate.to_vec(), up.to_vec()]).collect()
        };
        let down = rows("ffn_down");
        let down = down.chunks(self.hidden_size).map(<[Vec<f64>]>::to_vec);
        gates.into_iter().zip(down).map(|([gate, up], down)| Expert { gate, up, down }).collect()
    }
}

struct Expert {
    gate: Vec<Vec<f64>>,
    up: Vec<Vec<f64>>,
    down: Vec<Vec<f64>>,
}

impl Expert {
    fn run(&self, x: &[f64]) -> Vec<f64> {
        let times = |rows: &[Vec<f64>], x: &[f64]| -> Vec<f64> {
            rows.iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
        };
        let inner: Vec<f64> =
            times(&self.gate, x).iter().zip(times(&self.up, x)).map(|(g, u)| gelu(*g) * u).collect();
        times(&self.down, &inner)
    }
}
