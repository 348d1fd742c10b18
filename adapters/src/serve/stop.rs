//! Stop strings in a text that comes in pieces.
//!
//! Text that may be the beginning of a stop string is held back until it is decided. Of several stop strings the one
//! that is complete first ends the text, so the result does not depend on where the pieces were cut.

/// Looks for stop strings.
#[derive(Debug, Default)]
pub(super) struct StopMatcher {
    /// None is empty.
    stops: Vec<String>,
    /// The end of the text so far, as far as a stop string may begin in it.
    held: String,
}

impl StopMatcher {
    /// Empty strings are left out: they would stop everything.
    pub(super) fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Appends to `out` what is certain now. Returns the stop string that ended the text, if one did; nothing may be
    /// pushed after it.
    pub(super) fn push(&mut self, text: &str, out: &mut String) -> Option<String> {
        self.held.push_str(text);
        let first_complete = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at, stop)))
            .min();
        if let Some((_, at, stop)) = first_complete {
            let stop = stop.clone();
            out.push_str(&self.held[..at]);
            self.held.clear();
            return Some(stop);
        }
        let mut borders = self.held.char_indices().map(|(at, _)| at);
        let undecided = borders.find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])));
        let tail = self.held.split_off(undecided.unwrap_or(self.held.len()));
        out.push_str(&self.held);
        self.held = tail;
        None
    }

    /// What was held back, once nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<'a>(stops: &[String], pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(stops);
        let mut out = String::new();
        for piece in pieces {
            if let Some(stop) = matcher.push(piece, &mut out) {
                return (out, Some(stop));
            }
        }
        out.push_str(&matcher.finish());
        (out, None)
    }

    #[test]
    fn a_stop_string_is_found_over_borders_and_never_shown() {
        let stops = ["END".to_owned()];
        assert_eq!(run(&stops, ["a E", "N", "D b"]), ("a ".to_owned(), Some("END".to_owned())));
        assert_eq!(run(&stops, ["a EN", "E"]), ("a ENE".to_owned(), None));
        assert_eq!(run(&stops, ["EEN", "D"]), ("E".to_owned(), Some("END".to_owned())));
    }

    #[test]
    fn what_may_become_one_is_held_back_and_no_more() {
        let mut matcher = StopMatcher::new(&["END".to_owned()]);
        let mut out = String::new();
        assert_eq!(matcher.push("text E", &mut out), None);
        assert_eq!(out, "text ");
        assert_eq!(matcher.push("x", &mut out), None);
        assert_eq!(out, "text Ex");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "[abé]{0,24}",
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
            cuts in prop::collection::vec(any::<bool>(), 24),
        ) {
            let mut pieces = vec![String::new()];
            for (c, cut) in text.chars().zip(cuts) {
                if cut {
                    pieces.push(String::new());
                }
                pieces.last_mut().unwrap().push(c);
            }
            // The definition: the shortest beginning of the text that ends in a stop string.
            let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
            let ended = ends.filter_map(|end| {
                let longest = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str())).max_by_key(|s| s.len())?;
                Some((text[..end - longest.len()].to_owned(), Some(longest.clone())))
            }).next();
            let expected = ended.unwrap_or((text.clone(), None));
            prop_assert_eq!(run(&stops, pieces.iter().map(String::as_str)), expected.clone());
            prop_assert_eq!(run(&stops, [text.as_str()]), expected);
        }
    }
}
