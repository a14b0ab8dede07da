//! Looking after what lies in the store, and disks that come from elsewhere.
//!
//! - [`check`]: one disk, verified and compacted. [`collection`]: the whole store, collected.
//! - [`usage`]: who takes how much of both. [`import`]: files that become disks.

pub mod check;
pub mod collection;
pub mod import;
pub mod usage;

use std::time::{Duration, Instant};

use fleet_api::host::HostError;
use fleet_api::upkeep::{Step, Steps};
use futures::StreamExt;
use futures::stream::poll_fn;
use tokio::sync::mpsc;

/// Nobody reads faster.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Does work that blocks, and tells how far it is while somebody listens.
fn steps<T: Send + 'static>(
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<T, HostError> + Send + 'static,
) -> Steps<T> {
    let (tell, mut told) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let mut last: Option<Instant> = None;
        let outcome = work(&mut |done, of| {
            if last.is_none_or(|last| last.elapsed() >= TOLD_EVERY) {
                last = Some(Instant::now());
                // Whoever is behind gets the next.
                let _ = tell.try_send(Step::Progress { done, of });
            }
        });
        // Nobody may be there any more.
        let _ = tell.blocking_send(Step::Ended(outcome));
    });
    poll_fn(move |context| told.poll_recv(context)).boxed()
}
