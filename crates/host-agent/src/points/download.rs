//! Disks and their files, given out as streams.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use fleet_api::Download;
use fleet_api::host::HostError;
use fleet_api::points::DiskPart;
use futures::stream::poll_fn;
use model::WorkspaceId;
use storage::disk::Below;
use storage::export::{OnDamage, Qcow2Export};
use storage::snapshot::Snapshot;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::files;
use super::service::{Service, blocking, failed};
use crate::failure::chain;
use crate::runner::disk::Resting;

/// Pieces that wait for whoever reads.
const AHEAD: usize = 8;
const PIECE: usize = 256 * 1024;

impl Service {
    /// A point of a workspace's disk, or without a number what the store has of it now, as a file. Of a machine that
    /// rests that is all of it.
    pub async fn download(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
        part: DiskPart,
    ) -> Result<Download, HostError> {
        if let Some(number) = number {
            let found = self.find(workspace, number).await?;
            found.ok_or(HostError::NoPoint { number })?;
        } else {
            self.send_what_rests(workspace).await;
        }
        let snapshot = self.snapshot(workspace, number).await?;
        stream(snapshot, part).await
    }

    /// Has a machine that rests send what the store has not: nothing, as a rule, as machines do that before they end.
    /// What the store has is what there is to be read, whether this succeeds or not.
    pub(crate) async fn send_what_rests(&self, workspace: &WorkspaceId) {
        if self.running(workspace).is_some() {
            return;
        }
        let sent = self
            .at_rest(workspace, |resting: &Resting<'_>| {
                resting.act(|disk| disk.upload(disk.cut()?, None).map(drop))
            })
            .await;
        if let Err(error) = sent {
            tracing::warn!(%workspace, %error, "what is read is what the store has");
        }
    }

    async fn snapshot(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
    ) -> Result<Snapshot, HostError> {
        let run = self.wanted(workspace)?;
        let context = self.context.clone();
        let folder = context.folders.workspace(workspace);
        let opened = blocking(move || {
            let resting = Resting {
                images: &context.images,
                disks: &context.disks,
                folder: &folder,
                run: &run,
            };
            resting.snapshot(number)
        });
        opened.await?.map_err(|failure| failed(failure.message))
    }
}

/// Begins to write it; what comes is whole only when it ends without an error.
async fn stream(snapshot: Snapshot, part: DiskPart) -> Result<Download, HostError> {
    let snapshot = Arc::new(snapshot);
    let bytes = match part {
        DiskPart::Image => {
            let snapshot = snapshot.clone();
            let length = move || Qcow2Export::new(&*snapshot).map(|export| export.length());
            Some(
                blocking(length)
                    .await?
                    .map_err(|error| failed(chain(&error)))?,
            )
        }
        DiskPart::Files { .. } => None,
    };
    let (pieces, mut ready) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pieces(pieces.clone()));
        let written = write(snapshot, &part, &mut out).and_then(|()| out.flush());
        if let Err(error) = written {
            // Nobody may be there any more to be told.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    let content = StreamReader::new(poll_fn(move |context| ready.poll_recv(context)));
    Ok(Download {
        bytes,
        content: Box::new(content),
    })
}

fn write(snapshot: Arc<Snapshot>, part: &DiskPart, out: &mut dyn Write) -> io::Result<()> {
    match part {
        DiskPart::Image => {
            let image: &dyn Below = &*snapshot;
            let export = Qcow2Export::new(image).map_err(io::Error::other)?;
            let written = export.write(out, OnDamage::Refuse, &mut |_, _| {});
            written.map(drop).map_err(io::Error::other)
        }
        DiskPart::Files { folder } => {
            let mut packed = GzEncoder::new(out, Compression::fast());
            files::archive(snapshot, folder, &mut packed).map_err(io::Error::other)?;
            packed.finish().map(drop)
        }
    }
}

/// What is written goes to a channel, and waits while nobody reads.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
