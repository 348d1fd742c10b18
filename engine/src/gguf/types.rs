//! Tensor element types of ggml and the size of their blocks (`ggml.h`, `ggml-common.h`).

use std::fmt;

/// Declares the enum and its one table: id, name, elements a block, bytes a block.
macro_rules! ggml_types {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $block_len:literal, $block_bytes:literal;)+) => {
        /// Element type of a tensor. The engine computes with `F32`, `F16`, `Bf16` and `Q8_0`; the others are known
        /// so that any file can be listed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum GgmlType {
            $($(#[$doc])* $variant,)+
        }

        impl GgmlType {
            /// The type with this id in a file.
            #[must_use]
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The id in a file.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)+ }
            }

            /// The name llama.cpp uses.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Elements of a block.
            #[must_use]
            pub const fn block_len(self) -> u64 {
                match self { $(Self::$variant => $block_len,)+ }
            }

            /// Bytes of a block.
            #[must_use]
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $block_bytes,)+ }
            }
        }
    };
}

ggml_types! {
    /// 32-bit floats.
    F32 = 0, "f32", 1, 4;
    /// IEEE half precision.
    F16 = 1, "f16", 1, 2;
    /// 4-bit blocks with a scale.
    Q4_0 = 2, "q4_0", 32, 18;
    /// 4-bit blocks with scale and minimum.
    Q4_1 = 3, "q4_1", 32, 20;
    /// 5-bit blocks with a scale.
    Q5_0 = 6, "q5_0", 32, 22;
    /// 5-bit blocks with scale and minimum.
    Q5_1 = 7, "q5_1", 32, 24;
    /// 8-bit blocks with a scale.
    Q8_0 = 8, "q8_0", 32, 34;
    /// 8-bit activation blocks with scale and sum.
    Q8_1 = 9, "q8_1", 32, 36;
    /// 2-bit K-quants.
    Q2K = 10, "q2_K", 256, 84;
    /// 3-bit K-quants.
    Q3K = 11, "q3_K", 256, 110;
    /// 4-bit K-quants.
    Q4K = 12, "q4_K", 256, 144;
    /// 5-bit K-quants.
    Q5K = 13, "q5_K", 256, 176;
    /// 6-bit K-quants.
    Q6K = 14, "q6_K", 256, 210;
    /// 8-bit activation blocks of K-quants.
    Q8K = 15, "q8_K", 256, 292;
    /// 2.06-bit codebook blocks.
    Iq2Xxs = 16, "iq2_xxs", 256, 66;
    /// 2.31-bit codebook blocks.
    Iq2Xs = 17, "iq2_xs", 256, 74;
    /// 3.06-bit codebook blocks.
    Iq3Xxs = 18, "iq3_xxs", 256, 98;
    /// 1.56-bit codebook blocks.
    Iq1S = 19, "iq1_s", 256, 50;
    /// 4-bit blocks with a nonlinear table.
    Iq4Nl = 20, "iq4_nl", 32, 18;
    /// 3.44-bit codebook blocks.
    Iq3S = 21, "iq3_s", 256, 110;
    /// 2.5-bit codebook blocks.
    Iq2S = 22, "iq2_s", 256, 82;
    /// 4.25-bit blocks with a nonlinear table.
    Iq4Xs = 23, "iq4_xs", 256, 136;
    /// 8-bit integers.
    I8 = 24, "i8", 1, 1;
    /// 16-bit integers.
    I16 = 25, "i16", 1, 2;
    /// 32-bit integers.
    I32 = 26, "i32", 1, 4;
    /// 64-bit integers.
    I64 = 27, "i64", 1, 8;
    /// 64-bit floats.
    F64 = 28, "f64", 1, 8;
    /// Brain floats: the upper half of an f32.
    Bf16 = 30, "bf16", 1, 2;
    /// 4-bit floats with a shared exponent.
    Mxfp4 = 39, "mxfp4", 32, 17;
}

impl GgmlType {
    /// Bytes of a row of `len` elements; `None` if `len` is no whole number of blocks, or on overflow.
    #[must_use]
    pub const fn row_bytes(self, len: u64) -> Option<u64> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
