//! The monitor as a program of its own, for tests, and the server of its disk; the product runs them as
//! `roost vm-monitor --dir DIR` and `roost disk-server --spec FILE`.

use std::path::Path;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, flag, dir] if command == "vm-monitor" && flag == "--dir" => {
            Ok(vm_monitor::run(Path::new(dir))?)
        }
        [command, flag, spec] if command == "disk-server" && flag == "--spec" => {
            Ok(disk_server::run(Path::new(spec))?)
        }
        [command, flag, spec] if command == "memory-server" && flag == "--spec" => {
            Ok(disk_server::memory::run(Path::new(spec))?)
        }
        [command, flag, spec] if command == "memory-writer" && flag == "--spec" => {
            Ok(vm_monitor::capture::run(Path::new(spec))?)
        }
        _ => bail!("usage: roost-vm-monitor vm-monitor --dir DIR"),
    }
}
