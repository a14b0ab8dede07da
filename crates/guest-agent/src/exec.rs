//! Programs run for somebody: streams apart, exit code, and a life beyond the session that started them.
//!
//! ```text
//! pipes ─► pumps ─► kept output (numbered) ─► the one attachment ─► client
//!                        ▲ a full channel stops its pump, and so the program
//! supervisor: exit, lingering after the attachment is gone, removal
//! ```

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use guest_protocol::frames::{ExecAttach, ExecSignal, ExecStart, Execs, execs};
use rustix::process::Signal;

use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};

mod attachment;
mod kept;
mod program;

use program::Program;

/// Programs that run or linger, at a time.
const MAX_PROGRAMS: usize = 256;

/// The programs by name.
#[derive(Default)]
pub struct Programs {
    table: Mutex<Table>,
    /// Held while a program with a key is looked for and started.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    last: u64,
    programs: HashMap<String, Arc<Program>>,
}

impl Table {
    /// Forgets the program that ended and was left longest ago.
    fn make_room(&mut self) -> bool {
        let left = self.programs.values().filter_map(|program| {
            let state = program.state();
            let over = state.exit.is_some() && state.attached == 0;
            over.then(|| (state.alone_since, program.name.clone()))
        });
        let Some((_, name)) = left.min() else {
            return false;
        };
        self.programs.remove(&name).is_some()
    }
}

impl Programs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no code panics while it holds the table of programs")
    }

    fn find(&self, exec: &str) -> Result<Arc<Program>, CallError> {
        let missing = || CallError::not_found("that program has ended and is not kept any more");
        self.table().programs.get(exec).cloned().ok_or_else(missing)
    }

    fn remove(&self, exec: &str) {
        self.table().programs.remove(exec);
    }
}

/// Starts a program, or attaches to the one with the same key.
pub async fn start(machine: &'static Machine, call: Call, request: ExecStart) -> Outcome {
    // Not part of the call: what was begun is finished, and found by the client that comes back.
    let starting = machine.bulk.spawn(find_or_start(machine, request));
    let program = starting.await.map_err(|_| CallError::broken())??;
    attachment::serve(program, call, 0, 0).await
}

async fn find_or_start(
    machine: &'static Machine,
    request: ExecStart,
) -> Result<Arc<Program>, CallError> {
    let programs = &machine.programs;
    let _one_by_one = if request.key.is_empty() {
        None
    } else {
        Some(programs.starting.lock().await)
    };
    let name = {
        let mut table = programs.table();
        let same_key =
            |program: &&Arc<Program>| !request.key.is_empty() && program.key == request.key;
        if let Some(program) = table.programs.values().find(same_key) {
            return Ok(program.clone());
        }
        if table.programs.len() >= MAX_PROGRAMS && !table.make_room() {
            return Err(CallError::busy("too many programs run at a time"));
        }
        table.last += 1;
        format!("x{}", table.last)
    };
    let program = Program::start(machine, name.clone(), request).await?;
    programs.table().programs.insert(name, program.clone());
    Ok(program)
}

pub async fn attach(machine: &'static Machine, call: Call, request: ExecAttach) -> Outcome {
    let program = machine.programs.find(&request.exec)?;
    attachment::serve(program, call, request.stdout_offset, request.stderr_offset).await
}

pub async fn signal(machine: &'static Machine, call: Call, request: ExecSignal) -> Outcome {
    let program = machine.programs.find(&request.exec)?;
    let signal = Signal::from_named_raw(request.signal)
        .ok_or_else(|| CallError::invalid(format!("there is no signal {}", request.signal)))?;
    program.signal(signal);
    call.done().await
}

pub async fn list(machine: &'static Machine, call: Call) -> Outcome {
    let mut execs: Vec<execs::Exec> = machine
        .programs
        .table()
        .programs
        .values()
        .map(|program| program.describe())
        .collect();
    execs.sort_by_key(|exec| exec.process);
    call.answer(Answer::Execs(Execs { execs })).await
}

/// The folder to run in: as asked for, or the workspace's.
pub fn working_directory(machine: &Machine, asked: &str) -> PathBuf {
    if asked.is_empty() {
        machine.workspace()
    } else {
        asked.into()
    }
}
