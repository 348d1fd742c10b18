//! Names that many rows share: an arm, a prompt, a hash.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is kept once, however many rows name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Arc<str>);

/// All names of some runs.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<Arc<str>>);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Names {
    /// The name of this text.
    pub(crate) fn of(&mut self, text: String) -> Name {
        if let Some(known) = self.0.get(text.as_str()) {
            return Name(Arc::clone(known));
        }
        let name: Arc<str> = text.into();
        self.0.insert(Arc::clone(&name));
        Name(name)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_name() {
        let mut names = Names::default();
        let [a, b, c] = ["native/none", "native/none", "native/mtp-3"].map(|text| names.of(text.to_owned()));
        assert!(Arc::ptr_eq(&a.0, &b.0) && a == "native/none" && a != c);
    }
}
