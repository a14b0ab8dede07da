//! Follows a virtual machine that runs, by its monitor, and notices its end.

use std::time::{Duration, Instant};

use fleet_api::host::{FailureKind, StartFailure};
use futures::future::BoxFuture;
use monitor_protocol::client::MonitorClient;
use monitor_protocol::messages::VmStatus;
use monitor_protocol::messages::vm_status::Phase;
use vm_monitor::folder::Folder;

use crate::runner::state::{Event, Health};

/// Between attempts to reach a monitor that lives and does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// After this it is said that nothing is known.
const UNKNOWN_AFTER: Duration = Duration::from_secs(3);

/// Where a machine's monitor is.
#[derive(Clone, Debug)]
pub struct Monitor {
    pub folder: Folder,
    pub client: MonitorClient,
}

impl Monitor {
    pub fn new(folder: &std::path::Path) -> Self {
        let folder = Folder::new(folder);
        let client = MonitorClient::new(folder.socket());
        Self { folder, client }
    }

    /// How the machine ended, when its monitor is no more.
    pub fn ended(&self) -> Ended {
        match self.folder.read_exit() {
            Ok(Some(exit)) => Ended {
                orderly: exit.orderly,
                was_ready: exit.was_ready,
                cause: exit.cause,
            },
            Ok(None) | Err(_) => Ended {
                orderly: false,
                was_ready: true,
                cause: "its monitor was killed, and the machine with it".into(),
            },
        }
    }
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub orderly: bool,
    /// Its agent had answered.
    pub was_ready: bool,
    pub cause: String,
}

impl Ended {
    pub fn of(status: &VmStatus) -> Self {
        let was_ready = status.steps.iter().any(|step| step.name == "guest");
        Self {
            orderly: status.orderly,
            was_ready,
            cause: status.detail.clone(),
        }
    }

    /// In the words of the contract: the first line for a person, the rest as a log.
    pub fn failure(&self) -> StartFailure {
        let (first, rest) = self.cause.split_once('\n').unwrap_or((&self.cause, ""));
        let by_guest = first.contains("guest");
        let kind = if by_guest {
            FailureKind::GuestCrashed
        } else {
            FailureKind::VmmExited
        };
        let what = if self.was_ready {
            "The machine ended"
        } else {
            "The machine ended before it was up"
        };
        let message = format!("{what}: {first}. Start it again; its disk is kept");
        StartFailure {
            kind,
            message,
            log: rest.trim().to_owned(),
        }
    }
}

/// Tells of everything that happens to the machine until it has ended; the last event says so.
pub async fn follow(monitor: Monitor, tell: impl Fn(Event) -> BoxFuture<'static, ()> + Send) {
    let mut reached = Instant::now();
    let mut told_unknown = false;
    loop {
        if let Ok(mut watch) = monitor.client.watch().await {
            while let Ok(Some(status)) = watch.next().await {
                reached = Instant::now();
                told_unknown = false;
                let health = match status.phase() {
                    Phase::Exited => {
                        let ended = Ended::of(&status);
                        tell(Event::Ended {
                            orderly: ended.orderly,
                            failure: ended.failure(),
                        })
                        .await;
                        return;
                    }
                    Phase::Unresponsive => Health::Unresponsive,
                    Phase::Paused => Health::Paused {
                        reason: status.detail,
                    },
                    Phase::Ready | Phase::Starting | Phase::Stopping | Phase::Unspecified => {
                        Health::Answers
                    }
                };
                tell(Event::Seen { health }).await;
            }
        }
        if monitor.folder.monitor().is_none() {
            let ended = monitor.ended();
            tell(Event::Ended {
                orderly: ended.orderly,
                failure: ended.failure(),
            })
            .await;
            return;
        }
        if !told_unknown && reached.elapsed() > UNKNOWN_AFTER {
            told_unknown = true;
            let reason = "the machine's monitor does not answer".into();
            tell(Event::Seen {
                health: Health::Unknown { reason },
            })
            .await;
        }
        tokio::time::sleep(RETRY).await;
    }
}
