//! One-time links: the first administrator, invitations, new passwords.

use std::sync::Arc;

use control_api::identity::{AddUser, LinkInfo, LinkPurpose, Role, User, Welcome};
use control_api::problem::{Kind, Problem};
use model::UserId;

use super::App;
use super::identity::{check_email, check_password, line};
use crate::fault::{Fault, Outcome};
use crate::secrets;
use crate::store::links::LinkRow;
use crate::store::users::UserRow;

const FIRST_LIFE_MS: u64 = 24 * 3_600_000;
const INVITATION_LIFE_MS: u64 = 7 * 24 * 3_600_000;
const RESET_LIFE_MS: u64 = 24 * 3_600_000;

/// A link's token, shown once: `<main origin>/welcome#<token>`.
pub struct NewLink {
    pub token: String,
    pub expires_ms: u64,
}

impl App {
    /// A link that makes the first administrator, as long as nobody can sign in. The one before it, if any,
    /// stops working.
    pub async fn first_link(&self) -> Outcome<Option<NewLink>> {
        if self.store.has_users().await? {
            return Ok(None);
        }
        self.new_link(LinkPurpose::FirstAdministrator, None, FIRST_LIFE_MS)
            .await
            .map(Some)
    }

    /// Adds a user, who sets a password with the link.
    pub async fn add_user(&self, by: &UserId, add: &AddUser) -> Outcome<(User, NewLink)> {
        let now = self.world.now_ms();
        let user = UserRow {
            id: UserId::new(self.world.id()),
            organization: self.store.organization().clone(),
            email: check_email(&add.email)?,
            name: line("name", &add.name)?,
            role: add.role,
            password_hash: None,
            git_name: String::new(),
            git_email: String::new(),
            created_ms: now,
        };
        if !self.store.add_user(&user).await? {
            return Err(email_taken(&user.email));
        }
        self.store
            .record(by, "user.add", user.id.as_str(), &user.email, now)
            .await?;
        let link = self
            .new_link(LinkPurpose::Invitation, Some(&user.id), INVITATION_LIFE_MS)
            .await?;
        Ok((present(&user), link))
    }

    /// A link for a new password; the old one stays until it is used.
    pub async fn reset_password(&self, by: &UserId, user: &UserId) -> Outcome<(User, NewLink)> {
        let Some(user) = self.store.user(user).await? else {
            return Err(Fault::new(Kind::NotFound, "There is no such user."));
        };
        let link = self
            .new_link(LinkPurpose::PasswordReset, Some(&user.id), RESET_LIFE_MS)
            .await?;
        let now = self.world.now_ms();
        self.store
            .record(
                by,
                "user.reset-password",
                user.id.as_str(),
                &user.email,
                now,
            )
            .await?;
        Ok((present(&user), link))
    }

    pub async fn check_link(&self, client: &str, token: &str) -> Outcome<LinkInfo> {
        let link = self.find_link(client, token).await?;
        let user = match &link.user {
            Some(user) => self.store.user(user).await?,
            None => None,
        };
        Ok(LinkInfo {
            purpose: link.purpose,
            email: user.as_ref().map(|user| user.email.clone()),
            name: user.map(|user| user.name),
            expires_ms: link.expires_ms,
        })
    }

    /// Uses a link up: sets the password, and makes the first administrator where that is its purpose.
    pub async fn welcome(self: &Arc<Self>, client: &str, welcome: &Welcome) -> Outcome<UserRow> {
        let link = self.find_link(client, &welcome.token).await?;
        check_password("password", &welcome.password)?;
        let name = line("name", welcome.name.as_deref().unwrap_or_default())?;
        let email = match &link.user {
            Some(_) => None,
            None => Some(check_email(welcome.email.as_deref().unwrap_or_default())?),
        };
        let hash = self.hash_password(&welcome.password).await;
        if !self
            .store
            .use_link(&secrets::hash_token(&welcome.token))
            .await?
        {
            return Err(link_expired());
        }
        match (&link.user, email) {
            (Some(user), _) => self.set_first_password(user, &name, &hash).await,
            (None, email) => {
                self.first_administrator(email.unwrap_or_default(), name, hash)
                    .await
            }
        }
    }

    async fn set_first_password(&self, user: &UserId, name: &str, hash: &str) -> Outcome<UserRow> {
        let gone = || Fault::new(Kind::LinkExpired, "The user of this link has been removed.");
        let before = self.store.user(user).await?.ok_or_else(gone)?;
        self.store.set_password(user, hash, None).await?;
        if !name.is_empty() {
            self.store
                .update_profile(user, name, &before.git_name, &before.git_email)
                .await?;
        }
        self.store
            .record(user, "password.set", user.as_str(), "", self.world.now_ms())
            .await?;
        self.store.user(user).await?.ok_or_else(gone)
    }

    async fn first_administrator(
        &self,
        email: String,
        name: String,
        hash: String,
    ) -> Outcome<UserRow> {
        // The link was used up by this request alone, and none is made once somebody can sign in.
        if self.store.has_users().await? {
            return Err(link_expired());
        }
        let now = self.world.now_ms();
        let user = UserRow {
            id: UserId::new(self.world.id()),
            organization: self.store.organization().clone(),
            email,
            name,
            role: Role::Administrator,
            password_hash: Some(hash),
            git_name: String::new(),
            git_email: String::new(),
            created_ms: now,
        };
        if !self.store.add_user(&user).await? {
            return Err(email_taken(&user.email));
        }
        self.store
            .record(&user.id, "user.first", user.id.as_str(), &user.email, now)
            .await?;
        Ok(user)
    }

    async fn find_link(&self, client: &str, token: &str) -> Outcome<LinkRow> {
        self.may_attempt(client, "link")?;
        let found = self
            .store
            .link(&secrets::hash_token(token), self.world.now_ms())
            .await?;
        found.ok_or_else(|| {
            self.attempts().failed(client, "link", self.world.now_ms());
            link_expired()
        })
    }

    async fn new_link(
        &self,
        purpose: LinkPurpose,
        user: Option<&UserId>,
        life_ms: u64,
    ) -> Outcome<NewLink> {
        let token = secrets::new_token(&self.world);
        let now = self.world.now_ms();
        let link = LinkRow {
            purpose,
            user: user.cloned(),
            created_ms: now,
            expires_ms: now + life_ms,
        };
        self.store
            .add_link(&secrets::hash_token(&token), &link)
            .await?;
        Ok(NewLink {
            token,
            expires_ms: link.expires_ms,
        })
    }
}

/// A user in the words of the API.
pub fn present(user: &UserRow) -> User {
    User {
        id: user.id.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
        role: user.role,
        active: user.password_hash.is_some(),
        created_ms: user.created_ms,
    }
}

fn email_taken(email: &str) -> Fault {
    Problem::new(
        Kind::EmailTaken,
        format!("There is a user {email} already."),
    )
    .field("email")
    .into()
}

fn link_expired() -> Fault {
    Fault::new(
        Kind::LinkExpired,
        "This link was used, replaced or has expired. An administrator makes a new one with `roost users reset-password`; for the first administrator, start the server again.",
    )
}
