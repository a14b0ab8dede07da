//! The disk of a workspace beside a raw file with the same cache mode, in the same guest.

use std::path::Path;

use anyhow::{Context, ensure};
use guest_protocol::client::Session;
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};

use super::bare::{Disk, Template};
use super::fio::{JOBS, Job, fill};
use super::memory::private_mib;
use super::report::{Bar, Row, Samples};
use super::work::{bring, in_guest, on_host, output_in_guest};
use super::world::{accelerator, timed};

/// Of the disks, GiB.
const DISK_GIB: u64 = 16;
/// Of what the raw file takes.
const TREE: f64 = 1.11;

/// Makes a tree of 20,000 files and packs it.
const TREE_OF_FILES: &str = "mkdir tree && cd tree && for folder in $(seq 200); do mkdir $folder; \
    for file in $(seq 100); do echo $folder $file >$folder/$file; done; done && \
    git init -q . && git add . && git -c user.name=x -c user.email=x@x commit -qm x && cd .. && \
    tar cf tree.tar tree && rm -rf tree";

pub async fn run(runs: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    server.running(&empty("storage")).await?;
    let bare = Template::of(&server)?.start(Disk::Raw(DISK_GIB)).await?;
    let ours = session(server.api(), "storage", StreamClass::Bulk).await?;
    let prepared = tempfile::tempdir()?;
    prepare(prepared.path()).await?;
    for guest in [&ours, &bare.session] {
        bring(guest, prepared.path()).await?;
        in_guest(guest, &fio(&fill("file"))).await?;
    }
    let mut rows = Vec::new();
    for job in JOBS {
        let (mut there, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            floor.0.push(figure(&bare.session, job).await?);
            there.0.push(figure(&ours, job).await?);
        }
        rows.push(Row::compared(
            job.name,
            job.unit,
            &there,
            Some(("raw file", &floor)),
            job.bar,
        ));
    }
    for (name, before, line) in [
        (
            "unpacking 20,000 files and syncing them",
            "rm -rf tree && sync",
            "tar xf tree.tar && sync",
        ),
        (
            "git status of them, nothing cached",
            "sync && echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null",
            "cd tree && git status --short",
        ),
    ] {
        let (mut there, mut floor) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            for (guest, samples) in [(&bare.session, &mut floor), (&ours, &mut there)] {
                in_guest(guest, before).await?;
                samples.0.push(timed(in_guest(guest, line)).await?.1 / 1e3);
            }
        }
        let bar = Bar::RatioAtMost(TREE);
        rows.push(Row::compared(
            name,
            "s",
            &there,
            Some(("raw file", &floor)),
            bar,
        ));
    }
    rows.push(memory(&server)?);
    let accelerator = accelerator(server.api()).await?;
    bare.end().await?;
    server.close().await?;
    Ok((accelerator, rows))
}

/// fio, and the packed tree.
async fn prepare(folder: &Path) -> anyhow::Result<()> {
    prepare_fio(folder).await?;
    on_host(folder, TREE_OF_FILES).await
}

/// fio of the host with its libraries, which are the guest's distribution's.
pub async fn prepare_fio(folder: &Path) -> anyhow::Result<()> {
    on_host(
        folder,
        "mkdir fio && cp \"$(command -v fio)\" fio/fio && \
         ldd fio/fio | awk '/=> \\//{print $3} /^\\t\\/lib64/{print $1}' | xargs -I{} cp -L {} fio/ && \
         mv fio/ld-linux-x86-64.so.2 fio/ld.so",
    )
    .await
    .context("fio has to be installed")
}

/// A command line of fio's in the guest.
pub fn fio(arguments: &str) -> String {
    format!("fio/ld.so --library-path fio fio/fio {arguments}")
}

async fn figure(guest: &Session, job: &Job) -> anyhow::Result<f64> {
    job.figure(&output_in_guest(guest, &fio(&job.arguments("file"))).await?)
}

/// Private memory of the disk's server, after all this.
fn memory(server: &Server) -> anyhow::Result<Row> {
    let mut samples = Samples::default();
    for process in server.disk_servers() {
        samples.0.push(private_mib(process)?);
    }
    ensure!(!samples.0.is_empty(), "the disk has a server");
    let most = Bar::MedianAtMost(32.0);
    Ok(Row::new(
        "private memory of the disk's server",
        "MiB",
        &samples,
        most,
    ))
}
