//! `roost login` and `roost logout`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use clap::Args;
use control_api::identity::{Me, NewToken, TokenByPassword};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::profile::Profile;
use super::{Api, Output};

#[derive(Debug, Args)]
pub struct Login {
    /// Address of the server, such as <http://localhost:7070>
    #[arg(default_value = "http://localhost:7070")]
    url: String,
    /// E-mail address; asked for when absent
    #[arg(long)]
    email: Option<String>,
    /// An API token from the settings page, instead of e-mail address and password
    #[arg(long, env = "ROOST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

impl Login {
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        let (token, token_id) = match self.token.clone() {
            Some(token) => (token, String::new()),
            None => self.by_password().await?,
        };
        let me: Me = Api::new(&self.url, Some(token.clone()))?.get("/me").await?;
        let url = self.url.trim_end_matches('/').to_owned();
        Profile {
            url,
            token,
            token_id,
        }
        .save()?;
        output.print(&me, |me| {
            format!("Signed in to {} as {}.", self.url, me.email)
        })
    }

    async fn by_password(&self) -> anyhow::Result<(String, String)> {
        let email = match &self.email {
            Some(email) => email.clone(),
            None => ask("E-mail address: ")?,
        };
        let password = if self.password_stdin {
            line()?
        } else {
            ask_secretly("Password: ")?
        };
        let machine = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let request = TokenByPassword {
            email,
            password,
            name: format!("roost on {machine}"),
            expires_in_days: Some(90),
        };
        let made: NewToken = Api::new(&self.url, None)?
            .post("/tokens/by-password", &request)
            .await?;
        Ok((made.secret, made.token.id))
    }
}

pub async fn logout(output: Output) -> anyhow::Result<()> {
    let profile = Profile::load()?;
    if !profile.token_id.is_empty() {
        let api = Api::new(&profile.url, Some(profile.token))?;
        if let Err(error) = api.delete(&format!("/tokens/{}", profile.token_id)).await {
            output.say(&format!(
                "The token could not be revoked, do it on the settings page: {error:#}"
            ));
        }
    }
    Profile::forget()?;
    output.say("Signed out.");
    Ok(())
}

fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    line()
}

fn line() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut text)
        .context("reading standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks without showing what is typed, where there is a terminal.
fn ask_secretly(question: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line();
    }
    let before = tcgetattr(&input)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Now, &silent)?;
    let answer = ask(question);
    tcsetattr(&input, OptionalActions::Now, &before)?;
    eprintln!();
    answer
}
