//! The monitor with real QEMUs and the guest images: `ROOST_IMAGES` names a finished set of them.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use guest_protocol::frames::failure;
use microvm::machine::{Machine, probe};
use microvm::overlay;
use microvm::spec::{Accelerator, DriverSpec, NetworkSpec, QemuSpec};
use microvm::vmm_store::{PinnedVmm, pin};
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Continue, Pause, Stop, request};
use rustix::process::Signal;
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

async fn spec(world: &World) -> MonitorSpec {
    let machine = machine().await;
    let disk = world.temporary.path().join("disk.qcow2");
    let base = images().join("base.ext4");
    overlay::create(&disk, &base, 17 * GIB).unwrap();
    let qemu = QemuSpec {
        vmm: vmm().folder.clone(),
        accelerator: machine.accelerator,
        cpu_model: machine.cpu_model,
        tsc_khz: Some(machine.tsc_khz),
        kernel: images().join("kernel/vmlinux"),
        initramfs: images().join("initramfs.cpio"),
        kernel_arguments: Vec::new(),
        disk,
        base,
    };
    MonitorSpec::new("real", vm(DriverSpec::Qemu(qemu)))
}

fn qemu(spec: &mut MonitorSpec) -> &mut QemuSpec {
    match &mut spec.vm.driver {
        DriverSpec::Qemu(qemu) => qemu,
        DriverSpec::Process(_) => unreachable!("spec() makes no other"),
    }
}

async fn boot(world: &World, spec: &MonitorSpec) {
    world.spawn(spec);
    let ready = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Ready;
    world.wait_within(BOOT, "the VM is ready", ready).await;
}

#[tokio::test]
async fn a_vm_boots_answers_pauses_and_stops_in_order() {
    let world = World::new();
    boot(&world, &spec(&world).await).await;
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
    // What the guest wrote is on the disk, and the disk is whole.
    let check = std::process::Command::new("qemu-img")
        .args(["check", "-q", "-f", "qcow2"])
        .arg(world.temporary.path().join("disk.qcow2"))
        .status();
    assert!(check.unwrap().success());
}

#[tokio::test]
async fn a_killed_vmm_is_noticed_within_a_second() {
    let world = World::new();
    boot(&world, &spec(&world).await).await;
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
    let mut spec = spec(&world).await;
    qemu(&mut spec).kernel_arguments =
        vec!["rdinit=/nonexistent".to_owned(), "root=/nowhere".to_owned()];
    world.spawn(&spec);
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
    let world = World::new();
    let mut spec = spec(&world).await;
    let small = world.temporary.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let disk = qemu(&mut spec).disk.clone();
    qemu(&mut spec).disk = small.join("disk.qcow2");
    let user = if rustix::process::getuid().is_root() {
        ""
    } else {
        "--user --map-root-user"
    };
    let (small, disk, monitor) = (
        small.display(),
        disk.display(),
        env!("CARGO_BIN_EXE_roost-vm-monitor"),
    );
    let inside = format!(
        "mount -t tmpfs -o size=160m small {small} && cp --sparse=always {disk} {small}/disk.qcow2 \
         && {{ cat /dev/zero >{small}/filler 2>/dev/null; exec {monitor} \"$@\"; }}"
    );
    script(
        &world.monitor_program,
        &format!("exec unshare --mount {user} sh -c '{inside}' monitor \"$@\""),
    );

    world.spawn(&spec);
    let paused = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Paused;
    let status = world.wait_within(BOOT, "the VM pauses", paused).await;
    assert!(
        status.detail.contains("the host's disk is full"),
        "{}",
        status.detail
    );

    let filler = format!("/proc/{}/root{small}/filler", status.monitor_process);
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
    let mut spec = spec(&world).await;
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
