//! Whether directories are all the parts of one sharded run: each shard once, and no request in two of them.
//!
//! A part alone is a sample of some requests, and two parts with the same request would count it twice; both would look
//! like a whole run in every chart.

use std::collections::HashMap;

use bench_core::record::{Phase, Place, RunManifest};

use crate::row::Row;

/// What is missing or too much, in words. `ends` tells where the rows of each run end.
pub(crate) fn whole(manifests: &[RunManifest], rows: &[Row], ends: &[usize]) -> Result<(), String> {
    let shards: Vec<_> = manifests.iter().filter_map(|run| run.shard).collect();
    let Some(of) = shards.first().map(|shard| shard.of.get()) else { return Ok(()) };
    if shards.len() < manifests.len() {
        return Err(format!("{} of {} are shards, the others are whole runs", shards.len(), manifests.len()));
    }
    if let Some(other) = shards.iter().find(|shard| shard.of.get() != of) {
        return Err(format!("one is a part of {of}, another of {}", other.of));
    }
    if let Some(shard) = shards.iter().find(|shard| shard.index >= of) {
        return Err(format!("shard {} of {of}: shards are counted from 0", shard.index));
    }
    let times = |index: u32| shards.iter().filter(|shard| shard.index == index).count();
    if let Some(index) = shards.iter().map(|shard| shard.index).find(|&index| times(index) > 1) {
        return Err(format!("shard {index} of {of} is there {} times", times(index)));
    }
    // `of` is a number in a file: its missing shards are counted, and only the first are named.
    let missing: Vec<_> = (0..of).filter(|&index| times(index) == 0).take(5).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(u32::to_string).collect();
        let count = u64::from(of) - shards.len() as u64;
        return Err(format!("{count} of {of} shards are missing, the first of them {}", names.join(", ")));
    }
    apart(rows, ends, &shards.iter().map(|shard| shard.index).collect::<Vec<_>>())
}

/// No request of the same arm, block and place in two shards.
fn apart(rows: &[Row], ends: &[usize], shards: &[u32]) -> Result<(), String> {
    let mut asked: HashMap<(&str, Place<'_>), u32> = HashMap::new();
    let mut start = 0;
    for (&end, &shard) in ends.iter().zip(shards) {
        for row in rows[start..end].iter().filter(|row| row.phase == Phase::Measured) {
            let first = *asked.entry((&row.arm, row.place())).or_insert(shard);
            if first != shard {
                return Err(format!(
                    "shards {first} and {shard} overlap: both asked {} prompt `{}` (block {}, slot {})",
                    row.arm,
                    row.prompt_id,
                    row.block,
                    row.place().slot
                ));
            }
        }
        start = end;
    }
    Ok(())
}
