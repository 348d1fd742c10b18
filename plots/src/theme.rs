//! Colours: one fixed hue a stack (Okabe and Ito's palette, told apart by the colour-blind), one shade a variant.

use bench_core::preset::StackKind;
use plotters::style::RGBColor;

/// Colours of one background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) background: RGBColor,
    /// Text and marks; at least 4.5:1 on the background.
    pub(crate) ink: RGBColor,
    /// Subtitles, ticks, footers; at least 4.5:1 too.
    pub(crate) faint: RGBColor,
    pub(crate) grid: RGBColor,
}

impl Theme {
    pub(crate) const LIGHT: Self = Self {
        background: RGBColor(255, 255, 255),
        ink: RGBColor(0x22, 0x22, 0x22),
        faint: RGBColor(0x5c, 0x5c, 0x5c),
        grid: RGBColor(0xe2, 0xe2, 0xe2),
    };
    pub(crate) const DARK: Self = Self {
        background: RGBColor(0x16, 0x18, 0x1c),
        ink: RGBColor(0xec, 0xec, 0xec),
        faint: RGBColor(0xa8, 0xac, 0xb2),
        grid: RGBColor(0x34, 0x38, 0x3e),
    };

    /// The stack's colour, thinned towards the background: `strength` 1 is the pure colour.
    pub(crate) fn shade(&self, stack: StackKind, strength: f64) -> RGBColor {
        let full = stack_colour(stack);
        let mix = |from: u8, to: u8| {
            let value = f64::from(from) + (f64::from(to) - f64::from(from)) * strength.clamp(0.0, 1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
            let byte = value.round() as u8;
            byte
        };
        let Self { background, .. } = self;
        RGBColor(mix(background.0, full.0), mix(background.1, full.1), mix(background.2, full.2))
    }
}

/// The stack's colour in every chart and on the page.
pub(crate) fn stack_colour(stack: StackKind) -> RGBColor {
    match stack {
        StackKind::Native => RGBColor(0x00, 0x72, 0xb2),
        StackKind::LlamaServer => RGBColor(0xe6, 0x9f, 0x00),
        StackKind::AtomicLlamaServer => RGBColor(0xd5, 0x5e, 0x00),
        StackKind::LlamaSwap => RGBColor(0xcc, 0x79, 0xa7),
        StackKind::Vllm => RGBColor(0x00, 0x9e, 0x73),
        StackKind::OpenAi => RGBColor(0x56, 0xb4, 0xe9),
    }
}
