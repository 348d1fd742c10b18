//! How `bench` is linked.
//!
//! A position-independent program is patched before it starts: some 440,000 places of polars' tables, 5 MB of them written and
//! 10 MB of relocations read. A program at a fixed address has none; it sends its first request that much earlier, and
//! takes that much less memory beside what it measures.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if of_target("OS") == "linux" && of_target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
