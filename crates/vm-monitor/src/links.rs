//! Keeps both links to the guest up, and hands out streams.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::link::{self, Incoming, Link, LinkStream, Side};
use microvm::driver::{LinkClass, Vm};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::relay::Relay;

/// How long a stream waits for a link that is not up.
const COMES_UP_WITHIN: Duration = Duration::from_secs(5);
/// Between attempts after a link was lost.
const RETRY: Duration = Duration::from_millis(200);

/// The links of one VM. Clones share them.
#[derive(Clone, Debug)]
pub struct Links {
    interactive: watch::Receiver<Option<Link>>,
    bulk: watch::Receiver<Option<Link>>,
    tasks: [AbortHandle; 2],
}

impl Links {
    /// Starts to connect both, and to serve what the guest opens by itself.
    pub fn start(vm: &Arc<dyn Vm>, relay: &Relay) -> Self {
        let start = |class| {
            let (up, links) = watch::channel(None);
            let task = tokio::spawn(keep_up(vm.clone(), class, up, relay.clone()));
            (links, task.abort_handle())
        };
        let (interactive, one) = start(LinkClass::Interactive);
        let (bulk, other) = start(LinkClass::Bulk);
        Self {
            interactive,
            bulk,
            tasks: [one, other],
        }
    }

    /// The VM has ended: whoever waits for a link is told.
    pub fn end(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }

    /// Waits until the interactive link is up.
    pub async fn ready(&self) -> io::Result<()> {
        self.up(LinkClass::Interactive).await.map(drop)
    }

    /// Opens a stream; waits a little for a link that is not up.
    pub async fn open(&self, class: LinkClass) -> io::Result<LinkStream> {
        let opened = async { self.up(class).await?.open().await };
        let late = || {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "the agent in the guest has not connected",
            )
        };
        tokio::time::timeout(COMES_UP_WITHIN, opened)
            .await
            .map_err(|_| late())?
    }

    async fn up(&self, class: LinkClass) -> io::Result<Link> {
        let mut link = match class {
            LinkClass::Interactive => self.interactive.clone(),
            LinkClass::Bulk => self.bulk.clone(),
        };
        let up = link.wait_for(Option::is_some).await;
        let up =
            up.map_err(|_| io::Error::new(io::ErrorKind::NotConnected, "the machine has ended"))?;
        Ok(up.clone().expect("it was waited for"))
    }
}

async fn keep_up(vm: Arc<dyn Vm>, class: LinkClass, up: watch::Sender<Option<Link>>, relay: Relay) {
    loop {
        match connect(vm.as_ref(), class).await {
            Ok((link, mut incoming)) => {
                tracing::info!(?class, "link is up");
                up.send_replace(Some(link));
                while let Some(stream) = incoming.recv().await {
                    relay.serve(stream);
                }
                up.send_replace(None);
                tracing::info!(?class, "link is down");
            }
            Err(error) => tracing::info!(?class, %error, "link does not come up"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits as long as the guest needs to boot.
async fn connect(vm: &dyn Vm, class: LinkClass) -> io::Result<(Link, Incoming)> {
    let stream = vm.connect(class).await?;
    link::connect(stream, Side::Host, link::random_nonce()).await
}
