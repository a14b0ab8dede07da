//! Compiles what is preloaded into the VMM, see `shim/shim.rs`.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=shim/shim.rs");
    let variable = |name: &str| std::env::var(name).expect("cargo sets it");
    let out = PathBuf::from(variable("OUT_DIR")).join("shim.so");
    let status = Command::new(variable("RUSTC"))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--crate-name",
            "shim",
        ])
        .args(["--target", &variable("TARGET")])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
        ])
        // Nothing is linked: what it takes of the C library, the VMM has loaded.
        .args(["-C", "link-args=-nostdlib -nostartfiles"])
        .arg("-o")
        .arg(&out)
        .arg("shim/shim.rs")
        .status()
        .expect("the compiler that cargo runs can be run");
    assert!(status.success(), "shim/shim.rs does not compile");
}
