//! What a running workspace costs the host beside its guest's own memory.

use anyhow::{Context, ensure};
use guest_protocol::client::{Session, Terminal};
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::guest::session;
use roost_tests::{Options, Server};

use super::report::{Bar, Row, Samples};
use super::world::{accelerator, first_prompt};

const OURS_MIB: f64 = 12.0;
const KIB: f64 = 1.0 / 1024.0;

/// With so many workspaces at a time, each with an open tab and a terminal.
pub async fn run(workspaces: usize) -> anyhow::Result<(String, Vec<Row>)> {
    let server = Server::start(Options::default()).await?;
    // What the first one makes the server keep is not any one workspace's.
    let guest_mib = open(&server, "warm").await?.guest_mib;
    server.api().delete("warm").await?;
    let pid = server.process_id().context("the server runs")?;
    let before = private_mib(pid)?;
    let mut tabs = Vec::new();
    for index in 0..workspaces {
        tabs.push(open(&server, &format!("memory{index}")).await?);
    }
    let growth = (private_mib(pid)? - before).max(0.0) / workspaces as f64;
    let monitors = each(&server.monitors(), workspaces, private_mib)?;
    let disks = each(&server.disk_servers(), workspaces, private_mib)?;
    let (mut own, mut guests) = (Samples::default(), Samples::default());
    for vmm in server.vmms() {
        let (vmm, guest) = vmm_mib(vmm, guest_mib)?;
        own.0.push(vmm);
        guests.0.push(guest);
    }
    ensure!(own.0.len() == workspaces, "each workspace has a VMM");
    let ours = monitors.0.iter().zip(&disks.0);
    let ours = Samples(
        ours.map(|(monitor, disk)| monitor + disk + growth)
            .collect(),
    );
    let rows = vec![
        Row::new(
            "ours per running workspace",
            "MiB",
            &ours,
            Bar::MedianAtMost(OURS_MIB),
        ),
        Row::new("  its monitor", "MiB", &monitors, Bar::None),
        Row::new("  its disk's server", "MiB", &disks, Bar::None),
        Row::new(
            "  its share of the server",
            "MiB",
            &Samples(vec![growth]),
            Bar::None,
        ),
        Row::new(
            "server, no workspace",
            "MiB",
            &Samples(vec![before]),
            Bar::None,
        ),
        Row::new("VMM, beside the guest's memory", "MiB", &own, Bar::None),
        Row::new(
            format!("guest's memory in use, of {guest_mib}"),
            "MiB",
            &guests,
            Bar::None,
        ),
    ];
    drop(tabs);
    let accelerator = accelerator(server.api()).await?;
    server.close().await?;
    Ok((accelerator, rows))
}

/// A running workspace with a tab and a terminal.
struct Open {
    guest_mib: u64,
    _tab: Session,
    _terminal: Terminal,
}

async fn open(server: &Server, name: &str) -> anyhow::Result<Open> {
    let made = server.running(&empty(name)).await?;
    let tab = session(server.api(), name, StreamClass::Interactive).await?;
    let terminal = first_prompt(&tab).await?;
    Ok(Open {
        guest_mib: made.size.memory_mib,
        _tab: tab,
        _terminal: terminal,
    })
}

fn each(
    processes: &[u32],
    count: usize,
    measure: impl Fn(u32) -> anyhow::Result<f64>,
) -> anyhow::Result<Samples> {
    ensure!(
        processes.len() == count,
        "{count} workspaces have {} processes of a kind",
        processes.len()
    );
    let figures = processes.iter().map(|process| measure(*process));
    Ok(Samples(figures.collect::<anyhow::Result<_>>()?))
}

/// Memory that no other process shares, MiB.
pub fn private_mib(process: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    Ok(text.lines().filter_map(private_kib).sum::<f64>() * KIB)
}

/// Private memory of a VMM, MiB: its own, and its guest's, which is one mapping of just the guest's size.
fn vmm_mib(process: u32, guest_mib: u64) -> anyhow::Result<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps"))?;
    let (mut own, mut guest) = (0.0, 0.0);
    let mut is_guest = false;
    for line in text.lines() {
        if let Some(size) = line.strip_prefix("Size:") {
            is_guest = kib(size) == Some((guest_mib * 1024) as f64);
        } else if let Some(private) = private_kib(line) {
            *(if is_guest { &mut guest } else { &mut own }) += private;
        }
    }
    ensure!(guest > 0.0, "no mapping of the VMM is the guest's memory");
    Ok((own * KIB, guest * KIB))
}

fn private_kib(line: &str) -> Option<f64> {
    let value = line
        .strip_prefix("Private_Clean:")
        .or_else(|| line.strip_prefix("Private_Dirty:"))?;
    kib(value)
}

fn kib(value: &str) -> Option<f64> {
    value.trim().strip_suffix(" kB")?.parse().ok()
}
