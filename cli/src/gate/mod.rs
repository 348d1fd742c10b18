//! A gate's answer in the forms that people and CI systems read. Pure: from a report to text, no file and no environment.
//!
//! All forms say the same of every check; only the table of the terminal has colours.

mod annotations;
mod junit;
mod markdown;
mod table;
#[cfg(test)]
mod testing;
mod words;

pub(crate) use self::annotations::annotations;
pub(crate) use self::junit::junit;
pub(crate) use self::markdown::markdown;
pub(crate) use self::table::gate_table;
