//! Disks in the store: verified, compacted, collected.

use std::process::ExitCode;

use anyhow::bail;
use control_api::upkeep::{CheckEvent, Collection, CollectionList, Compaction, DiskCheck, Keeper};
use control_api::workspaces::{Workspace, WorkspaceState};
use reqwest::Method;
use serde_json::json;

use crate::cli::api::{Refused, path_segment};
use crate::cli::lines::Lines;
use crate::cli::output::{bytes, table};
use crate::cli::workspaces::settle;
use crate::cli::{Api, Output};

/// Exit code that says "damaged"; others say that it could not be found out.
const DAMAGED: u8 = 3;
/// More of one kind is of no use to anybody.
const NAMED: usize = 10;

/// Reads everything and says what is damaged. `point`: number of one.
pub async fn verify(
    api: &Api,
    workspace: &str,
    point: Option<u64>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let point = point.map_or_else(String::new, |point| format!("?point={point}"));
    let path = format!("/workspaces/{}/disk/check{point}", path_segment(workspace));
    let answer = api.send(Method::POST, &path, None::<&()>).await?;
    let mut lines = Lines::new(answer, output)?;
    while let Some(event) = lines.next().await? {
        match event {
            CheckEvent::Progress { done, of } => lines.progress(done, of),
            CheckEvent::Failed { problem } => return Err(Refused(Box::new(problem)).into()),
            CheckEvent::Checked { check } => {
                lines.clear();
                output.print(&check, |check| verdict(check, workspace))?;
                return Ok(match check.sound {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::from(DAMAGED),
                });
            }
        }
    }
    bail!("the answer did not come to its end: try again")
}

/// What is sound, what is not, and what to do.
fn verdict(check: &DiskCheck, workspace: &str) -> String {
    let read = format!(
        "{} in {} objects were read",
        bytes(check.bytes),
        check.objects
    );
    if check.sound {
        let points = check
            .versions
            .iter()
            .filter(|version| version.name.is_some());
        return match points.count() {
            0 => format!("{workspace} is sound: {read}, and all of it is what was written."),
            1 => format!(
                "{workspace} and 1 point are sound: {read}, and all of it is what was written."
            ),
            count => format!(
                "{workspace} and {count} points are sound: {read}, and all of it is what was written."
            ),
        };
    }
    let mut lines = vec![["", "POINT", "NAME", "LOST"].map(String::from).to_vec()];
    for version in check.versions.iter().rev() {
        let costs = check
            .damage
            .iter()
            .filter(|damage| damage.version == version.number);
        let lost: u64 = costs.map(|damage| damage.bytes).sum();
        let name = match (&version.name, version.is_now) {
            (Some(name), _) => name.clone(),
            (None, true) => "now".into(),
            (None, false) => "?".into(),
        };
        lines.push(vec![
            if version.sound { "✓" } else { "✗" }.into(),
            version.number.to_string(),
            name,
            match version.sound {
                true => "–".into(),
                false => bytes(lost),
            },
        ]);
    }
    let mut text = format!("{workspace} is damaged. {read}:\n{}\n", table(&lines));
    let mut objects: Vec<_> = check
        .damage
        .iter()
        .map(|damage| format!("  {}: {}\n", damage.object, damage.detail))
        .collect();
    // What several versions share is told for each of them.
    objects.sort();
    objects.dedup();
    text.extend(objects.iter().take(NAMED).map(String::as_str));
    if objects.len() > NAMED {
        text += &format!("  and {} more\n", objects.len() - NAMED);
    }
    text + &remedy(check, workspace)
}

fn remedy(check: &DiskCheck, workspace: &str) -> String {
    let now_is_hit = check
        .versions
        .iter()
        .any(|version| version.is_now && !version.sound);
    let sound = check.versions.iter().rev().find(|version| version.sound);
    match (now_is_hit, sound) {
        (false, _) => {
            let hit: Vec<String> = check
                .versions
                .iter()
                .filter(|version| !version.sound)
                .map(|version| version.number.to_string())
                .collect();
            format!(
                "What is read of these points fails where it is damaged; everything else of them can be had with roost \
                 snapshots files. Give them up with: roost snapshots rm {workspace} {}",
                hit.join(" ")
            )
        }
        (true, Some(point)) => format!(
            "Take away what can be read with: roost snapshots files {workspace}\nThen go back to the newest point that \
             is whole: roost snapshots restore {workspace} {} --stop",
            point.number
        ),
        (true, None) => format!(
            "Take away what can be read with: roost snapshots files {workspace}\nWhat is damaged comes back from a \
             backup alone: roost restore. Look at the disk that the store is on before you trust it again."
        ),
    }
}

/// Writes sparse packs again. `stop`: also of a workspace that runs, which is stopped for it and started again.
pub async fn compact(api: &Api, workspace: &str, stop: bool, output: Output) -> anyhow::Result<()> {
    let of = format!("/workspaces/{}", path_segment(workspace));
    let before = api.workspace(workspace).await?;
    let rests = matches!(
        before.state,
        WorkspaceState::Stopped | WorkspaceState::Failed
    );
    if !rests {
        if !stop {
            bail!("{workspace} runs. Repeat with --stop: it is stopped for it and started again.");
        }
        output.say(&format!("Stopping {workspace} …"));
        let path = format!("{of}/stop?wait=stopped");
        let stopped: Workspace = api.post(&path, &json!({})).await?;
        if stopped.state != WorkspaceState::Stopped {
            bail!("{workspace} has not stopped within two minutes. Try again.");
        }
    }
    let done: anyhow::Result<Compaction> =
        api.post(&format!("{of}/disk/compact"), &json!({})).await;
    // Whatever came of it: it ran before.
    if !rests {
        let begun: Workspace = api.post(&format!("{of}/start"), &json!({})).await?;
        settle(api, begun, false, Output { json: false }).await?;
    }
    output.print(&done?, outcome)
}

fn outcome(done: &Compaction) -> String {
    let less = done.before.saturating_sub(done.after);
    let went = done.all_before.saturating_sub(done.all_after);
    let mut text = format!(
        "{} were written again. The disk as it is refers to {} in the store, {} less than before.",
        bytes(done.moved),
        bytes(done.after),
        bytes(less)
    );
    if went > 0 {
        text += &format!(
            "\n{} are needed by nothing of this workspace any more, and go within two days.",
            bytes(went)
        );
    }
    if less > went {
        text += &format!(
            "\nPoints still need {} of what it had: that goes when they do.",
            bytes(less - went)
        );
    }
    text
}

/// Collects the store.
pub async fn collect(api: &Api, dry_run: bool, output: Output) -> anyhow::Result<()> {
    let list: CollectionList = api
        .post("/store/collect", &json!({ "dry_run": dry_run }))
        .await?;
    output.print(&list, |list| {
        let reports = list.collections.iter();
        reports
            .map(|collection| report(collection, dry_run))
            .collect::<Vec<_>>()
            .join("\n\n")
    })
}

fn report(collection: &Collection, dry_run: bool) -> String {
    let head = ["NAME", "POINTS", "STORED", "ALONE"].map(String::from);
    let line = |keeper: &Keeper| {
        vec![
            keeper.name.clone(),
            keeper.points.to_string(),
            bytes(keeper.stored),
            bytes(keeper.alone),
        ]
    };
    let lines: Vec<_> = std::iter::once(head.to_vec())
        .chain(collection.kept.iter().map(line))
        .collect();
    let (deleted, condemned) = (bytes(collection.deleted), bytes(collection.condemned));
    let went = match dry_run {
        true => format!("{deleted} would be deleted now, {condemned} with a later collection"),
        false => format!("{deleted} were deleted, {condemned} go with a later collection"),
    };
    format!(
        "{} on {}: {} before.\n{}\n{went}; {} that nobody needs are less than a day old and wait.",
        collection.tenant,
        collection.host,
        bytes(collection.total),
        table(&lines),
        bytes(collection.young)
    )
}

#[cfg(test)]
mod tests {
    use control_api::upkeep::{CheckedVersion, Damage};

    use super::*;

    fn check(hit: &[u64]) -> DiskCheck {
        let version = |number, name: Option<&str>| CheckedVersion {
            number,
            name: name.map(Into::into),
            is_now: number == 9,
            sound: !hit.contains(&number),
        };
        let damage = hit.iter().map(|version| Damage {
            version: *version,
            object: "o/packs/12/1234".into(),
            detail: "a frame is damaged".into(),
            bytes: 8192,
        });
        DiskCheck {
            sound: hit.is_empty(),
            versions: vec![
                version(3, Some("first")),
                version(5, Some("second")),
                version(9, None),
            ],
            objects: 7,
            bytes: 5 << 20,
            damage: damage.collect(),
        }
    }

    #[test]
    fn a_verdict_names_what_is_lost_and_what_to_do() {
        let sound = verdict(&check(&[]), "w");
        assert!(
            sound.contains("w and 2 points are sound: 5.0 MiB in 7 objects"),
            "{sound}"
        );
        let old = verdict(&check(&[3]), "w");
        assert!(old.contains("✗  3      first   8.0 KiB"), "{old}");
        assert!(old.contains("roost snapshots rm w 3"), "{old}");
        let now = verdict(&check(&[3, 9]), "w");
        assert!(now.contains("roost snapshots restore w 5"), "{now}");
        // What several versions share is named once.
        assert_eq!(now.matches("o/packs").count(), 1, "{now}");
        let all = verdict(&check(&[3, 5, 9]), "w");
        assert!(all.contains("roost restore"), "{all}");
    }

    #[test]
    fn what_points_keep_is_not_said_to_be_gone() {
        let text = outcome(&Compaction {
            moved: 1 << 20,
            before: 10 << 20,
            after: 4 << 20,
            all_before: 12 << 20,
            all_after: 10 << 20,
        });
        assert!(text.contains("6.0 MiB less"), "{text}");
        assert!(text.contains("2.0 MiB are needed by nothing"), "{text}");
        assert!(text.contains("Points still need 4.0 MiB"), "{text}");
    }
}
