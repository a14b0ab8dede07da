//! `roost usage` and `roost quota`: who takes how much, and how much they may.

use anyhow::{Context, bail};
use clap::Args;
use control_api::usage::{Account, Everybody, Usage as Answer, Used, UserUsage, WorkspaceUsage};
use model::Quota as Limits;
use reqwest::Method;

use super::api::path_segment;
use super::output::{bytes, table};
use super::{Api, Output};

#[derive(Debug, Args)]
#[command(after_help = "\
DISK is the size of the disk as the machine sees it, ON HOST what of it lies on the host's disk, STORED what the store
has of it with points and saved work. What workspaces share is counted in each of them and once in the sum; ALONE goes
when the workspace is deleted.")]
pub struct Usage {
    /// Of all users and the organisation too, for administrators
    #[arg(long)]
    all: bool,
}

impl Usage {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let usage: Answer = api.get(&format!("/usage?everybody={}", self.all)).await?;
        for host in &usage.missing_hosts {
            output.say(&format!(
                "{host} does not answer: what is there is not counted."
            ));
        }
        output.print(&usage, |usage| match &usage.everybody {
            None => format!(
                "{}\n{}",
                workspaces(&usage.workspaces),
                sum("You have", &usage.own)
            ),
            Some(everybody) => users(everybody),
        })
    }
}

fn workspaces(workspaces: &[WorkspaceUsage]) -> String {
    let head = ["NAME", "DISK", "ON HOST", "STORED", "ALONE"].map(String::from);
    let line = |one: &WorkspaceUsage| {
        let figures = [one.logical, one.physical, one.stored, one.alone].map(bytes);
        [vec![one.name.to_string()], figures.to_vec()].concat()
    };
    let lines = std::iter::once(head.to_vec()).chain(workspaces.iter().map(line));
    table(&lines.collect::<Vec<_>>())
}

fn users(everybody: &Everybody) -> String {
    let head = ["USER", "WORKSPACES", "DISK", "ON HOST", "STORED"].map(String::from);
    let line = |one: &UserUsage| {
        let Account { used, quota } = &one.account;
        vec![
            one.email.clone(),
            of(
                used.workspaces.to_string(),
                quota.workspaces.map(|limit| limit.to_string()),
            ),
            of(bytes(used.logical), quota.logical.map(bytes)),
            bytes(used.physical),
            of(bytes(used.stored), quota.stored.map(bytes)),
        ]
    };
    let lines = std::iter::once(head.to_vec()).chain(everybody.users.iter().map(line));
    format!(
        "{}\n{}\n{} in the store are needed by nobody and go with the collections.",
        table(&lines.collect::<Vec<_>>()),
        sum("All together have", &everybody.organization),
        bytes(everybody.unneeded)
    )
}

fn sum(who: &str, Account { used, quota }: &Account) -> String {
    let Used {
        workspaces,
        logical,
        physical,
        shared,
        stored,
    } = *used;
    format!(
        "{who} {} workspaces with disks of {}; {} on the host, beside base images of {}; {} in the store.",
        of(
            workspaces.to_string(),
            quota.workspaces.map(|limit| limit.to_string())
        ),
        of(bytes(logical), quota.logical.map(bytes)),
        bytes(physical),
        bytes(shared),
        of(bytes(stored), quota.stored.map(bytes))
    )
}

fn of(used: String, limit: Option<String>) -> String {
    limit.map_or(used.clone(), |limit| format!("{used} of {limit}"))
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roost quota grace@example.com                            what it is
  roost quota grace@example.com --workspaces 10 --stored 50GiB
  roost quota --organization --disk 2TiB
  roost quota grace@example.com --stored none

A quota stops what grows: new workspaces, larger disks, points taken by hand. Whatever is there can be used, taken away
and deleted all the same, and automatic points go on.")]
pub struct Quota {
    /// E-mail address of the user
    #[arg(required_unless_present = "organization")]
    user: Option<String>,
    /// Of all users together
    #[arg(long, conflicts_with = "user")]
    organization: bool,
    /// How many workspaces, or none for no limit
    #[arg(long, value_parser = count)]
    workspaces: Option<Limit>,
    /// Sizes of all disks together, such as 500GiB, or none
    #[arg(long, value_parser = size)]
    disk: Option<Limit>,
    /// What the store has, such as 50GiB, or none
    #[arg(long, value_parser = size)]
    stored: Option<Limit>,
}

/// What is asked for; `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<u64>);

impl Quota {
    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<()> {
        let usage: Answer = api.get("/usage?everybody=true").await?;
        let everybody = usage
            .everybody
            .context("the server does not say who uses what")?;
        let (who, path, account) = match &self.user {
            None => (
                "The organisation".to_owned(),
                "/quotas/organization".to_owned(),
                everybody.organization,
            ),
            Some(email) => {
                let mut users = everybody.users.into_iter();
                let Some(user) = users.find(|user| user.email.eq_ignore_ascii_case(email)) else {
                    bail!("there is no user {email}: roost usage --all shows all");
                };
                let path = format!("/quotas/users/{}", path_segment(user.user.as_str()));
                (user.email, path, user.account)
            }
        };
        let before = account.quota;
        let quota = Limits {
            workspaces: self.workspaces.map_or(before.workspaces, |limit| limit.0),
            logical: self.disk.map_or(before.logical, |limit| limit.0),
            stored: self.stored.map_or(before.stored, |limit| limit.0),
        };
        let quota: Limits = match quota == before {
            true => quota,
            false => {
                api.send(Method::PUT, &path, Some(&quota))
                    .await?
                    .json()
                    .await?
            }
        };
        output.print(&quota, |quota| {
            let account = Account {
                used: account.used,
                quota: *quota,
            };
            describe(&who, &account)
        })
    }
}

fn describe(who: &str, Account { used, quota }: &Account) -> String {
    let line = |what: &str, used: String, limit: Option<String>| {
        vec![
            what.into(),
            used,
            limit.unwrap_or_else(|| "no limit".into()),
        ]
    };
    let count = |number: u64| number.to_string();
    table(&[
        [who, "USED", "QUOTA"].map(String::from).to_vec(),
        line(
            "Workspaces",
            count(used.workspaces),
            quota.workspaces.map(count),
        ),
        line("Disks", bytes(used.logical), quota.logical.map(bytes)),
        line("Stored", bytes(used.stored), quota.stored.map(bytes)),
    ])
}

fn count(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        text => text
            .parse()
            .map(|number| Limit(Some(number)))
            .map_err(|_| "a number such as 10, or none".to_owned()),
    }
}

fn size(text: &str) -> Result<Limit, String> {
    const UNITS: [(&str, u64); 5] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];
    if text == "none" {
        return Ok(Limit(None));
    }
    let parsed = UNITS.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    parsed
        .map(|bytes| Limit(Some(bytes)))
        .ok_or_else(|| "a size such as 50GiB or 2TiB, or none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("50GiB"), Ok(Limit(Some(50 << 30))));
        assert_eq!(size("2 TiB"), Ok(Limit(Some(2 << 40))));
        assert_eq!(size("none"), Ok(Limit(None)));
        for wrong in ["50", "50GB", "GiB", "-1GiB", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(count("0"), Ok(Limit(Some(0))));
        assert!(count("many").is_err());
    }

    #[test]
    fn a_sum_shows_limits_where_there_are_any() {
        let account = Account {
            used: Used {
                workspaces: 2,
                logical: 32 << 30,
                physical: 1 << 30,
                shared: 2 << 30,
                stored: 5 << 20,
            },
            quota: Limits {
                workspaces: Some(3),
                ..Limits::default()
            },
        };
        let text = sum("You have", &account);
        assert!(
            text.contains("2 of 3 workspaces with disks of 32 GiB;"),
            "{text}"
        );
        let table = describe("ada@example.com", &account);
        assert!(
            table.contains("Stored           5.0 MiB  no limit"),
            "{table}"
        );
    }
}
