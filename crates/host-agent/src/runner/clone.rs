//! Fetches the repository inside the guest, at the first start, and says in words why it could not.

use std::time::Duration;

use fleet_api::host::{FailureKind, Repository, RunSpec, StartFailure};
use guest_protocol::client::ExecEvent;
use guest_protocol::frames::ExecStart;

use crate::failure::failure;
use crate::git::probe::{Probed, probe};
use crate::git::relay::{Refusal, RefusalKind, RelayDoor};
use crate::git::remote;
use crate::runner::context::Context;
use crate::runner::guest;
use crate::runner::steps::{Step, Teller};
use crate::runner::watch::Monitor;

/// The folder appears complete or not at all: a clone that was cut off must not look like one that is done.
/// Arguments: URL, target folder, and a branch or nothing.
const SCRIPT: &str = r#"
set -e
partial="$(dirname "$2")/.cloning-$(basename "$2")"
rm -rf "$partial"
trap 'rm -rf "$partial"' EXIT
git clone --progress ${3:+--branch "$3"} -- "$1" "$partial"
if [ -d "$2" ]; then rmdir "$2"; fi
mv "$partial" "$2"
"#;

/// The output of a clone that ended while nobody listened is kept for so long.
const LINGER: Duration = Duration::from_secs(3600);
/// Of git's output, in a failure.
const LOG_BYTES: usize = 4 * 1024;

/// One clone.
pub struct Clone<'a> {
    pub context: &'a Context,
    pub spec: &'a RunSpec,
    pub repository: &'a Repository,
    /// Absolute, in the guest.
    pub target: &'a str,
    pub attempt: u32,
    pub teller: &'a Teller,
    pub door: Option<&'a RelayDoor>,
}

impl Clone<'_> {
    /// Asks the server early whether the repository is there; what it answers is for [`Self::run`].
    pub async fn look(
        context: &Context,
        spec: &RunSpec,
        repository: &Repository,
    ) -> Result<(), StartFailure> {
        let remote = remote::parse(&repository.url)
            .map_err(|error| failure(FailureKind::CloneFailed, error.to_string()))?;
        match probe(&context.relay, &spec.workspace, &remote).await {
            Probed::Found {
                branches: Some(branches),
            } => match &repository.branch {
                Some(branch) if !branches.contains(branch) => Err(no_branch(branch, &branches)),
                _ => Ok(()),
            },
            Probed::Found { branches: None } => Ok(()),
            Probed::NotFound { message } => Err(failure(FailureKind::CloneNotFound, message)),
            Probed::Credentials { message } => Err(failure(FailureKind::CloneCredentials, message)),
            Probed::Unreachable { message } => Err(failure(FailureKind::CloneFailed, message)),
        }
    }

    /// Clones, or goes on with the clone of this attempt that an earlier host agent has begun. `looked` is
    /// the answer of [`Self::look`].
    pub async fn run(&self, looked: Result<(), StartFailure>) -> Result<(), StartFailure> {
        let mut step = self.teller.begin("clone");
        let looked = match looked {
            Ok(()) => Ok(()),
            // What was missing may have been given while the machine booted.
            Err(_) => Self::look(self.context, self.spec, self.repository).await,
        };
        let outcome = match looked {
            Ok(()) => self.clone(&mut step).await,
            Err(failure) => Err(failure),
        };
        step.end(outcome)
    }

    async fn clone(&self, step: &mut Step) -> Result<(), StartFailure> {
        if let Some(door) = self.door {
            door.forget_refusal();
        }
        let lost = |error: guest_protocol::client::Error| {
            failure(
                FailureKind::CloneFailed,
                format!("the clone was cut off: {error}"),
            )
        };
        let monitor = Monitor::new(&self.context.folders.monitor(&self.spec.workspace));
        let session = guest::session(&monitor.client, true).await.map_err(lost)?;
        let branch = self.repository.branch.clone().unwrap_or_default();
        let arguments = [&self.repository.url, self.target, &branch].map(str::to_owned);
        let start = ExecStart {
            command: ["sh", "-c", SCRIPT, "sh"]
                .map(String::from)
                .into_iter()
                .chain(arguments)
                .collect(),
            working_directory: "/".into(),
            environment: [("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C.UTF-8")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            linger_seconds: LINGER.as_secs() as u32,
            key: format!("roost-clone-{}", self.attempt),
            ..ExecStart::default()
        };
        let mut exec = session.exec(start).await.map_err(lost)?;
        let mut output = Output::default();
        while let Some(event) = exec.next().await.map_err(lost)? {
            match event {
                ExecEvent::Stdout { bytes, .. } | ExecEvent::Stderr { bytes, .. } => {
                    for line in output.take(&bytes) {
                        if let Some((percent, detail)) = progress(&line) {
                            step.progress(detail, Some(percent));
                        }
                    }
                }
                ExecEvent::Exited(exited) if exited.code == 0 && !exited.signaled => return Ok(()),
                ExecEvent::Exited(_) => break,
            }
        }
        Err(self.explain(&output.text))
    }

    fn explain(&self, log: &str) -> StartFailure {
        let refusal = self.door.and_then(RelayDoor::refusal);
        explain(log, refusal, self.repository.branch.as_deref())
    }
}

/// The way out of a missing branch.
const PUSH_BRANCH: &str =
    "Push the branch and clone again, or create a workspace with one that is there";

fn no_branch(branch: &str, there: &[String]) -> StartFailure {
    let some: Vec<&str> = there.iter().map(String::as_str).take(8).collect();
    let which = match there.len() {
        0 => "it has none yet".to_owned(),
        1..=8 => format!("it has {}", some.join(", ")),
        more => format!("it has {} and {} more", some.join(", "), more - some.len()),
    };
    failure(
        FailureKind::CloneBranch,
        format!("the repository has no branch {branch}; {which}. {PUSH_BRANCH}"),
    )
}

/// What the end of a failed clone means.
fn explain(log: &str, refusal: Option<Refusal>, branch: Option<&str>) -> StartFailure {
    let (kind, message) = if log.contains("Remote branch") && log.contains("not found") {
        let branch = branch.unwrap_or_default();
        (
            FailureKind::CloneBranch,
            format!("the repository has no branch {branch}. {PUSH_BRANCH}"),
        )
    } else if let Some(Refusal { kind, message }) = refusal {
        let kind = match kind {
            RefusalKind::Credentials => FailureKind::CloneCredentials,
            RefusalKind::NotFound => FailureKind::CloneNotFound,
            RefusalKind::Unreachable => FailureKind::CloneFailed,
        };
        (kind, message)
    } else if log.contains("could not read Username") || log.contains("Authentication failed") {
        let text = "the server asks for credentials. Add a token for it in your Roost profile";
        (FailureKind::CloneCredentials, text.to_owned())
    } else if log.contains("not found") && log.contains("repository") {
        (
            FailureKind::CloneNotFound,
            format!(
                "the server has no such repository. {}",
                crate::git::relay::CHECK_URL
            ),
        )
    } else if log.contains("No space left on device") {
        let text =
            "the workspace's disk is too small for the repository: create one with a larger disk";
        (FailureKind::CloneFailed, text.to_owned())
    } else {
        let last = log
            .lines()
            .rev()
            .find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
        let last = last.unwrap_or("fatal: it gave no reason");
        (
            FailureKind::CloneFailed,
            format!("git could not clone the repository ({last})"),
        )
    };
    StartFailure {
        kind,
        message,
        log: log.to_owned(),
    }
}

/// The end of what git says, line by line; a progress line is overwritten by the next.
#[derive(Default)]
struct Output {
    text: String,
    line: String,
}

impl Output {
    /// The lines that `bytes` complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for character in String::from_utf8_lossy(bytes).chars() {
            match character {
                '\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.text += &line;
                    self.text.push('\n');
                    lines.push(line);
                }
                '\r' => lines.push(std::mem::take(&mut self.line)),
                _ if self.line.len() < LOG_BYTES => self.line.push(character),
                _ => {}
            }
        }
        if self.text.len() > LOG_BYTES {
            let cut = self.text.len() - LOG_BYTES;
            let cut = (cut..self.text.len()).find(|at| self.text.is_char_boundary(*at));
            self.text.drain(..cut.unwrap_or(0));
        }
        lines
    }
}

/// Parts of a clone as git names them, with where each begins and ends in the whole.
const PARTS: [(&str, u32, u32); 5] = [
    ("Counting objects", 0, 2),
    ("Compressing objects", 2, 5),
    ("Receiving objects", 5, 80),
    ("Resolving deltas", 80, 92),
    ("Updating files", 92, 100),
];

/// How far a clone is, from a line of git's such as `Receiving objects:  45% (450/1000), 1.2 MiB | 3 MiB/s`.
fn progress(line: &str) -> Option<(u8, String)> {
    let line = line.trim_start_matches("remote: ").trim();
    let (part, rest) = line.split_once(':')?;
    let (_, from, to) = PARTS.iter().find(|(name, _, _)| *name == part)?;
    let percent: u32 = rest.split('%').next()?.trim().parse().ok()?;
    let whole = from + (to - from) * percent.min(100) / 100;
    Some((whole as u8, line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_says_how_far_it_is() {
        for (line, expected) in [
            ("remote: Counting objects:  50% (5/10)", Some(1)),
            ("remote: Compressing objects: 100% (3/3), done.", Some(5)),
            (
                "Receiving objects:  45% (450/1000), 1.2 MiB | 3.00 MiB/s",
                Some(38),
            ),
            ("Resolving deltas: 100% (5/5), done.", Some(92)),
            ("Updating files: 100% (5/5), done.", Some(100)),
            ("Cloning into '/workspaces/x'...", None),
            ("remote: Enumerating objects: 10, done.", None),
            ("fatal: Receiving objects: no", None),
        ] {
            assert_eq!(
                progress(line).map(|(percent, _)| percent),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn output_is_cut_into_lines_and_progress_does_not_fill_the_log() {
        let mut output = Output::default();
        let lines = output.take(b"Receiving objects: 1%\rReceiving objects: 2%\rwarning: x\nfat");
        assert_eq!(
            lines,
            [
                "Receiving objects: 1%",
                "Receiving objects: 2%",
                "warning: x"
            ]
        );
        assert_eq!(output.take(b"al: y\n"), ["fatal: y"]);
        assert_eq!(output.text, "warning: x\nfatal: y\n");
        output.take("ü".repeat(10_000).as_bytes());
        output.take(b"\n");
        output.take("ö".repeat(10_000).as_bytes());
        output.take(b"\n");
        assert!(output.text.len() <= LOG_BYTES);
    }

    #[test]
    fn a_failed_clone_is_explained() {
        let credentials = Refusal {
            kind: RefusalKind::Credentials,
            message: "add a token".into(),
        };
        for (log, refusal, kind) in [
            (
                "warning: Could not find remote branch x\nfatal: Remote branch x not found in upstream origin\n",
                None,
                FailureKind::CloneBranch,
            ),
            (
                "fatal: unable to access\n",
                Some(credentials),
                FailureKind::CloneCredentials,
            ),
            (
                "fatal: could not read Username for 'http://x': terminal prompts disabled\n",
                None,
                FailureKind::CloneCredentials,
            ),
            (
                "fatal: repository 'http://x/y/' not found\n",
                None,
                FailureKind::CloneNotFound,
            ),
            (
                "fatal: write error: No space left on device\n",
                None,
                FailureKind::CloneFailed,
            ),
            ("", None, FailureKind::CloneFailed),
        ] {
            let failure = explain(log, refusal, Some("x"));
            assert_eq!(failure.kind, kind, "{log}");
            assert!(!failure.message.is_empty());
        }
    }

    #[test]
    fn a_missing_branch_is_answered_with_those_that_are_there() {
        let there: Vec<String> = (0..10).map(|number| format!("b{number}")).collect();
        let message = no_branch("x", &there).message;
        assert!(
            message.contains("b7 and 2 more") && !message.contains("b8"),
            "{message}"
        );
        assert!(no_branch("x", &[]).message.contains("none yet"));
    }
}
