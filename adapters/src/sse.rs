//! Server-sent events out of bytes that arrive in any pieces (WHATWG HTML, section 9.2.6).
//!
//! Does not know what the data mean, does not reconnect, and leaves `id` and `retry` aside: a stream that breaks is a
//! finding here, not something to hide. Invariant: how the bytes are cut into pieces never changes the events.

use memchr::memchr2;

/// Largest event that is taken, in bytes. llama-server's final event echoes the whole prompt, and one of a million
/// tokens is still smaller.
pub const MAX_EVENT_BYTES: usize = 8 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One dispatched event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty where the stream names none (the type is then `message`).
    pub name: String,
    /// The `data:` lines, joined by LF. Never empty: an event without data is not dispatched.
    pub data: String,
}

/// Why bytes are no event stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event outgrew the limit before its blank line came.
    #[error("an event of more than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line that is not UTF-8.
    #[error("a line that is not UTF-8: `{excerpt}`")]
    NotUtf8 {
        /// Its beginning, with replacement characters.
        excerpt: String,
    },
    /// The stream ended inside a line or before the blank line that would have dispatched an event.
    #[error("the stream ended inside an event: `{excerpt}`")]
    Incomplete {
        /// The beginning of what was left.
        excerpt: String,
    },
}

/// Takes pieces of a stream and gives events. After an error it must not be pushed to again.
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    /// The line so far, without its end.
    line: Vec<u8>,
    /// The event so far; each data line is followed by LF, the last of which is cut off when dispatched.
    event: Event,
    /// The last line ended with CR: an LF that comes next belongs to it.
    after_cr: bool,
    /// A byte order mark may only lead the first line.
    first_line: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(MAX_EVENT_BYTES)
    }
}

impl Splitter {
    /// Takes events of at most `limit` bytes, the line that is being read included.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), event: Event::default(), after_cr: false, first_line: true }
    }

    /// Hands each event that these bytes complete to `each`. The event is lent: its room is used again for the next.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&Event)) -> Result<(), SseError> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (part, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.check_room(part)?;
                self.end_line(part, &mut each)?;
            } else {
                self.append(part)?;
                let mut line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut each)?;
                line.clear();
                self.line = line;
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.append(bytes)
    }

    /// The stream is over. Bytes that belong to no dispatched event are an error: the sender did not get to its end.
    pub fn finish(self) -> Result<(), SseError> {
        let left = if self.line.is_empty() { self.event.data.as_bytes() } else { &self.line };
        if left.is_empty() { Ok(()) } else { Err(SseError::Incomplete { excerpt: excerpt(left) }) }
    }

    fn check_room(&self, part: &[u8]) -> Result<(), SseError> {
        let held = self.line.len() + self.event.data.len() + self.event.name.len();
        if part.len() > self.limit.saturating_sub(held) {
            return Err(SseError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn append(&mut self, part: &[u8]) -> Result<(), SseError> {
        self.check_room(part)?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], each: &mut impl FnMut(&Event)) -> Result<(), SseError> {
        let line = match line.strip_prefix(BOM) {
            Some(rest) if self.first_line => rest,
            Some(_) | None => line,
        };
        self.first_line = false;
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(SseError::NotUtf8 { excerpt: excerpt(line) });
        };
        if line.is_empty() {
            if self.event.data.pop().is_some() && !self.event.data.is_empty() {
                each(&self.event);
            }
            self.event.data.clear();
            self.event.name.clear();
        } else {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    self.event.data.push_str(value);
                    self.event.data.push('\n');
                }
                "event" => value.clone_into(&mut self.event.name),
                // Comments (an empty field name: keep-alive pings), `id`, `retry`, and what nobody has defined.
                _ => {}
            }
        }
        Ok(())
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events until the end or the first error, and whether there was one.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<Event>, Option<SseError>) {
        let (mut splitter, mut events) = (Splitter::new(limit), Vec::new());
        for piece in pieces {
            if let Err(error) = splitter.push(piece, |event| events.push(event.clone())) {
                return (events, Some(error));
            }
        }
        (events, splitter.finish().err())
    }

    fn data(bytes: &[u8]) -> Vec<String> {
        let (events, error) = read([bytes], 1024);
        assert_eq!(error, None);
        events.into_iter().map(|event| event.data).collect()
    }

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "data: a\ndata:b\n\n: ping\n\ndata:  c\n\n".replace('\n', end);
            assert_eq!(data(text.as_bytes()), ["a\nb", " c"], "{end:?}");
        }
    }

    #[test]
    fn names_belong_to_one_event_and_events_without_data_are_not_dispatched() {
        let (events, error) =
            read([b"event: error\ndata: x\n\nevent: lost\n\ndata\n\ndata: y\n\n".as_slice()], 99);
        let names: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.data.as_str())).collect();
        assert_eq!((names, error), (vec![("error", "x"), ("", "y")], None));
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_start_only() {
        assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes()), ["a"]);
    }

    #[test]
    fn half_an_event_at_the_end_is_told() {
        for text in ["data: a\n\ndata: {\"con", "data: a\n\ndata: b\n", "data: a\n\n: pin"] {
            let (events, error) = read([text.as_bytes()], 99);
            assert_eq!(events.len(), 1);
            assert!(matches!(error, Some(SseError::Incomplete { .. })), "{text:?}");
        }
    }

    #[test]
    fn bad_utf8_and_endless_events_are_errors() {
        assert!(matches!(read([b"data: \xC3\n\n".as_slice()], 99).1, Some(SseError::NotUtf8 { .. })));
        let endless_line = [b'x'; 100];
        assert_eq!(read([endless_line.as_slice()], 99).1, Some(SseError::TooLong { limit: 99 }));
        let endless_event = b"data: 1234\n".repeat(50);
        assert_eq!(read([endless_event.as_slice()], 99).1, Some(SseError::TooLong { limit: 99 }));
    }

    fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"event: x".to_vec()),
            Just(b": ping".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(BOM.to_vec()),
            Just("{\"ü\":\"€😀\"}".as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_events(bytes in stream_bytes(), size in 1_usize..9, limit in 1_usize..200) {
            let whole = read([bytes.as_slice()], limit);
            prop_assert_eq!(&read(bytes.chunks(size), limit), &whole);
            for at in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(at);
                prop_assert_eq!(&read([head, tail], limit), &whole, "cut at {}", at);
            }
        }
    }
}
