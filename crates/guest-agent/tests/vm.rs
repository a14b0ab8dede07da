//! The agent as PID 1 of a real virtual machine, spoken to over virtio-serial.
//!
//! Needs QEMU and a finished set of images: `ROOST_TEST_IMAGES=SET cargo test -p guest-agent --test vm -- --ignored`,
//! where SET is the folder that `images/build.sh AGENT` prints.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guest_protocol::client::{CallWriter, Session, Terminal, TerminalEvent};
use guest_protocol::frames::{
    Configure, ExecStart, FileWrite, Role, StreamClass, TerminalCreate, TerminalSize,
};
use guest_protocol::link::{self, Incoming, Link, Side};
use tempfile::TempDir;
use tokio::net::UnixStream;

const DEADLINE: Duration = Duration::from_secs(120);

struct Vm {
    qemu: Child,
    folder: TempDir,
    started: Instant,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            let console = std::fs::read_to_string(self.folder.path().join("console"));
            eprintln!("console:\n{}", console.unwrap_or_default());
        }
    }
}

/// The rate of the host's time stamp counter: software emulation hands it through, and the guest's own
/// measurement fails when the host is busy.
fn clock_khz() -> u64 {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info
        .lines()
        .find(|line| line.starts_with("cpu MHz"))
        .unwrap();
    let megahertz: f64 = line.split(':').nth(1).unwrap().trim().parse().unwrap();
    (megahertz * 1000.0) as u64
}

impl Vm {
    fn boot() -> Self {
        let set =
            std::env::var("ROOST_TEST_IMAGES").expect("ROOST_TEST_IMAGES names a set of images");
        let set = PathBuf::from(set);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let append = format!(
            "console=ttyS0 quiet loglevel=0 panic=-1 reboot=t tsc=reliable tsc_early_khz={} \
             cryptomgr.notests random.trust_cpu=on",
            clock_khz()
        );
        let disk = format!(
            "id=d0,if=none,file={},format=raw,snapshot=on,discard=unmap",
            set.join("base.ext4").display()
        );
        let port = |name: &str| {
            [
                "-chardev".to_owned(),
                format!("socket,id={name},path={},server=on,wait=off", at(name)),
                "-device".to_owned(),
                format!("virtserialport,chardev={name},name=roost.{name}"),
            ]
        };
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-M",
                "microvm",
                "-accel",
                "tcg,tb-size=64",
                "-cpu",
                "max",
                "-smp",
                "1",
                "-m",
                "512",
            ])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .arg("-kernel")
            .arg(set.join("kernel/vmlinux"))
            .arg("-initrd")
            .arg(set.join("initramfs.cpio"))
            .args([
                "-append",
                &append,
                "-serial",
                &format!("file:{}", at("console")),
            ])
            .args(["-device", "virtio-serial-device"])
            .args(port("interactive"))
            .args(port("bulk"))
            .args(["-drive", &disk, "-device", "virtio-blk-device,drive=d0"])
            .args(["-device", "virtio-rng-device"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            qemu,
            folder,
            started: Instant::now(),
        }
    }

    async fn connect(&self, name: &str) -> (Link, Incoming) {
        let path = self.folder.path().join(name);
        tokio::time::timeout(
            DEADLINE,
            link::connect(dial(&path).await, Side::Host, link::random_nonce()),
        )
        .await
        .expect("the guest answers in time")
        .unwrap()
    }

    async fn session(&self, link: &Link, class: StreamClass, role: Role) -> Session {
        Session::open(link.open().await.unwrap(), class, role, "vm test")
            .await
            .unwrap()
    }

    fn ends(&mut self) -> Duration {
        let begun = Instant::now();
        while self.qemu.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < DEADLINE, "the machine did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }
}

async fn dial(path: &Path) -> UnixStream {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "no port: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn shell(script: &str) -> ExecStart {
    ExecStart {
        command: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        ..ExecStart::default()
    }
}

async fn run(session: &Session, script: &str) -> String {
    let output = session.exec_output(shell(script)).await.unwrap();
    assert!(output.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "boots a virtual machine: see the header"]
async fn a_machine_boots_works_and_stops() {
    let mut vm = Vm::boot();
    let (interactive, _from) = vm.connect("interactive").await;
    let host = vm
        .session(&interactive, StreamClass::Interactive, Role::Host)
        .await;
    eprintln!("start of QEMU to welcome: {:?}", vm.started.elapsed());
    let configure = Configure {
        hostname: "box".into(),
        time_ms: 1_800_000_000_000,
        folder: "demo".into(),
        git_user_name: "Zoë".into(),
        entropy: vec![7; 32].into(),
        nameservers: vec!["10.0.0.1".into()],
        ..Configure::default()
    };
    let configured = host.configure(configure).await.unwrap();
    assert_eq!(
        (configured.folder.as_str(), configured.folder_empty),
        ("/workspaces/demo", true)
    );

    let editor = vm
        .session(&interactive, StreamClass::Interactive, Role::Editor)
        .await;
    assert_eq!(editor.welcome().home, "/home/dev");
    assert_eq!(
        run(&editor, "id -un; pwd; hostname; git config user.name").await,
        "dev\n/workspaces/demo\nbox\nZoë\n"
    );
    assert!(run(&editor, "date +%s").await.starts_with("18000"));
    assert_eq!(
        run(&editor, "cat /proc/self/cgroup /proc/self/oom_score_adj").await,
        "0::/user\n0\n"
    );
    assert_eq!(run(&editor, "sudo id -un").await, "root\n");
    assert_eq!(
        run(&editor, "chrt -p $$ | head -1 | sed 's/.*: //'; nice").await,
        "SCHED_OTHER\n0\n"
    );
    let root = ExecStart {
        root: true,
        ..shell("id -un; cat /proc/1/oom_score_adj")
    };
    assert_eq!(
        host.exec_output(root).await.unwrap().stdout,
        b"root\n-1000\n"
    );

    // Files are the user's, and root's stay out of reach.
    let request = FileWrite {
        path: "/workspaces/demo/a".into(),
        create: true,
        ..FileWrite::default()
    };
    editor.write_file(request, &b"text"[..]).await.unwrap();
    assert_eq!(
        run(&editor, "stat -c '%U %a' a; cat a").await,
        "dev 644\ntext"
    );
    run(&editor, "ln -s /etc/shadow secret").await;
    assert!(
        editor
            .read_file("/workspaces/demo/secret", 0, 0)
            .await
            .is_err()
    );
    assert!(editor.put_file("/etc/passwd", b"mine").await.is_err());

    terminal(&vm, &editor).await;
    ports_and_links(&vm, &editor).await;

    // The link goes and comes back; the terminal is still there.
    drop((host, editor, interactive, _from));
    let (interactive, _from) = vm.connect("interactive").await;
    let host = vm
        .session(&interactive, StreamClass::Interactive, Role::Host)
        .await;
    assert_eq!(host.terminal_list().await.unwrap().len(), 1);
    let console = std::fs::read_to_string(vm.folder.path().join("console")).unwrap();
    eprintln!(
        "{}",
        console
            .lines()
            .find(|line| line.contains("ready"))
            .unwrap_or_default()
    );
    host.shutdown(3000).await.unwrap();
    eprintln!("shutdown to the end of QEMU: {:?}", vm.ends());
}

async fn terminal(vm: &Vm, editor: &Session) {
    let create = TerminalCreate {
        size: Some(TerminalSize {
            columns: 80,
            rows: 24,
        }),
        ..TerminalCreate::default()
    };
    let mut terminal = editor.terminal_create(create).await.unwrap();
    let mut input = terminal.input();
    let mut seen = String::new();
    let mut prompt = false;
    while !seen.contains("/dev/pts/0") {
        if let Some(TerminalEvent::Output { bytes, .. }) = terminal.next().await.unwrap() {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        if !prompt && seen.contains("$ ") {
            prompt = true;
            eprintln!("start of QEMU to prompt: {:?}", vm.started.elapsed());
            input.write("tty\n").await.unwrap();
        }
    }
    echoes("idle", &mut terminal, &mut input).await;
}

/// Measures from key to echo; gives the 99th percentile.
async fn echoes(what: &str, terminal: &mut Terminal, input: &mut CallWriter) -> Duration {
    let mut echoes = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        input.write("x").await.unwrap();
        while !matches!(
            terminal.next().await.unwrap(),
            Some(TerminalEvent::Output { .. })
        ) {}
        echoes.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    echoes.sort();
    let (median, p99, worst) = (echoes[100], echoes[198], echoes[199]);
    eprintln!("echo, {what}: median {median:?}, p99 {p99:?}, worst {worst:?}");
    p99
}

#[tokio::test]
#[ignore = "boots a virtual machine: see the header"]
async fn a_machine_whose_processes_use_everything_still_answers() {
    let vm = Vm::boot();
    let (interactive, _from) = vm.connect("interactive").await;
    let host = vm
        .session(&interactive, StreamClass::Interactive, Role::Host)
        .await;
    let configure = Configure {
        folder: "demo".into(),
        ..Configure::default()
    };
    host.configure(configure).await.unwrap();
    let editor = vm
        .session(&interactive, StreamClass::Interactive, Role::Editor)
        .await;
    let run_in = |program: &str| TerminalCreate {
        command: vec![program.into()],
        ..TerminalCreate::default()
    };
    let mut terminal = editor.terminal_create(run_in("cat")).await.unwrap();
    let mut input = terminal.input();
    echoes("idle", &mut terminal, &mut input).await;
    let other = vm
        .session(&interactive, StreamClass::Interactive, Role::Editor)
        .await;
    let mut noisy = other.terminal_create(run_in("yes")).await.unwrap();
    let noise =
        tokio::spawn(async move { while noisy.next().await.is_ok_and(|event| event.is_some()) {} });
    echoes("`yes` in another terminal", &mut terminal, &mut input).await;
    noise.abort();
    other.terminal_close("t2").await.unwrap();
    let spin = "for i in 1 2 3 4; do while :; do :; done & done; wait";
    let _busy = editor.exec(shell(spin)).await.unwrap();
    let eat = "python3 -c 'a = []\nwhile True: a.append(bytearray(1 << 20))'";
    let hungry = shell(&format!("while :; do {eat}; echo killed; done"));
    let mut hungry = editor.exec(hungry).await.unwrap();
    // From the first time that memory has run out.
    assert!(hungry.next().await.unwrap().is_some());
    let busy = echoes("all CPUs and memory busy", &mut terminal, &mut input).await;
    assert!(busy < Duration::from_secs(1), "{busy:?}");
    assert_eq!(host.terminal_list().await.unwrap().len(), 1);
}

async fn ports_and_links(vm: &Vm, editor: &Session) {
    let (bulk, _from) = vm.connect("bulk").await;
    let session = vm.session(&bulk, StreamClass::Bulk, Role::Editor).await;
    run(&session, "head -c 50000000 /dev/urandom > large").await;
    let begun = Instant::now();
    let mut download = session
        .read_file("/workspaces/demo/large", 0, 0)
        .await
        .unwrap();
    let mut size = 0;
    while let Some(piece) = download.next().await.unwrap() {
        size += piece.len();
    }
    assert_eq!(size, 50_000_000);
    eprintln!("download: {:.0} MB/s", 50.0 / begun.elapsed().as_secs_f64());
    let mut ports = session.watch_ports().unwrap();
    let server = editor
        .exec(shell("exec python3 -m http.server 8000"))
        .await
        .unwrap();
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            let seen = ports.next().await.unwrap().unwrap();
            if let Some(port) = seen.ports.first() {
                return port.clone();
            }
        }
    });
    assert_eq!(found.await.unwrap().port, 8000);
    drop(server);
}
