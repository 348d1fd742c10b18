//! A headless Chromium that is told what to do, as a person would use it: its keys are pressed, its pages printed.
//!
//! Speaks the `DevTools` protocol over the browser's two pipes (file descriptors 3 and 4, messages end with a zero byte),
//! which needs neither a port nor a library. Everything that a page asks the network for is written down.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    last_id: u64,
    session: Option<String>,
    /// Addresses asked for, but for `data:`.
    pub(crate) requests: Vec<String>,
    /// What the console and the browser's log said.
    pub(crate) complaints: Vec<String>,
    /// Its profile and pipes, removed after it has ended.
    _home: tempfile::TempDir,
}

impl Browser {
    /// Starts it; `None` without Chromium, which a test says and `BENCH_REQUIRE_CHROMIUM=1` forbids.
    pub(crate) fn start() -> Option<Self> {
        if let Err(error) = Command::new("chromium").arg("--version").output() {
            let is_required = std::env::var("BENCH_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1");
            assert!(!is_required, "chromium is required and cannot be run: {error}");
            eprintln!("SKIP: chromium cannot be run: {error}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let pipes = ["in", "out"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        let child = Command::new("sh")
            .args(["-c", r#"exec chromium "$@" 3<"$IN" 4>"$OUT""#, "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
            .args(["--remote-debugging-pipe".to_owned(), format!("--user-data-dir={}", dir.path().display())])
            .envs([("IN", &pipes[0]), ("OUT", &pipes[1])])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Opening a named pipe waits for its other end.
        let to = File::create(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let (requests, complaints) = (Vec::new(), Vec::new());
        let mut browser =
            Self { child, to, from, last_id: 0, session: None, requests, complaints, _home: dir };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Opens a file at this width, light or dark, and waits until it is loaded.
    pub(crate) fn open(&mut self, page: &Path, width: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        self.prefer(if is_dark { "dark" } else { "light" }, "");
        self.call("Page.navigate", &json!({ "url": format!("file://{}", page.display()) }));
        // Of the page that was left, the answer would be of the past.
        self.wait_for("Page.loadEventFired");
    }

    /// The scheme that the reader prefers, and the medium: `print`, or as on screen.
    pub(crate) fn prefer(&mut self, scheme: &str, medium: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "media": medium, "features": features }));
    }

    /// What an expression is worth, as JSON; promises are awaited.
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &question);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Presses and lets go of a key.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "ArrowDown" => (40, ""),
            "ArrowRight" => (39, ""),
            other => panic!("no code is known for the key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// The page on paper, as base64 of a PDF.
    pub(crate) fn print(&mut self) -> String {
        let paper = json!({ "preferCSSPageSize": true, "printBackground": true });
        self.call("Page.printToPDF", &paper)["data"].as_str().unwrap_or_default().to_owned()
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        self.to.flush().unwrap();
        loop {
            let message = self.next();
            if message["id"] == json!(id) {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn wait_for(&mut self, event: &str) {
        while self.next()["method"] != json!(event) {}
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has gone");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with("data:") {
                    self.requests.push(url.to_owned());
                }
            }
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.complaints.push(params.to_string());
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without it the profile would be written to while it is removed; a child that has gone is no failure.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
