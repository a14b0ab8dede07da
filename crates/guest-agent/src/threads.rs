//! Threads for work that blocks. Those that touch the user's files have the user's rights on files and no
//! more, so that what they make belongs to the user and no symbolic link leads them anywhere else.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::session::CallError;
use crate::sys;
use crate::user::User;

/// The pools. Clones share them.
#[derive(Clone, Debug)]
pub struct Threads {
    user: Arc<Runtime>,
    slow: Arc<Runtime>,
}

impl Threads {
    /// With `switch_to` all of them take that user's rights on files.
    pub fn start(switch_to: Option<&User>) -> std::io::Result<Self> {
        Ok(Self {
            user: Arc::new(pool("files", 8, 0, switch_to)?),
            slow: Arc::new(pool("slow", 4, 10, switch_to)?),
        })
    }

    /// Does something short with the user's files.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        self.user
            .handle()
            .spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(CallError::broken()))
    }

    /// Does something long (searches, archives, whole trees) at a low priority.
    pub async fn run_slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        self.slow
            .handle()
            .spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(CallError::broken()))
    }

    /// Does something whose result nobody waits for: clean-up.
    pub fn detach(&self, work: impl FnOnce() + Send + 'static) {
        self.user.handle().spawn_blocking(work);
    }
}

/// A runtime that is never driven: only its threads for blocking work are used.
fn pool(
    name: &str,
    threads: usize,
    niceness: i32,
    switch_to: Option<&User>,
) -> std::io::Result<Runtime> {
    let user = switch_to.cloned();
    Builder::new_current_thread()
        .thread_name(name)
        .max_blocking_threads(threads)
        .thread_keep_alive(Duration::from_secs(10))
        .on_thread_start(move || {
            sys::set_thread_priority(sys::Priority::Ordinary { niceness });
            if let Some(user) = &user {
                sys::take_file_rights(user);
            }
        })
        .build()
}
