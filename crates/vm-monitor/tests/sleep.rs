//! A machine's memory through the store: it sleeps, wakes from what lies there, is captured while it runs, and a fork
//! of that goes on beside it. `ROOST_IMAGES` names a finished set of guest images.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use disk_server::{Door, DoorChoice, MemorySpec, ServerSpec, Serves, Supervisor};
use guest_protocol::client::{ExecOutput, Session};
use guest_protocol::frames::{Configure, ExecStart, Role, StreamClass};
use guest_protocol::link::{self, Link, Side};
use microvm::driver::{Booted, Driver, LinkClass, Vm, VmEvent};
use microvm::machine::{Machine as Host, probe};
use microvm::memory::Scan;
use microvm::qemu::{Qemu, ServedDisk, Wake};
use microvm::spec::{DiskSource, DriverSpec, Jail, MACHINE, NetworkSpec, QemuSpec, VmSpec};
use microvm::vmm_store::pin;
use storage::base::BaseCache;
use storage::disk::size_in_blocks;
use storage::keys::{KeyRing, SystemEntropy, Tenant, TenantKeys};
use storage::manifest::{DiskName, Point, PointKind, Version};
use storage::spec::{BaseSpec, DiskSpec, StoreSpec};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use vm_monitor::capture::CaptureSpec;
use vm_monitor::sleep::{Captured, Machine, Then};

const GIB: u64 = 1 << 30;
const MEMORY_MIB: u64 = 512;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PROGRAM: &str = env!("CARGO_BIN_EXE_roost-vm-monitor");
const REMEMBERS: &str = include_str!("../../microvm/tests/remembers.py");

fn images() -> PathBuf {
    let set = std::env::var_os("ROOST_IMAGES").map(PathBuf::from);
    set.expect("ROOST_IMAGES names a folder with guest images, as images/build.sh prints it")
}

fn data() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn name(name: &str) -> DiskName {
    DiskName::new(name).unwrap()
}

struct Place {
    folder: tempfile::TempDir,
    keys: TenantKeys,
    base: BaseSpec,
    vmm: PathBuf,
    host: Host,
}

struct Awake {
    vm: Arc<dyn Vm>,
    events: mpsc::Receiver<VmEvent>,
    disk: Supervisor,
    memory: Option<Supervisor>,
    folder: PathBuf,
    disk_name: DiskName,
    link: Link,
    _incoming: link::Incoming,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ring = KeyRing::generate(&SystemEntropy);
        let tenant = |name| Tenant::new(name).unwrap();
        let keys = |name| ring.tenant(&tenant(name)).unwrap();
        let path = folder.path().join("base");
        std::os::unix::fs::symlink(images().join("base.ext4"), &path).unwrap();
        BaseCache::adopt(&path).unwrap();
        let vmm = pin(data()).unwrap();
        let kernel = images().join("kernel/vmlinux");
        let initramfs = images().join("initramfs.cpio");
        let host = probe(data(), &vmm, &kernel, &initramfs).await.unwrap();
        Self {
            keys: keys("test"),
            base: BaseSpec {
                version: Version {
                    tenant: tenant("bases"),
                    disk: name("base"),
                    number: 1,
                },
                path,
                keys: keys("bases"),
            },
            vmm: vmm.folder,
            host,
            folder,
        }
    }

    fn store(&self) -> StoreSpec {
        StoreSpec::Folder {
            path: self.folder.path().join("store"),
        }
    }

    fn version(&self, disk: &DiskName, number: u64) -> Version {
        Version {
            tenant: self.keys.tenant().clone(),
            disk: disk.clone(),
            number,
        }
    }

    /// Starts a machine under a name of its own; with an image it goes on from there.
    async fn start(&self, machine: &str, epoch: u64, image: Option<&Version>) -> Awake {
        let folder = self.folder.path().join(machine);
        std::fs::create_dir_all(&folder).unwrap();
        let disk = DiskSpec {
            folder: folder.join("disk"),
            name: name(machine),
            epoch,
            blocks: size_in_blocks(17 * GIB).unwrap(),
            store: self.store(),
            keys: self.keys.clone(),
            base: Some(self.base.clone()),
            moved: false,
            must_exist: false,
        };
        let door = DoorChoice::Auto;
        let path = folder.join("disk.json");
        ServerSpec { disk, door }.write(&path).unwrap();
        let started = Supervisor::start(Path::new(PROGRAM), Serves::Disk, &path, &folder, None);
        let (disk, door) = started.await.unwrap();
        let (memory, wake) = match image {
            Some(image) => {
                let (memory, wake) = self.serve_memory(&folder, image).await;
                (Some(memory), Some(wake))
            }
            None => (None, None),
        };
        let (vm, qemu) = self.spec();
        let wakes = wake.is_some();
        let driver = Qemu {
            name: machine,
            vm: &vm,
            qemu: &qemu,
            disk: Some(match door {
                Door::File(file) => ServedDisk::File(file),
                Door::Nbd(socket) => ServedDisk::Nbd(socket),
            }),
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
        Awake {
            vm: Arc::from(vm),
            events,
            disk,
            memory,
            folder,
            disk_name: name(machine),
            link,
            _incoming: incoming,
        }
    }

    async fn serve_memory(&self, folder: &Path, image: &Version) -> (Supervisor, Wake) {
        let devices = folder.join("devices-to-wake");
        let _ = std::fs::remove_file(&devices);
        let spec = MemorySpec {
            image: BaseSpec {
                version: image.clone(),
                path: folder.join(format!("memory-{}", image.number)),
                keys: self.keys.clone(),
            },
            store: self.store(),
            devices: devices.clone(),
        };
        let path = folder.join("memory.json");
        spec.write(&path).unwrap();
        let started = Supervisor::start(Path::new(PROGRAM), Serves::Memory, &path, folder, None);
        let (memory, door) = started.await.unwrap();
        let Door::File(image) = door else {
            panic!("an image is a file");
        };
        let device_state = std::fs::read(devices).unwrap();
        let wake = Wake {
            image,
            device_state,
        };
        (memory, wake)
    }

    fn spec(&self) -> (VmSpec, QemuSpec) {
        let qemu = QemuSpec {
            vmm: self.vmm.clone(),
            accelerator: self.host.accelerator,
            cpu_model: self.host.cpu_model.clone(),
            tsc_khz: Some(self.host.tsc_khz),
            kernel: images().join("kernel/vmlinux"),
            initramfs: images().join("initramfs.cpio"),
            kernel_arguments: Vec::new(),
            disk: DiskSource::Served,
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

    async fn capture(
        &self,
        awake: &Awake,
        parent: Option<&Version>,
        scan: Scan,
        then: Then,
    ) -> Captured {
        let spec = CaptureSpec {
            store: self.store(),
            keys: self.keys.clone(),
            name: name(&format!("memory-of-{}", awake.disk_name)),
            parent: parent.cloned(),
            epoch: 1,
            point: Point::new(&SystemEntropy, "captured", PointKind::Manual, 0),
            disk: awake.disk_name.clone(),
            machine: serde_json::json!({}),
        };
        let machine = Machine {
            vm: &awake.vm,
            disk: &awake.disk,
            program: Path::new(PROGRAM),
            folder: &awake.folder,
        };
        let began = Instant::now();
        let captured = machine
            .capture(&spec, scan, then, &|_, _| {})
            .await
            .unwrap();
        println!("{captured:?} after {:?}", began.elapsed());
        captured
    }
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

    async fn end(mut self) {
        self.vm.kill().unwrap();
        while !matches!(self.events.recv().await, Some(VmEvent::Exited(_)) | None) {}
        self.disk.end().await;
        if let Some(memory) = &self.memory {
            memory.end().await;
        }
    }

    /// Process, digest of what it holds, and count of what remembers in the guest.
    async fn remembered(&self) -> (String, u64) {
        let line = self
            .text("python3 -c 'import socket; print(socket.create_connection((\"127.0.0.1\", 7000)).makefile().read())'")
            .await;
        let [process, digest, same, count] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert_eq!(same, "True", "its memory is as it was");
        (format!("{process} {digest}"), count.parse().unwrap())
    }
}

#[tokio::test]
async fn a_machine_sleeps_in_the_store_wakes_and_is_forked_while_it_runs() {
    let place = Place::new().await;
    let first = place.start("first", 1, None).await;
    let stream = first.link.open().await.unwrap();
    let class = StreamClass::Interactive;
    let host = Session::open(stream, class, Role::Host, "test")
        .await
        .unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let configure = Configure {
        hostname: "sleeper".into(),
        workspace_name: "sleeper".into(),
        folder: "sleeper".into(),
        time_ms: now.as_millis() as u64,
        ..Configure::default()
    };
    host.configure(configure).await.unwrap();
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
    first.text("echo before > /var/tmp/file; sync").await;
    let (who, count) = first.remembered().await;

    let asleep = place
        .capture(&first, None, Scan::Changed, Then::StaysStill)
        .await;
    first.end().await;
    let began = Instant::now();
    let woken = place.start("first", 2, Some(&asleep.memory)).await;
    println!("woke in {:?}", began.elapsed());
    let again = woken.remembered().await;
    assert!(again.0 == who && again.1 > count);
    assert_eq!(woken.text("cat /var/tmp/file").await, "before");

    // While it runs: twice, the second time only what has changed since the first.
    let mut before = asleep.memory.clone();
    let mut scan = Scan::ChangedAndMark;
    for round in 0..2 {
        woken
            .text(&format!("echo {round} > /var/tmp/round; sync"))
            .await;
        let captured = place
            .capture(&woken, Some(&before), scan, Then::GoesOn)
            .await;
        assert!(captured.paused.unwrap() < Duration::from_secs(1));
        let store = place.store().open(None).unwrap();
        let point = place.version(&name("first"), captured.disk);
        let world = storage::World::new(store, place.keys.clone());
        let fork = format!("fork-{round}");
        storage::disk::fork(&world, &point, &name(&fork), 1).unwrap();
        let fork = place.start(&fork, 1, Some(&captured.memory)).await;
        for one in [&woken, &fork] {
            let now = one.remembered().await;
            assert!(now.0 == who && now.1 > count);
            assert_eq!(one.text("cat /var/tmp/round").await, round.to_string());
        }
        fork.text("echo fork > /var/tmp/file").await;
        assert_eq!(woken.text("cat /var/tmp/file").await, "before");
        fork.end().await;
        (before, scan) = (captured.memory, Scan::Since);
    }
    woken.end().await;
}
