//! Terminals: each lives until its shell ends or it is closed, whoever is connected.
//!
//! ```text
//! pty ─► pump ─► screen (emulator, last raw output) ─► attachments, each at its own place in the output
//!                  ▲ an attachment that keeps up holds the pump back; one that does not is left behind
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use guest_protocol::frames::{
    self, TerminalAttach, TerminalClose, TerminalCreate, TerminalResize, TerminalSize,
};
use terminal_screen::Size;

use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome, may_type};

mod attachment;
mod pty;
mod pump;
mod terminal;

use attachment::Shows;
use terminal::Terminal;

/// Terminals at a time.
const MAX_TERMINALS: usize = 64;
/// Without a size from the client.
const DEFAULT_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// The terminals by name.
#[derive(Default)]
pub struct Terminals {
    table: Mutex<Table>,
    /// Held while a terminal with a key is looked for and made.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    last: u64,
    terminals: HashMap<String, Arc<Terminal>>,
}

impl Terminals {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no code panics while it holds the table of terminals")
    }

    fn find(&self, name: &str) -> Result<Arc<Terminal>, CallError> {
        let missing = || CallError::not_found("that terminal has ended");
        self.table()
            .terminals
            .get(name)
            .cloned()
            .ok_or_else(missing)
    }

    /// Every terminal that has not ended.
    fn running(&self) -> Vec<Arc<Terminal>> {
        let table = self.table();
        let mut running: Vec<_> = table
            .terminals
            .values()
            .filter(|terminal| !terminal.has_exited())
            .cloned()
            .collect();
        running.sort_by_key(|terminal| terminal.created_ms);
        running
    }

    /// Hangs up every terminal, as at the end of a login.
    pub fn hang_up_all(&self) {
        for terminal in self.running() {
            terminal.hang_up();
        }
    }
}

/// Makes a terminal, or attaches to the one with the same key.
pub async fn create(machine: &'static Machine, call: Call, request: TerminalCreate) -> Outcome {
    let size = request.size.as_ref().map(to_size).transpose()?;
    // Not part of the call: what was begun is finished, and found by the client that comes back. Terminals
    // belong to the thread for what people feel, whoever asks for one.
    let starting = machine.interactive.spawn(find_or_start(
        machine,
        size.unwrap_or(DEFAULT_SIZE),
        request,
    ));
    let (terminal, shows) = starting.await.map_err(|_| CallError::broken())??;
    if let Some(size) = size {
        terminal.resize(size);
    }
    attachment::serve(terminal, call, shows).await
}

async fn find_or_start(
    machine: &'static Machine,
    size: Size,
    request: TerminalCreate,
) -> Result<(Arc<Terminal>, Shows), CallError> {
    let terminals = &machine.terminals;
    let _one_by_one = if request.key.is_empty() {
        None
    } else {
        Some(terminals.starting.lock().await)
    };
    let name = {
        let mut table = terminals.table();
        let same_key =
            |terminal: &&Arc<Terminal>| !request.key.is_empty() && terminal.key == request.key;
        if let Some(terminal) = table.terminals.values().find(same_key) {
            return Ok((terminal.clone(), Shows::Other));
        }
        let live = table
            .terminals
            .values()
            .filter(|terminal| !terminal.has_exited());
        if live.count() >= MAX_TERMINALS {
            let reason = format!("there are {MAX_TERMINALS} terminals already: close one first");
            return Err(CallError::busy(reason));
        }
        table.last += 1;
        format!("t{}", table.last)
    };
    let terminal = Terminal::start(machine, name.clone(), size, request).await?;
    terminals.table().terminals.insert(name, terminal.clone());
    Ok((terminal, Shows::Nothing))
}

pub async fn attach(machine: &'static Machine, call: Call, request: TerminalAttach) -> Outcome {
    let terminal = machine.terminals.find(&request.terminal)?;
    if let Some(size) = &request.size
        && may_type(call.role)
    {
        terminal.resize(to_size(size)?);
    }
    let shows = match request.have {
        0 => Shows::Other,
        _ if request.repaint => Shows::Other,
        have => Shows::UpTo(have),
    };
    attachment::serve(terminal, call, shows).await
}

pub async fn resize(machine: &'static Machine, call: Call, request: TerminalResize) -> Outcome {
    let terminal = machine.terminals.find(&request.terminal)?;
    let size = request
        .size
        .ok_or_else(|| CallError::invalid("the size is missing"))?;
    terminal.resize(to_size(&size)?);
    call.done().await
}

/// Closing what has ended already is fine: that is what was wanted.
pub async fn close(machine: &'static Machine, call: Call, request: TerminalClose) -> Outcome {
    if let Ok(terminal) = machine.terminals.find(&request.terminal) {
        terminal.close().await;
    }
    call.done().await
}

pub async fn list(machine: &'static Machine, call: Call) -> Outcome {
    let terminals = machine.terminals.running();
    let terminals = terminals
        .iter()
        .map(|terminal| terminal.describe())
        .collect();
    call.answer(Answer::Terminals(frames::Terminals { terminals }))
        .await
}

fn to_size(size: &TerminalSize) -> Result<Size, CallError> {
    let (1..=1000, 1..=1000) = (size.columns, size.rows) else {
        return Err(CallError::invalid(
            "a terminal has 1 to 1,000 columns and rows",
        ));
    };
    Ok(Size {
        columns: size.columns as u16,
        rows: size.rows as u16,
    })
}
