//! Points in time of a workspace's disk, and what else there is to do with disks in the store.

mod import;
mod upkeep;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::{Args, Subcommand};
use control_api::points::{Fork as ForkFrom, Point, PointKind, PointList, TakePoint};
use control_api::workspaces::{CreateWorkspace, Workspace, WorkspaceState};
use reqwest::Method;
use serde_json::json;

use super::api::path_segment;
use super::keep::keep;
use super::output::{bytes, table};
use super::workspaces::settle;
use super::{Api, Output};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roost snapshots take shop --name \"before the upgrade\"    also while it runs
  roost snapshots restore shop \"before the upgrade\" --stop what the disk has now is kept as another point
  roost snapshots fork shop 12 --name shop-2                a new workspace that begins there

A point is the disk at one moment; memory and running programs are not in it.")]
pub struct Snapshots {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the points of a workspace, newest first
    #[command(visible_alias = "ls")]
    List { workspace: String },
    /// Show one point, or with no point the disk as it is now
    Show {
        workspace: String,
        /// Its number or name
        point: Option<String>,
    },
    /// Take a point now, also while the workspace runs
    Take {
        workspace: String,
        /// What it is to be called
        #[arg(long, short)]
        name: Option<String>,
    },
    /// Make a point the content of the disk again; what the disk has is kept as another point
    Restore {
        workspace: String,
        /// Its number or name
        point: String,
        /// Stop the workspace for it when it runs, and start it again
        #[arg(long)]
        stop: bool,
    },
    /// Make a new workspace that begins with a point, or with the disk as it is now
    Fork {
        workspace: String,
        /// Its number or name; absent: one that is taken now
        point: Option<String>,
        /// Name of the new workspace; absent: made up
        #[arg(long, short)]
        name: Option<String>,
        /// Do not wait until it is ready
        #[arg(long)]
        detach: bool,
    },
    /// Write a point, or the disk as it is, to a qcow2 file that stands alone
    Export {
        workspace: String,
        /// Its number or name
        point: Option<String>,
        /// File to write, `-` for standard output; absent: named after the workspace, here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Write files of a point, or of the disk as it is, to a tar.gz; the workspace need not run, nor be able to
    Files {
        workspace: String,
        /// Its number or name
        point: Option<String>,
        /// Folder on the disk
        #[arg(long, default_value = "/workspaces")]
        folder: String,
        /// File to write, `-` for standard output; absent: named after the workspace, here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Make a new workspace whose disk is a file: what export wrote, or another disk that boots here
    Import(import::Import),
    /// Read all that the store has of the disk and its points, and say what is damaged (exit code 3)
    Verify {
        workspace: String,
        /// Only this point: its number or name
        #[arg(long)]
        point: Option<String>,
    },
    /// Write packs again of which the disk needs little, so that the rest of them can go
    Compact {
        workspace: String,
        /// Stop the workspace for it when it runs, and start it again
        #[arg(long)]
        stop: bool,
    },
    /// Collect the store now, as it is every six hours: say who keeps what, and delete what nobody needs
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Give points up
    Rm {
        workspace: String,
        /// Their numbers or names
        #[arg(required = true)]
        points: Vec<String>,
    },
}

impl Snapshots {
    pub fn workspace(&self) -> Option<&str> {
        match &self.command {
            Command::Import(_) | Command::Gc { .. } => None,
            Command::List { workspace }
            | Command::Show { workspace, .. }
            | Command::Take { workspace, .. }
            | Command::Restore { workspace, .. }
            | Command::Fork { workspace, .. }
            | Command::Export { workspace, .. }
            | Command::Files { workspace, .. }
            | Command::Verify { workspace, .. }
            | Command::Compact { workspace, .. }
            | Command::Rm { workspace, .. } => Some(workspace),
        }
    }

    pub async fn run(self, api: &Api, output: Output) -> anyhow::Result<ExitCode> {
        let workspace = self.workspace().unwrap_or_default().to_owned();
        let path = format!("/workspaces/{}/points", path_segment(&workspace));
        let done = match self.command {
            Command::List { .. } => {
                let list: PointList = api.get(&path).await?;
                output.print(&list, |list| tree(list, now_ms()))
            }
            Command::Show { point, .. } => {
                let list: PointList = api.get(&path).await?;
                match point {
                    None => output.print(&list.now, |_| describe_now(&list)),
                    Some(point) => {
                        let point = find(&list, &point, &workspace)?;
                        output.print(point, |point| describe(point, now_ms()))
                    }
                }
            }
            Command::Take { name, .. } => {
                let point: Point = api.post(&path, &TakePoint { name }).await?;
                output.print(&point, |point| {
                    format!("Point {} of {workspace} is taken.", point.number)
                })
            }
            Command::Restore { point, stop, .. } => {
                restore(api, &workspace, &path, &point, stop, output).await
            }
            Command::Fork {
                point,
                name,
                detach,
                ..
            } => {
                let point = match point {
                    None => None,
                    Some(point) => {
                        let list: PointList = api.get(&path).await?;
                        Some(find(&list, &point, &workspace)?.number)
                    }
                };
                let request = CreateWorkspace {
                    name,
                    fork: Some(ForkFrom { workspace, point }),
                    ..CreateWorkspace::default()
                };
                let made: Workspace = api.post("/workspaces", &request).await?;
                settle(api, made, detach, output).await
            }
            Command::Export {
                point,
                output: file,
                ..
            } => {
                let query = number(api, &path, point, &workspace).await?;
                let usual = format!("{workspace}.qcow2");
                give_out(api, &workspace, "disk", &query, (file, &usual), output).await
            }
            Command::Files {
                point,
                folder,
                output: file,
                ..
            } => {
                let mut query = number(api, &path, point, &workspace).await?;
                query.push(("folder", folder));
                let usual = format!("{workspace}.tar.gz");
                give_out(
                    api,
                    &workspace,
                    "disk/files",
                    &query,
                    (file, &usual),
                    output,
                )
                .await
            }
            Command::Verify { point, .. } => {
                let point = match point {
                    None => None,
                    // The list of points cannot be had when one of them is damaged.
                    Some(point) => match point.trim_start_matches('#').parse() {
                        Ok(number) => Some(number),
                        Err(_) => Some(find(&api.get(&path).await?, &point, &workspace)?.number),
                    },
                };
                return upkeep::verify(api, &workspace, point, output).await;
            }
            Command::Import(import) => import.run(api, output).await,
            Command::Compact { stop, .. } => upkeep::compact(api, &workspace, stop, output).await,
            Command::Gc { dry_run } => upkeep::collect(api, dry_run, output).await,
            Command::Rm { points, .. } => {
                let list: PointList = api.get(&path).await?;
                let found = points.iter().map(|point| find(&list, point, &workspace));
                // All of them are there before any of them goes.
                let found = found.collect::<anyhow::Result<Vec<_>>>()?;
                for point in &found {
                    api.delete(&format!("{path}/{}", point.number)).await?;
                    output.say(&format!("Point {} is given up.", point.number));
                }
                let numbers: Vec<u64> = found.iter().map(|point| point.number).collect();
                if output.json {
                    output.print(&json!({ "removed": numbers }), |_| String::new())?;
                }
                Ok(())
            }
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// The point in a query; nothing for the disk as it is.
async fn number(
    api: &Api,
    path: &str,
    point: Option<String>,
    workspace: &str,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let Some(point) = point else {
        return Ok(Vec::new());
    };
    let list: PointList = api.get(path).await?;
    let number = find(&list, &point, workspace)?.number;
    Ok(vec![("point", number.to_string())])
}

/// Writes something of the disk to a file.
async fn give_out(
    api: &Api,
    workspace: &str,
    what: &str,
    query: &[(&str, String)],
    (file, usual): (Option<PathBuf>, &str),
    output: Output,
) -> anyhow::Result<()> {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let path = format!("/workspaces/{}/{what}?{query}", path_segment(workspace));
    let response = api.send(Method::GET, &path, None::<&()>).await?;
    match keep(response, file, usual, output).await? {
        None => Ok(()),
        Some(saved) => {
            let told = json!({ "file": saved.path, "bytes": saved.bytes });
            output.print(&told, |_| {
                format!("{} ({}).", saved.path.display(), bytes(saved.bytes))
            })
        }
    }
}

async fn restore(
    api: &Api,
    workspace: &str,
    path: &str,
    point: &str,
    stop: bool,
    output: Output,
) -> anyhow::Result<()> {
    let list: PointList = api.get(path).await?;
    let point = find(&list, point, workspace)?;
    let before = api.workspace(workspace).await?;
    let rests = matches!(
        before.state,
        WorkspaceState::Stopped | WorkspaceState::Failed
    );
    let of = format!("/workspaces/{}", path_segment(workspace));
    if !rests {
        if !stop {
            bail!(
                "{workspace} runs. Repeat with --stop: it is stopped, goes back to point {}, and is started again. \
                 What its disk has now is kept as another point; its programs end.",
                point.number
            );
        }
        output.say(&format!("Stopping {workspace} …"));
        let stopped: Workspace = api
            .post(&format!("{of}/stop?wait=stopped"), &json!({}))
            .await?;
        if stopped.state != WorkspaceState::Stopped {
            bail!("{workspace} has not stopped within two minutes. Try again.");
        }
    }
    let branch: Point = api
        .post(&format!("{path}/{}/restore", point.number), &json!({}))
        .await?;
    output.say(&format!(
        "{workspace} is back at point {}, {:?}. What its disk had is point {}.",
        point.number, point.name, branch.number
    ));
    if rests {
        return output.print(&branch, |_| {
            format!("Start it with: roost start {workspace}")
        });
    }
    let begun: Workspace = api.post(&format!("{of}/start"), &json!({})).await?;
    settle(api, begun, false, output).await
}

/// The point of this number, or the only one of this name.
fn find<'a>(list: &'a PointList, wanted: &str, workspace: &str) -> anyhow::Result<&'a Point> {
    let number: Option<u64> = wanted.trim_start_matches('#').parse().ok();
    if let Some(point) = list
        .points
        .iter()
        .find(|point| Some(point.number) == number)
    {
        return Ok(point);
    }
    let named: Vec<&Point> = list
        .points
        .iter()
        .filter(|point| point.name == wanted)
        .collect();
    match named[..] {
        [point] => Ok(point),
        [] => bail!(
            "{workspace} has no point {wanted:?}. roost snapshots list {workspace} shows those that there are."
        ),
        _ => {
            let numbers: Vec<String> = named.iter().map(|point| point.number.to_string()).collect();
            bail!(
                "{} points are called {wanted:?}: name one by its number, {}.",
                named.len(),
                numbers.join(", ")
            )
        }
    }
}

/// Newest first; those that the disk came through are in the first column, those that it left in the second.
fn tree(list: &PointList, now_ms: u64) -> String {
    if list.points.is_empty() {
        return "There are no points yet. One is taken every quarter of an hour while the workspace writes, and at \
                any time with roost snapshots take."
            .to_owned();
    }
    let came_through = ancestors(list);
    let head = ["", "POINT", "NAME", "TAKEN", "KIND", "ALONE", "STORED"];
    let mut lines = vec![head.map(String::from).to_vec()];
    for point in list.points.iter().rev() {
        let mark = if came_through.contains(&point.number) {
            "●"
        } else {
            "│ ○"
        };
        lines.push(vec![
            mark.into(),
            point.number.to_string(),
            point.name.clone(),
            ago(point.taken_ms, now_ms),
            kind(point.kind).into(),
            bytes(point.alone),
            bytes(point.stored),
        ]);
    }
    format!(
        "{}\nAll together take {} in the store, each byte counted once.",
        table(&lines),
        bytes(list.stored)
    )
}

/// Numbers of the points that the disk as it is now came through.
fn ancestors(list: &PointList) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let mut next = list.now.follows.as_ref();
    while let Some(follows) = next {
        if follows.workspace.is_some() || !found.insert(follows.number) {
            break;
        }
        let point = list
            .points
            .iter()
            .find(|point| point.number == follows.number);
        next = point.and_then(|point| point.follows.as_ref());
    }
    found
}

fn describe(point: &Point, now_ms: u64) -> String {
    let follows = match &point.follows {
        None => "the beginning".to_owned(),
        Some(follows) => match &follows.workspace {
            None => format!("point {}", follows.number),
            Some(other) => format!("point {} of workspace {other}", follows.number),
        },
    };
    table(&[
        vec!["Point".into(), point.number.to_string()],
        vec!["Name".into(), point.name.clone()],
        vec!["Taken".into(), ago(point.taken_ms, now_ms)],
        vec!["Kind".into(), kind(point.kind).into()],
        vec!["Follows".into(), follows],
        vec!["Disk".into(), bytes(point.size)],
        vec!["Stored".into(), bytes(point.stored)],
        vec!["Alone".into(), bytes(point.alone)],
    ])
}

fn describe_now(list: &PointList) -> String {
    let now = &list.now;
    let mut lines = vec![
        vec!["Disk".into(), bytes(now.size)],
        vec!["Stored".into(), bytes(now.stored)],
        vec!["With all points".into(), bytes(list.stored)],
    ];
    if let Some(live) = &now.live {
        lines.push(vec!["On the host".into(), bytes(live.local)]);
        lines.push(vec!["Not stored yet".into(), bytes(live.unsent)]);
        if !live.store_trouble.is_empty() {
            lines.push(vec!["Trouble".into(), live.store_trouble.clone()]);
        }
    }
    table(&lines)
}

fn kind(kind: PointKind) -> &'static str {
    match kind {
        PointKind::Manual => "by hand",
        PointKind::Automatic => "automatic",
        PointKind::Branch => "left behind",
    }
}

fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) / 1000 {
        0..60 => "just now".to_owned(),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use control_api::points::{DiskNow, Follows};

    use super::*;

    fn point(number: u64, name: &str, kind: PointKind, follows: Option<u64>) -> Point {
        Point {
            number,
            name: name.into(),
            kind,
            taken_ms: 0,
            size: 16 << 30,
            stored: 5 << 20,
            alone: 3 << 9,
            follows: follows.map(own),
        }
    }

    fn own(number: u64) -> Follows {
        Follows {
            workspace: None,
            number,
        }
    }

    fn list() -> PointList {
        PointList {
            points: vec![
                point(3, "first", PointKind::Manual, None),
                point(7, "second", PointKind::Automatic, Some(3)),
                point(9, "Before going back to first", PointKind::Branch, Some(7)),
                point(12, "third", PointKind::Automatic, Some(3)),
            ],
            now: DiskNow {
                size: 16 << 30,
                stored: 0,
                alone: 0,
                follows: Some(own(12)),
                live: None,
            },
            stored: 7 << 20,
        }
    }

    #[test]
    fn what_was_left_behind_stands_beside_what_the_disk_came_through() {
        let text = tree(&list(), 7_200_000);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("●    12"), "{text}");
        assert!(lines[2].starts_with("│ ○  9"), "{text}");
        assert!(lines[3].starts_with("│ ○  7"), "{text}");
        assert!(lines[4].starts_with("●    3"), "{text}");
        assert!(lines[4].contains("2 h ago") && lines[4].contains("1.5 KiB"));
        assert!(lines[5].contains("7.0 MiB"), "{text}");
    }

    #[test]
    fn a_point_is_found_by_number_or_by_a_name_that_is_its_own() {
        let mut list = list();
        assert_eq!(find(&list, "7", "w").unwrap().number, 7);
        assert_eq!(find(&list, "#7", "w").unwrap().number, 7);
        assert_eq!(find(&list, "first", "w").unwrap().number, 3);
        list.points[1].name = "first".into();
        let error = find(&list, "first", "w").unwrap_err().to_string();
        assert!(error.contains("3, 7"), "{error}");
        let error = find(&list, "5", "w").unwrap_err().to_string();
        assert!(error.contains("snapshots list w"), "{error}");
    }
}
