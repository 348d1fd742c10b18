//! Where the table of per-layer embeddings lies: on the device, or in the host's memory, by what there is room for.
//!
//! The table is the largest tensor of the small Gemma 4 models, and a token reads one row of it: it is what can leave the
//! device at the least price. Pure; whoever loads asks for the figures and does what comes out. Invariant: what is
//! decided fits the free memory that was given, whatever was asked for.

/// What buffers of passes, kernels and an assistant need beside weights and caches, roughly: `auto` leaves that much.
const HEADROOM_BYTES: usize = 1 << 30;

/// What is asked of the table of per-layer embeddings, of a model on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PleTable {
    /// On the device, where it fits there with room to spare; else in the host's memory.
    #[default]
    Auto,
    /// On the device, or an error.
    Device,
    /// In the host's memory, where the device reads a token's row over the bus.
    Host,
}

/// Where the table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlePlace {
    /// On the device.
    Device,
    /// In the host's memory.
    Host,
}

/// Bytes that a model wants of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights, without the table of per-layer embeddings.
    pub weights_bytes: usize,
    /// That table; 0 for a model that has none.
    pub ple_table_bytes: usize,
    /// Keys and values.
    pub kv_bytes: usize,
}

impl MemoryNeed {
    /// Bytes on the device with the table in a place.
    #[must_use]
    pub const fn bytes(&self, place: PlePlace) -> usize {
        let without = self.weights_bytes.saturating_add(self.kv_bytes);
        match place {
            PlePlace::Device => without.saturating_add(self.ple_table_bytes),
            PlePlace::Host => without,
        }
    }

    /// Where the table goes with `free` bytes on the device; `None` where the model does not fit as asked.
    #[must_use]
    pub fn place(&self, asked: PleTable, free: usize) -> Option<PlePlace> {
        let fits = |place: PlePlace| (self.bytes(place) <= free).then_some(place);
        match asked {
            // Nothing to place: the other place would need as much.
            _ if self.ple_table_bytes == 0 => fits(PlePlace::Device),
            PleTable::Device => fits(PlePlace::Device),
            PleTable::Host => fits(PlePlace::Host),
            PleTable::Auto => {
                let spacious = self.bytes(PlePlace::Device).saturating_add(HEADROOM_BYTES) <= free;
                if spacious { Some(PlePlace::Device) } else { fits(PlePlace::Host) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GB: usize = 1_000_000_000;
    /// E4B in `q8_0` with 8k of context.
    const E4B: MemoryNeed = MemoryNeed { weights_bytes: 5 * GB, ple_table_bytes: 3 * GB, kv_bytes: GB / 10 };

    #[test]
    fn the_table_leaves_the_device_where_it_does_not_fit_with_room_to_spare() {
        let auto = |free| E4B.place(PleTable::Auto, free);
        assert_eq!(auto(24 * GB), Some(PlePlace::Device));
        assert_eq!(auto(9 * GB), Some(PlePlace::Host), "it fits, but nothing else then");
        assert_eq!(auto(8 * GB), Some(PlePlace::Host));
        assert_eq!(auto(5 * GB), None);
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        assert_eq!(E4B.place(PleTable::Host, 80 * GB), Some(PlePlace::Host));
        assert_eq!(E4B.place(PleTable::Device, 9 * GB), Some(PlePlace::Device));
        assert_eq!(E4B.place(PleTable::Device, 8 * GB), None);
        assert_eq!(E4B.place(PleTable::Host, 5 * GB), None);
    }

    #[test]
    fn a_model_without_a_table_has_nothing_to_place() {
        let dense = MemoryNeed { ple_table_bytes: 0, ..E4B };
        for asked in [PleTable::Auto, PleTable::Device, PleTable::Host] {
            assert_eq!(dense.place(asked, 6 * GB), Some(PlePlace::Device));
            assert_eq!(dense.place(asked, 5 * GB), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_decided_fits_and_more_memory_never_moves_the_table_away(
            weights_bytes in 0..8 * GB, ple_table_bytes in 0..4 * GB, kv_bytes in 0..GB, free in 0..16 * GB, more in 0..8 * GB,
        ) {
            let need = MemoryNeed { weights_bytes, ple_table_bytes, kv_bytes };
            for asked in [PleTable::Auto, PleTable::Device, PleTable::Host] {
                let place = need.place(asked, free);
                prop_assert!(place.is_none_or(|place| need.bytes(place) <= free));
                let later = need.place(asked, free + more);
                prop_assert!(place.is_none() || later.is_some());
                prop_assert!(place != Some(PlePlace::Device) || later == Some(PlePlace::Device));
            }
            // An explicit choice is refused only where nothing else would do, or where the other place would.
            if need.place(PleTable::Auto, free).is_none() {
                prop_assert!(need.place(PleTable::Host, free).is_none());
            }
        }
    }
}
