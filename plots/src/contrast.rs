//! Contrast of the colours that are shipped, by WCAG 2.2: at least 4.5 to 1 for every text.

use std::collections::{BTreeMap, BTreeSet};

use bench_core::preset::StackKind;
use plotters::style::RGBColor;

use crate::page::STYLE;
use crate::theme::Theme;

/// Relative luminance, 0 to 1.
fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
    let linear = |byte: u8| {
        let share = f64::from(byte) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

fn contrast(a: RGBColor, b: RGBColor) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// `#fff` or `#16181c`.
fn colour(text: &str) -> RGBColor {
    let digits = text.strip_prefix('#').unwrap();
    let byte = |nth: usize| match digits.len() {
        3 => u8::from_str_radix(&digits[nth..=nth].repeat(2), 16).unwrap(),
        _ => u8::from_str_radix(&digits[2 * nth..2 * nth + 2], 16).unwrap(),
    };
    RGBColor(byte(0), byte(1), byte(2))
}

/// The colours of each scheme that the style sheet has: on screen light and dark, and on paper.
fn schemes() -> Vec<BTreeMap<&'static str, RGBColor>> {
    let blocks = STYLE.split(":root{").skip(1).map(|rest| rest.split('}').next().unwrap());
    let of = |block: &'static str| {
        let pairs = block.split(';').filter_map(|rule| rule.split_once(':'));
        let named = pairs.filter_map(|(name, value)| Some((name.strip_prefix("--")?, colour(value))));
        named.collect()
    };
    blocks.map(of).collect()
}

/// Names of all variables that a property is set to.
fn used(property: &str) -> BTreeSet<&'static str> {
    let start = format!("{property}:var(--");
    let uses = STYLE.match_indices(&start).filter(|(at, _)| STYLE[..*at].ends_with(['{', ';']));
    uses.map(|(at, start)| STYLE[at + start.len()..].split(')').next().unwrap()).collect()
}

#[test]
fn every_text_of_page_and_site_stands_out_from_every_ground() {
    let schemes = schemes();
    assert_eq!(schemes.len(), 3, "light, dark, paper");
    let (texts, grounds) = (used("color"), used("background"));
    assert!(
        texts.contains("faint") && texts.contains("warn") && grounds.contains("warn-bg"),
        "{texts:?} {grounds:?}"
    );
    for scheme in &schemes {
        for (text, ground) in texts.iter().flat_map(|text| grounds.iter().map(move |ground| (text, ground))) {
            // Words of marks are the page turned around: ground on ink, and nothing else stands there.
            if (*ground == "ink") != (*text == "bg") {
                continue;
            }
            let found = contrast(scheme[text], scheme[ground]);
            assert!(found >= 4.5, "{text} on {ground}: {found:.2}");
        }
    }
    // No colour is written past the variables.
    assert_eq!(STYLE.matches("color:#").count(), 0);
}

#[test]
fn every_text_of_a_chart_stands_out_from_its_paper() {
    for theme in [Theme::LIGHT, Theme::DARK] {
        for text in [theme.ink, theme.faint] {
            assert!(contrast(text, theme.background) >= 4.5);
        }
    }
    // The page's paper and the charts' are one.
    for (scheme, theme) in schemes().iter().zip([Theme::LIGHT, Theme::DARK, Theme::LIGHT]) {
        assert_eq!(
            (scheme["bg"], scheme["ink"], scheme["faint"]),
            (theme.background, theme.ink, theme.faint)
        );
    }
}

#[test]
fn contrast_is_that_of_the_standard() {
    assert!((contrast(RGBColor(0, 0, 0), RGBColor(255, 255, 255)) - 21.0).abs() < 1e-9);
    // The grey that is commonly quoted as the lightest to pass on white.
    let grey = contrast(colour("#767676"), colour("#fff"));
    assert!((4.5..4.6).contains(&grey), "{grey}");
    let pale = contrast(Theme::LIGHT.shade(StackKind::LlamaServer, 1.0), colour("#fff"));
    assert!(pale < 4.5, "a stack's colour is for marks, never for text: {pale}");
}
