//! Limits how often passwords and one-time links can be tried. Pure: the time is an argument.
//!
//! Failures are counted per client and account, so that a stranger cannot lock somebody out from another
//! address, and per client, so that one client cannot try many accounts. Lost at a restart, which is slower
//! than the limit.

use std::collections::HashMap;

const WINDOW_MS: u64 = 5 * 60_000;
/// Failures in a window for one account from one client.
const PER_ACCOUNT: usize = 8;
/// Failures in a window from one client.
const PER_CLIENT: usize = 40;
/// Keys that are remembered.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Attempts {
    /// Times of failures, the oldest first.
    failures: HashMap<Key, Vec<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(String),
    Account(String, String),
}

impl Attempts {
    /// Or how many seconds to wait.
    pub fn check(&self, client: &str, account: &str, now_ms: u64) -> Result<(), u64> {
        let account = Key::Account(client.into(), account.into());
        let waits = [
            (account, PER_ACCOUNT),
            (Key::Client(client.into()), PER_CLIENT),
        ];
        let wait = waits
            .iter()
            .filter_map(|(key, most)| self.wait_ms(key, *most, now_ms))
            .max();
        wait.map_or(Ok(()), |wait| Err(wait.div_ceil(1000)))
    }

    pub fn failed(&mut self, client: &str, account: &str, now_ms: u64) {
        if self.failures.len() >= REMEMBERED {
            self.failures
                .retain(|_, times| times.last().is_some_and(|last| last + WINDOW_MS > now_ms));
        }
        for key in [
            Key::Account(client.into(), account.into()),
            Key::Client(client.into()),
        ] {
            let times = self.failures.entry(key).or_default();
            times.retain(|time| time + WINDOW_MS > now_ms);
            times.push(now_ms);
        }
    }

    pub fn succeeded(&mut self, client: &str, account: &str) {
        self.failures
            .remove(&Key::Account(client.into(), account.into()));
    }

    fn wait_ms(&self, key: &Key, most: usize, now_ms: u64) -> Option<u64> {
        let times: Vec<u64> = self
            .failures
            .get(key)?
            .iter()
            .copied()
            .filter(|time| time + WINDOW_MS > now_ms)
            .collect();
        let oldest = times.len().checked_sub(most).map(|at| times[at])?;
        Some(oldest + WINDOW_MS - now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_is_closed_to_one_client_and_opens_again() {
        let mut attempts = Attempts::default();
        for time in 0..8 {
            assert_eq!(attempts.check("a", "me", time), Ok(()));
            attempts.failed("a", "me", time);
        }
        assert_eq!(attempts.check("a", "me", 8), Err(300));
        assert_eq!(attempts.check("a", "you", 8), Ok(()));
        assert_eq!(
            attempts.check("b", "me", 8),
            Ok(()),
            "another client is not locked out"
        );
        assert_eq!(attempts.check("a", "me", WINDOW_MS), Ok(()));
    }

    #[test]
    fn one_client_cannot_try_many_accounts_and_success_is_forgiven() {
        let mut attempts = Attempts::default();
        for time in 0..40 {
            attempts.failed("a", &time.to_string(), time);
        }
        assert!(attempts.check("a", "new", 41).is_err());
        let mut attempts = Attempts::default();
        (0..8).for_each(|time| attempts.failed("a", "me", time));
        attempts.succeeded("a", "me");
        assert_eq!(attempts.check("a", "me", 9), Ok(()));
    }
}
