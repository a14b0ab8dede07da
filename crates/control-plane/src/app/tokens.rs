//! Personal API tokens.

use control_api::identity::{CreateToken, NewToken, Token};
use control_api::problem::{Kind, Problem};
use model::UserId;

use super::App;
use super::identity::line;
use crate::fault::{Fault, Outcome};
use crate::secrets;

const DAY_MS: u64 = 24 * 3_600_000;
const MAX_DAYS: u32 = 3650;
/// Of one user.
const MAX_TOKENS: usize = 100;

impl App {
    pub async fn create_token(&self, user: &UserId, create: &CreateToken) -> Outcome<NewToken> {
        let name = line("name", &create.name)?;
        if name.is_empty() {
            let detail = "Give the token a name that says what it is for.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("name")
                .into());
        }
        if create
            .expires_in_days
            .is_some_and(|days| days == 0 || days > MAX_DAYS)
        {
            let detail = format!("A token lives for 1 to {MAX_DAYS} days, or for ever.");
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("expires_in_days")
                .into());
        }
        if self.store.tokens(user).await?.len() >= MAX_TOKENS {
            let detail = format!("You have {MAX_TOKENS} tokens: delete one that you do not need.");
            return Err(Fault::new(Kind::InvalidField, detail));
        }
        let now = self.world.now_ms();
        let secret = format!(
            "{}{}",
            secrets::TOKEN_PREFIX,
            secrets::new_token(&self.world)
        );
        let token = Token {
            id: self.world.id(),
            name,
            created_ms: now,
            expires_ms: create
                .expires_in_days
                .map(|days| now + u64::from(days) * DAY_MS),
            used_ms: None,
        };
        self.store
            .add_token(user, &secrets::hash_token(&secret), &token)
            .await?;
        self.store
            .record(user, "token.create", &token.id, &token.name, now)
            .await?;
        Ok(NewToken { secret, token })
    }

    pub async fn delete_token(&self, user: &UserId, id: &str) -> Outcome<()> {
        if !self.store.delete_token(user, id).await? {
            return Err(Fault::new(Kind::NotFound, "You have no such token."));
        }
        self.store
            .record(user, "token.delete", id, "", self.world.now_ms())
            .await?;
        Ok(())
    }
}
