//! The floor of a start: the same kernel, initramfs and disk under bare QEMU, without anything of ours on the
//! host, until the first byte of a prompt.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use guest_protocol::client::{Session, TerminalEvent};
use guest_protocol::frames::{Configure, Role, StreamClass, TerminalCreate, TerminalSize};
use guest_protocol::link::{self, Side};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Longest start that is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// A VM without monitor, jail and network.
pub struct BareVm {
    folder: tempfile::TempDir,
    qemu: Child,
}

impl BareVm {
    /// Starts QEMU on a fresh layer over the image set's disk; the layer is made beforehand.
    pub async fn start(images: &Path, memory_mib: u64, kernel_arguments: &str) -> anyhow::Result<(Self, Instant)> {
        let folder = tempfile::tempdir()?;
        let disk = folder.path().join("disk.qcow2");
        let base = images.join("base.ext4").canonicalize()?;
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&base, &disk])
            .status()
            .await
            .context("running qemu-img")?;
        ensure!(made.success(), "qemu-img made no disk");
        let socket = |name: &str| format!("socket,id={name},path={}/{name},server=on,wait=off", folder.path().display());
        let began = Instant::now();
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-M", "microvm", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-accel", "tcg,tb-size=32", "-cpu", "Haswell-v4,-pcid,-x2apic,-tsc-deadline,-invpcid,-spec-ctrl"])
            .args(["-m", &format!("{memory_mib}M"), "-smp", "1"])
            .arg("-kernel")
            .arg(images.join("kernel/vmlinux"))
            .arg("-initrd")
            .arg(images.join("initramfs.cpio"))
            .args(["-append", kernel_arguments])
            .args(["-serial", &format!("file:{}/console", folder.path().display())])
            .args(["-device", "virtio-serial-device"])
            .args(["-chardev", &socket("interactive"), "-device", "virtserialport,chardev=interactive,name=roost.interactive"])
            .args(["-chardev", &socket("bulk"), "-device", "virtserialport,chardev=bulk,name=roost.bulk"])
            .args(["-drive", &format!("id=disk,if=none,file={},format=qcow2,cache.direct=on", disk.display())])
            .args(["-device", "virtio-blk-device,drive=disk"])
            .args(["-device", "virtio-rng-device"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting qemu-system-x86_64")?;
        Ok((Self { folder, qemu }, began))
    }

    /// Waits for the agent and the first byte of a shell's prompt; the two times since the start.
    pub async fn first_prompt(&mut self, began: Instant) -> anyhow::Result<(Duration, Duration)> {
        let work = async {
            let io = self.connect("interactive").await?;
            let (link, _incoming) = link::connect(io, Side::Host, link::random_nonce()).await?;
            let host = Session::open(link.open().await?, StreamClass::Interactive, Role::Host, "bare").await?;
            let agent = began.elapsed();
            host.configure(Configure { hostname: "bare".into(), ..Configure::default() }).await?;
            let stream = link.open().await?;
            let session = Session::open(stream, StreamClass::Interactive, Role::Editor, "bare").await?;
            first_prompt(&session).await?;
            Ok((agent, began.elapsed()))
        };
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(result) => result,
            Err(_) => bail!("no prompt within {DEADLINE:?}: {}", self.console()),
        }
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.qemu.kill().await.context("ending QEMU")
    }

    async fn connect(&mut self, name: &str) -> anyhow::Result<UnixStream> {
        let path = self.folder.path().join(name);
        loop {
            if let Ok(stream) = UnixStream::connect(&path).await {
                return Ok(stream);
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("QEMU ended with {status}: {}", self.console());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn console(&self) -> String {
        let text = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Makes a terminal and waits for the first thing that its shell prints.
pub async fn first_prompt(session: &Session) -> anyhow::Result<()> {
    let size = Some(TerminalSize { columns: 80, rows: 24 });
    let mut terminal = session.terminal_create(TerminalCreate { size, ..TerminalCreate::default() }).await?;
    loop {
        match terminal.next().await?.context("the terminal was closed")? {
            TerminalEvent::Output { bytes, .. } if !bytes.is_empty() => return Ok(()),
            TerminalEvent::Exited(exited) => bail!("the shell ended with {}", exited.code),
            _ => {}
        }
    }
}

/// The image set that the environment names.
pub fn images() -> anyhow::Result<PathBuf> {
    let set = std::env::var_os("ROOST_IMAGES").context("ROOST_IMAGES is not set: run `./dev bench`")?;
    Ok(set.into())
}
