//! Rust from the .proto files, without a protoc on the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Crate, definition, and the name that prost gives the generated file.
const PROTOCOLS: [(&str, &str, &str); 2] = [
    ("guest-protocol", "guest.proto", "roost.guest.v1.rs"),
    ("monitor-protocol", "monitor.proto", "roost.monitor.v1.rs"),
];

/// Writes every generated file, or with `check` fails when one differs from what is checked in.
pub fn run(check: bool) -> anyhow::Result<()> {
    for (name, definition, generated) in PROTOCOLS {
        let folder = root().join("crates").join(name);
        let fresh = generate(&folder, definition, generated)?;
        let path = folder.join("src/generated.rs");
        if check {
            let current = std::fs::read_to_string(&path).unwrap_or_default();
            ensure!(
                current == fresh,
                "{} is not current: cargo xtask generate",
                path.display()
            );
        } else {
            std::fs::write(&path, fresh).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn generate(folder: &Path, definition: &str, generated: &str) -> anyhow::Result<String> {
    let out = std::env::temp_dir().join(format!("roost-generate-{}", std::process::id()));
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile([definition], [folder.join("proto")])?;
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(&out)
        .compile_fds(descriptors)?;
    let code = std::fs::read_to_string(out.join(generated))?;
    std::fs::remove_dir_all(&out)?;
    Ok(code)
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_code_is_current() {
        super::run(true).unwrap();
    }
}
