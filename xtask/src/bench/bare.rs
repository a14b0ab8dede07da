//! The floor of a start: the same QEMU with the same machine, kernel, initramfs and base disk, without
//! anything of ours on the host, until the first byte of a prompt.
//!
//! What is started is the command line of a VMM that runs already, with its inherited descriptors replaced
//! by the files behind them, its sockets by new ones, its network by one that leads nowhere, and its disk
//! by an empty layer. So it cannot differ from ours by accident.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use guest_protocol::client::Session;
use guest_protocol::frames::{Configure, Role, StreamClass};
use guest_protocol::link::{self, Side};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::world::{first_prompt, milliseconds};

/// Longest start that is waited for.
const DEADLINE: Duration = Duration::from_secs(120);
/// As the guest finds its disk and base among what it inherits.
const DISK: &str = "/dev/fdset/1";
const BASE: &str = "/dev/fdset/2";

/// How the VMM was started that is imitated.
pub struct Template {
    words: Vec<String>,
    modules: String,
    base: String,
}

/// Milliseconds since QEMU was started.
pub struct Times {
    /// The agent has answered over virtio-serial.
    pub agent: f64,
    /// The agent is configured.
    pub configured: f64,
    /// The first byte of a prompt has come.
    pub prompt: f64,
}

impl Template {
    /// Reads it from a running VMM.
    pub fn of(vmm: u32) -> anyhow::Result<Self> {
        let words = words(&format!("/proc/{vmm}/cmdline"))?;
        let environment = words_of_environment(vmm)?;
        Ok(Self {
            base: base_of(vmm)?,
            modules: resolved(vmm, &environment)?,
            words: words
                .iter()
                .map(|word| resolved(vmm, word))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Boots one VM in a folder of its own and waits for its prompt.
    pub async fn boot(&self) -> anyhow::Result<Times> {
        let folder = tempfile::Builder::new().prefix("bare").tempdir_in("/tmp")?;
        let disk = folder.path().join("disk.qcow2");
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &self.base])
            .arg(&disk)
            .status()
            .await
            .context("running qemu-img")?;
        ensure!(made.success(), "qemu-img made no disk");
        let words = self.arguments(folder.path());
        let began = Instant::now();
        let mut qemu = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .env("QEMU_MODULE_DIR", &self.modules)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting QEMU")?;
        let times =
            match tokio::time::timeout(DEADLINE, prompt(folder.path(), &mut qemu, began)).await {
                Ok(times) => times?,
                Err(_) => bail!("bare QEMU shows no prompt within {DEADLINE:?}"),
            };
        qemu.kill().await.context("ending QEMU")?;
        Ok(times)
    }

    fn arguments(&self, folder: &Path) -> Vec<String> {
        let folder = folder.display();
        let mut words = self.words.iter().peekable();
        let mut out = Vec::new();
        while let Some(word) = words.next() {
            if word == "-add-fd" {
                words.next();
            } else if word.starts_with("socket,id=") {
                let id = word.split([',', '=']).nth(2).unwrap_or_default();
                out.push(format!(
                    "socket,id={id},path={folder}/{id},server=on,wait=off"
                ));
            } else if word.starts_with("tap,id=net0") {
                out.push("hubport,id=net0,hubid=0".into());
            } else {
                let word = word.replace(DISK, &format!("{folder}/disk.qcow2"));
                out.push(word.replace(BASE, &self.base));
            }
        }
        out
    }
}

async fn prompt(folder: &Path, qemu: &mut Child, began: Instant) -> anyhow::Result<Times> {
    let path = folder.join("interactive");
    let io = loop {
        if let Ok(stream) = UnixStream::connect(&path).await {
            break stream;
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("bare QEMU ended with {status}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let (link, _incoming) = link::connect(io, Side::Host, link::random_nonce()).await?;
    let class = StreamClass::Interactive;
    let host = Session::open(link.open().await?, class, Role::Host, "bare").await?;
    let agent = milliseconds(began.elapsed());
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let configure = Configure {
        hostname: "bare".into(),
        workspace_name: "bare".into(),
        folder: "bare".into(),
        time_ms: now.as_millis() as u64,
        network: true,
        ..Configure::default()
    };
    host.configure(configure).await?;
    let configured = milliseconds(began.elapsed());
    let session = Session::open(link.open().await?, class, Role::Editor, "bare").await?;
    first_prompt(&session).await?;
    let prompt = milliseconds(began.elapsed());
    Ok(Times {
        agent,
        configured,
        prompt,
    })
}

fn words(path: &str) -> anyhow::Result<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {path}"))?;
    let text = String::from_utf8(bytes)?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

fn words_of_environment(vmm: u32) -> anyhow::Result<String> {
    let all = words(&format!("/proc/{vmm}/environ"))?;
    let found = all
        .iter()
        .find_map(|word| word.strip_prefix("QEMU_MODULE_DIR="));
    Ok(found.unwrap_or_default().to_owned())
}

/// The file behind a descriptor of a process.
fn behind(process: u32, descriptor: &str) -> anyhow::Result<String> {
    let path = std::fs::read_link(format!("/proc/{process}/fd/{descriptor}"))
        .with_context(|| format!("looking at descriptor {descriptor} of the VMM"))?;
    text(path)
}

/// The base disk that a VMM has open: it closes the number that it inherited, so the file is looked for.
fn base_of(vmm: u32) -> anyhow::Result<String> {
    for entry in std::fs::read_dir(format!("/proc/{vmm}/fd"))? {
        let Ok(path) = std::fs::read_link(entry?.path()) else {
            continue;
        };
        if path.extension().is_some_and(|end| end == "ext4") {
            return text(path);
        }
    }
    bail!("the VMM has no base disk open")
}

fn text(path: PathBuf) -> anyhow::Result<String> {
    let text = path.into_os_string().into_string().ok();
    text.context("paths are UTF-8")
}

/// The word with an inherited descriptor replaced by the file behind it.
fn resolved(process: u32, word: &str) -> anyhow::Result<String> {
    match word.strip_prefix("/proc/self/fd/") {
        Some(descriptor) => behind(process, descriptor),
        None => Ok(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inherited_is_replaced() {
        let words = [
            "qemu",
            "-chardev",
            "socket,id=bulk,fd=7",
            "-add-fd",
            "fd=9,set=1",
            "-netdev",
            "tap,id=net0,fd=3,vhost=off",
            "-blockdev",
            r#"{"filename":"/dev/fdset/2"}"#,
        ];
        let template = Template {
            words: words.map(String::from).to_vec(),
            modules: String::new(),
            base: "/base".into(),
        };
        let expected = [
            "qemu",
            "-chardev",
            "socket,id=bulk,path=/f/bulk,server=on,wait=off",
            "-netdev",
            "hubport,id=net0,hubid=0",
            "-blockdev",
            r#"{"filename":"/base"}"#,
        ];
        assert_eq!(template.arguments(Path::new("/f")), expected);
    }
}
