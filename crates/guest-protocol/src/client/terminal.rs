//! Terminals of the guest: making, attaching, following.

use bytes::Bytes;

use super::{Answer, Call, CallWriter, Error, Request, Session};
use crate::frames::{
    TerminalAttach, TerminalClose, TerminalCreate, TerminalExited, TerminalList, TerminalResize,
    TerminalSize, TerminalState, terminals,
};

/// An attachment to a terminal. Dropping it detaches; the terminal runs on.
#[derive(Debug)]
pub struct Terminal {
    state: TerminalState,
    call: Call,
}

/// What a terminal does.
#[derive(Clone, Debug, PartialEq)]
pub enum TerminalEvent {
    /// This side fell behind: the screen is to be reset and `repaint` written to it.
    Repaint(TerminalState),
    /// `offset` numbers the first byte since the terminal was made.
    Output {
        offset: u64,
        bytes: Bytes,
    },
    Exited(TerminalExited),
}

impl Terminal {
    /// As it was when this attachment began.
    pub fn state(&self) -> &TerminalState {
        &self.state
    }

    /// Where keystrokes go. To be taken once.
    pub fn input(&mut self) -> CallWriter {
        self.call.writer()
    }

    /// What happens next; `None` after the exit.
    pub async fn next(&mut self) -> Result<Option<TerminalEvent>, Error> {
        loop {
            match self.call.next().await? {
                Some(Answer::Data(data)) => {
                    let (offset, bytes) = (data.offset, data.bytes);
                    return Ok(Some(TerminalEvent::Output { offset, bytes }));
                }
                Some(Answer::TerminalState(state)) => {
                    return Ok(Some(TerminalEvent::Repaint(state)));
                }
                Some(Answer::TerminalExited(exited)) => {
                    self.call.finish();
                    return Ok(Some(TerminalEvent::Exited(exited)));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl Session {
    pub async fn terminal_create(&self, create: TerminalCreate) -> Result<Terminal, Error> {
        self.terminal_call(Request::TerminalCreate(create)).await
    }

    pub async fn terminal_attach(&self, attach: TerminalAttach) -> Result<Terminal, Error> {
        self.terminal_call(Request::TerminalAttach(attach)).await
    }

    async fn terminal_call(&self, request: Request) -> Result<Terminal, Error> {
        let mut call = self.call(request)?;
        match call.next().await? {
            Some(Answer::TerminalState(state)) => Ok(Terminal { state, call }),
            _ => Err(Error::Unexpected("terminal")),
        }
    }

    pub async fn terminal_resize(
        &self,
        terminal: &str,
        columns: u32,
        rows: u32,
    ) -> Result<(), Error> {
        let size = Some(TerminalSize { columns, rows });
        let request = TerminalResize {
            terminal: terminal.into(),
            size,
        };
        self.command(Request::TerminalResize(request), "resize")
            .await
    }

    /// Hangs up, then kills what does not go.
    pub async fn terminal_close(&self, terminal: &str) -> Result<(), Error> {
        let request = TerminalClose {
            terminal: terminal.into(),
        };
        self.command(Request::TerminalClose(request), "close").await
    }

    pub async fn terminal_list(&self) -> Result<Vec<terminals::Terminal>, Error> {
        self.ask(
            Request::TerminalList(TerminalList {}),
            "list of terminals",
            |answer| match answer {
                Answer::Terminals(terminals) => Some(terminals.terminals),
                _ => None,
            },
        )
        .await
    }
}
