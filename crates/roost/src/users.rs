//! `roost users`: by whoever may read the data folder, whether the server runs or not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use control_api::identity::{AddUser, Role, User};
use control_plane::app::links::NewLink;
use serde_json::json;

use crate::config::{Config, default_data};
use crate::control::{self, fault};
use crate::data_folder::DataFolder;
use crate::print;

#[derive(Debug, Args)]
pub struct Users {
    /// The server's data folder
    #[arg(long, env = "ROOST_DATA", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add somebody, and print a link with which they choose a password
    Add {
        email: String,
        #[arg(long, default_value = "")]
        name: String,
        /// May add and remove users
        #[arg(long)]
        administrator: bool,
    },
    /// Print a link with which somebody chooses a new password
    ResetPassword { email: String },
    /// List everybody
    List,
}

impl Users {
    pub async fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let path = self.data.unwrap_or_else(default_data);
        let config = Config::load(&path)?;
        let data = DataFolder::visit(&path)?;
        let control = control::open(&config, &data).await?;
        let address = data
            .recall(control::ADDRESS)
            .unwrap_or_else(|| "http://localhost:7070".into());
        let with_link = |(user, link): (User, NewLink)| {
            let url = format!("{address}/welcome#{}", link.token);
            if json {
                print::line(json!({ "user": user, "link": url, "expires_ms": link.expires_ms }))
            } else {
                print::line(format_args!(
                    "{} chooses a password at\n\n    {url}\n\nThe link works once.",
                    user.email
                ))
            }
        };
        match self.action {
            Action::Add {
                email,
                name,
                administrator,
            } => {
                let role = if administrator {
                    Role::Administrator
                } else {
                    Role::Member
                };
                let added = control.add_user(&AddUser { email, name, role }).await;
                with_link(added.map_err(fault)?)?;
            }
            Action::ResetPassword { email } => {
                with_link(control.reset_password(&email).await.map_err(fault)?)?;
            }
            Action::List => {
                let users = control.users().await.map_err(fault)?;
                if json {
                    print::line(serde_json::to_string(&users)?)?;
                } else {
                    for user in users {
                        print::line(format_args!(
                            "{}  {}  {:?}",
                            user.email, user.name, user.role
                        ))?;
                    }
                }
            }
        }
        control.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
