//! Disks in the store, looked after on the command line: verified, compacted, collected, taken away and brought back.

use std::path::{Path, PathBuf};

use control_api::points::Point;
use control_api::upkeep::CollectionList;
use roost_tests::api::empty;
use roost_tests::cli::{Said, roost};
use roost_tests::{Options, Server};

const FILE: &str = "/workspaces/notes/file";

#[track_caller]
fn fine(said: &Said) -> &str {
    assert_eq!(said.code, 0, "{said:?}");
    &said.stdout
}

async fn shell(server: &Server, workspace: &str, script: &str) -> anyhow::Result<String> {
    let said = roost(server.api(), &["exec", workspace, "--", "sh", "-c", script]).await?;
    Ok(fine(&said).trim().to_owned())
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn packs(server: &Server) -> anyhow::Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    files(&server.data().join("store"), &mut packs)?;
    packs.retain(|path| path.to_string_lossy().contains("/packs/"));
    Ok(packs)
}

/// Turns a bit over in the middle of the largest pack that was not there `before`.
fn damage(server: &Server, before: &[PathBuf]) -> anyhow::Result<()> {
    let mut new = packs(server)?;
    new.retain(|path| !before.contains(path));
    let largest = new
        .iter()
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |found| found.len()));
    let path = largest.expect("a workspace has written something");
    let mut content = std::fs::read(path)?;
    let middle = content.len() / 2;
    content[middle] ^= 4;
    Ok(std::fs::write(path, content)?)
}

#[tokio::test]
async fn a_disk_is_looked_after_and_comes_back_from_its_file() -> anyhow::Result<()> {
    let server = Server::start(Options::default()).await?;
    let api = server.api();
    server.running(&empty("notes")).await?;
    // Content that no compression makes small.
    let write = "head -c 8000000 /dev/urandom > noise";
    shell(
        &server,
        "notes",
        &format!("cd /workspaces/notes; echo kept > {FILE}; {write}; sync"),
    )
    .await?;
    let taken = roost(api, &["--json", "snapshots", "take", "notes"]).await?;
    let point: Point = serde_json::from_str(fine(&taken))?;

    let sound = roost(api, &["snapshots", "verify", "notes"]).await?;
    assert!(
        fine(&sound).contains("notes and 1 point are sound"),
        "{sound:?}"
    );

    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("notes.qcow2");
    let disk = disk.to_string_lossy();
    let number = point.number.to_string();
    let export = ["snapshots", "export", "notes", &number, "--output", &disk];
    fine(&roost(api, &export).await?);
    let import = ["snapshots", "import", &disk, "--name", "back"];
    let imported = roost(api, &import).await?;
    assert!(fine(&imported).contains("back is running"), "{imported:?}");
    let sum = "cat file; md5sum < noise";
    assert_eq!(
        shell(&server, "back", &format!("cd /workspaces/notes; {sum}")).await?,
        shell(&server, "notes", &format!("cd /workspaces/notes; {sum}")).await?
    );
    let nothing = std::fs::read_dir(server.data().join("imports"))?;
    assert_eq!(
        nothing.count(),
        0,
        "what was imported is the workspace's by now"
    );
    let text = folder.path().join("letter.txt");
    std::fs::write(&text, "this is no disk")?;
    let refused = roost(api, &["snapshots", "import", &text.to_string_lossy()]).await?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("qemu-img resize"), "{refused:?}");

    let refused = roost(api, &["snapshots", "compact", "notes"]).await?;
    assert!(refused.stderr.contains("--stop"), "{refused:?}");
    // Most of what the packs have is needed no more.
    shell(
        &server,
        "notes",
        &format!("cd /workspaces/notes; {write}; sync; fstrim / || true"),
    )
    .await?;
    let compacted = roost(api, &["snapshots", "compact", "notes", "--stop"]).await?;
    assert!(
        fine(&compacted).contains("less than before"),
        "{compacted:?}"
    );
    assert_eq!(
        shell(&server, "notes", &format!("cat {FILE}")).await?,
        "kept"
    );

    let dry = roost(api, &["--json", "snapshots", "gc", "--dry-run"]).await?;
    let list: CollectionList = serde_json::from_str(fine(&dry))?;
    let kept = list.collections.iter().flat_map(|one| &one.kept);
    let notes = kept.into_iter().find(|keeper| keeper.name == "notes");
    assert!(notes.is_some_and(|keeper| keeper.points >= 1 && keeper.alone > 8_000_000));
    let collected = roost(api, &["snapshots", "gc"]).await?;
    assert!(
        fine(&collected).contains("less than a day old"),
        "{collected:?}"
    );

    let before = packs(&server)?;
    shell(
        &server,
        "back",
        &format!("cd /workspaces/notes; {write}; sync"),
    )
    .await?;
    fine(&roost(api, &["snapshots", "take", "back"]).await?);
    damage(&server, &before)?;
    fine(&roost(api, &["snapshots", "verify", "notes"]).await?);
    let damaged = roost(api, &["snapshots", "verify", "back"]).await?;
    assert_eq!(damaged.code, 3, "{damaged:?}");
    assert!(damaged.stdout.contains("is damaged"), "{damaged:?}");
    assert!(damaged.stdout.contains("roost snapshots"), "{damaged:?}");
    server.close().await
}
