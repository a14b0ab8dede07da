//! Following changes of files.
//!
//! ```text
//! inotify ─► collector (one per watch): folders that come and go, coalescing ─► log, numbered ─► client
//! ```
//!
//! A watch outlives a lost session for a while, so that a client that comes back goes on where it was. When
//! events were lost, it is told to look at everything again.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use guest_protocol::frames::{FileEvents, FileWatch};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::checked_path;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};

mod collector;
mod inotify;
mod log;
mod scope;

use log::Log;
use scope::Scope;

/// Watches at a time.
const MAX_WATCHES: usize = 128;
/// How long a watch is kept for a client that went away.
const LINGER: Duration = Duration::from_secs(60);
/// Events in one frame.
const MAX_EVENTS: usize = 1000;

/// The watches by name.
#[derive(Default)]
pub struct Watches {
    table: Mutex<HashMap<Bytes, Arc<Watch>>>,
}

impl Watches {
    fn table(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Watch>>> {
        self.table
            .lock()
            .expect("no code panics while it holds the table of watches")
    }
}

struct Watch {
    name: Bytes,
    request: FileWatch,
    state: Mutex<State>,
    /// Told at every change of the state.
    changed: Notify,
}

struct State {
    log: Log,
    attached: u32,
    /// Attachments so far: tells whether somebody came meanwhile.
    attachments: u64,
    /// Why no more will come.
    failed: Option<CallError>,
    collector: Option<AbortHandle>,
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds a watch's state")
    }

    fn is_of(&self, request: &FileWatch) -> bool {
        let ours = &self.request;
        (&ours.path, ours.recursive, &ours.excludes)
            == (&request.path, request.recursive, &request.excludes)
    }
}

/// Sends changes until the client has enough.
pub async fn serve(machine: &'static Machine, call: Call, request: FileWatch) -> Outcome {
    let resumed = machine
        .watches
        .table()
        .get(&request.resume_watch)
        .filter(|watch| watch.is_of(&request))
        .cloned();
    let asked_to_resume = !request.resume_watch.is_empty();
    let from = request.resume;
    let watch = match resumed {
        Some(watch) => watch,
        None => start(machine, request).await?,
    };
    let attachment = Attachment::new(machine, watch.clone());
    let mut at = {
        let state = watch.state();
        let holds = asked_to_resume && state.log.holds(from);
        if holds { from } else { state.log.last() }
    };
    let armed = FileEvents {
        events: Vec::new(),
        sequence: at,
        rescan: asked_to_resume && at != from,
        watch: watch.name.clone(),
    };
    call.answer(Answer::FileEvents(armed)).await?;
    loop {
        let mut changed = pin!(attachment.watch.changed.notified());
        changed.as_mut().enable();
        let next = {
            let state = watch.state();
            match state.log.after(at, MAX_EVENTS) {
                Some(next) => Some(next),
                None => match &state.failed {
                    Some(error) => return Err(error.clone()),
                    None => None,
                },
            }
        };
        match next {
            Some(next) => {
                at = next.sequence;
                let events = FileEvents {
                    watch: watch.name.clone(),
                    ..next
                };
                call.answer(Answer::FileEvents(events)).await?;
            }
            None => changed.await,
        }
    }
}

async fn start(machine: &'static Machine, request: FileWatch) -> Result<Arc<Watch>, CallError> {
    let path = checked_path(&request.path)?;
    let scope = Scope::new(path, request.recursive, &request.excludes)?;
    if machine.watches.table().len() >= MAX_WATCHES {
        return Err(CallError::busy("too many folders are watched at a time"));
    }
    let collector = collector::Collector::arm(machine, scope).await?;
    let name = Bytes::copy_from_slice(&guest_protocol::link::random_nonce());
    let watch = Arc::new(Watch {
        name: name.clone(),
        request,
        state: Mutex::new(State {
            log: Log::default(),
            attached: 0,
            attachments: 0,
            failed: None,
            collector: None,
        }),
        changed: Notify::new(),
    });
    let task = machine.bulk.spawn(collector.run(machine, watch.clone()));
    watch.state().collector = Some(task.abort_handle());
    machine.watches.table().insert(name, watch.clone());
    Ok(watch)
}

struct Attachment {
    machine: &'static Machine,
    watch: Arc<Watch>,
}

impl Attachment {
    fn new(machine: &'static Machine, watch: Arc<Watch>) -> Self {
        let mut state = watch.state();
        state.attached += 1;
        state.attachments += 1;
        drop(state);
        Self { machine, watch }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        state.attached -= 1;
        if state.attached == 0 {
            let (machine, watch, number) = (self.machine, self.watch.clone(), state.attachments);
            self.machine.bulk.spawn(async move {
                tokio::time::sleep(LINGER).await;
                let state = watch.state();
                if state.attachments == number {
                    machine.watches.table().remove(&watch.name);
                    if let Some(collector) = &state.collector {
                        collector.abort();
                    }
                }
            });
        }
    }
}
