//! The table of attention kernels: every one that can be launched, and nothing else.
//!
//! Adding a row is all that adding an instance takes: compile options, shared memory, the choice in `plan`, the
//! documentation and the compile and GPU tests are derived from the row.

use std::fmt::Write as _;

use super::{KvFormat, VERIFY_ROWS};
use crate::kv_cache::turbo::TurboType;

/// A family of kernels, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Tensor cores for passes of more rows than a verify step has (`attention_prefill.cu`).
    MmaPrefill,
    /// Tensor cores over 16-bit or 8-bit rows (`attention_mma.cu`).
    MmaDecode,
    /// The same over turbo rows, or turbo on one side.
    MmaDecodeTurbo,
    /// No tensor cores; everything else (`attention_tile.cu`).
    Tile,
}

impl Path {
    /// Every path, in order of preference.
    pub const ALL: [Self; 4] = [Self::MmaPrefill, Self::MmaDecode, Self::MmaDecodeTurbo, Self::Tile];

    /// As in tables and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MmaPrefill => "mma-prefill",
            Self::MmaDecode => "mma",
            Self::MmaDecodeTurbo => "mma-turbo",
            Self::Tile => "tile",
        }
    }

    /// Fewest query rows that it serves.
    #[must_use]
    pub const fn least_rows(self) -> u32 {
        match self {
            // Steps of up to that many rows have the bits of decode steps, which are another path's.
            Self::MmaPrefill => VERIFY_ROWS + 1,
            Self::MmaDecode | Self::MmaDecodeTurbo | Self::Tile => 1,
        }
    }
}

/// Head dimensions that a row serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadDims {
    /// One, compiled in.
    One(u32),
    /// Every multiple of 8 up to this.
    MultiplesOf8UpTo(u32),
}

/// One row: a kernel with its compile-time constants.
#[derive(Debug, PartialEq, Eq)]
pub struct Instance {
    /// Family.
    pub path: Path,
    /// Head dimensions served.
    pub head_dims: HeadDims,
    /// Pairs of key and value formats served; each is compiled on its own, unless the path is [`Path::Tile`].
    pub formats: &'static [(KvFormat, KvFormat)],
    /// Query columns of a block.
    pub columns: u32,
    /// Keys of a tile.
    pub keys: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Warps among them that share columns and split keys and dimensions, where the row says so; else 0.
    pub abreast: u32,
    /// Slots of the ring, each a tile of keys or of values; 0 without a ring.
    pub slots: u32,
    /// KiB of a slot where it is a part of a tile; else 0.
    pub slot_kib: u32,
    /// Blocks that shall fit a multiprocessor by their registers; bounds what the compiler may use.
    pub blocks: u32,
    /// Least compute capability times ten.
    pub min_compute: u32,
}

const F16: KvFormat = KvFormat::F16;
const BF16: KvFormat = KvFormat::Bf16;
const Q8_0: KvFormat = KvFormat::Q8_0;
const T2: KvFormat = KvFormat::Turbo(TurboType::Turbo2);
const T3: KvFormat = KvFormat::Turbo(TurboType::Turbo3);
const T4: KvFormat = KvFormat::Turbo(TurboType::Turbo4);
const T4A: KvFormat = KvFormat::Turbo(TurboType::Turbo4Atomic);

const HALVES: &[(KvFormat, KvFormat)] = &[(F16, F16), (BF16, BF16)];
const BYTES: &[(KvFormat, KvFormat)] = &[(Q8_0, Q8_0)];
const TURBO: &[(KvFormat, KvFormat)] = &[(T2, T2), (T3, T3), (T4, T4), (T4A, T4A)];
const Q8_0_TURBO: &[(KvFormat, KvFormat)] = &[(Q8_0, T2), (Q8_0, T3), (Q8_0, T4), (Q8_0, T4A)];
const F16_MIXED: &[(KvFormat, KvFormat)] = &[(F16, Q8_0)];
const F16_TURBO: &[(KvFormat, KvFormat)] = &[(F16, T3), (F16, T4), (F16, T4A)];

/// Pairs that the prefill kernel decodes into its slots.
const CODED: &[(KvFormat, KvFormat)] = &[(Q8_0, Q8_0), (T2, T2), (T3, T3), (T4, T4), (T4A, T4A)];

/// Every pair, for the path that takes them all.
static EVERY_PAIR: [(KvFormat, KvFormat); 64] = {
    let mut pairs = [(F16, F16); 64];
    let mut i = 0;
    while i < 64 {
        pairs[i] = (KvFormat::ALL[i / 8], KvFormat::ALL[i % 8]);
        i += 1;
    }
    pairs
};

/// A row of the tensor-core kernel.
const fn mma(
    head_dim: u32,
    formats: &'static [(KvFormat, KvFormat)],
    [columns, keys, warps, slots, blocks]: [u32; 5],
) -> Instance {
    let path = if formats[0].1.is_turbo() { Path::MmaDecodeTurbo } else { Path::MmaDecode };
    Instance {
        path,
        head_dims: HeadDims::One(head_dim),
        formats,
        columns,
        keys,
        warps,
        abreast: 0,
        slots,
        slot_kib: 0,
        blocks,
        min_compute: 80,
    }
}

/// A row of the prefill kernel: warps are given as those with columns of their own, and those that share them.
const fn prefill(
    head_dim: u32,
    formats: &'static [(KvFormat, KvFormat)],
    [columns, keys, blocks]: [u32; 3],
    [apart, abreast]: [u32; 2],
    [slots, slot_kib]: [u32; 2],
) -> Instance {
    Instance {
        path: Path::MmaPrefill,
        head_dims: HeadDims::One(head_dim),
        formats,
        columns,
        keys,
        warps: apart * abreast,
        abreast,
        slots,
        slot_kib,
        blocks,
        min_compute: 80,
    }
}

/// Every attention kernel that can be launched.
pub static INSTANCES: &[Instance] = &[
    // head_dim, formats, [columns, keys, warps, slots, blocks]
    mma(64, HALVES, [16, 32, 2, 4, 4]),
    mma(64, HALVES, [32, 32, 2, 4, 3]),
    mma(64, BYTES, [16, 32, 2, 4, 4]),
    mma(64, BYTES, [32, 32, 2, 4, 3]),
    mma(80, HALVES, [16, 32, 4, 4, 3]),
    mma(80, HALVES, [32, 32, 4, 4, 2]),
    mma(80, BYTES, [16, 32, 4, 4, 3]),
    mma(80, BYTES, [32, 32, 4, 4, 2]),
    mma(96, HALVES, [16, 32, 4, 4, 3]),
    mma(96, HALVES, [32, 32, 4, 4, 2]),
    mma(96, BYTES, [16, 32, 4, 4, 3]),
    mma(96, BYTES, [32, 32, 4, 4, 2]),
    mma(112, HALVES, [16, 32, 4, 4, 3]),
    mma(112, HALVES, [32, 32, 4, 4, 2]),
    mma(112, BYTES, [16, 32, 4, 4, 3]),
    mma(112, BYTES, [32, 32, 4, 4, 2]),
    mma(128, HALVES, [16, 32, 4, 4, 3]),
    mma(128, HALVES, [32, 32, 4, 4, 2]),
    mma(128, BYTES, [16, 32, 4, 4, 3]),
    mma(128, BYTES, [32, 32, 4, 4, 2]),
    mma(192, HALVES, [16, 32, 2, 4, 3]),
    mma(192, HALVES, [32, 32, 2, 4, 2]),
    mma(192, BYTES, [16, 32, 2, 4, 3]),
    mma(192, BYTES, [32, 32, 2, 4, 2]),
    mma(256, HALVES, [16, 32, 8, 4, 2]),
    mma(256, HALVES, [32, 32, 8, 4, 2]),
    mma(256, BYTES, [16, 32, 4, 4, 2]),
    mma(256, BYTES, [32, 32, 4, 4, 2]),
    mma(256, F16_MIXED, [16, 32, 4, 4, 2]),
    mma(512, HALVES, [16, 32, 8, 5, 1]),
    mma(512, HALVES, [16, 16, 4, 4, 2]),
    mma(512, HALVES, [32, 32, 8, 5, 1]),
    mma(512, HALVES, [32, 16, 8, 3, 1]),
    mma(512, HALVES, [64, 32, 8, 4, 1]),
    mma(512, BYTES, [16, 32, 8, 4, 2]),
    mma(512, BYTES, [32, 32, 8, 3, 1]),
    mma(512, F16_MIXED, [16, 16, 4, 4, 2]),
    mma(128, TURBO, [16, 32, 4, 4, 3]),
    mma(128, TURBO, [32, 32, 4, 4, 2]),
    mma(192, TURBO, [16, 32, 4, 4, 3]),
    mma(256, TURBO, [16, 64, 8, 4, 2]),
    mma(256, TURBO, [32, 32, 4, 4, 2]),
    mma(256, Q8_0_TURBO, [16, 32, 4, 4, 2]),
    mma(256, F16_TURBO, [16, 32, 4, 4, 2]),
    mma(512, TURBO, [16, 64, 8, 4, 2]),
    mma(512, TURBO, [32, 64, 8, 3, 1]),
    mma(512, Q8_0_TURBO, [16, 32, 8, 4, 2]),
    mma(512, F16_TURBO, [16, 16, 4, 4, 2]),
    // head_dim, formats, [columns, keys, blocks], warps [apart, abreast], [slots, KiB of one]
    prefill(512, HALVES, [64, 64, 1], [2, 4], [3, 8]),
    prefill(512, HALVES, [64, 64, 1], [2, 4], [4, 32]),
    prefill(256, HALVES, [128, 64, 1], [4, 2], [8, 16]),
    prefill(256, HALVES, [64, 64, 2], [4, 1], [2, 8]),
    prefill(256, CODED, [128, 64, 1], [4, 2], [2, 8]),
    prefill(128, HALVES, [128, 64, 2], [4, 1], [2, 8]),
    prefill(64, HALVES, [128, 64, 2], [4, 1], [4, 8]),
    Instance {
        path: Path::Tile,
        head_dims: HeadDims::MultiplesOf8UpTo(576),
        formats: &EVERY_PAIR,
        columns: 8,
        keys: 8,
        warps: 4,
        abreast: 0,
        slots: 0,
        slot_kib: 0,
        blocks: 3,
        min_compute: 75,
    },
];

impl Instance {
    /// Threads of a block.
    #[must_use]
    pub const fn threads(&self) -> u32 {
        32 * self.warps
    }

    /// Most registers a thread may have for [`Self::blocks`] blocks to fit a multiprocessor's 65,536.
    #[must_use]
    pub fn max_registers(&self) -> u32 {
        (65_536 / (self.threads() * self.blocks) / 8 * 8).min(255)
    }

    /// Whether head dimension `dim` is served.
    #[must_use]
    pub const fn serves(&self, dim: u32) -> bool {
        match self.head_dims {
            HeadDims::One(one) => one == dim,
            HeadDims::MultiplesOf8UpTo(most) => dim > 0 && dim <= most && dim.is_multiple_of(8),
        }
    }

    /// Shared memory of a block in bytes, (dynamic, static). The kernel asserts the dynamic part when it is compiled.
    #[must_use]
    pub fn shared_bytes(&self, k: KvFormat, v: KvFormat) -> (u32, u32) {
        let HeadDims::One(dim) = self.head_dims else {
            let (columns, keys, widest) = (self.columns, self.keys, 640);
            return (0, 4 * (columns * widest + keys * widest + columns * keys));
        };
        if self.path == Path::MmaPrefill {
            let shared = if self.abreast > 1 { self.columns * (2 * self.keys + 4 * self.abreast) } else { 0 };
            return (self.columns * dim * 2 + shared + self.slots * self.slot_kib * 1024, 0);
        }
        let chunks =
            |format: KvFormat| u32::try_from(format.row_bytes(dim as usize) / 16).unwrap_or(u32::MAX);
        // Rows lie apart so that no bank is met twice: see the kernel.
        let k_chunks = match k {
            KvFormat::F32 | KvFormat::F16 | KvFormat::Bf16 => chunks(k) | 1,
            KvFormat::Q8_0 | KvFormat::Turbo(_) => chunks(k) + (6 - chunks(k) % 4) % 4,
        };
        let slot = self.keys * 16 * k_chunks.max(chunks(v) | 1);
        let q = self.columns * (self.padded_dim(dim, k, v) + 8) * 2;
        let s = self.score_planes() * self.columns * (self.keys + 8) * 4;
        (q + s + self.slots * slot + 128, 0)
    }

    /// Options by which the kernel of these formats is compiled; every constant of the row is among them.
    #[must_use]
    pub fn defines(&self, k: KvFormat, v: KvFormat) -> Vec<String> {
        let HeadDims::One(dim) = self.head_dims else { return Vec::new() };
        let streamed = [("WD", self.abreast), ("SLOT", 1024 * self.slot_kib)];
        let streamed = if self.path == Path::MmaPrefill { &streamed[..] } else { &[] };
        [
            ("D", dim),
            ("K_FORMAT", k.code()),
            ("V_FORMAT", v.code()),
            ("RT", self.columns),
            ("KT", self.keys),
            ("NW", self.warps),
            ("NS", self.slots),
            ("BLOCKS", self.blocks),
            ("SHARED_BYTES", self.shared_bytes(k, v).0),
        ]
        .iter()
        .chain(streamed)
        .map(|(name, value)| format!("-D{name}={value}"))
        .collect()
    }

    /// Name of the row: path, head dimension, columns, keys, warps, slots; of prefill, warps apart x abreast and slots x
    /// KiB.
    #[must_use]
    pub fn name(&self) -> String {
        let dim = match self.head_dims {
            HeadDims::One(dim) => dim.to_string(),
            HeadDims::MultiplesOf8UpTo(_) => "any".to_owned(),
        };
        let (path, columns, keys) = (self.path.name(), self.columns, self.keys);
        let (warps, slots) = self.warps_and_slots();
        format!("{path}-d{dim}-c{columns}-k{keys}-w{warps}-s{slots}")
    }

    /// In words.
    fn warps_and_slots(&self) -> (String, String) {
        if self.path == Path::MmaPrefill {
            let apart = self.warps / self.abreast;
            return (format!("{apart}x{}", self.abreast), format!("{}x{}k", self.slots, self.slot_kib));
        }
        (self.warps.to_string(), self.slots.to_string())
    }

    /// Head dimension as the kernel pads it.
    const fn padded_dim(&self, dim: u32, k: KvFormat, v: KvFormat) -> u32 {
        if k.is_turbo() || v.is_turbo() || !(dim <= 64 || dim == 192) {
            dim.next_multiple_of(128)
        } else {
            dim.next_multiple_of(64)
        }
    }

    /// Partial sums of S: warps that share the head dimension.
    fn score_planes(&self) -> u32 {
        let along_keys = (self.keys / 8).min(self.warps);
        let along_columns = (self.warps / along_keys).min(self.columns / 16);
        self.warps / (along_keys * along_columns)
    }
}

/// The table as Markdown, the whole of `docs/attention-instances.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Attention kernels\n\n\
         Generated from `INSTANCES` in `engine/src/attention/instances.rs` \
         (`BLESS=1 cargo test -p bench-engine --test attention_plan`).\n\n\
         A column is one (token, query head) pair; `q rows x GQA ratio` of them share a KV head, and surplus columns of a \
         block are masked. Each row serves causal masks and, compiled with `-DTREE=1`, draft trees. Shared memory is \
         that of the largest pair of formats in the row. `regs` is the most a thread may use so that `blocks` fit a \
         multiprocessor; CI compiles every row for sm_80, 86, 89, 90a and 120, for trees for sm_80 and 120, and fails on more \
         registers, on spills, or on shared memory beyond the row's.\n\n\
         | path | head_dim | K/V formats | columns | keys | warps | slots | blocks | regs | shared bytes | from sm |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in INSTANCES {
        let formats = if row.formats.len() == EVERY_PAIR.len() {
            "every pair".to_owned()
        } else {
            let pair = |(k, v): &(KvFormat, KvFormat)| {
                if k == v { k.name().to_owned() } else { format!("{}/{}", k.name(), v.name()) }
            };
            row.formats.iter().map(pair).collect::<Vec<_>>().join(", ")
        };
        let dims = match row.head_dims {
            HeadDims::One(dim) => dim.to_string(),
            HeadDims::MultiplesOf8UpTo(most) => format!("8, 16 .. {most}"),
        };
        let shared = row.formats.iter().map(|(k, v)| {
            let (dynamic, fixed) = row.shared_bytes(*k, *v);
            dynamic + fixed
        });
        let (warps, slots) = row.warps_and_slots();
        // Writing to a String cannot fail.
        let _written = writeln!(
            out,
            "| {} | {dims} | {formats} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.path.name(),
            row.columns,
            row.keys,
            warps,
            slots,
            row.blocks,
            row.max_registers(),
            shared.max().unwrap_or(0),
            row.min_compute
        );
    }
    out
}
