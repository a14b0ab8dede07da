//! The monitor as a program of its own, for tests; the product runs it as `roost vm-monitor --dir DIR`.

use std::path::Path;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, flag, dir] if command == "vm-monitor" && flag == "--dir" => {
            Ok(vm_monitor::run(Path::new(dir))?)
        }
        _ => bail!("usage: roost-vm-monitor vm-monitor --dir DIR"),
    }
}
