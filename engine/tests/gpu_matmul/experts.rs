//! Routes and products of experts: the choice against a sort on the host, each product to the bit against the plain one of
//! the expert's own rows, which is held against f64 elsewhere.

use bench_engine::backend::cuda::{
    Device, DeviceMatrix, ExpertJoin, ExpertProduct, ExpertRoutes, ExpertShape, Product,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::case::{TYPES, activations, normal, weights};
use crate::{device, quick};

/// Router logits `[rows][count]`; with `bias`, the same few experts are the greatest of every row.
fn logits(count: usize, rows: usize, seed: u64, bias: f32) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..rows * count).map(|i| normal(&mut rng) + if i % count < 9 { bias } else { 0.0 }).collect()
}

/// Experts of a row and their weights, from the greatest on.
fn chosen(logits: &[f32], used: usize, scale: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.truncate(used);
    let share = |expert: &usize| (logits[*expert] - logits[order[0]]).exp();
    let sum: f32 = order.iter().map(share).sum();
    order.iter().map(|expert| (*expert, share(expert) / sum * scale[*expert])).collect()
}

fn routes(
    device: &Device,
    shape: ExpertShape,
    logits: &[f32],
    scale: &[f32],
) -> (ExpertRoutes, Vec<usize>, Vec<f32>) {
    let mut routes = ExpertRoutes::new(device, shape).unwrap();
    let rows = u32::try_from(logits.len() / shape.count).unwrap();
    let (logits, scale) = (device.upload("logits", logits).unwrap(), device.upload("scale", scale).unwrap());
    routes.launch(device, rows, &logits, &scale).unwrap();
    let pairs = rows as usize * shape.used;
    let choices = device.download(routes.choices()).unwrap();
    let choices = choices[..pairs].iter().map(|id| usize::try_from(*id).unwrap()).collect();
    let weights = device.download(routes.weights()).unwrap()[..pairs].to_vec();
    (routes, choices, weights)
}

#[test]
fn routes_are_the_greatest_logits() {
    let Some(device) = device() else { return };
    for (count, used) in [(1, 1), (8, 2), (128, 8), (130, 16), (1024, 32)] {
        for (rows, bias) in [(1, 0.0), (7, 0.0), (64, 0.0), (513, 0.0), (513, 9.0)] {
            let shape = ExpertShape { count, used, most_rows: rows };
            let logits = logits(count, rows, rows as u64, bias);
            let scale: Vec<f32> = (0..count).map(|e| 0.5 + e as f32 / count as f32).collect();
            let (_, choices, weights) = routes(&device, shape, &logits, &scale);
            for (row, logits) in logits.chunks_exact(count).enumerate() {
                for (slot, (expert, weight)) in chosen(logits, used, &scale).into_iter().enumerate() {
                    let place = row * used + slot;
                    assert_eq!(choices[place], expert, "row {row}, choice {slot} of {count}");
                    assert!((weights[place] - weight).abs() < 1e-5, "{} for {weight}", weights[place]);
                }
            }
        }
    }
    // Equals go to the lower number; a NaN spoils its row.
    let shape = ExpertShape { count: 40, used: 3, most_rows: 2 };
    let mut logits = vec![0.0; 80];
    logits[77] = f32::NAN;
    let (_, choices, weights) = routes(&device, shape, &logits, &[1.0; 40]);
    assert_eq!(choices[..4], [0, 1, 2, 37]);
    assert!(
        weights[..3].iter().all(|w| (w - 1.0 / 3.0).abs() < 1e-6) && weights[3..].iter().all(|w| w.is_nan())
    );
}

#[test]
fn products_of_experts_have_the_bits_of_plain_ones() {
    let Some(device) = device() else { return };
    let counts: &[(usize, f32)] =
        if quick() { &[(3, 0.0)] } else { &[(1, 0.0), (2, 0.0), (8, 0.0), (8, 9.0), (40, 0.0)] };
    for ty in TYPES {
        let (plain, product) = (Product::new(&device, ty).unwrap(), ExpertProduct::new(&device, ty).unwrap());
        let cols = if ty.block_len() == 256 { 768 } else { 704 };
        // Products of the stream, which all choices of a row share, and of what each choice has of its own.
        for shared in [true, false] {
            let (count, used, rows_of_one) = (24, 8, 48);
            let data = weights(ty, count * rows_of_one, cols, 5);
            let bytes = data.len() / count;
            let matrix = DeviceMatrix::upload(&device, ty, count * rows_of_one, cols, &data).unwrap();
            for &(rows, bias) in counts {
                let shape = ExpertShape { count, used, most_rows: 40 };
                let (routes, choices, _) =
                    routes(&device, shape, &logits(count, rows, 11, bias), &vec![1.0; count]);
                let mut rng = StdRng::seed_from_u64(6);
                let inputs = if shared { rows } else { rows * used };
                let values: Vec<f32> = (0..inputs * cols).map(|_| normal(&mut rng)).collect();
                let x = activations(&device, &values, inputs, cols);
                let (offset, stride) = (16, rows_of_one + 20);
                let pairs = rows * used;
                let mut out = device.upload("out", &vec![f32::INFINITY; pairs * stride]).unwrap();
                let (per_row, count_of_rows) = (if shared { used } else { 1 }, u32::try_from(rows).unwrap());
                product
                    .launch(
                        &device,
                        &routes,
                        count_of_rows,
                        &matrix,
                        (&x, per_row),
                        &mut out,
                        (offset, stride),
                    )
                    .unwrap();
                let out = device.download(&out).unwrap();
                for (pair, got) in out.chunks_exact(stride).enumerate() {
                    let input = &values[pair / per_row * cols..][..cols];
                    let own = &data[choices[pair] * bytes..][..bytes];
                    let own = DeviceMatrix::upload(&device, ty, rows_of_one, cols, own).unwrap();
                    let one = activations(&device, input, 1, cols);
                    let mut expected = device.zeros("out", rows_of_one).unwrap();
                    plain.launch(&device, &own, &one, 1, &mut expected, 0, rows_of_one).unwrap();
                    let expected = device.download(&expected).unwrap();
                    assert!(got[offset..][..rows_of_one] == expected[..], "{ty}, {rows} rows, pair {pair}");
                    let rest = got[..offset].iter().chain(&got[offset + rows_of_one..]);
                    assert!(
                        rest.into_iter().all(|x| *x == f32::INFINITY),
                        "{ty}: written beside pair {pair}"
                    );
                }
            }
        }
        println!("{ty}: equal bits");
    }
}

#[test]
fn experts_join_the_dense_block() {
    let Some(device) = device() else { return };
    for (n, used, rows) in [(64, 2, 3), (2816, 8, 5), (8192, 3, 1)] {
        let shape = ExpertShape { count: 32, used, most_rows: rows };
        let (routes, _, shares) = routes(&device, shape, &logits(32, rows, 3, 0.0), &[1.5; 32]);
        let mut rng = StdRng::seed_from_u64(4);
        let mut random = |len: usize| (0..len).map(|_| normal(&mut rng)).collect::<Vec<f32>>();
        let (dense, experts) = (random(rows * n), random(rows * used * n));
        let (dense_norm, experts_norm) = (random(n), random(n));
        let upload = |values: &[f32]| device.upload("values", values).unwrap();
        let (mut y, eps) = (upload(&dense), 1e-6);
        let join = ExpertJoin::new(&device).unwrap();
        let norms = (upload(&dense_norm), upload(&experts_norm));
        join.launch(
            &device,
            &routes,
            u32::try_from(rows).unwrap(),
            (&mut y, &norms.0),
            (&upload(&experts), &norms.1),
            (n, eps),
        )
        .unwrap();
        let got = device.download(&y).unwrap();
        let normed = |x: &[f64], weight: &[f32]| -> Vec<f64> {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (mean + f64::from(eps)).sqrt();
            x.iter().zip(weight).map(|(x, w)| x * scale * f64::from(*w)).collect()
        };
        for row in 0..rows {
            let mut sum = vec![0.0_f64; n];
            for slot in 0..used {
                let place = row * used + slot;
                for (sum, x) in sum.iter_mut().zip(&experts[place * n..][..n]) {
                    *sum += f64::from(shares[place]) * f64::from(*x);
                }
            }
            let dense: Vec<f64> = dense[row * n..][..n].iter().map(|x| f64::from(*x)).collect();
            let (a, b) = (normed(&dense, &dense_norm), normed(&sum, &experts_norm));
            for (i, got) in got[row * n..][..n].iter().enumerate() {
                assert!((f64::from(*got) - a[i] - b[i]).abs() < 1e-4, "n {n}, row {row}, column {i}");
            }
        }
    }
}
