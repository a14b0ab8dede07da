//! Sign-in with a password, sessions, and the profile.

use std::sync::Arc;

use control_api::identity::{ChangePassword, MIN_PASSWORD, Me, SignIn, UpdateMe};
use control_api::problem::{Kind, Problem};
use model::UserId;

use super::App;
use crate::fault::{Fault, Outcome};
use crate::secrets;
use crate::store::users::UserRow;

/// A session lives so long after it was used last.
pub const SESSION_LIFE_MS: u64 = 30 * 24 * 3_600_000;
/// A use is noted when the last one is so long ago.
const SESSION_NOTE_MS: u64 = 3_600_000;
const TOKEN_NOTE_MS: u64 = 60_000;
const MAX_PASSWORD: usize = 1024;
const MAX_NAME: usize = 200;

/// Who asks, and by what right.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserRow,
    pub right: Right,
}

/// What a request was signed in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    Session(String),
    Token(String),
}

impl Right {
    /// For tickets, which end with it.
    pub fn text(&self) -> String {
        match self {
            Self::Session(id) => format!("session:{id}"),
            Self::Token(id) => format!("token:{id}"),
        }
    }
}

impl App {
    /// Whom a session's cookie belongs to.
    pub async fn by_session(&self, cookie: &str) -> Outcome<Option<Caller>> {
        let now = self.world.now_ms();
        let Some(grant) = self
            .store
            .session(&secrets::hash_token(cookie), now)
            .await?
        else {
            return Ok(None);
        };
        if grant
            .used_ms
            .is_none_or(|used| used + SESSION_NOTE_MS < now)
        {
            self.store
                .extend_session(&grant.id, now, now + SESSION_LIFE_MS)
                .await?;
        }
        let user = self.store.user(&grant.user).await?;
        Ok(user.map(|user| Caller {
            user,
            right: Right::Session(grant.id),
        }))
    }

    /// Whom an API token belongs to.
    pub async fn by_token(&self, token: &str) -> Outcome<Option<Caller>> {
        let now = self.world.now_ms();
        let Some(grant) = self.store.token(&secrets::hash_token(token), now).await? else {
            return Ok(None);
        };
        if grant.used_ms.is_none_or(|used| used + TOKEN_NOTE_MS < now) {
            self.store.use_token(&grant.id, now).await?;
        }
        let user = self.store.user(&grant.user).await?;
        Ok(user.map(|user| Caller {
            user,
            right: Right::Token(grant.id),
        }))
    }

    /// Whether what [`Right::text`] named still is valid.
    pub async fn right_is_valid(&self, text: &str) -> Outcome<bool> {
        let now = self.world.now_ms();
        Ok(match text.split_once(':') {
            Some(("session", id)) => self.store.session_exists(id, now).await?,
            Some(("token", id)) => self.store.token_exists(id, now).await?,
            Some(_) | None => false,
        })
    }

    /// The user with this password. `client` is an address, for the limit on attempts.
    pub async fn by_password(self: &Arc<Self>, client: &str, given: &SignIn) -> Outcome<UserRow> {
        let email = normal_email(&given.email).unwrap_or_default();
        self.may_attempt(client, &email)?;
        let user = self.store.user_by_email(&email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        if self.verify_password(&given.password, hash).await {
            self.attempts().succeeded(client, &email);
            return user.ok_or_else(wrong_password);
        }
        self.attempts().failed(client, &email, self.world.now_ms());
        Err(wrong_password())
    }

    /// Makes a session; answers its cookie.
    pub async fn begin_session(&self, user: &UserId) -> Outcome<String> {
        let cookie = secrets::new_token(&self.world);
        let now = self.world.now_ms();
        let id = self.world.id();
        self.store
            .add_session(
                &id,
                &secrets::hash_token(&cookie),
                user,
                now,
                now + SESSION_LIFE_MS,
            )
            .await?;
        self.store
            .record(user, "session.begin", &id, "", now)
            .await?;
        Ok(cookie)
    }

    pub async fn end_session(&self, caller: &Caller) -> Outcome<()> {
        if let Right::Session(id) = &caller.right {
            self.store.end_session(id).await?;
            self.store
                .record(&caller.user.id, "session.end", id, "", self.world.now_ms())
                .await?;
        }
        Ok(())
    }

    pub async fn update_me(&self, caller: &Caller, update: &UpdateMe) -> Outcome<Me> {
        let mut user = caller.user.clone();
        for (field, given, value) in [
            ("name", &update.name, &mut user.name),
            ("git_name", &update.git_name, &mut user.git_name),
            ("git_email", &update.git_email, &mut user.git_email),
        ] {
            if let Some(given) = given {
                *value = line(field, given)?;
            }
        }
        self.store
            .update_profile(&user.id, &user.name, &user.git_name, &user.git_email)
            .await?;
        Ok(me(&user))
    }

    /// Ends the user's other sessions.
    pub async fn change_password(
        self: &Arc<Self>,
        client: &str,
        caller: &Caller,
        change: &ChangePassword,
    ) -> Outcome<()> {
        self.may_attempt(client, &caller.user.email)?;
        if !self
            .verify_password(&change.current, caller.user.password_hash.clone())
            .await
        {
            self.attempts()
                .failed(client, &caller.user.email, self.world.now_ms());
            return Err(
                Problem::new(Kind::WrongPassword, "The current password is wrong.")
                    .field("current")
                    .into(),
            );
        }
        check_password("new", &change.new)?;
        let hash = self.hash_password(&change.new).await;
        let keep = match &caller.right {
            Right::Session(id) => Some(id.as_str()),
            Right::Token(_) => None,
        };
        self.store
            .set_password(&caller.user.id, &hash, keep)
            .await?;
        let id = caller.user.id.as_str();
        self.store
            .record(
                &caller.user.id,
                "password.change",
                id,
                "",
                self.world.now_ms(),
            )
            .await?;
        Ok(())
    }

    pub fn may_attempt(&self, client: &str, account: &str) -> Outcome<()> {
        self.attempts()
            .check(client, account, self.world.now_ms())
            .map_err(|wait_s| {
                let mut problem = Problem::new(
                    Kind::TooManyAttempts,
                    format!("Too many failed attempts. Try again in {wait_s} seconds."),
                );
                problem.retry_after_s = Some(wait_s);
                problem.into()
            })
    }

    pub async fn hash_password(self: &Arc<Self>, password: &str) -> String {
        let _turn = self
            .hashing
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let (app, password) = (self.clone(), password.to_owned());
        tokio::task::spawn_blocking(move || secrets::hash_password(&app.world, &password))
            .await
            .expect("hashing does not panic")
    }

    async fn verify_password(&self, password: &str, hash: Option<String>) -> bool {
        let _turn = self
            .hashing
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let password = password.to_owned();
        tokio::task::spawn_blocking(move || {
            password.len() <= MAX_PASSWORD && secrets::verify_password(&password, hash.as_deref())
        })
        .await
        .expect("verifying does not panic")
    }
}

/// The user in the words of the API.
pub fn me(user: &UserRow) -> Me {
    Me {
        id: user.id.clone(),
        organization: user.organization.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
        role: user.role,
        git_name: user.git_name.clone(),
        git_email: user.git_email.clone(),
    }
}

/// In lower case and without white space around; none when it cannot be an address.
pub fn normal_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let (user, host) = email.rsplit_once('@')?;
    let plain = email
        .chars()
        .all(|character| !character.is_whitespace() && !character.is_control());
    (plain && !user.is_empty() && !host.is_empty() && email.len() <= 254).then_some(email)
}

pub fn check_email(text: &str) -> Outcome<String> {
    normal_email(text).ok_or_else(|| {
        Problem::new(
            Kind::InvalidField,
            format!("{text:?} is no e-mail address."),
        )
        .field("email")
        .into()
    })
}

/// One line of text, such as a name.
pub fn line(field: &str, text: &str) -> Outcome<String> {
    let text = text.trim();
    if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
        let detail = format!("It has to be one line of at most {MAX_NAME} characters.");
        return Err(Problem::new(Kind::InvalidField, detail).field(field).into());
    }
    Ok(text.into())
}

pub fn check_password(field: &str, password: &str) -> Outcome<()> {
    let length = password.chars().count();
    if length < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        let detail = format!(
            "A password has at least {MIN_PASSWORD} characters and at most {MAX_PASSWORD} bytes."
        );
        return Err(Problem::new(Kind::WeakPassword, detail).field(field).into());
    }
    Ok(())
}

fn wrong_password() -> Fault {
    Fault::new(
        Kind::WrongPassword,
        "E-mail address or password is wrong. An administrator can make a link for a new password.",
    )
}
