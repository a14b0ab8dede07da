//! The control plane as its users and its hosts see it: through a socket, with real databases, against a
//! host whose machines are a script.

// Helpers of tests are tests as well.
#![allow(clippy::unwrap_used)]

mod api;
mod database;
mod entry;
mod events;
mod identity;
mod kills;
mod lifecycle;
mod points;
mod postgres;
mod requests;
mod script;
mod store;
mod upkeep;
mod usage;
mod work;
mod world;
