//! Points in time: taken, listed, given up, gone back to; and what a fork begins with.

use control_api::points::{DiskNow, Follows, Fork, LiveDisk, Point, PointKind, PointList};
use control_api::problem::{Kind, Problem};
use fleet_api::Download;
use fleet_api::host::HostError;
use fleet_api::points::{self, DiskPart, Origin};
use model::quota::Amount;

use super::App;
use super::identity::Caller;
use crate::fault::{Fault, Outcome};
use crate::store::workspaces::WorkspaceRow;

const MAX_NAME: usize = 200;
const UNNAMED: &str = "By hand";

impl App {
    pub async fn points(&self, caller: &Caller, name_or_id: &str) -> Outcome<PointList> {
        let row = self.own(caller, name_or_id).await?;
        let points = self.host_of(&row)?.points(&row.id).await;
        Ok(list(points.map_err(|error| explain(&row, error))?))
    }

    pub async fn take_point(
        &self,
        caller: &Caller,
        name_or_id: &str,
        name: Option<&str>,
    ) -> Outcome<Point> {
        let row = self.own(caller, name_or_id).await?;
        let name = check_name(name.unwrap_or(UNNAMED))?;
        self.check_quota(caller, Amount::default()).await?;
        let point = self.host_of(&row)?.take_point(&row.id, name).await;
        let point = point.map_err(|error| explain(&row, error))?;
        self.noted(caller, "point.take", &row, point.number).await?;
        Ok(one(point))
    }

    pub async fn remove_point(
        &self,
        caller: &Caller,
        name_or_id: &str,
        number: u64,
    ) -> Outcome<()> {
        let row = self.own(caller, name_or_id).await?;
        let removed = self.host_of(&row)?.remove_point(&row.id, number).await;
        removed.map_err(|error| explain(&row, error))?;
        self.noted(caller, "point.remove", &row, number).await
    }

    /// Answers what the disk had before, as a point.
    pub async fn go_back(&self, caller: &Caller, name_or_id: &str, number: u64) -> Outcome<Point> {
        let row = self.own(caller, name_or_id).await?;
        let branch = self.host_of(&row)?.go_back(&row.id, number).await;
        let branch = branch.map_err(|error| explain(&row, error))?;
        self.noted(caller, "point.restore", &row, number).await?;
        Ok(one(branch))
    }

    /// The disk or files of it, and what to call that.
    pub async fn download_disk(
        &self,
        caller: &Caller,
        name_or_id: &str,
        number: Option<u64>,
        part: DiskPart,
    ) -> Outcome<(String, Download)> {
        let row = self.own(caller, name_or_id).await?;
        if let DiskPart::Files { folder } = &part
            && !is_plain_path(folder)
        {
            let detail = "The folder is an absolute path without . and .., such as /workspaces.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("folder")
                .into());
        }
        let at = number.map_or_else(String::new, |number| format!("-{number}"));
        let name = match &part {
            DiskPart::Image => format!("{}{at}.qcow2", row.name),
            DiskPart::Files { .. } => format!("{}{at}.tar.gz", row.name),
        };
        let host = self.host_of(&row)?;
        let download = host.download_disk(&row.id, number, part);
        let download = download.await.map_err(|error| explain(&row, error))?;
        Ok((name, download))
    }

    /// The workspace and the point that a fork begins with; without a number, a point that is taken for it.
    pub(super) async fn origin(
        &self,
        caller: &Caller,
        fork: &Fork,
    ) -> Outcome<(WorkspaceRow, Origin, points::Point)> {
        let row = self.own(caller, &fork.workspace).await?;
        let host = self.host_of(&row)?;
        let point = match fork.point {
            None => host.take_point(&row.id, "For a fork".into()).await,
            Some(number) => host.points(&row.id).await.and_then(|points| {
                let mut points = points.points.into_iter();
                let found = points.find(|point| point.number == number);
                found.ok_or(HostError::NoPoint { number })
            }),
        };
        let point = point.map_err(|error| explain(&row, error))?;
        let origin = Origin {
            workspace: row.id.clone(),
            number: point.number,
        };
        Ok((row, origin, point))
    }

    async fn noted(
        &self,
        caller: &Caller,
        action: &str,
        row: &WorkspaceRow,
        number: u64,
    ) -> Outcome<()> {
        let detail = format!("{} {number}", row.name);
        let (user, now) = (&caller.user.id, self.world.now_ms());
        self.store
            .record(user, action, row.id.as_str(), &detail, now)
            .await?;
        Ok(())
    }
}

fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| !rest.split('/').any(|part| matches!(part, "." | "..")))
}

fn check_name(name: &str) -> Outcome<String> {
    let name = name.trim();
    if (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    let detail = format!("The name of a point is one line of 1 to {MAX_NAME} bytes.");
    Err(Problem::new(Kind::InvalidField, detail)
        .field("name")
        .into())
}

pub(super) fn explain(row: &WorkspaceRow, error: HostError) -> Fault {
    match error {
        HostError::NoPoint { number } => {
            let detail = format!(
                "{} has no point {number}. It was deleted, or given up with age; roost snapshots list {} shows what \
                 there is.",
                row.name, row.name
            );
            Fault::new(Kind::NotFound, detail)
        }
        other => other.into(),
    }
}

fn list(points: points::Points) -> PointList {
    let now = points.now;
    PointList {
        points: points.points.into_iter().map(one).collect(),
        now: DiskNow {
            size: now.size,
            stored: now.stored,
            alone: now.alone,
            follows: now.follows.map(follows),
            live: now.live.map(|live| LiveDisk {
                local: live.local,
                unsent: live.unsent,
                unsent_age_ms: live.unsent_age_ms,
                store_trouble: live.store_trouble,
                lost_blocks: live.lost_blocks,
            }),
        },
        stored: points.stored,
    }
}

fn one(point: points::Point) -> Point {
    Point {
        number: point.number,
        name: point.name,
        kind: match point.kind {
            points::PointKind::Manual => PointKind::Manual,
            points::PointKind::Automatic => PointKind::Automatic,
            points::PointKind::Branch => PointKind::Branch,
        },
        taken_ms: point.taken_ms,
        size: point.size,
        stored: point.stored,
        alone: point.alone,
        follows: point.follows.map(follows),
    }
}

fn follows(follows: points::Follows) -> Follows {
    Follows {
        workspace: follows.workspace,
        number: follows.number,
    }
}
