//! A key goes to the server and nowhere else: everything a run writes is searched for a planted one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{bench, text};
use server::{respond, scripted_server, stream_chunks};

const KEY: &str = "sk-planted-7f3a9c";

/// Every file below, as bytes that need not be text.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn a_planted_key_is_sent_and_then_found_nowhere() {
    let (heads, asked) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let seen = Arc::clone(&heads);
    // A server that echoes the key in every way it has: an error's body, an error event, and a broken stream.
    let url = scripted_server(Arc::new(move |stream, head| {
        seen.lock().unwrap().push(head.to_owned());
        let error = format!(r#"{{"error":{{"message":"the key {KEY} may not"}}}}"#);
        match asked.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => respond(stream, "401 Unauthorized", "application/json", &error),
            1 => stream_chunks(stream, &[&format!("data: {error}\n\n")]),
            _ => stream_chunks(stream, &[&format!("data: {{\"stop\": \"{KEY}\"}}\n\n")]),
        }
    }));
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path())
        .args(["run", "smoke", "--stack", "llama-server", "--out", "run"])
        .env("BENCH_LLAMA_SERVER", url)
        .env("BENCH_API_KEY", KEY)
        .output()
        .unwrap();
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");

    let heads = heads.lock().unwrap();
    assert!(
        !heads.is_empty() && heads.iter().all(|head| head.contains(&format!("Bearer {KEY}"))),
        "{heads:?}"
    );
    assert!(!err.contains(KEY) && !out.contains(KEY), "{err}\n{out}");
    let written = files(&dir.path().join("run"));
    let rows = written.iter().find(|(path, _)| path.ends_with("rows.jsonl")).unwrap();
    assert!(String::from_utf8_lossy(&rows.1).contains("the key [key] may not"), "the message itself is kept");
    for (path, bytes) in &written {
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{path} holds the key");
    }
}

#[test]
fn an_address_with_a_password_is_refused_without_showing_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path())
        .args(["run", "smoke", "--stack", "llama-server", "--out", "run"])
        .env("BENCH_LLAMA_SERVER", format!("http://user:{KEY}@127.0.0.1:1"))
        .output()
        .unwrap();
    let (err, out) = text(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("set BENCH_API_KEY instead"), "{err}");
    assert!(!err.contains(KEY) && !out.contains(KEY), "{err}\n{out}");
    for (path, bytes) in files(&dir.path().join("run")) {
        assert!(
            !bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()),
            "{path} holds the password"
        );
    }
}
