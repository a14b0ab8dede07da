//! Points in time of the workspaces' disks: in the words of the contract, and kept by policy.
//!
//! - [`download`]: disks and their files, given out. [`files`]: files of a disk that nobody has mounted.
//! - [`service`]: what can be done with them.
//! - [`retention`]: which of those that the host took itself are given up. Pure.

pub mod download;
pub mod files;
pub mod retention;
pub mod service;

use fleet_api::points::{DiskNow, Follows, LiveDisk, Point, PointKind, Points, is_import};
use monitor_protocol::messages;
use storage::block::BLOCK;
use storage::collect::{Kept, Usage};
use storage::keys::SystemEntropy;
use storage::manifest;

use crate::disks;
use crate::runner::steps::now_ms;

/// A new point, of now.
pub fn new(name: &str, kind: PointKind) -> manifest::Point {
    let kind = match kind {
        PointKind::Manual => manifest::PointKind::Manual,
        PointKind::Automatic => manifest::PointKind::Automatic,
        PointKind::Branch => manifest::PointKind::Branch,
    };
    manifest::Point::new(&SystemEntropy, name, kind, now_ms())
}

/// For the monitor of a machine that runs.
pub fn message(point: &manifest::Point) -> messages::Point {
    let kind = serde_json::to_value(point.kind).expect("a name is JSON");
    messages::Point {
        id: point.id.to_string(),
        name: point.name.clone(),
        kind: kind.as_str().unwrap_or_default().to_owned(),
        taken_ms: point.taken_ms,
    }
}

/// What is kept of a disk.
pub fn of_usage(usage: &Usage) -> Points {
    let versions = &usage.versions;
    let points = versions
        .iter()
        .enumerate()
        .filter_map(|(at, kept)| one(kept, &versions[..at]));
    let now = versions.last().map(|kept| DiskNow {
        size: size(kept),
        stored: kept.bytes,
        alone: kept.alone,
        // A newest version that has a name is that point.
        follows: match &kept.manifest.point {
            Some(_) => Some(Follows {
                workspace: None,
                number: kept.manifest.version.number,
            }),
            None => follows(&kept.manifest, &versions[..versions.len() - 1]),
        },
        live: None,
    });
    Points {
        points: points.collect(),
        now: now.unwrap_or_default(),
        stored: usage.bytes,
    }
}

fn one(kept: &Kept, before: &[Kept]) -> Option<Point> {
    let manifest = &kept.manifest;
    let point = manifest.point.as_ref()?;
    let kind = match point.kind {
        manifest::PointKind::Manual => PointKind::Manual,
        manifest::PointKind::Automatic => PointKind::Automatic,
        manifest::PointKind::Branch => PointKind::Branch,
    };
    Some(Point {
        number: manifest.version.number,
        name: point.name.clone(),
        kind,
        taken_ms: point.taken_ms,
        size: size(kept),
        stored: kept.bytes,
        alone: kept.alone,
        follows: follows(manifest, before),
    })
}

/// The last point before on the same line, else the one that the line began with.
fn follows(manifest: &manifest::Manifest, before: &[Kept]) -> Option<Follows> {
    let same_line = |kept: &&Kept| kept.manifest.line == manifest.line;
    let own = |number| Follows {
        workspace: None,
        number,
    };
    if let Some(last) = before.iter().rev().find(same_line) {
        return Some(own(last.manifest.version.number));
    }
    let parent = manifest.parent.as_ref()?;
    if is_import(&disks::workspace_of(&parent.disk)) {
        return None;
    }
    let is_own = parent.disk == manifest.version.disk;
    Some(Follows {
        workspace: (!is_own).then(|| disks::workspace_of(&parent.disk)),
        ..own(parent.number)
    })
}

fn size(kept: &Kept) -> u64 {
    u64::from(kept.manifest.blocks) * BLOCK as u64
}

/// What a running machine's disk does.
pub fn live(status: messages::DiskStatus) -> LiveDisk {
    LiveDisk {
        local: status.local,
        unsent: status.unsent,
        unsent_age_ms: status.unsent_age_ms,
        store_trouble: status.store_trouble,
        lost_blocks: status.lost_blocks,
    }
}
