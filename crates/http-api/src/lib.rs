//! How the servers of `/api/v1` read requests and answer them, each with its documentation: what a handler takes
//! and returns is what the document says. Every mistake is answered with a problem document.
//!
//! Shared by the control plane and the gateway, which each answer a part of the API; knows neither.
//!
//! - [`inputs`]: bodies and parameters.
//! - [`answers`]: what is returned, and [`answers::Refused`], a problem as an answer.

pub mod answers;
pub mod inputs;
