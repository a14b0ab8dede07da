//! The disk server as a program of its own, for tests; the product runs it as `roost disk-server --spec FILE`.

use std::path::Path;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [command, flag, spec] if command == "disk-server" && flag == "--spec" => {
            Ok(disk_server::run(Path::new(spec))?)
        }
        [command, flag, spec] if command == "memory-server" && flag == "--spec" => {
            Ok(disk_server::memory::run(Path::new(spec))?)
        }
        _ => bail!("usage: roost-disk-server disk-server|memory-server --spec FILE"),
    }
}
