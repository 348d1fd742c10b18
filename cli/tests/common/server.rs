//! A scripted HTTP server on loopback that looks like llama.cpp's to the adapter's questions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// What a scripted server does with `POST /completion`; it gets the request's head.
pub(crate) type Script = Arc<dyn Fn(&mut TcpStream, &str) + Send + Sync>;

/// An HTTP server that looks like llama.cpp's to the adapter's questions and follows the script for completions.
/// Returns its URL. Its threads end with the test's process.
pub(crate) fn scripted_server(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = Arc::clone(&script);
            drop(std::thread::spawn(move || serve(stream, &script)));
        }
    }));
    format!("http://{address}")
}

fn serve(mut stream: TcpStream, script: &Script) {
    let Some((path, head)) = read_request(&mut stream) else { return };
    let body = match path.as_str() {
        "/health" => r#"{"status":"ok"}"#,
        "/props" => {
            r#"{"default_generation_settings":{"n_ctx":1024,"params":{}},"total_slots":1,
                "model_path":"scripted.gguf","build_info":"scripted"}"#
        }
        "/slots" => r#"[{"id":0,"n_ctx":1024,"speculative":false,"is_processing":false}]"#,
        "/v1/models" => r#"{"data":[{"id":"scripted","meta":{"n_ctx":1024}}]}"#,
        "/completion" => return script(&mut stream, &head),
        _ => {
            return respond(
                &mut stream,
                "404 Not Found",
                "application/json",
                r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
            );
        }
    };
    respond(&mut stream, "200 OK", "application/json", body);
}

/// Reads one request, body included; its path and its head.
fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let (mut length, mut head) = (0, first.clone());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        head.push_str(&line);
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.split(' ').nth(1)?.to_owned(), head))
}

/// A whole answer; the connection ends with it.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()));
}

/// Head of a chunked event stream, then `chunks`, each as one HTTP chunk; no terminating chunk.
pub(crate) fn stream_chunks(stream: &mut TcpStream, chunks: &[&str]) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
        Connection: close\r\n\r\n";
    drop(stream.write_all(head.as_bytes()));
    for chunk in chunks {
        drop(write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    drop(stream.flush());
}
