//! What the CLI tests share: the real binary in a fresh directory.

use std::path::Path;
use std::process::{Command, Output};

/// The binary under test, in `dir`, with no server in its environment.
pub(crate) fn bench(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command
        .current_dir(dir)
        .env_remove("BENCH_LLAMA_SERVER")
        .env_remove("BENCH_API_KEY")
        .env("BENCH_CACHE_DIR", dir.join("models"))
        .env("NO_COLOR", "1");
    command
}

/// Standard error and output as text.
pub(crate) fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stderr).into_owned(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
