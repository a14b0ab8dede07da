//! What takes the room on a guest's disk.

use std::time::Duration;

use fleet_api::host::{FolderSize, HostError};
use guest_protocol::frames::ExecStart;
use monitor_protocol::client::MonitorClient;
use tokio::time::timeout;

use super::guest;

/// Every file of the disk is looked at.
const LOOKS_WITHIN: Duration = Duration::from_secs(120);
/// The largest folders first, deep enough to tell one project's output from another's.
const SCRIPT: &str = "du -xB1 --max-depth=7 / 2>/dev/null | sort -rn | head -n 2000";
/// So many are told.
const MOST: usize = 12;

/// The folders that hold most, the largest first.
pub async fn largest(monitor: &MonitorClient) -> Result<Vec<FolderSize>, HostError> {
    let look = ExecStart {
        command: ["sh", "-c", SCRIPT].map(String::from).into(),
        root: true,
        ..ExecStart::default()
    };
    let failed = |message: String| HostError::Guest { message };
    let ask = async { guest::session(monitor, true).await?.exec_output(look).await };
    let output = timeout(LOOKS_WITHIN, ask)
        .await
        .map_err(|_| failed("looking through the disk took too long".into()))?
        .map_err(|error| failed(error.to_string()))?;
    Ok(telling(&parse(&String::from_utf8_lossy(&output.stdout))))
}

/// Lines of `du`: bytes, a tab, the path.
fn parse(text: &str) -> Vec<FolderSize> {
    let lines = text.lines().filter_map(|line| {
        let (bytes, path) = line.split_once('\t')?;
        Some(FolderSize {
            path: path.to_owned(),
            bytes: bytes.parse().ok()?,
        })
    });
    lines.collect()
}

/// Of folders with all that is below them, the largest first, those that say something: not one whose room is nearly
/// all in one folder below it.
fn telling(folders: &[FolderSize]) -> Vec<FolderSize> {
    let is_below = |path: &str, above: &str| {
        let rest = path.strip_prefix(above.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    };
    let says_nothing = |folder: &FolderSize| {
        folders.iter().any(|below| {
            is_below(&below.path, &folder.path) && below.bytes * 10 >= folder.bytes * 8
        })
    };
    let telling = folders.iter().filter(|folder| !says_nothing(folder));
    // The disk as a whole is not news.
    let telling = telling.filter(|folder| folder.path != "/");
    telling.take(MOST).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_eats_is_named_and_not_those_that_lead_to_it() {
        let text = "1000\t/\n900\t/workspaces\n890\t/workspaces/app\n880\t/workspaces/app/target\n500\t/workspaces/app/target/a\n\
                    380\t/workspaces/app/target/b\n60\t/usr\n30\t/usr/lib\n30\t/usr/share\nodd line\n";
        let told: Vec<_> = telling(&parse(text))
            .into_iter()
            .map(|folder| folder.path)
            .collect();
        assert_eq!(
            told,
            [
                "/workspaces/app/target",
                "/workspaces/app/target/a",
                "/workspaces/app/target/b",
                "/usr",
                "/usr/lib",
                "/usr/share"
            ]
        );
    }
}
