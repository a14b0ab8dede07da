//! `kill -9` of the server under a running workspace: the VM goes on, and terminals come back as they were. An end in
//! order, where nothing outlives the server.

use control_api::workspaces::WorkspaceState;
use guest_protocol::client::{Session, Terminal, TerminalEvent};
use guest_protocol::frames::{StreamClass, TerminalAttach, TerminalCreate, TerminalSize};
use roost_tests::api::empty;
use roost_tests::guest::{session, shell};
use roost_tests::{Options, Server, until};
use std::time::{Duration, Instant};
use terminal_screen::{Screen, Size};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

fn size() -> Option<TerminalSize> {
    Some(TerminalSize {
        columns: COLUMNS.into(),
        rows: ROWS.into(),
    })
}

/// A tab: the screen that it shows and the terminal that feeds it.
struct Tab {
    terminal: Terminal,
    screen: Screen,
}

impl Tab {
    fn new(terminal: Terminal) -> Self {
        let mut screen = Screen::new(
            Size {
                columns: COLUMNS,
                rows: ROWS,
            },
            1_000,
        );
        let _ = screen.feed(&terminal.state().repaint);
        Self { terminal, screen }
    }

    /// Follows the terminal until the screen shows `text`.
    async fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        let look = async {
            while !self
                .screen
                .visible_text()
                .iter()
                .any(|line| line.contains(text))
            {
                match self.terminal.next().await? {
                    Some(TerminalEvent::Output { bytes, .. }) => {
                        let _ = self.screen.feed(&bytes);
                    }
                    other => anyhow::bail!("{other:?} while waiting for {text:?}"),
                }
            }
            Ok(())
        };
        match tokio::time::timeout(Duration::from_secs(60), look).await {
            Ok(result) => result,
            Err(_) => anyhow::bail!(
                "{text:?} is not on the screen: {:#?}",
                self.screen.visible_text()
            ),
        }
    }

    /// Follows the terminal until its program has drawn all: until a tab that is new shows the same.
    async fn settles(&mut self, guest: &Session) -> anyhow::Result<()> {
        until("the program has drawn its screen", 30, async || {
            let quiet = Duration::from_millis(200);
            while let Ok(event) = tokio::time::timeout(quiet, self.terminal.next()).await {
                if let Some(TerminalEvent::Output { bytes, .. }) = event? {
                    let _ = self.screen.feed(&bytes);
                }
            }
            let fresh = Tab::again(guest, &self.terminal).await?;
            Ok((fresh.screen.visible_text() == self.screen.visible_text()).then_some(()))
        })
        .await
    }

    /// A new tab on the same terminal.
    async fn again(guest: &Session, terminal: &Terminal) -> anyhow::Result<Self> {
        let terminal = terminal.state().terminal.clone();
        let attach = TerminalAttach {
            terminal,
            size: None,
            have: 0,
            repaint: true,
        };
        Ok(Self::new(guest.terminal_attach(attach).await?))
    }
}

#[tokio::test]
async fn terminals_come_back_as_they_were_after_the_server_was_killed() -> anyhow::Result<()> {
    let mut server = Server::start(Options::default()).await?;
    let api = server.api().clone();
    server.running(&empty("sturdy")).await?;
    let guest = session(&api, "sturdy", StreamClass::Interactive).await?;
    shell(&guest, "seq -f 'line %g of a long file' 500 > long.txt").await?;

    // What runs, what shows that it is there, and a key that makes it say something new.
    let programs = [
        (
            "vim -u NONE long.txt",
            "line 1 of a long file",
            "Gihello from before\x1b",
            "hello from before",
        ),
        (
            "less long.txt",
            "line 1 of a long file",
            "/line 300\n",
            "line 300 of",
        ),
        (
            // Its clock would go on meanwhile.
            r"tmux -f /dev/null new-session 'cat long.txt; exec cat' \; set-option -g status-right ''",
            "line 500 of",
            "typed\n",
            "typed",
        ),
    ];
    let mut tabs = Vec::new();
    for (command, first, keys, then) in programs {
        let words = ["bash", "-c", command].map(String::from).to_vec();
        let create = TerminalCreate {
            size: size(),
            command: words,
            ..Default::default()
        };
        let mut tab = Tab::new(guest.terminal_create(create).await?);
        tab.shows(first).await?;
        tab.terminal.input().write(keys.as_bytes().to_vec()).await?;
        tab.shows(then).await?;
        tabs.push(tab);
    }
    for tab in &mut tabs {
        tab.settles(&guest).await?;
    }
    let shell_pids: Vec<_> = tabs
        .iter()
        .map(|tab| tab.terminal.state().process)
        .collect();

    server.kill().await?;
    guest.closed().await;
    let restarted = Instant::now();
    server.again().await?;
    let again = until("a session after the restart", 30, async || {
        Ok(session(&api, "sturdy", StreamClass::Interactive).await.ok())
    })
    .await?;
    for (tab, pid) in tabs.iter().zip(shell_pids) {
        let back = Tab::again(&again, &tab.terminal).await?;
        assert_eq!(back.terminal.state().process, pid, "another shell");
        // What the tab showed when it was last drawn is what the guest repaints now.
        assert_eq!(back.screen.visible_text(), tab.screen.visible_text());
    }
    let took = restarted.elapsed();
    println!("terminals were back {took:?} after the restart began");
    assert_eq!(
        api.workspace("sturdy").await?.state,
        WorkspaceState::Running
    );
    server.close().await
}

#[tokio::test]
async fn a_server_that_is_told_to_stops_its_workspaces_when_it_ends() -> anyhow::Result<()> {
    let mut server = Server::start(Options {
        process: true,
        config: "stop_workspaces = true\n".into(),
        ..Options::default()
    })
    .await?;
    server.running(&empty("left")).await?;
    server.end().await?;
    assert_eq!(server.monitors(), [0; 0]);
    server.again().await?;
    let left = server.api().workspace("left").await?;
    assert_eq!(left.state, WorkspaceState::Stopped, "{left:#?}");
    let begun = server.api().start("left").await?;
    assert_eq!(begun.state, WorkspaceState::Running, "{begun:#?}");
    server.close().await
}
