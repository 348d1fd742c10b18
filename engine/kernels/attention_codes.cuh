// From codes of cache rows to f16, in registers: byte codes by their bits, turbo codes by byte-permutes over a codebook.
//
// The order in which codes lie in words is `attention::layout`'s. Included after attention_common.cuh.

DEVICE u32 mul2(u32 a, u32 b) { u32 r; asm("mul.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
DEVICE u32 sub2(u32 a, u32 b) { u32 r; asm("sub.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }

DEVICE u32 word(const u8* p) { return *reinterpret_cast<const u32*>(p); }
DEVICE u32 half_word(const u8* p) { return *reinterpret_cast<const u16*>(p); }

// Bytes u + 128 of two codes as f16: 1024 + (u + 128) has them as its mantissa.
constexpr u32 HALF_1024 = 0x64646464u, HALF_1152 = 0x64806480u;
DEVICE u32 codes_to_halves(u32 biased, u32 selector) { return sub2(permute(biased, HALF_1024, selector), HALF_1152); }

// Low and high bytes of the f16 codebook entries that the four low nibbles of `codes` choose.
template <int FORMAT> DEVICE void look_up(u32& low, u32& high, u32 codes, const u32 (&table)[4]) {
    u32 index = FORMAT == TURBO4 ? codes & 0x7777u : codes;
    low = permute(table[0], table[1], index);
    high = permute(table[2], table[3], index);
    if constexpr (FORMAT == TURBO4) {
        // A nibble with its top bit set copies the byte's sign to all 8 bits: 0xff for negative codes, else 0x80.
        high ^= permute(0x80808080u, 0x80808080u, codes) << 7 & 0x80808080u;
    }
}

// Eight codes as nibbles: round k of a word of 2-bit codes, with the third bit from `high` shifted by k.
template <int FORMAT> DEVICE u32 nibbles(u32 low, u32 high, int low_shift, int high_shift) {
    if constexpr (FORMAT == TURBO4) return low;
    u32 n = low >> low_shift & 0x33333333u;
    if constexpr (FORMAT == TURBO3) n |= (high >> high_shift << 2) & 0x44444444u;
    return n;
}
