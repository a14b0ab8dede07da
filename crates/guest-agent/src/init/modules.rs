//! Kernel modules of the initramfs.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context;
use tracing::warn;

/// Loads the modules that the list names, one absolute path a line, in that order.
pub fn load(list: &Path) -> anyhow::Result<()> {
    let names = fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    for name in names.lines().filter(|name| !name.is_empty()) {
        let file = File::open(name).with_context(|| format!("opening {name}"))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // A CPU may lack what one of them speeds up.
            Err(error) => warn!(name, %error, "a module was not loaded"),
        }
    }
    Ok(())
}
