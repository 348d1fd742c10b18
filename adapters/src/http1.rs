//! The HTTP/1.1 of a measured stream: one request on one connection, whose bytes are stamped when they are read.
//!
//! Written here, since a general client hands every piece of a body from the task of its connection to the task that
//! asked: two wake-ups a chunk, and a stamp that is late by one of them. Here the task that asked reads the socket. It
//! does not reuse a connection, follow a redirect or speak TLS. Connections can be opened beforehand, so that none is
//! opened inside a measurement. Invariant: how the bytes are cut into pieces never changes the body.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::arrival;

/// Connections that are opened at a time: as many wait at most for a server that accepts them one by one.
const OPENINGS: usize = 32;
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;
/// Digits of a chunk's size: more than any size that fits.
const MAX_SIZE_DIGITS: u32 = 15;

/// Where requests go: the parts of `http://host:port/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    host: String,
    port: u16,
    prefix: String,
}

impl Origin {
    /// `None` for anything but `http`.
    pub(crate) fn parse(base: &str) -> Option<Self> {
        let url = Url::parse(base).ok().filter(|url| url.scheme() == "http")?;
        Some(Self {
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Opens so many connections, or as many as the server takes: the first failure ends it.
    async fn open(&self, count: usize) -> Vec<TcpStream> {
        let mut opening = stream::iter(0..count).map(|_| self.connect()).buffer_unordered(OPENINGS / 2);
        let mut opened = Vec::with_capacity(count);
        while let Some(Ok(socket)) = opening.next().await {
            opened.push(socket);
        }
        opened
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        // The brackets of an IPv6 address belong to the URL.
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, self.port)).await?;
        socket.set_nodelay(true)?;
        arrival::stamp_arrivals(&socket);
        Ok(socket)
    }
}

/// Connections that were opened and have carried nothing yet, to one origin.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    origin: Option<Origin>,
    sockets: VecDeque<TcpStream>,
    /// Requests that were promised a connection and have not taken it.
    promised: usize,
}

impl Stock {
    /// Opens connections until `count` lie here, or the server takes no more: a request opens what it misses, and says why
    /// it cannot.
    pub(crate) async fn fill(&self, origin: &Origin, count: usize) {
        let missing = self.with(origin, |shelf| count.saturating_sub(shelf.sockets.len()));
        // The thread that waits here is free, and so is the one that will read: each opens half.
        let theirs = origin.clone();
        let theirs = tokio::spawn(async move { theirs.open(missing / 2).await });
        let ours = origin.open(missing - missing / 2).await;
        let theirs = theirs.await.unwrap_or_default();
        self.with(origin, |shelf| shelf.sockets.extend(ours.into_iter().chain(theirs)));
    }

    /// Promises a connection to one request that is about to be sent, and opens one if all are promised.
    pub(crate) async fn promise(&self, origin: &Origin) -> io::Result<()> {
        self.with(origin, |shelf| shelf.promised += 1);
        while self.with(origin, |shelf| shelf.sockets.len() < shelf.promised) {
            let socket = match origin.connect().await {
                Ok(socket) => socket,
                Err(error) => {
                    self.with(origin, |shelf| shelf.promised = shelf.promised.saturating_sub(1));
                    return Err(error);
                }
            };
            self.with(origin, |shelf| shelf.sockets.push_back(socket));
        }
        Ok(())
    }

    /// A connection that still stands; opened now if none is left.
    async fn take(&self, origin: &Origin) -> io::Result<TcpStream> {
        self.with(origin, |shelf| shelf.promised = shelf.promised.saturating_sub(1));
        while let Some(socket) = self.with(origin, |shelf| shelf.sockets.pop_front()) {
            // Nothing was asked, so whatever can be read is the server's farewell.
            if matches!(socket.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                return Ok(socket);
            }
        }
        origin.connect().await
    }

    /// A server that was started again has another port: what was opened before is of no use.
    fn with<T>(&self, origin: &Origin, act: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.origin.as_ref() != Some(origin) {
            *shelf = Shelf { origin: Some(origin.clone()), ..Shelf::default() };
        }
        act(&mut shelf)
    }
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub(crate) struct Response {
    socket: TcpStream,
    /// When the head had arrived.
    pub(crate) opened: Instant,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    body: Body,
    /// Of the read that ended the head: the beginning of the body.
    leftover: Vec<u8>,
    /// Of the bytes before: stamps do not go back, should somebody set the clock that the kernel stamps with.
    last: Instant,
}

/// Sends one POST and waits for the head of its answer.
pub(crate) async fn post(
    stock: &Stock,
    origin: &Origin,
    path: &str,
    authorization: Option<&[u8]>,
    body: &[u8],
) -> io::Result<Response> {
    let mut request = Vec::with_capacity(body.len() + 512);
    let Origin { host, port, prefix } = origin;
    let length = body.len();
    request.extend_from_slice(
        format!(
            "POST {prefix}{path} HTTP/1.1\r\nhost: {host}:{port}\r\naccept: text/event-stream\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n"
        )
        .as_bytes(),
    );
    if let Some(value) = authorization {
        request.extend_from_slice(b"authorization: ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    let mut socket = stock.take(origin).await?;
    let sent = Instant::now();
    socket.write_all(&request).await?;
    read_head(socket, sent).await
}

async fn read_head(socket: TcpStream, sent: Instant) -> io::Result<Response> {
    let mut bytes = Vec::new();
    loop {
        let (count, at) = arrival::next(&socket, |read| {
            bytes.extend_from_slice(read);
            read.len()
        })
        .await?;
        let opened = at.max(sent);
        if count == 0 {
            return Err(unexpected_end("before the head of its answer was whole"));
        }
        while let Some((head, length)) = Head::parse(&bytes)? {
            bytes.drain(..length);
            // 1xx are interim: the answer follows.
            if head.status >= 200 {
                let Head { status, content_type, body } = head;
                return Ok(Response {
                    socket,
                    opened,
                    status,
                    content_type,
                    body,
                    leftover: bytes,
                    last: opened,
                });
            }
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "a head of more than 64 KiB"));
        }
    }
}

impl Response {
    /// The next bytes of the body into `out`, which is emptied before, and when they arrived. `None` at its end.
    pub(crate) async fn read(&mut self, out: &mut Vec<u8>) -> io::Result<Option<Instant>> {
        out.clear();
        loop {
            if self.body.is_over() {
                return Ok(None);
            }
            if self.leftover.is_empty() {
                let body = &mut self.body;
                let take = |read: &[u8]| body.push(read, out).map(|()| read.len());
                let (taken, at) = arrival::next(&self.socket, take).await?;
                if taken? == 0 {
                    return self.body.at_close().map(|()| None);
                }
                self.last = at.max(self.last);
            } else {
                let leftover = std::mem::take(&mut self.leftover);
                self.body.push(&leftover, out)?;
            }
            if !out.is_empty() {
                return Ok(Some(self.last));
            }
        }
    }
}

struct Head {
    status: u16,
    content_type: Option<String>,
    body: Body,
}

impl Head {
    /// The head at the beginning of `bytes` and its length; `None` if it is not whole.
    fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let invalid = |what: String| io::Error::new(ErrorKind::InvalidData, what);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(invalid(format!("the answer is no HTTP/1: {error}"))),
        };
        let find = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(found.value).trim().to_owned())
        };
        let body = match (find("transfer-encoding"), find("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Body::Chunked(Framing::default()),
            (Some(coding), _) => {
                return Err(invalid(format!("transfer-encoding `{coding}`; expected chunked")));
            }
            (None, Some(length)) => Body::Length(
                length.parse().map_err(|_not_a_number| invalid(format!("content-length `{length}`")))?,
            ),
            (None, None) => Body::UntilClose,
        };
        Ok(Some((Self { status: head.code.unwrap_or(0), content_type: find("content-type"), body }, length)))
    }
}

/// How the end of a body is known.
#[derive(Debug)]
enum Body {
    Chunked(Framing),
    Length(u64),
    UntilClose,
}

impl Body {
    fn is_over(&self) -> bool {
        match self {
            Self::Chunked(framing) => framing.at == At::End,
            Self::Length(left) => *left == 0,
            Self::UntilClose => false,
        }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Chunked(framing) => framing.push(bytes, out)?,
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                out.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
            }
            Self::UntilClose => out.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn at_close(&self) -> io::Result<()> {
        match self {
            Self::UntilClose => Ok(()),
            Self::Chunked(_) | Self::Length(_) => Err(unexpected_end("inside the body of its answer")),
        }
    }
}

fn unexpected_end(when: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("the server closed the connection {when}"))
}

/// The chunked transfer coding (RFC 9112, section 7.1).
#[derive(Debug, Default)]
struct Framing {
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the size of a chunk.
    Size {
        value: u64,
        digits: u32,
    },
    /// After the size, up to the end of its line.
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The line end after a chunk.
    DataEnd,
    /// A line after the last chunk, and whether anything stands in it.
    Trailer {
        is_empty: bool,
    },
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

impl Framing {
    /// Appends the content of `bytes` to `out`. What follows the end is not looked at.
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let At::Data { left } = self.at {
                let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                out.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                let left = left - taken as u64;
                self.at = if left == 0 { At::DataEnd } else { At::Data { left } };
                continue;
            }
            if self.at == At::End {
                return Ok(());
            }
            self.at = self.after(byte)?;
            bytes = rest;
        }
        Ok(())
    }

    fn after(&self, byte: u8) -> io::Result<At> {
        let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, format!("chunked body: {what}"));
        match (self.at, byte) {
            (At::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(invalid("the size of a chunk has more than 15 digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Ok(At::Size { value: value * 16 + u64::from(digit), digits: digits + 1 })
            }
            (At::Size { digits: 0, .. }, _) => Err(invalid("the size of a chunk is no number")),
            (At::Size { value: size, .. } | At::Extension { size }, b'\n') => Ok(after_size(size)),
            (At::Size { value: size, .. }, b'\r' | b';' | b' ' | b'\t') => Ok(At::Extension { size }),
            (At::Size { .. }, _) => Err(invalid("the size of a chunk is no number")),
            (At::Extension { size }, _) => Ok(At::Extension { size }),
            (At::DataEnd, b'\r') => Ok(At::DataEnd),
            (At::DataEnd, b'\n') => Ok(At::default()),
            (At::DataEnd, _) => Err(invalid("a chunk is longer than its size")),
            (At::Trailer { is_empty: true }, b'\n') => Ok(At::End),
            (At::Trailer { .. }, b'\n') => Ok(At::Trailer { is_empty: true }),
            (At::Trailer { is_empty }, b'\r') => Ok(At::Trailer { is_empty }),
            (At::Trailer { .. }, _) => Ok(At::Trailer { is_empty: false }),
            (at @ (At::Data { .. } | At::End), _) => Ok(at),
        }
    }
}

fn after_size(size: u64) -> At {
    if size == 0 { At::Trailer { is_empty: true } } else { At::Data { left: size } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content, whether its end came, and whether it was refused.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool, bool) {
        let (mut framing, mut out) = (Framing::default(), Vec::new());
        for piece in pieces {
            if framing.push(piece, &mut out).is_err() {
                return (out, false, true);
            }
        }
        (out, framing.at == At::End, false)
    }

    #[test]
    fn chunks_are_joined_up_to_the_last() {
        let whole =
            b"4\r\nWiki\r\n6;x=y\r\npedia \r\n00E\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: a\r\n\r\nnext";
        assert_eq!(read([whole.as_slice()]), (b"Wikipedia in \r\n\r\nchunks.".to_vec(), true, false));
        assert_eq!(read([b"2\nab\n0\n\n".as_slice()]), (b"ab".to_vec(), true, false), "line feeds alone");
        assert_eq!(read([b"2\r\nab\r\n".as_slice()]), (b"ab".to_vec(), false, false), "no end yet");
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in ["x\r\n", "\r\n", "2\r\nabc\r\n", "fffffffffffffffff\r\n", "-1\r\n", "2x\r\n"] {
            assert!(read([bad.as_bytes()]).2, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_gives_the_same_body(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
            noise in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            size in 1_usize..9,
        ) {
            let chunk = |part: &Vec<u8>| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
            let mut bytes: Vec<u8> = parts.iter().flat_map(chunk).collect();
            bytes.extend_from_slice(b"0\r\n\r\n");
            if let Some((index, byte)) = noise {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = read([bytes.as_slice()]);
            if noise.is_none() {
                prop_assert_eq!(&whole, &(parts.concat(), true, false));
            }
            prop_assert_eq!(&read(bytes.chunks(size)), &whole);
            for at in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(at);
                prop_assert_eq!(&read([head, tail]), &whole, "cut at {}", at);
            }
        }
    }

    #[test]
    fn an_origin_is_http_with_host_port_and_prefix() {
        let origin = Origin::parse("http://[::1]:8080/upstream/m/").unwrap();
        assert_eq!(
            (origin.host.as_str(), origin.port, origin.prefix.as_str()),
            ("[::1]", 8080, "/upstream/m")
        );
        assert_eq!(Origin::parse("http://localhost").unwrap().port, 80);
        assert_eq!((Origin::parse("https://a"), Origin::parse("nonsense")), (None, None));
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_not_used() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (origin, stock) = (Origin::parse(&base).unwrap(), Stock::default());
        stock.fill(&origin, 2).await;
        stock.promise(&origin).await.unwrap();
        assert_eq!(stock.with(&origin, |shelf| (shelf.sockets.len(), shelf.promised)), (2, 1));
        let (first, _) = listener.accept().await.unwrap();
        let (second, second_peer) = listener.accept().await.unwrap();
        drop(first);
        stock
            .with(&origin, |shelf| shelf.sockets.front().map(|socket| socket.local_addr().unwrap()))
            .unwrap();
        // The farewell needs a moment to arrive.
        let closed = stock.with(&origin, |shelf| shelf.sockets.pop_front()).unwrap();
        closed.readable().await.unwrap();
        stock.with(&origin, |shelf| shelf.sockets.push_front(closed));
        let taken = stock.take(&origin).await.unwrap();
        assert_eq!(taken.local_addr().unwrap(), second_peer);
        drop(second);
    }
}
