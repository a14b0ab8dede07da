//! A machine that sleeps, wakes, is forked and sleeps again, with a guest that notices: `ROOST_IMAGES` names a
//! finished set of guest images.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_protocol::client::{ExecOutput, Session};
use guest_protocol::frames::{Configure, ExecStart, Role, StreamClass};
use guest_protocol::link::{self, Link, Side};
use microvm::driver::{Booted, Driver, LinkClass, Vm, VmEvent};
use microvm::machine::{Machine, probe};
use microvm::memory::{GuestMemory, PAGE, Run, Scan, pages};
use microvm::qemu::{Qemu, Wake};
use microvm::spec::{DiskSource, DriverSpec, Jail, MACHINE, NetworkSpec, QemuSpec, VmSpec};
use microvm::vmm_store::pin;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const MEMORY_MIB: u64 = 512;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn images() -> PathBuf {
    let set = std::env::var_os("ROOST_IMAGES").map(PathBuf::from);
    set.expect("ROOST_IMAGES names a folder with guest images, as images/build.sh prints it")
}

fn data() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// What all machines of this test have in common.
struct Host {
    vmm: PathBuf,
    machine: Machine,
    folder: tempfile::TempDir,
}

/// What a machine leaves when it sleeps: files of its memory and of its disk, and its devices.
struct Asleep {
    memory: PathBuf,
    disk: PathBuf,
    devices: Vec<u8>,
}

/// A machine that runs.
struct Awake {
    vm: Box<dyn Vm>,
    events: mpsc::Receiver<VmEvent>,
    disk: PathBuf,
    /// What its memory lies over.
    below: Option<PathBuf>,
    link: Link,
    _incoming: link::Incoming,
    host: Session,
}

impl Host {
    async fn new() -> Self {
        let vmm = pin(data()).unwrap();
        let kernel = images().join("kernel/vmlinux");
        let initramfs = images().join("initramfs.cpio");
        let machine = probe(data(), &vmm, &kernel, &initramfs).await.unwrap();
        Self {
            vmm: vmm.folder,
            machine,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spec(&self, disk: &Path) -> (VmSpec, QemuSpec) {
        let qemu = QemuSpec {
            vmm: self.vmm.clone(),
            accelerator: self.machine.accelerator,
            cpu_model: self.machine.cpu_model.clone(),
            tsc_khz: Some(self.machine.tsc_khz),
            kernel: images().join("kernel/vmlinux"),
            initramfs: images().join("initramfs.cpio"),
            kernel_arguments: Vec::new(),
            disk: DiskSource::Raw {
                path: disk.to_owned(),
            },
        };
        let vm = VmSpec {
            machine: MACHINE,
            driver: DriverSpec::Qemu(qemu.clone()),
            vcpus: 1,
            memory_mib: MEMORY_MIB,
            network: NetworkSpec::Isolated,
            jail: Jail::default(),
        };
        (vm, qemu)
    }

    async fn boot(&self) -> Awake {
        let disk = self.file("disk");
        copy(&images().join("base.ext4"), &disk);
        let awake = self.start(disk, None).await;
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let configure = Configure {
            hostname: "sleeper".into(),
            workspace_name: "sleeper".into(),
            folder: "sleeper".into(),
            time_ms: now.as_millis() as u64,
            ..Configure::default()
        };
        awake.host.configure(configure).await.unwrap();
        awake
    }

    async fn wake(&self, asleep: &Asleep, disk: PathBuf) -> Awake {
        self.start(disk, Some(asleep)).await
    }

    async fn start(&self, disk: PathBuf, asleep: Option<&Asleep>) -> Awake {
        let (vm, qemu) = self.spec(&disk);
        let wake = asleep.map(|asleep| Wake {
            image: File::open(&asleep.memory).unwrap(),
            device_state: asleep.devices.clone(),
        });
        let wakes = wake.is_some();
        let driver = Qemu {
            name: "sleeper",
            vm: &vm,
            qemu: &qemu,
            disk: None,
            wake,
        };
        let Booted {
            vm,
            mut events,
            mut console,
        } = driver.boot().unwrap();
        tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = console.read_to_end(&mut said).await;
            eprintln!("{}", String::from_utf8_lossy(&said));
        });
        let expected = if wakes {
            VmEvent::Loaded
        } else {
            VmEvent::Started
        };
        assert_eq!(events.recv().await, Some(expected));
        if wakes {
            vm.resume().await.unwrap();
        }
        let stream = vm.connect(LinkClass::Interactive).await.unwrap();
        let greeting = link::connect(stream, Side::Host, link::random_nonce());
        let greeted = tokio::time::timeout(PATIENCE, greeting).await;
        let (link, incoming) = greeted.expect("the agent answers").unwrap();
        let class = StreamClass::Interactive;
        let host = Session::open(link.open().await.unwrap(), class, Role::Host, "test");
        let host = host.await.unwrap();
        Awake {
            vm,
            events,
            disk,
            below: asleep.map(|asleep| asleep.memory.clone()),
            link,
            _incoming: incoming,
            host,
        }
    }
}

/// A copy with the same holes.
fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.args(["--sparse=always", "--reflink=auto"]);
    assert!(command.arg(from).arg(to).status().unwrap().success());
}

impl Awake {
    async fn shell(&self, line: &str) -> ExecOutput {
        let stream = self.link.open().await.unwrap();
        let class = StreamClass::Interactive;
        let session = Session::open(stream, class, Role::Editor, "test").await;
        let command = ["sh", "-c", line].map(String::from).to_vec();
        let start = ExecStart {
            command,
            ..ExecStart::default()
        };
        session.unwrap().exec_output(start).await.unwrap()
    }

    async fn text(&self, line: &str) -> String {
        let output = self.shell(line).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn memory(&self) -> Arc<GuestMemory> {
        self.vm.memory().await.unwrap()
    }

    /// Puts it to sleep under a name, and ends it.
    async fn sleep(mut self, host: &Host, name: &str) -> Asleep {
        self.vm.pause().await.unwrap();
        let devices = self.vm.device_state().await.unwrap();
        let memory = host.file(name);
        self.write_memory(&memory).await;
        self.vm.kill().unwrap();
        while !matches!(self.events.recv().await, Some(VmEvent::Exited(_)) | None) {}
        Asleep {
            memory,
            disk: self.disk,
            devices,
        }
    }

    /// What is not as in the image below it, over a copy of that.
    async fn write_memory(&self, to: &Path) {
        match &self.below {
            Some(below) => copy(below, to),
            None => File::create(to).unwrap().set_len(MEMORY_MIB << 20).unwrap(),
        }
        let memory = self.memory().await;
        let mut runs = Vec::new();
        memory.scan(Scan::Changed, &mut runs).unwrap();
        println!("{}: {} pages changed", to.display(), pages(&runs));
        write_runs(&memory, &runs, to);
    }
}

fn write_runs(memory: &GuestMemory, runs: &[Run], to: &Path) {
    let file = File::options().write(true).open(to).unwrap();
    let mut buffer = Vec::new();
    for run in runs {
        buffer.resize(run.count as usize * PAGE as usize, 0);
        memory.read(run.first, &mut buffer).unwrap();
        file.write_all_at(&buffer, u64::from(run.first) * PAGE)
            .unwrap();
    }
}

/// Something in the guest that remembers: it counts, holds memory that nothing compresses, and tells both.
const REMEMBERS: &str = include_str!("remembers.py");

#[derive(Debug)]
struct Remembered {
    process: String,
    digest: String,
    count: u64,
}

async fn remembered(awake: &Awake) -> Remembered {
    let line = awake
        .text("python3 -c 'import socket; print(socket.create_connection((\"127.0.0.1\", 7000)).makefile().read())'")
        .await;
    let [process, digest, same, count] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    assert_eq!(same, "True", "its memory is as it was");
    Remembered {
        process: process.to_owned(),
        digest: digest.to_owned(),
        count: count.parse().unwrap(),
    }
}

/// Takes memory in the guest and gives it back, which the balloon reports.
async fn give_back(awake: &Awake) {
    awake
        .text("python3 -c 'x = bytearray(b\"x\") * (150 << 20)'")
        .await;
    awake
        .text("sync; echo 3 | sudo -n tee /proc/sys/vm/drop_caches || true")
        .await;
}

#[tokio::test]
async fn a_machine_sleeps_wakes_is_forked_and_sleeps_again() {
    let host = Host::new().await;
    let first = host.boot().await;
    let script = format!(
        "cat > /tmp/remembers.py <<'END'\n{REMEMBERS}\nEND\nsetsid python3 /tmp/remembers.py >/tmp/log 2>&1 </dev/null &"
    );
    first.text(&script).await;
    let until = Instant::now() + PATIENCE;
    while !first
        .shell("grep -q ':1B58 ' /proc/net/tcp")
        .await
        .success()
    {
        assert!(
            Instant::now() < until,
            "{}",
            first.text("cat /tmp/log").await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let at_first = remembered(&first).await;
    give_back(&first).await;
    assert!(first.memory().await.is_tracked());

    let asleep = first.sleep(&host, "memory-1").await;
    let disk = asleep.disk.clone();
    let woken = host.wake(&asleep, disk.clone()).await;
    let after = remembered(&woken).await;
    assert_eq!(
        (&after.process, &after.digest),
        (&at_first.process, &at_first.digest)
    );
    assert!(after.count > at_first.count);
    give_back(&woken).await;

    let asleep = woken.sleep(&host, "memory-2").await;
    // Two of one image: the machine and its fork.
    let fork_disk = host.file("disk-of-fork");
    copy(&disk, &fork_disk);
    let woken = host.wake(&asleep, disk).await;
    let fork = host.wake(&asleep, fork_disk).await;
    for one in [&woken, &fork] {
        let again = remembered(one).await;
        assert_eq!(
            (&again.process, &again.digest),
            (&at_first.process, &at_first.digest)
        );
        assert!(again.count > after.count);
        give_back(one).await;
    }
    fork.text("echo fork > /tmp/who").await;
    let asleep = fork.sleep(&host, "memory-3").await;
    let disk = asleep.disk.clone();
    let fork = host.wake(&asleep, disk).await;
    assert_eq!(fork.text("cat /tmp/who").await, "fork");
    assert_eq!(remembered(&fork).await.digest, at_first.digest);
    assert!(!woken.shell("cat /tmp/who").await.success());
    assert_eq!(remembered(&woken).await.digest, at_first.digest);
}

/// What a live checkpoint stands on: between two looks, exactly what was written is seen.
#[tokio::test]
async fn what_was_written_since_the_last_look_is_known() {
    let host = Host::new().await;
    let awake = host.boot().await;
    let memory = awake.memory().await;
    let image = host.file("image");
    File::create(&image)
        .unwrap()
        .set_len(MEMORY_MIB << 20)
        .unwrap();
    let mut runs = Vec::new();
    memory.scan(Scan::ChangedAndMark, &mut runs).unwrap();
    let all = pages(&runs);
    write_runs(&memory, &runs, &image);
    awake
        .text("head -c 20000000 /dev/urandom > /dev/shm/some")
        .await;
    memory.scan(Scan::Since, &mut runs).unwrap();
    let since = pages(&runs);
    assert!(
        since >= 20_000_000 / PAGE && since < all,
        "{since} of {all}"
    );
    write_runs(&memory, &runs, &image);
    awake.vm.pause().await.unwrap();
    memory.scan(Scan::Since, &mut runs).unwrap();
    write_runs(&memory, &runs, &image);
    // The image is what the guest has, page by page.
    let image = File::open(image).unwrap();
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for piece in 0..MEMORY_MIB {
        memory.read((piece * 256) as u32, &mut ours).unwrap();
        image.read_exact_at(&mut theirs, piece << 20).unwrap();
        assert!(ours == theirs, "MiB {piece}");
    }
    awake.vm.resume().await.unwrap();
}
