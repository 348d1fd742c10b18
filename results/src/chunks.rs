//! The chunks of a request in few bytes: most of a run is chunks, and all of them are asked for by percentiles.
//!
//! Stamps are kept as steps from the one before, numbers as groups of seven bits (LEB128): a chunk 10 ms after the last is
//! 5 bytes and not 16. Nothing is rounded: what went in comes out, in whatever order stamps are.

use bench_core::record::Chunk;

/// Chunks, packed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    count: usize,
    bytes: Box<[u8]>,
}

impl Chunks {
    /// Packs them; what the vector held in reserve does not stay.
    pub(crate) fn pack(chunks: &[Chunk]) -> Self {
        let mut bytes = Vec::with_capacity(chunks.len() * 6);
        let mut before = 0_u64;
        for chunk in chunks {
            put(&mut bytes, folded(chunk.at_ns.wrapping_sub(before)));
            put(&mut bytes, chunk.tokens.map_or(0, |tokens| u64::from(tokens) + 1));
            before = chunk.at_ns;
        }
        Self { count: chunks.len(), bytes: Box::from(&*bytes) }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// As they were.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Chunk> {
        let mut rest = &*self.bytes;
        let mut before = 0_u64;
        std::iter::from_fn(move || {
            let at_ns = before.wrapping_add(unfolded(take(&mut rest)?));
            // A count is at most one more than what 32 bits hold.
            let tokens = take(&mut rest)?.checked_sub(1).and_then(|tokens| u32::try_from(tokens).ok());
            before = at_ns;
            Some(Chunk { at_ns, tokens })
        })
    }

    /// Of every chunk but the first: nanoseconds since the one before it (0 where its stamp is earlier), and its tokens.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = (u64, Option<u32>)> {
        let mut chunks = self.iter();
        let mut before = chunks.next().map_or(0, |first| first.at_ns);
        chunks.map(move |chunk| {
            let gap_ns = chunk.at_ns.saturating_sub(before);
            before = chunk.at_ns;
            (gap_ns, chunk.tokens)
        })
    }
}

/// Small steps in either direction as small numbers: 0, -1, 1, -2, ...
fn folded(step: u64) -> u64 {
    let is_back = step >> 63;
    (step << 1) ^ is_back.wrapping_neg()
}

fn unfolded(folded: u64) -> u64 {
    (folded >> 1) ^ (folded & 1).wrapping_neg()
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_went_in_comes_out(stamps in prop::collection::vec((any::<u64>(), any::<Option<u32>>()), 0..60)) {
            let chunks: Vec<_> = stamps.into_iter().map(|(at_ns, tokens)| Chunk { at_ns, tokens }).collect();
            let packed = Chunks::pack(&chunks);
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), chunks.clone());
            prop_assert_eq!(packed.len(), chunks.len());
            let gaps: Vec<_> = chunks.array_windows().map(|[a, b]| (b.at_ns.saturating_sub(a.at_ns), b.tokens)).collect();
            prop_assert_eq!(packed.gaps().collect::<Vec<_>>(), gaps);
        }
    }

    #[test]
    fn a_usual_chunk_is_five_bytes() {
        let chunks: Vec<_> =
            (0..128_u64).map(|nth| Chunk { at_ns: 50_000_000 + nth * 10_123_457, tokens: Some(1) }).collect();
        assert!(Chunks::pack(&chunks).bytes.len() <= 128 * 5);
    }
}
