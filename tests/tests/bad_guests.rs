//! What only a real machine can go through: the host's disk is full, its agent falls silent, its agent is killed.
//! One machine for all of it, since each start takes its time.

use std::time::Duration;

use anyhow::Context;
use control_api::workspaces::{Workspace, WorkspaceState};
use guest_protocol::frames::StreamClass;
use roost_tests::api::empty;
use roost_tests::cli::roost;
use roost_tests::guest::{session, shell};
use roost_tests::traces::Traces;
use roost_tests::{Options, Server, until};

/// Room for the workspaces, MiB: for what the guest writes, but not beside the filler.
const ROOM: u64 = 320;
const FILLER: u64 = 160;
const WRITTEN: u64 = 180;

async fn becomes(
    server: &Server,
    what: &str,
    seconds: u64,
    wanted: impl Fn(&Workspace) -> bool,
) -> anyhow::Result<Workspace> {
    until(what, seconds, async || {
        let seen = server.api().workspace("bad").await?;
        Ok(wanted(&seen).then_some(seen))
    })
    .await
}

#[tokio::test]
async fn a_machine_survives_a_full_disk_and_its_user_survives_the_machine() -> anyhow::Result<()> {
    if !rustix::process::getuid().is_root() {
        println!("not root: no file system can be made to fill");
        return Ok(());
    }
    let server = Server::start(Options {
        config: "[room]\ndisk_reserve_mib = 0\n".into(),
        workspaces_mib: Some(ROOM),
        ..Options::default()
    })
    .await?;
    let mut traces = Traces::of(server.data());
    let api = server.api();
    server.running(&empty("bad")).await?;
    traces.learn()?;
    full_disk(&server).await?;
    silence(&server).await?;
    killed_agent(&server).await?;
    api.delete("bad").await?;
    traces.gone(10).await?;
    server.close().await
}

/// The machine stands still without an error, says why, and goes on when there is room.
async fn full_disk(server: &Server) -> anyhow::Result<()> {
    let filler = server.data().join("workspaces/filler");
    std::fs::write(&filler, vec![1; (FILLER as usize) << 20])?;
    let guest = session(server.api(), "bad", StreamClass::Interactive).await?;
    let write =
        format!("head -c {WRITTEN}M /dev/zero | tr '\\0' x >big && sync big && echo written");
    let writing = tokio::spawn(async move {
        let output = shell(&guest, &write).await;
        (guest, output)
    });
    let paused = becomes(server, "the machine pauses", 180, |seen| seen.paused).await?;
    assert!(paused.detail.contains("disk is full"), "{paused:#?}");
    assert!(paused.detail.contains("when there is room"), "{paused:#?}");
    assert_eq!(
        (paused.state, paused.ready),
        (WorkspaceState::Running, false)
    );
    let said = roost(server.api(), &["--json", "ls"]).await?;
    assert!(said.stdout.contains("disk is full"), "{said:?}");
    assert!(!writing.is_finished());

    std::fs::remove_file(filler)?;
    let (guest, output) = tokio::time::timeout(Duration::from_secs(60), writing).await??;
    let output = output?;
    assert_eq!(output.stdout, b"written\n", "{output:?}");
    becomes(server, "the machine goes on", 10, |seen| seen.ready).await?;
    let kernel = shell(
        &guest,
        "sudo dmesg | grep -ciE 'i/o error|remount' ; rm big",
    )
    .await?;
    assert_eq!(kernel.stdout, b"0\n", "the guest saw an error");
    Ok(())
}

/// The agent is stopped by a debugger: said within seconds, commands do not hang, a stop ends it.
async fn silence(server: &Server) -> anyhow::Result<()> {
    let guest = session(server.api(), "bad", StreamClass::Interactive).await?;
    // PTRACE_ATTACH. The answer to this command never comes.
    let attach = "sync; sudo python3 -c 'import ctypes, time; \
                  ctypes.CDLL(None).ptrace(16, 1, 0, 0); time.sleep(1000)'";
    let attached = tokio::spawn(async move { shell(&guest, attach).await.is_ok() });
    let silent = becomes(server, "silence is noticed", 60, |seen| seen.unresponsive).await?;
    assert!(silent.detail.contains("does not answer"), "{silent:#?}");
    assert!(silent.detail.contains("Stop and start it"), "{silent:#?}");
    let said = roost(server.api(), &["exec", "bad", "--", "true"]);
    let said = tokio::time::timeout(Duration::from_secs(40), said).await??;
    assert_eq!(said.code, 255, "{said:?}");
    assert!(said.stderr.contains("does not answer"), "{said:?}");
    attached.abort();
    let stopped = server.api().stop("bad").await?;
    assert_eq!(stopped.state, WorkspaceState::Stopped, "{stopped:#?}");
    let started = server.api().start("bad").await?;
    assert_eq!(started.state, WorkspaceState::Running, "{started:#?}");
    Ok(())
}

/// Root in the guest overwrites the agent: the kernel gives up, which is told with its last words, and the files
/// are there after the next start.
async fn killed_agent(server: &Server) -> anyhow::Result<()> {
    let guest = session(server.api(), "bad", StreamClass::Interactive).await?;
    assert!(shell(&guest, "echo kept >kept && sync").await?.success());
    let kill = "sudo python3 -c 'import re; \
                maps = [m for m in open(\"/proc/1/maps\") if \" r-xp \" in m]; \
                memory = open(\"/proc/1/mem\", \"r+b\", 0); \
                [(memory.seek(int(m.split(\"-\")[0], 16)), memory.write(b\"\\xcc\" * \
                (int(m.split()[0].split(\"-\")[1], 16) - int(m.split(\"-\")[0], 16)))) \
                for m in maps if \"[\" not in m]'";
    let killing = tokio::spawn(async move { shell(&guest, kill).await.is_ok() });
    let failed = becomes(server, "the end is noticed", 60, |seen| {
        seen.state == WorkspaceState::Failed
    })
    .await?;
    killing.abort();
    let failure = failed.failure.context("a failed workspace has a failure")?;
    assert_eq!(failure.kind, "guest-crashed", "{failure:#?}");
    assert!(failure.message.contains("Start it again"), "{failure:#?}");
    let told = format!("{}{}", failure.message, failure.log);
    assert!(told.contains("Kernel panic"), "{failure:#?}");
    let said = roost(server.api(), &["exec", "bad", "--", "true"]).await?;
    assert_eq!(said.code, 255, "{said:?}");
    assert!(
        said.stderr.contains("failed") && said.stderr.contains("Start it"),
        "{said:?}"
    );

    let started = server.api().start("bad").await?;
    assert_eq!(started.state, WorkspaceState::Running, "{started:#?}");
    let guest = session(server.api(), "bad", StreamClass::Interactive).await?;
    assert_eq!(shell(&guest, "cat kept").await?.stdout, b"kept\n");
    Ok(())
}
