//! Signed proof of who may reach which workspace, and through which door.
//!
//! `base64url(JSON claims) "." base64url(HMAC-SHA256)`, keyed with a secret that control plane and gateways
//! share. Short-lived ones are carried in a redirect and used once; the long-lived ones that they are traded
//! for are host-only cookies of the workbench's or a preview's origin.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{UserId, WorkspaceId};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::host::GuestRole;

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub user: UserId,
    pub workspace: WorkspaceId,
    pub role: GuestRole,
    pub door: Door,
    /// Sign-in session or API token that it was made from; ends with it.
    pub session: String,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    /// Random; tells one-time tickets apart.
    pub nonce: String,
}

/// What a ticket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// In a redirect to the workbench's origin, traded once for `Workbench`.
    WorkbenchEntry,
    /// Cookie of the workbench's origin: sessions, settings, start.
    Workbench,
    /// In a redirect to a preview's origin, traded once for `Preview`.
    PreviewEntry { port: u16 },
    /// Cookie of one preview's origin.
    Preview { port: u16 },
    /// For programs: sessions and TCP streams, in a header.
    Program,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("this is no ticket")]
    Malformed,
    #[error("the ticket was not signed here")]
    Signature,
    #[error("the ticket has expired")]
    Expired,
}

/// Signs and checks tickets.
#[derive(Clone, Debug)]
pub struct TicketKey(hmac::Key);

impl TicketKey {
    /// From 32 bytes or more of secret.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub fn sign(&self, ticket: &Ticket) -> String {
        let claims = serde_json::to_vec(ticket).expect("a ticket has only plain fields");
        let signature = hmac::sign(&self.0, &claims);
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(claims),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// The ticket, if it was signed here and has not expired at `now_ms`. Its door, workspace and session
    /// are the caller's to check.
    pub fn verify(&self, text: &str, now_ms: u64) -> Result<Ticket, TicketError> {
        let (claims, signature) = text.split_once('.').ok_or(TicketError::Malformed)?;
        let decode = |part| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| TicketError::Malformed)
        };
        let (claims, signature) = (decode(claims)?, decode(signature)?);
        hmac::verify(&self.0, &claims, &signature).map_err(|_| TicketError::Signature)?;
        let ticket: Ticket = serde_json::from_slice(&claims).map_err(|_| TicketError::Malformed)?;
        if ticket.expires_ms <= now_ms {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            user: UserId::new("user"),
            workspace: WorkspaceId::new("workspace"),
            role: GuestRole::Editor,
            door: Door::Preview { port: 8000 },
            session: "session".into(),
            expires_ms: 1_000,
            nonce: "nonce".into(),
        }
    }

    #[test]
    fn a_signed_ticket_comes_back_until_it_expires() {
        let key = TicketKey::new(&[1; 32]);
        let text = key.sign(&ticket());
        assert_eq!(key.verify(&text, 999), Ok(ticket()));
        assert_eq!(key.verify(&text, 1_000), Err(TicketError::Expired));
    }

    #[test]
    fn no_changed_byte_and_no_other_key_is_accepted() {
        let key = TicketKey::new(&[1; 32]);
        let text = key.sign(&ticket());
        assert_eq!(
            TicketKey::new(&[2; 32]).verify(&text, 0),
            Err(TicketError::Signature)
        );
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(key.verify(&changed, 0).is_err(), "byte {at} changed");
        }
    }
}
