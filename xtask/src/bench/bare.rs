//! The floor of a start: the same QEMU with the same machine, kernel, initramfs and base disk, without
//! anything of ours on the host, until the first byte of a prompt.
//!
//! What is started is the command line of a VMM that runs already, with its inherited descriptors replaced
//! by the files behind them, its sockets by new ones, its network by one that leads nowhere, and its disk
//! by a file. So it cannot differ from ours by accident.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use guest_protocol::client::Session;
use guest_protocol::frames::{Configure, Role, StreamClass};
use guest_protocol::link::{self, Link, Side};
use roost_tests::Server;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::world::{first_prompt, milliseconds};

/// Longest start that is waited for.
const DEADLINE: Duration = Duration::from_secs(120);
/// How the VMM was started that is imitated.
pub struct Template {
    words: Vec<String>,
    modules: String,
    base: String,
}

/// What a bare VM has for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// An empty qcow2 layer over the base.
    Layer,
    /// A raw copy of the base, of this size in GiB.
    Raw(u64),
}

/// A bare VM that shows a prompt. Dropping it ends it.
pub struct Bare {
    pub times: Times,
    pub session: Session,
    _link: Link,
    qemu: Child,
    _folder: tempfile::TempDir,
}

impl Bare {
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.qemu.kill().await.context("ending QEMU")
    }
}

/// Milliseconds since QEMU was started.
#[derive(Clone, Copy)]
pub struct Times {
    /// The agent has answered over virtio-serial.
    pub agent: f64,
    /// The agent is configured.
    pub configured: f64,
    /// The first byte of a prompt has come.
    pub prompt: f64,
}

impl Template {
    /// Reads it from the one VMM of a server.
    pub fn of(server: &Server) -> anyhow::Result<Self> {
        let vmm = server
            .vmms()
            .pop()
            .context("a running workspace has a VMM")?;
        let words = words(&format!("/proc/{vmm}/cmdline"))?;
        let environment = words_of_environment(vmm)?;
        Ok(Self {
            base: base_of(server.data())?,
            modules: resolved(vmm, &environment)?,
            words: words
                .iter()
                .map(|word| resolved(vmm, word))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Boots one VM over a layer, and says when it did what.
    pub async fn boot(&self) -> anyhow::Result<Times> {
        let bare = self.start(Disk::Layer).await?;
        let times = bare.times;
        bare.end().await?;
        Ok(times)
    }

    /// Boots one VM in a folder of its own and waits for its prompt.
    pub async fn start(&self, disk: Disk) -> anyhow::Result<Bare> {
        let folder = tempfile::Builder::new().prefix("bare").tempdir_in("/tmp")?;
        let path = folder.path().join("disk");
        let made = match disk {
            Disk::Layer => {
                let mut command = Command::new("qemu-img");
                command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
                command.arg(&self.base).arg(&path).status().await
            }
            Disk::Raw(_) => {
                let mut command = Command::new("cp");
                command.args(["--sparse=always", &self.base]);
                command.arg(&path).status().await
            }
        };
        ensure!(made.context("making a disk")?.success(), "there is no disk");
        if let Disk::Raw(gib) = disk {
            let file = std::fs::File::options().write(true).open(&path)?;
            file.set_len(gib << 30)?;
            // What is still to be written of it is nothing that the guest does.
            file.sync_all()?;
        }
        let words = self.arguments(folder.path(), disk);
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
        let prompt = prompt(folder.path(), &mut qemu, began);
        let Ok(shown) = tokio::time::timeout(DEADLINE, prompt).await else {
            bail!("bare QEMU shows no prompt within {DEADLINE:?}");
        };
        let (times, session, link) = shown?;
        Ok(Bare {
            times,
            session,
            _link: link,
            qemu,
            _folder: folder,
        })
    }

    /// The disk's node, with the cache mode that ours has.
    fn disk(&self, folder: &Path, disk: Disk) -> Value {
        let file = json!({
            "driver": "file", "filename": folder.join("disk"), "cache": { "direct": true }, "discard": "unmap",
        });
        match disk {
            Disk::Raw(_) => {
                json!({ "driver": "raw", "node-name": "disk", "discard": "unmap", "file": file })
            }
            Disk::Layer => json!({
                "driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": file,
                "backing": {
                    "driver": "raw", "read-only": true,
                    "file": { "driver": "file", "filename": self.base, "read-only": true, "locking": "off" },
                },
            }),
        }
    }

    fn arguments(&self, folder: &Path, disk: Disk) -> Vec<String> {
        let node = self.disk(folder, disk).to_string();
        let folder = folder.display();
        let mut words = self.words.iter().peekable();
        let mut out = Vec::new();
        while let Some(word) = words.next() {
            // What is preloaded is of no use to it.
            if word == "-add-fd" || word == "--preload" {
                words.next();
            } else if word.starts_with("socket,id=") {
                let id = word.split([',', '=']).nth(2).unwrap_or_default();
                out.push(format!(
                    "socket,id={id},path={folder}/{id},server=on,wait=off"
                ));
            } else if word.starts_with("tap,id=net0") {
                out.push("hubport,id=net0,hubid=0".into());
            } else {
                let is_disk = serde_json::from_str(word)
                    .is_ok_and(|parsed: Value| parsed["node-name"] == "disk");
                out.push(if is_disk { node.clone() } else { word.clone() });
            }
        }
        out
    }
}

async fn prompt(
    folder: &Path,
    qemu: &mut Child,
    began: Instant,
) -> anyhow::Result<(Times, Session, Link)> {
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
    let times = Times {
        agent,
        configured,
        prompt,
    };
    Ok((times, session, link))
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

/// The base disk that a server has taken in.
fn base_of(data: &Path) -> anyhow::Result<String> {
    for entry in std::fs::read_dir(data.join("images"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "ext4") {
            return text(path);
        }
    }
    bail!("the server has no base disk")
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
            "ld.so",
            "--preload",
            "/proc/self/fd/4",
            "qemu",
            "-chardev",
            "socket,id=bulk,fd=7",
            "-add-fd",
            "fd=9,set=1",
            "-netdev",
            "tap,id=net0,fd=3,vhost=off",
            "-blockdev",
            r#"{"node-name":"spare"}"#,
            "-blockdev",
            r#"{"node-name":"disk","file":{"filename":"/dev/fdset/1"}}"#,
        ];
        let template = Template {
            words: words.map(String::from).to_vec(),
            modules: String::new(),
            base: "/base".into(),
        };
        let expected = [
            "ld.so",
            "qemu",
            "-chardev",
            "socket,id=bulk,path=/f/bulk,server=on,wait=off",
            "-netdev",
            "hubport,id=net0,hubid=0",
            "-blockdev",
            r#"{"node-name":"spare"}"#,
            "-blockdev",
        ];
        let mut words = template.arguments(Path::new("/f"), Disk::Layer);
        let node: Value = serde_json::from_str(&words.pop().unwrap()).unwrap();
        assert_eq!(words, expected);
        assert_eq!(node["file"]["filename"], "/f/disk");
        assert_eq!(node["backing"]["file"]["filename"], "/base");
    }
}
