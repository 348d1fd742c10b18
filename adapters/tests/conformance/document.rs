//! `docs/faults.md`: the table in words.

use std::fmt::Write as _;

use crate::faults::{FAULTS, Fault, Row};
use crate::stacks::{CASES, Case};

const INTRO: &str = "";

/// The whole document.
pub(crate) fn render() -> String {
    let mut text = INTRO.to_owned();
    text
}
