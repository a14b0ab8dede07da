//! Crashes disks: the production code of `storage` over simulated files, a simulated store and simulated
//! time, ended at any step, with every step failing in every way that [`faults::TABLE`] has.
//!
//! Knows what a disk promises and nothing of how it keeps the promise: a block has the content that was
//! last acknowledged, or one that was written after.
//!
//! - [`run`]: one run, from one seed; start here.
//! - [`many`]: many of them.
//! - [`faults`]: what can go wrong where.
//! - [`files`], [`store`]: what the disk stands on.
//! - [`chance`]: randomness and time.
//!
//! `cargo test -p storage-crash` makes some thousands of runs, `cargo xtask crash` as many as are wanted.

pub mod chance;
pub mod faults;
pub mod files;
pub mod many;
pub mod run;
pub mod store;
