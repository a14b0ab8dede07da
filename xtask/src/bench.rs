//! `cargo xtask bench NAME`: the numbers that Roost promises, on the real thing.

pub mod report;
