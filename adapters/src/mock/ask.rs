//! One request out of the bytes of a connection.

use serde::Deserialize;
use serde_json::Value;

/// Largest request, head and body.
const MAX_BYTES: usize = 16 << 20;
const MAX_HEADERS: usize = 64;

/// A request that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// The client takes another answer on this connection.
    pub(super) keep_alive: bool,
}

/// What the bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The beginning of a request.
    Partial,
    /// A request, and how many bytes it was.
    Whole(Request, usize),
    /// No request that is understood; why.
    Bad(&'static str),
}

pub(super) fn read(bytes: &[u8]) -> Reading {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_BYTES => return Reading::Partial,
        Ok(httparse::Status::Partial) => return Reading::Bad("the request is too large"),
        Err(_) => return Reading::Bad("this is no HTTP/1 request"),
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    if header("transfer-encoding").is_some() {
        return Reading::Bad("a body needs a content-length here");
    }
    let body_bytes = match header("content-length").map(str::parse) {
        None => 0_usize,
        Some(Ok(length)) if length <= MAX_BYTES => length,
        Some(Ok(_)) => return Reading::Bad("the request is too large"),
        Some(Err(_)) => return Reading::Bad("the content-length is no number"),
    };
    let Some(body) = bytes.get(head_bytes..head_bytes + body_bytes) else { return Reading::Partial };
    let connection = header("connection").unwrap_or("");
    let keep_alive = match head.version {
        Some(1) => !connection.eq_ignore_ascii_case("close"),
        Some(_) | None => connection.eq_ignore_ascii_case("keep-alive"),
    };
    let target = head.path.unwrap_or("/");
    let request = Request {
        method: head.method.unwrap_or("GET").to_owned(),
        path: target.split_once('?').map_or(target, |(path, _)| path).to_owned(),
        body: body.to_vec(),
        keep_alive,
    };
    Reading::Whole(request, head_bytes + body_bytes)
}

/// What a body asks for, of the fields that matter here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    pub(super) stream: bool,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stream_options: Option<StreamOptions>,
    prompt: Option<Value>,
    messages: Option<Vec<Message>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
    #[serde(default)]
    pub(super) continuous_usage_stats: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<Value>,
}

impl Body {
    /// Tokens asked for.
    pub(super) fn tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    pub(super) fn stream_options(&self) -> StreamOptions {
        self.stream_options.unwrap_or_default()
    }

    /// Words of the prompt, which are its tokens here.
    pub(super) fn prompt_words(&self) -> u32 {
        let messages = self.messages.iter().flatten().filter_map(|message| message.content.as_ref());
        let words = |value: &Value| value.as_str().map_or(0, |text| text.split_whitespace().count());
        let count: usize = self.prompt.iter().chain(messages).map(words).sum();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] =
        b"POST /v1/completions?x=1 HTTP/1.1\r\nhost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\n";

    #[test]
    fn a_request_is_whole_with_its_last_byte() {
        let end = POST.len() - b"GET / HTTP/1.1\r\n".len();
        for cut in 0..end {
            assert_eq!(read(&POST[..cut]), Reading::Partial, "cut at {cut}");
        }
        let Reading::Whole(request, length) = read(POST) else { panic!("not whole") };
        assert_eq!(
            (request.path.as_str(), request.body.as_slice(), length),
            ("/v1/completions", &b"body"[..], end)
        );
        assert!(request.keep_alive);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        assert!(matches!(read(b"\x01\x02\r\n\r\n"), Reading::Bad(_)));
        assert!(matches!(read(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"), Reading::Bad(_)));
        assert!(matches!(read(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"), Reading::Bad(_)));
        let closing = read(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        assert!(matches!(closing, Reading::Whole(Request { keep_alive: false, .. }, _)));
    }

    #[test]
    fn the_newer_limit_wins_and_words_are_counted() {
        let body: Body = serde_json::from_str(
            r#"{"max_tokens":3,"max_completion_tokens":4,"messages":[{"content":"a b"},{"content":" c "}]}"#,
        )
        .unwrap();
        assert_eq!((body.tokens(), body.prompt_words()), (Some(4), 3));
    }
}
