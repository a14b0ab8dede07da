//! Git: its way out of the machine, and what would be lost without a push.

pub mod config;
pub mod relay;
pub mod repositories;
