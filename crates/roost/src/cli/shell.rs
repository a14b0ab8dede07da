//! `roost shell`: a terminal of a workspace in this terminal. It is attached to again by its name.

use std::process::ExitCode;

use clap::Args;
use guest_protocol::client::{Session, TerminalEvent};
use guest_protocol::frames::{StreamClass, TerminalCreate, TerminalSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::{Api, exec, guest};

#[derive(Debug, Args)]
pub struct Shell {
    pub workspace: String,
    /// Name of a terminal that is made, or attached to when it is there
    #[arg(long)]
    session: Option<String>,
    /// A command instead of the shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Shell {
    pub async fn run(self, api: &Api) -> anyhow::Result<ExitCode> {
        let session = guest::session(api, &self.workspace, StreamClass::Interactive).await?;
        let created = session
            .terminal_create(TerminalCreate {
                size: Some(size()),
                command: self.command,
                key: self
                    .session
                    .clone()
                    .map(|name| format!("shell:{name}"))
                    .unwrap_or_default(),
                title: "roost shell".into(),
                ..TerminalCreate::default()
            })
            .await;
        let mut terminal = match created {
            Err(error) => return exec::not_started(error),
            Ok(terminal) => terminal,
        };
        let name = terminal.state().terminal.clone();
        let raw = RawTerminal::enter();
        let mut screen = tokio::io::stdout();
        screen.write_all(&terminal.state().repaint).await?;
        screen.flush().await?;

        let mut keys = terminal.input();
        let input = tokio::spawn(async move {
            let mut local = tokio::io::stdin();
            let mut buffer = vec![0; 4096];
            while let Ok(read) = local.read(&mut buffer).await {
                if read == 0 || keys.write(buffer[..read].to_vec()).await.is_err() {
                    return;
                }
            }
        });
        let mut resized = signal(SignalKind::window_change())?;
        let exited = loop {
            tokio::select! {
                event = terminal.next() => match event {
                    Ok(Some(TerminalEvent::Output { bytes, .. })) => {
                        screen.write_all(&bytes).await?;
                        screen.flush().await?;
                    }
                    Ok(Some(TerminalEvent::Repaint(state))) => {
                        screen.write_all(b"\x1bc").await?;
                        screen.write_all(&state.repaint).await?;
                        screen.flush().await?;
                    }
                    Ok(Some(TerminalEvent::Exited(exited))) => break Ok(exited),
                    Ok(None) => break Err(anyhow::anyhow!("the terminal was closed")),
                    Err(error) => break Err(error.into()),
                },
                _ = resized.recv() => resize(&session, &name).await?,
            }
        };
        input.abort();
        drop(raw);
        let exited = exited?;
        Ok(exec::code(exited.code, exited.signaled))
    }
}

async fn resize(session: &Session, terminal: &str) -> anyhow::Result<()> {
    let TerminalSize { columns, rows } = size();
    Ok(session.terminal_resize(terminal, columns, rows).await?)
}

fn size() -> TerminalSize {
    match tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => TerminalSize {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
        _ => TerminalSize {
            columns: 80,
            rows: 24,
        },
    }
}

/// The local terminal without its own line editing, until dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn enter() -> Self {
        let Ok(before) = tcgetattr(std::io::stdin()) else {
            return Self(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        match tcsetattr(std::io::stdin(), OptionalActions::Now, &raw) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone; nothing else can be done then.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}
