//! Prints what this host can do for a VM: `cargo run -p microvm --example probe -- DATA KERNEL INITRAMFS`.

use std::path::PathBuf;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, kernel, initramfs] = arguments.as_slice() else {
        return Err("usage: probe DATA KERNEL INITRAMFS".into());
    };
    let vmm = microvm::vmm_store::pin(data)?;
    println!("{vmm:?}");
    println!(
        "{:?}",
        microvm::machine::probe(data, &vmm, kernel, initramfs).await?
    );
    Ok(())
}
