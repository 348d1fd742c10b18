//! What a server's log says of its end: the last lines, and the place where it gave up.
//!
//! Pure but for reading the end of one file. A log is anybody's text: what is not recognised gives `None`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Lines of a log that go into an error.
const TAIL_LINES: usize = 12;
/// Bytes of a log that are read for them. A backtrace may follow the line that matters.
const TAIL_BYTES: u64 = 64 << 10;

/// The end of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Its last lines, empty ones left out.
    pub(crate) tail: Vec<String>,
    /// Where the server gave up, if the log says so.
    pub(crate) abort_site: Option<String>,
}

/// Reads the end of a log; a log that cannot be read has none.
pub(crate) fn read_end(path: &Path) -> LogEnd {
    log_end(&last_bytes(path).unwrap_or_default())
}

/// The end of a log that is at hand.
pub(crate) fn log_end(text: &str) -> LogEnd {
    let mut tail: Vec<_> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(TAIL_LINES)
        .map(str::to_owned)
        .collect();
    tail.reverse();
    LogEnd { tail, abort_site: abort_site(text) }
}

fn last_bytes(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first sign of the end in a log's last lines; what follows it are its consequences. Known are:
///
/// * ggml: `PATH/fattn.cu:109: fatal error` and `PATH/ggml.c:7: GGML_ASSERT(...) failed`;
/// * ggml on CUDA: `CUDA error: WHAT`, with `in function F at PATH:LINE` after it;
/// * C++: `terminate called after throwing ...` and `what():  WHAT`;
/// * Rust: `thread 'T' panicked at PATH:LINE:COLUMN:`;
/// * Python: the last line of a traceback.
pub(crate) fn abort_site(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().enumerate().find_map(|(index, line)| {
        let rest = &lines[index + 1..];
        ggml(line)
            .or_else(|| cuda(line, rest))
            .or_else(|| cpp(line, rest))
            .or_else(|| rust(line))
            .or_else(|| python(line, rest))
    })
}

fn ggml(line: &str) -> Option<String> {
    let at = ["GGML_ASSERT(", "fatal error", "GGML_ABORT("].iter().find_map(|sign| line.find(sign))?;
    let (place, what) = line.split_at(at);
    let place = place.trim_end().trim_end_matches(':');
    // `src/file.cu:109`: a number after the last colon tells a place from prose.
    let (path, number) = place.rsplit_once(':')?;
    let is_line = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_line.then(|| format!("{}:{number}: {}", file_name(path.trim()), what.trim()))
}

fn cuda(line: &str, rest: &[&str]) -> Option<String> {
    let (_, what) = line.split_once("CUDA error")?;
    let place = rest.iter().take(3).find_map(|line| {
        let (path, number) = line.rsplit_once(" at ")?.1.trim().rsplit_once(':')?;
        Some(format!("{}:{number}", file_name(path)))
    });
    let what = format!("CUDA error{}", what.trim_end());
    Some(place.map_or(what.clone(), |place| format!("{place}: {what}")))
}

fn cpp(line: &str, rest: &[&str]) -> Option<String> {
    let (_, exception) = line.split_once("terminate called after throwing an instance of ")?;
    let what = rest.iter().take(2).find_map(|line| line.trim().strip_prefix("what():")).map(str::trim);
    let exception = exception.trim().trim_matches('\'');
    Some(what.map_or(exception.to_owned(), |what| format!("{exception}: {what}")))
}

fn rust(line: &str) -> Option<String> {
    let (_, place) = line.split_once(" panicked at ")?;
    let place = place.trim().trim_end_matches(':');
    Some(format!("panic at {}", file_name(place)))
}

/// `File "...", line N` lines are indented; the first line that is not is the exception.
fn python(line: &str, rest: &[&str]) -> Option<String> {
    let (prefix, _) = line.split_once("Traceback (most recent call last):")?;
    let mut site = None;
    for line in rest {
        let line = line.strip_prefix(prefix).unwrap_or(line);
        if let Some((path, number)) = frame(line) {
            site = Some(format!("{}:{number}", file_name(path)));
        } else if !line.starts_with(' ') && !line.trim().is_empty() {
            return Some(site.map_or(line.trim().to_owned(), |site| format!("{site}: {}", line.trim())));
        }
    }
    None
}

fn frame(line: &str) -> Option<(&str, &str)> {
    let (path, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    let number = rest.strip_prefix(", line ")?;
    Some((path, number.split(',').next()?))
}

/// A path without its folders: they are of the machine that built the server.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_known_end_is_found() {
        let cases = [
            (
                "load ok\n/src/ggml/src/ggml-cuda/fattn.cu:109: fatal error\n#0 0x55 backtrace",
                "fattn.cu:109: fatal error",
            ),
            (
                "x\n/a/ggml.c:3210: GGML_ASSERT(a->ne[2] == b->ne[0]) failed\n",
                "ggml.c:3210: GGML_ASSERT(a->ne[2] == b->ne[0]) failed",
            ),
            (
                "CUDA error: out of memory\n  current device: 0, in function alloc at /b/ggml-cuda.cu:472\n  cudaMalloc(&p)\n/b/ggml-cuda.cu:84: CUDA error",
                "ggml-cuda.cu:472: CUDA error: out of memory",
            ),
            (
                "terminate called after throwing an instance of 'std::out_of_range'\n  what():  vector::_M_range_check\n",
                "std::out_of_range: vector::_M_range_check",
            ),
            ("thread 'main' panicked at engine/src/lib.rs:10:5:\noops", "panic at lib.rs:10:5"),
            (
                "(EngineCore pid=7) Traceback (most recent call last):\n(EngineCore pid=7)   File \"/v/core.py\", line 12, in run\n(EngineCore pid=7)     step()\n(EngineCore pid=7)   File \"/v/top_k.py\", line 3, in f\n(EngineCore pid=7)     x[i]\n(EngineCore pid=7) IndexError: index 2048 is out of bounds\nbye",
                "top_k.py:3: IndexError: index 2048 is out of bounds",
            ),
        ];
        for (log, site) in cases {
            assert_eq!(abort_site(log).as_deref(), Some(site), "{log}");
        }
    }

    #[test]
    fn an_ordinary_log_has_no_abort_site() {
        for log in [
            "",
            "listening on 8080\n",
            "a fatal error is what this is not",
            "12: fatal error",
            "Traceback (most recent call last):",
        ] {
            assert_eq!(abort_site(log), None, "{log}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<_> = (0..20_000).map(|n| format!("line {n}\n\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        let end = read_end(&path);
        assert_eq!(end.tail.len(), TAIL_LINES);
        assert_eq!(end.tail.last().map(String::as_str), Some("line 19999"));
        assert_eq!(read_end(&dir.path().join("none")), LogEnd::default());
    }

    proptest! {
        #[test]
        fn no_log_panics(text in "(\\PC{0,12}|GGML_ASSERT\\(|fatal error|CUDA error| at |:|Traceback \\(most recent call last\\):|\\n| panicked at |File \"){0,12}") {
            abort_site(&text);
        }
    }
}
