//! Tickets at the door: trades one-time ones for cookies, and checks cookies again while they are used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet_api::control::Directory;
use fleet_api::ticket::{Door, Ticket, TicketKey};
use ring::rand::SecureRandom;

/// How long the cookie of a workbench or a preview lives, unless its sign-in ends earlier.
pub const COOKIE_LIFE: Duration = Duration::from_hours(12);

/// Why nobody comes in with this ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is not a valid ticket")]
    Invalid,
    #[error("this ticket has been used already")]
    Used,
    #[error("the sign-in that this ticket was made from has ended")]
    SignedOut,
}

/// Checks tickets. What it remembers may be lost: a one-time ticket lives for seconds, and all else is asked
/// for again.
pub struct Tickets {
    key: TicketKey,
    directory: Arc<dyn Directory>,
    /// How long an answer of the control plane about a sign-in is believed.
    believed: Duration,
    /// Nonces of used one-time tickets, until these expire anyway.
    used: Mutex<HashMap<String, u64>>,
    sessions: Mutex<HashMap<String, (bool, Instant)>>,
}

impl Tickets {
    pub fn new(key: TicketKey, directory: Arc<dyn Directory>, believed: Duration) -> Self {
        Self {
            key,
            directory,
            believed,
            used: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Takes a one-time ticket for the door `from` and gives the text of a long-lived one for `to`.
    pub async fn trade(
        &self,
        text: &str,
        workspace: &model::WorkspaceId,
        from: Door,
        to: Door,
    ) -> Result<String, Refusal> {
        let now = now_ms();
        let ticket = self.key.verify(text, now).map_err(|_| Refusal::Invalid)?;
        if ticket.door != from || &ticket.workspace != workspace {
            return Err(Refusal::Invalid);
        }
        self.use_once(&ticket, now)?;
        if !self.session_is_valid(&ticket.session).await {
            return Err(Refusal::SignedOut);
        }
        Ok(self.key.sign(&Ticket {
            door: to,
            expires_ms: now + u64::try_from(COOKIE_LIFE.as_millis()).expect("12 hours fit"),
            nonce: nonce(),
            ..ticket
        }))
    }

    /// A one-time ticket for a door of ours, made from one that was checked.
    pub fn entry(&self, from: &Ticket, door: Door) -> String {
        self.key.sign(&Ticket {
            door,
            expires_ms: now_ms() + 60_000,
            nonce: nonce(),
            ..from.clone()
        })
    }

    /// The first of `texts` that opens `door` of the workspace.
    pub async fn check<'a>(
        &self,
        texts: impl Iterator<Item = &'a str>,
        workspace: &model::WorkspaceId,
        door: Door,
    ) -> Result<Ticket, Refusal> {
        let now = now_ms();
        let mut refusal = Refusal::Invalid;
        // A browser has one or two of them; more are somebody's attempt to keep us busy.
        for text in texts.take(8) {
            let Ok(ticket) = self.key.verify(text, now) else {
                continue;
            };
            if ticket.door != door || &ticket.workspace != workspace {
                continue;
            }
            if self.session_is_valid(&ticket.session).await {
                return Ok(ticket);
            }
            refusal = Refusal::SignedOut;
        }
        Err(refusal)
    }

    /// Waits until the sign-in has ended; notices it within twice the time that an answer is believed.
    pub async fn signed_out(&self, session: &str) {
        while self.session_is_valid(session).await {
            tokio::time::sleep(self.believed).await;
        }
    }

    async fn session_is_valid(&self, session: &str) -> bool {
        let known = self.sessions().get(session).copied();
        if let Some((valid, asked)) = known
            && asked.elapsed() < self.believed
        {
            return valid;
        }
        let Some(valid) = self.directory.session_is_valid(session).await else {
            // Who was in stays in while the control plane cannot be asked, and nobody else comes in.
            return known.is_some_and(|(valid, _)| valid);
        };
        let mut sessions = self.sessions();
        if sessions.len() >= 4096 {
            sessions.retain(|_, (_, asked)| asked.elapsed() < self.believed);
        }
        sessions.insert(session.into(), (valid, Instant::now()));
        valid
    }

    fn use_once(&self, ticket: &Ticket, now: u64) -> Result<(), Refusal> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, expires| *expires > now);
        match used.insert(ticket.nonce.clone(), ticket.expires_ms) {
            None => Ok(()),
            Some(_) => Err(Refusal::Used),
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, (bool, Instant)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random text that nobody guesses.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random source does not fail once it is seeded");
    URL_SAFE_NO_PAD.encode(bytes)
}
