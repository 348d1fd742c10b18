//! Exact percentiles of more values than should be in memory at once.
//!
//! Values are walked three times, each time knowing the wanted ones more closely, and neither kept nor sorted: the bits of
//! floats that are not negative are in the order of their values, so the first bits are a histogram's cells.

use std::collections::BTreeMap;

/// Bits that the first walk leaves out: cells are less than 0.4 % wide.
const COARSE_SHIFT: u32 = 44;
/// Bits that the second walk leaves out: less than one part in a million.
const FINE_SHIFT: u32 = 32;
/// Fine cells of a coarse one.
const FINE_CELLS: usize = 1 << (COARSE_SHIFT - FINE_SHIFT);

/// The nearest rank of each of these shares: the least value that at least this share of all do not exceed. `shares`
/// ascend; every walk of `values` gives the same, none negative, each with how often it counts. Nothing of nothing.
pub(crate) fn nearest_ranks<I: Iterator<Item = (f64, u32)>>(
    values: impl Fn() -> I,
    shares: &[f64],
) -> Vec<f64> {
    let mut coarse = vec![0_u64; cell(f64::INFINITY, COARSE_SHIFT) + 1];
    for (value, times) in values() {
        coarse[cell(value, COARSE_SHIFT)] += u64::from(times);
    }
    let count: u64 = coarse.iter().sum();
    let wanted: Vec<f64> = shares.iter().map(|share| share * count as f64).collect();
    let in_coarse = reach(coarse.iter().copied().enumerate(), 0, &wanted);

    let mut slots: BTreeMap<usize, usize> = BTreeMap::new();
    for (cell, _) in &in_coarse {
        let next = slots.len();
        slots.entry(*cell).or_insert(next);
    }
    // By the coarse cell: 0 for those that nobody asks for.
    let mut slot_of = vec![0_u32; coarse.len()];
    for (&cell, slot) in slots.keys().zip(1..) {
        slot_of[cell] = slot;
    }
    let index = |value: f64| {
        let slot = (slot_of[cell(value, COARSE_SHIFT)] as usize).checked_sub(1)?;
        Some(slot * FINE_CELLS + cell(value, FINE_SHIFT) % FINE_CELLS)
    };
    let mut fine = vec![0_u64; slots.len() * FINE_CELLS];
    for (value, times) in values() {
        if let Some(index) = index(value) {
            fine[index] += u64::from(times);
        }
    }
    let of_slot = |coarse_cell: usize| {
        let from = slots.get(&coarse_cell).copied().unwrap_or_default() * FINE_CELLS;
        fine[from..from + FINE_CELLS]
            .iter()
            .copied()
            .enumerate()
            .map(move |(nth, inside)| (from + nth, inside))
    };
    let in_fine = refine(&in_coarse, &wanted, of_slot);

    let mut asked = vec![false; fine.len()];
    in_fine.iter().for_each(|(index, _)| asked[*index] = true);
    let mut inside: BTreeMap<usize, BTreeMap<u64, u64>> = BTreeMap::new();
    for (value, times) in values() {
        if let Some(index) = index(value).filter(|&index| asked[index]) {
            *inside.entry(index).or_default().entry(value.to_bits()).or_default() += u64::from(times);
        }
    }
    let of_fine =
        |index: usize| inside.get(&index).into_iter().flatten().map(|(bits, times)| (*bits, *times));
    refine(&in_fine, &wanted, of_fine).into_iter().map(|(bits, _)| f64::from_bits(bits)).collect()
}

/// 0, 1, ..., 100 per cent as shares.
pub(crate) fn per_cent() -> Vec<f64> {
    (0..=100).map(|percent| f64::from(percent) / 100.0).collect()
}

fn cell(value: f64, shift: u32) -> usize {
    usize::try_from(value.to_bits() >> shift).unwrap_or(usize::MAX)
}

/// For each of the ascending `wanted`, the first cell up to whose end so many are counted, and how many are before it.
fn reach<K: Copy>(cells: impl Iterator<Item = (K, u64)>, before: u64, wanted: &[f64]) -> Vec<(K, u64)> {
    let mut cells = cells.filter(|(_, inside)| *inside > 0);
    let Some((mut cell, mut inside)) = cells.next() else { return Vec::new() };
    let mut passed = before;
    let place = |wanted: &f64| {
        while ((passed + inside) as f64) < *wanted {
            let Some(next) = cells.next() else { break };
            passed += inside;
            (cell, inside) = next;
        }
        (cell, passed)
    };
    wanted.iter().map(place).collect()
}

/// [`reach`] once more, within the cells that were reached.
fn refine<A: Copy + PartialEq, B: Copy, I: Iterator<Item = (B, u64)>>(
    reached: &[(A, u64)],
    wanted: &[f64],
    cells: impl Fn(A) -> I,
) -> Vec<(B, u64)> {
    let mut found = Vec::new();
    for group in reached.chunk_by(|a, b| a.0 == b.0) {
        let of_group = &wanted[found.len()..found.len() + group.len()];
        found.extend(
            group.first().into_iter().flat_map(|(cell, before)| reach(cells(*cell), *before, of_group)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The definition, word by word: all values in order, each as often as it counts.
        #[test]
        fn they_are_those_of_the_sorted_list(
            values in prop::collection::vec((0_u64..40_000_000, 1_u32..5), 0..400),
            scale in prop_oneof![Just(1.0), Just(1e-7), Just(3e9)],
        ) {
            let values: Vec<_> = values.into_iter().map(|(ns, times)| (ns as f64 * scale / f64::from(times), times)).collect();
            let mut listed: Vec<f64> = Vec::new();
            values.iter().for_each(|(value, times)| listed.extend((0..*times).map(|_| *value)));
            listed.sort_by(f64::total_cmp);
            let shares = per_cent();
            let rank = |share: &f64| {
                let reached = |nth: &usize| (nth + 1) as f64 >= share * listed.len() as f64;
                listed[(0..listed.len()).find(reached).unwrap()]
            };
            let expected: Vec<f64> = if listed.is_empty() { Vec::new() } else { shares.iter().map(rank).collect() };
            prop_assert_eq!(nearest_ranks(|| values.iter().copied(), &shares), expected);
        }
    }
}
