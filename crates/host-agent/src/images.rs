//! Guest images: kernel, initramfs and base disk, kept by content in the data folder.
//!
//! ```text
//! DATA/images/base-DIGEST.ext4  vmlinux-DIGEST  initramfs-DIGEST.cpio
//!             NAME.verified     size, time and inode of the file when its digest was found right
//! ```
//!
//! A workspace names the base and the kernel that it was born with and keeps them, whatever is built later;
//! a file that no workspace and no current set names is removed. A file is read to its end once, and again
//! only when it looks changed.
//!
//! - [`manifest`]: what a built set says of itself.
//! - [`digest`]: digests of files, sparse ones too.
//! - [`store`]: the folder above.

pub mod digest;
pub mod manifest;
pub mod store;

pub use store::{ImageError, ImageFiles, ImageNames, Images};
