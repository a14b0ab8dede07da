//! Git: its way out of the machine, what would be lost without a push, and keeping it from being lost.

mod command;
pub mod config;
pub mod relay;
pub mod repositories;
pub mod wip;
