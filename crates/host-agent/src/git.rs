//! The host side of the git relay: git in a guest speaks plain HTTP to its agent, the agent's stream ends
//! here, and the request goes on to the real server with credentials, proxy and certificates added. A token
//! never enters the guest.
//!
//! ```text
//! git ── http://127.0.0.1/https/HOST/PATH ──► agent ══ guest link ══► monitor ──► relay socket of the
//!     workspace ──► what is asked (remote) ──► may it be reached (policy) ──► upstream ──► server
//! ```
//!
//! - [`remote`]: which server and repository a URL or a relayed request means. Pure.
//! - [`policy`]: which servers may be reached. Pure.
//! - [`upstream`]: connects to a server: look-up, check, proxy, TLS.
//! - [`relay`]: listens for one workspace and carries its requests.
//! - [`probe`]: asks a server early whether a repository is there.
//!
//! Tested with a real git and a real `git http-backend` in `tests/git_relay.rs`.

pub mod policy;
pub mod probe;
pub mod relay;
pub mod remote;
pub mod upstream;
