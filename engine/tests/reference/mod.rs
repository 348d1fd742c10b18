//! Gemma 4 written down as slowly and plainly as possible, in f64: no cache, no tiles, no shortcut.
//!
//! It shares no code with the engine but the file reader, and follows the formulas of the published architecture:
//! every position of every layer is computed for the whole sequence, attention looks each pair up.

mod experts;
pub(crate) mod pair;

use bench_engine::gguf::{GgmlType, Gguf};

/// A file, and the sequence it was run on.
pub(crate) struct Reference<'a> {
    file: &'a Gguf,
    arch: &'static str,
    pub(crate) hidden_size: usize,
    heads: usize,
    pub(crate) layers: Vec<LayerShape>,
    window: usize,
    eps: f64,
}

#[derive(Clone, Copy)]
pub(crate) struct LayerShape {
    pub(crate) sliding: bool,
    head_dim: usize,
    kv_heads: usize,
    ffn: usize,
}

/// Keys and values of one layer, `[position][kv_head * head_dim]`.
#[derive(Clone, Default)]
pub(crate) struct Kv {
    k: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
}

/// What a run of the target leaves behind.
pub(crate) struct Run {
    /// `[position][hidden]`, after the output norm.
    pub(crate) hidden: Vec<Vec<f64>>,
    /// `[position][vocab]`
    pub(crate) logits: Vec<Vec<f64>>,
    /// One for each layer that has its own.
    pub(crate) kv: Vec<Kv>,
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, mantissa) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => mantissa * 2.0_f64.powi(-24),
        e => (1.0 + mantissa / 1024.0) * 2.0_f64.powi(e - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + (0.797_884_560_8 * x * (1.0 + 0.044_715 * x * x)).tanh())
}

fn rms(x: &[f64], weight: Option<&[f64]>, eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let norm = x.iter().map(|v| v / (mean + eps).sqrt());
    match weight {
        Some(weight) => norm.zip(weight).map(|(v, w)| v * w).collect(),
        None => norm.collect(),
    }
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

impl<'a> Reference<'a> {
    pub(crate) fn new(file: &'a Gguf, arch: &'static str) -> Self {
        let number = |key: &str| file.u32(&format!("{arch}.{key}")).unwrap() as usize;
        let count = number("block_count");
        let per_layer = |key: &str| file.u32_per_layer(&format!("{arch}.{key}"), count).unwrap();
        let (kv_heads, ffn) = (per_layer("attention.head_count_kv"), per_layer("feed_forward_length"));
        let pattern = file.bool_array(&format!("{arch}.attention.sliding_window_pattern")).unwrap();
        let shape = |i: usize| LayerShape {
            sliding: pattern[i],
            head_dim: number(if pattern[i] { "attention.key_length_swa" } else { "attention.key_length" }),
            kv_heads: kv_heads[i] as usize,
            ffn: ffn[i] as usize,
        };
        Self {
            file,
            arch,
            hidden_size: number("embedding_length"),
            heads: number("attention.head_count"),
            layers: (0..count).map(shape).collect(),
            window: number("attention.sliding_window"),
            eps: f64::from(file.f32(&format!("{arch}.attention.layer_norm_rms_epsilon")).unwrap()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// A tensor's rows.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let tensor = self.file.tensor(name).unwrap_or_else(|| panic!("{name}"));
        let cols = usize::try_from(tensor.dims[0]).unwrap();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the engine has four types")]
        let values: Vec<f64> = match tensor.ty {
            GgmlType::F32 => {
                tensor.data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            GgmlType::F16 => {
                tensor.data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect()
            }
            GgmlType::Bf16 => {
                let widen = |b: &[u8; 2]| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16));
                tensor.data.as_chunks::<2>().0.iter().map(widen).collect()
            }
            GgmlType::Q8_0 => {
                let block = |b: &[u8; 34]| {
                    let scale = half(u16::from_le_bytes([b[0], b[1]]));
                    b[2..].iter().map(|q| scale * f64::from(i8::from_le_bytes([*q]))).collect::<Vec<_>>()
                };
                tensor.data.as_chunks::<34>().0.iter().flat_map(block).collect()
            }
            other => panic!("{name} is {other:?}"),
        };
        values.chunks(cols).map(<[f64]>::to_vec).collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.rows(name).concat()
    }

    fn times(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let rows = self.rows(name);
        let dot = |row: &Vec<f64>, x: &Vec<f64>| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        x.iter().map(|x| rows.iter().map(|row| dot(row, x)).collect()).collect()
    }

    fn rope(&self, layer: LayerShape, head: &mut [f64], position: usize) {
        let half = layer.head_dim / 2;
        let base = if layer.sliding { "rope.freq_base_swa" } else { "rope.freq_base" };
        let base = f64::from(self.file.f32(&format!("{}.{base}", self.arch)).unwrap());
        let factors = if layer.sliding { vec![1.0; half] } else { self.vector("rope_freqs.weight") };
        for j in 0..half {
            let angle = position as f64 * base.powf(-2.0 * j as f64 / layer.head_dim as f64) / factors[j];
            let (a, b) = (head[j], head[j + half]);
            head[j] = a * angle.cos() - b * angle.sin();
            head[j + half] = b * angle.cos() + a * angle.sin();
        }
    }

    fn heads_of(
        &self,
        layer: LayerShape,
        row: &[f64],
        norm: Option<&[f64]>,
        position: Option<usize>,
    ) -> Vec<f64> {
        let one = |head: &[f64]| {
            let mut head = rms(head, norm, self.eps);
            if let Some(position) = position {
                self.rope(layer, &mut head, position);
            }
            head
        };
        row.chunks(layer.head_dim).flat_map(one).collect()
    }

    /// softmax(q k) v of one row over the positions that `sees` allows.
    fn attention(&self, layer: LayerShape, q: &[f64], kv: &Kv, sees: impl Fn(usize) -> bool) -> Vec<f64> {
        let (dim, group) = (layer.head_dim, self.heads / layer.kv_heads);
        let one = |(g, q): (usize, &[f64])| {
            let part = g / group * dim..(g / group + 1) * dim;
            let score = |k: &Vec<f64>| k[part.clone()].iter().zip(q).map(|(a, b)| a * b).sum::<f64>();
            let seen: Vec<usize> = (0..kv.k.len()).filter(|p| sees(*p)).collect();
            let scores: Vec<f64> = seen.iter().map(|p| score(&kv.k[*p])).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut out = vec![0.0; dim];
            for (p, w) in seen.iter().zip(&weights) {
                for (o, v) in out.iter_mut().zip(&kv.v[*p][part.clone()]) {
                    *o += w / total * v;
                }
            }
            out
        };
        q.chunks(dim).enumerate().flat_map(one).collect()
    }

    /// Everything of a layer after attention.
    fn after_attention(
        &self,
        i: usize,
        h: &[Vec<f64>],
        attended: &[Vec<f64>],
        ple: Option<&[Vec<f64>]>,
    ) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let join = |h: &[Vec<f64>], x: &[Vec<f64>], norm: &str| -> Vec<Vec<f64>> {
            let weight = self.vector(&name(norm));
            h.iter().zip(x).map(|(h, x)| add(h, &rms(x, Some(&weight), self.eps))).collect()
        };
        let mut h = join(h, &self.times(&name("attn_output"), attended), "post_attention_norm");
        let norm = self.vector(&name("ffn_norm"));
        let normed: Vec<Vec<f64>> = h.iter().map(|h| rms(h, Some(&norm), self.eps)).collect();
        let (gate, up) = (self.times(&name("ffn_gate"), &normed), self.times(&name("ffn_up"), &normed));
        assert_eq!(gate[0].len(), self.layers[i].ffn);
        let product = |(gate, up): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
            gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect()
        };
        let inner: Vec<Vec<f64>> = gate.iter().zip(&up).map(product).collect();
        let mut output = self.times(&name("ffn_down"), &inner);
        if self.has(&name("ffn_gate_inp")) {
            output = self.with_experts(i, &h, &output);
        }
        h = join(&h, &output, "post_ffw_norm");
        if let Some(ple) = ple {
            let gate = self.times(&name("inp_gate"), &h);
            let inner: Vec<Vec<f64>> = gate.iter().zip(ple).map(product).collect();
            h = join(&h, &self.times(&name("proj"), &inner), "post_norm");
        }
        if self.has(&name("layer_output_scale")) {
            let scale = self.vector(&name("layer_output_scale"))[0];
            h.iter_mut().flatten().for_each(|v| *v *= scale);
        }
        h
    }

    fn queries(&self, i: usize, h: &[Vec<f64>], first: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let norm = self.vector(&format!("blk.{i}.attn_norm.weight"));
        let normed: Vec<Vec<f64>> = h.iter().map(|h| rms(h, Some(&norm), self.eps)).collect();
        let q_norm = self.vector(&format!("blk.{i}.attn_q_norm.weight"));
        let q = self.times(&format!("blk.{i}.attn_q.weight"), &normed).into_iter().enumerate();
        let q = q.map(|(p, q)| self.heads_of(self.layers[i], &q, Some(&q_norm), Some(first + p))).collect();
        (normed, q)
    }

    fn own_kv(&self, i: usize, normed: &[Vec<f64>]) -> Kv {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let (layer, k_norm) = (self.layers[i], self.vector(&name("attn_k_norm")));
        let k = self.times(&name("attn_k"), normed);
        let v = if self.has(&name("attn_v")) { self.times(&name("attn_v"), normed) } else { k.clone() };
        Kv {
            k: k.iter().enumerate().map(|(p, k)| self.heads_of(layer, k, Some(&k_norm), Some(p))).collect(),
            v: v.iter().map(|v| self.heads_of(layer, v, None, None)).collect(),
        }
    }

    /// `[layer][position][width]`
    fn per_layer_inputs(&self, tokens: &[u32], h: &[Vec<f64>], width: usize) -> Vec<Vec<Vec<f64>>> {
        let table = self.rows("per_layer_token_embd.weight");
        let norm = self.vector("per_layer_proj_norm.weight");
        let context = self.times("per_layer_model_proj.weight", h);
        let slice = |l: usize, p: usize| -> Vec<f64> {
            let part = l * width..(l + 1) * width;
            let c: Vec<f64> =
                context[p][part.clone()].iter().map(|v| v / (self.hidden_size as f64).sqrt()).collect();
            let e = table[tokens[p] as usize][part].iter().map(|v| v * (width as f64).sqrt());
            rms(&c, Some(&norm), self.eps).into_iter().zip(e).map(|(c, e)| (c + e) / 2.0_f64.sqrt()).collect()
        };
        (0..self.layers.len()).map(|l| (0..tokens.len()).map(|p| slice(l, p)).collect()).collect()
    }

    /// Runs a target over a whole sequence.
    pub(crate) fn run(&self, tokens: &[u32]) -> Run {
        let key = |key: &str| format!("{}.{key}", self.arch);
        let shared = self.file.u32(&key("attention.shared_kv_layers")).unwrap() as usize;
        let width = self.file.u32(&key("embedding_length_per_layer_input")).unwrap() as usize;
        let first_shared = self.layers.len() - shared;
        let table = self.rows("token_embd.weight");
        let scale = (self.hidden_size as f64).sqrt();
        let embed = |t: &u32| table[*t as usize].iter().map(|v| v * scale).collect();
        let mut h: Vec<Vec<f64>> = tokens.iter().map(embed).collect();
        let ple = (width > 0).then(|| self.per_layer_inputs(tokens, &h, width));
        let mut kv: Vec<Kv> = Vec::new();
        for i in 0..self.layers.len() {
            let (layer, (normed, q)) = (self.layers[i], self.queries(i, &h, 0));
            if i < first_shared {
                kv.push(self.own_kv(i, &normed));
            }
            let source = self.source(layer, first_shared, i);
            let sees = |q: usize, p: usize| p <= q && (!layer.sliding || q - p < self.window);
            let row = |(p, q): (usize, &Vec<f64>)| self.attention(layer, q, &kv[source], |k| sees(p, k));
            let attended: Vec<Vec<f64>> = q.iter().enumerate().map(row).collect();
            h = self.after_attention(i, &h, &attended, ple.as_ref().map(|ple| &ple[i][..]));
        }
        let norm = self.vector("output_norm.weight");
        let hidden: Vec<Vec<f64>> = h.iter().map(|h| rms(h, Some(&norm), self.eps)).collect();
        let head = if self.has("output.weight") { "output.weight" } else { "token_embd.weight" };
        let mut logits = self.times(head, &hidden);
        if let Some(cap) = self.file.opt_f32(&key("final_logit_softcapping")).unwrap().map(f64::from) {
            logits.iter_mut().flatten().for_each(|v| *v = cap * (*v / cap).tanh());
        }
        Run { hidden, logits, kv }
    }

    fn source(&self, layer: LayerShape, first_shared: usize, i: usize) -> usize {
        if i < first_shared {
            return i;
        }
        (0..first_shared).filter(|j| self.layers[*j].sliding == layer.sliding).max().unwrap()
    }

    /// One step of an assistant (`self`) after `run` of `target`: (hidden for the next step, output, logits).
    pub(crate) fn draft(
        &self,
        target: &Reference<'_>,
        run: &Run,
        token: u32,
        hidden: &[f64],
        position: usize,
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let scale = (target.hidden_size as f64).sqrt();
        let embedding =
            target.rows("token_embd.weight")[token as usize].iter().map(|v| v * scale).collect::<Vec<_>>();
        let mut z = self.times("nextn.pre_projection.weight", &[[embedding, hidden.to_vec()].concat()]);
        for (i, layer) in self.layers.iter().enumerate() {
            let source = target.source(*layer, run.kv.len(), usize::MAX);
            let (_, q) = self.queries(i, &z, position);
            let sees = |p: usize| !layer.sliding || p + self.window > position;
            let attended = self.attention(*layer, &q[0], &run.kv[source], sees);
            z = self.after_attention(i, &z, &[attended], None);
        }
        let y = rms(&z[0], Some(&self.vector("output_norm.weight")), self.eps);
        let next = self.times("nextn.post_projection.weight", std::slice::from_ref(&y)).remove(0);
        let logits = self.times("token_embd.weight", std::slice::from_ref(&y)).remove(0);
        (next, y, logits)
    }
}
