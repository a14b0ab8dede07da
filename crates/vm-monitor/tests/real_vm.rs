//! The monitor with real QEMUs and the guest images: `ROOST_IMAGES` names a finished set of them.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use disk_server::{DoorChoice, ServerSpec};
use guest_protocol::frames::failure;
use microvm::machine::{Machine, probe};
use microvm::spec::{Accelerator, DiskSource, DriverSpec, NetworkSpec, QemuSpec};
use microvm::vmm_store::{PinnedVmm, pin};
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Continue, Disk, Grow, Pause, Point, Stop, request};
use rustix::process::Signal;
use storage::base::BaseCache;
use storage::disk::size_in_blocks;
use storage::export::OnDamage;
use storage::keys::{KeyRing, SystemEntropy, Tenant};
use storage::manifest::{DiskName, Version};
use storage::spec::{BaseSpec, DiskSpec, StoreSpec};
use vm_monitor::MonitorSpec;

use support::{World, eventually, lives, script, signal, vm};

const GIB: u64 = 1 << 30;
/// What a boot may take here, where several run at a time.
const BOOT: Duration = Duration::from_secs(120);
const STOP: request::Body = request::Body::Stop(Stop {
    deadline_ms: 60_000,
});

fn images() -> PathBuf {
    let set = std::env::var_os("ROOST_IMAGES").map(PathBuf::from);
    set.expect("ROOST_IMAGES names a folder with guest images, as images/build.sh prints it")
}

/// Shared by all tests: it is what is installed, and takes half a second to copy.
fn data() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn vmm() -> &'static PinnedVmm {
    static PINNED: OnceLock<PinnedVmm> = OnceLock::new();
    PINNED.get_or_init(|| pin(data()).unwrap())
}

async fn machine() -> Machine {
    let kernel = images().join("kernel/vmlinux");
    probe(data(), vmm(), &kernel, &images().join("initramfs.cpio"))
        .await
        .unwrap()
}

async fn spec() -> MonitorSpec {
    let machine = machine().await;
    let qemu = QemuSpec {
        vmm: vmm().folder.clone(),
        accelerator: machine.accelerator,
        cpu_model: machine.cpu_model,
        tsc_khz: Some(machine.tsc_khz),
        kernel: images().join("kernel/vmlinux"),
        initramfs: images().join("initramfs.cpio"),
        kernel_arguments: Vec::new(),
        disk: DiskSource::Served,
    };
    MonitorSpec::new("real", vm(DriverSpec::Qemu(qemu)))
}

fn qemu(spec: &mut MonitorSpec) -> &mut QemuSpec {
    match &mut spec.vm.driver {
        DriverSpec::Qemu(qemu) => qemu,
        DriverSpec::Process(_) => unreachable!("spec() makes no other"),
    }
}

/// The base, adopted once for all tests: it is a link of our own, beside which its sums lie.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = data().join("base.ext4");
        let _ = std::fs::remove_file(&base);
        std::os::unix::fs::symlink(images().join("base.ext4"), &base).unwrap();
        BaseCache::adopt(&base).unwrap();
        base
    })
}

/// A disk of 17 GiB over the base, with a store of its own.
fn disk(world: &World, door: DoorChoice) -> ServerSpec {
    let path = |name: &str| world.temporary.path().join(name);
    let ring = KeyRing::generate(&SystemEntropy);
    let tenant = |name| Tenant::new(name).unwrap();
    let keys = |name| ring.tenant(&tenant(name)).unwrap();
    let base = BaseSpec {
        version: Version {
            tenant: tenant("bases"),
            disk: DiskName::new("base").unwrap(),
            number: 1,
        },
        path: base().to_owned(),
        keys: keys("bases"),
    };
    let disk = DiskSpec {
        folder: path("disk"),
        name: DiskName::new("disk").unwrap(),
        epoch: 1,
        blocks: size_in_blocks(17 * GIB).unwrap(),
        store: StoreSpec::Folder {
            path: path("store"),
        },
        keys: keys("test"),
        base: Some(base),
        moved: false,
        must_exist: false,
    };
    ServerSpec { disk, door }
}

async fn boot(world: &World, spec: &MonitorSpec) {
    boot_with(world, spec, DoorChoice::Auto).await;
}

async fn boot_with(world: &World, spec: &MonitorSpec, door: DoorChoice) {
    world.spawn_with(spec, Some(&disk(world, door)));
    let ready = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Ready;
    world.wait_within(BOOT, "the VM is ready", ready).await;
}

#[tokio::test]
async fn a_vm_boots_answers_pauses_and_stops_in_order() {
    let world = World::new();
    boot(&world, &spec().await).await;
    let status = world.client().status().await.unwrap();
    let names: Vec<_> = status.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["prepare", "vmm", "guest"]);
    for bulk in [false, true] {
        let (opened, _stream) = world.tcp(bulk, 9).await;
        assert_eq!(
            opened.failure.unwrap().kind(),
            failure::Kind::Refused,
            "nobody listens on port 9"
        );
    }

    world
        .client()
        .ask(request::Body::Pause(Pause {}))
        .await
        .unwrap();
    world.wait(Phase::Paused).await;
    world
        .client()
        .ask(request::Body::Continue(Continue {}))
        .await
        .unwrap();
    world.wait(Phase::Ready).await;

    let end = world.client().ask(STOP).await.unwrap();
    assert!(end.orderly, "{end:?}\n{}", world.console());
    assert!(!lives(status.vmm_process));
    eventually("the monitor ends", || !lives(status.monitor_process));
    // What the guest wrote is on the disk and in the store, and the file system is whole.
    let spec = ServerSpec::read(&world.folder.disk()).unwrap().disk;
    let store = spec.store.open(None).unwrap();
    let newest = store.newest(&spec.keys, &spec.name, 0).unwrap();
    assert!(newest.is_some_and(|newest| !newest.segments.is_empty()));
    check_file_system(&world, &spec);
}

/// Of the disk as it is, and as another host would find it.
fn check_file_system(world: &World, spec: &DiskSpec) {
    let elsewhere = DiskSpec {
        folder: world.temporary.path().join("elsewhere"),
        epoch: spec.epoch + 1,
        ..spec.clone()
    };
    for spec in [spec, &elsewhere] {
        let image = world.temporary.path().join("image");
        let disk = spec.open(None).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        storage::export::raw(&disk, &file, OnDamage::Refuse, &mut |_, _| {}).unwrap();
        let check = std::process::Command::new("e2fsck")
            .args(["-f", "-n"])
            .arg(&image)
            .output()
            .unwrap();
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
    }
}

#[tokio::test]
async fn without_a_file_of_the_kernels_a_vm_runs_on_a_socket() {
    let world = World::new();
    boot_with(&world, &spec().await, DoorChoice::Nbd).await;
    takeover(&world).await;
    let end = world.client().ask(STOP).await.unwrap();
    assert!(end.orderly, "{end:?}\n{}", world.console());
}

/// The death of the disk's server is nothing that the guest notices.
#[tokio::test]
async fn a_vm_outlives_the_server_of_its_disk() {
    let world = World::new();
    boot(&world, &spec().await).await;
    for _ in 0..3 {
        takeover(&world).await;
    }
    let grown = world
        .client()
        .ask_disk(request::Body::Grow(Grow { bytes: 18 * GIB }))
        .await
        .unwrap();
    assert_eq!(grown.takeovers, 3);
    let point = Point {
        id: "00112233445566778899aabbccddeeff".into(),
        name: "while it runs".into(),
        kind: "manual".into(),
        taken_ms: 1,
    };
    world
        .client()
        .ask_disk(request::Body::Point(point))
        .await
        .unwrap();
    let end = world.client().ask(STOP).await.unwrap();
    assert!(end.orderly, "{end:?}\n{}", world.console());
    let console = world.console();
    assert!(!console.contains("I/O error"), "{console}");
    let spec = ServerSpec::read(&world.folder.disk()).unwrap().disk;
    check_file_system(&world, &spec);
}

async fn takeover(world: &World) {
    let disk = async || {
        let asked = world.client().ask_disk(request::Body::Disk(Disk {})).await;
        asked.unwrap()
    };
    let before = disk().await.server_process;
    signal(before, Signal::KILL);
    let killed = Instant::now();
    loop {
        let now = disk().await.server_process;
        if now != 0 && now != before {
            break;
        }
        assert!(killed.elapsed() < BOOT, "no successor came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The link to the agent says that the guest goes on.
    let (opened, _stream) = world.tcp(false, 9).await;
    assert_eq!(opened.failure.unwrap().kind(), failure::Kind::Refused);
}

#[tokio::test]
async fn a_killed_vmm_is_noticed_within_a_second() {
    let world = World::new();
    boot(&world, &spec().await).await;
    let status = world.client().status().await.unwrap();
    let mut watch = world.client().watch().await.unwrap();
    signal(status.vmm_process, Signal::KILL);
    let killed = Instant::now();
    let end = loop {
        let status = watch
            .next()
            .await
            .unwrap()
            .expect("the monitor stays to tell");
        if status.phase() == Phase::Exited {
            break status;
        }
    };
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    assert!(
        !end.orderly && end.detail.contains("signal 9"),
        "{}",
        end.detail
    );
}

#[tokio::test]
async fn a_kernel_that_panics_is_the_cause() {
    let world = World::new();
    let mut spec = spec().await;
    qemu(&mut spec).kernel_arguments =
        vec!["rdinit=/nonexistent".to_owned(), "root=/nowhere".to_owned()];
    world.spawn_with(&spec, Some(&disk(&world, DoorChoice::Auto)));
    let exited = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Exited;
    let end = world.wait_within(BOOT, "the VM ends", exited).await;
    assert!(!end.orderly);
    let headline = end.detail.lines().next().unwrap();
    assert!(headline.contains("Kernel panic"), "{}", end.detail);
    assert!(
        end.detail.contains("console's last lines"),
        "{}",
        end.detail
    );
    let record = world.folder.read_exit().unwrap().unwrap();
    assert_eq!((record.cause, record.was_ready), (end.detail, false));
}

#[tokio::test]
async fn the_probes_answer_is_remembered() {
    let first = machine().await;
    let again = Instant::now();
    let second = machine().await;
    assert_eq!(
        (first.accelerator, &first.why_not_kvm),
        (second.accelerator, &second.why_not_kvm)
    );
    assert!(
        again.elapsed() < Duration::from_secs(3),
        "{:?}",
        again.elapsed()
    );
    assert_eq!(
        first.why_not_kvm.is_empty(),
        first.accelerator == Accelerator::Kvm,
        "{first:?}"
    );
}

/// The disk's folder is a small file system that only the monitor sees, and that something has filled.
#[tokio::test]
async fn a_full_disk_pauses_the_vm_until_there_is_room() {
    if !rustix::process::getuid().is_root() {
        println!("not root: nothing to mount");
        return;
    }
    let world = World::new();
    let spec = spec().await;
    let small = world.temporary.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mut disk = disk(&world, DoorChoice::Auto);
    disk.disk.folder = small.join("disk");
    let (small, monitor) = (small.display(), env!("CARGO_BIN_EXE_roost-vm-monitor"));
    let image = format!("{small}.ext4");
    let made = std::process::Command::new("mkfs.ext4")
        .args(["-q", &image, "160M"])
        .status();
    assert!(made.unwrap().success());
    let inside = format!("mount -o loop {image} {small} && exec {monitor} \"$@\"");
    script(
        &world.monitor_program,
        &format!("exec unshare --mount sh -c '{inside}' monitor \"$@\""),
    );

    world.spawn_with(&spec, Some(&disk));
    let boots = |status: &monitor_protocol::messages::VmStatus| {
        status.steps.iter().any(|step| step.name == "vmm")
    };
    let status = world.wait_within(BOOT, "the VM boots", boots).await;
    let filler = format!("/proc/{}/root{small}/filler", status.monitor_process);
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let paused = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Paused;
    let status = world.wait_within(BOOT, "the VM pauses", paused).await;
    assert!(
        status.detail.contains("the host's disk is full"),
        "{}",
        status.detail
    );

    std::fs::remove_file(filler).unwrap();
    let ready = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Ready;
    world.wait_within(BOOT, "the VM goes on", ready).await;
    // The guest has seen no error.
    let console = world.console();
    assert!(
        !console.contains("I/O error") && !console.contains("Remounting filesystem read-only"),
        "{console}"
    );
    let end = world.client().ask(STOP).await.unwrap();
    assert!(end.orderly, "{end:?}");
}

/// Needs root, as the jail does.
#[tokio::test]
async fn a_jailed_vmm_is_somebody_else_in_a_network_of_its_own() {
    if !rustix::process::getuid().is_root() {
        println!("not root: nothing to jail with");
        return;
    }
    let world = World::new();
    let namespace = Namespace::new();
    let mut spec = spec().await;
    spec.vm.network = NetworkSpec::Tap {
        device: "tap0".to_owned(),
    };
    spec.vm.jail.user = Some(61_234);
    spec.vm.jail.network_namespace = Some(Path::new("/run/netns").join(&namespace.0));
    boot(&world, &spec).await;

    let status = world.client().status().await.unwrap();
    let proc = |file: &str| format!("/proc/{}/{file}", status.vmm_process);
    let text = std::fs::read_to_string(proc("status")).unwrap();
    for line in [
        "Uid:\t61234\t61234\t61234\t61234",
        "Gid:\t61234\t61234\t61234\t61234",
        "Groups:\t ",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(std::fs::read_link(proc("ns/net")).unwrap(), own);
    world.kill().await;
}

/// A network namespace with a tap device.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let namespace = Self(format!("roost-test-{}", std::process::id()));
        namespace.ip(&["netns", "add", &namespace.0]);
        namespace.ip(&[
            "-n",
            &namespace.0,
            "tuntap",
            "add",
            "dev",
            "tap0",
            "mode",
            "tap",
        ]);
        namespace
    }

    fn ip(&self, arguments: &[&str]) {
        assert!(
            std::process::Command::new("ip")
                .args(arguments)
                .status()
                .unwrap()
                .success(),
            "ip {arguments:?}"
        );
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.ip(&["netns", "delete", &self.0]);
    }
}
