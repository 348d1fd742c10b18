//! What the tests against a real llama-server share: where it is, and whether it may be missing.

use std::num::NonZeroU32;
use std::path::PathBuf;

pub(crate) fn n(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

/// The program that `BENCH_LLAMA_SERVER` names. Without one a test says that it is skipped, unless
/// `BENCH_REQUIRE_LLAMA_SERVER=1` makes that a failure.
pub(crate) fn program() -> Option<PathBuf> {
    let found = std::env::var_os("BENCH_LLAMA_SERVER").map(PathBuf::from).filter(|path| path.is_file());
    if found.is_none() {
        assert!(
            !std::env::var("BENCH_REQUIRE_LLAMA_SERVER").is_ok_and(|value| value == "1"),
            "BENCH_LLAMA_SERVER names no program, and BENCH_REQUIRE_LLAMA_SERVER=1"
        );
        eprintln!("SKIP: BENCH_LLAMA_SERVER names no program");
    }
    found
}
