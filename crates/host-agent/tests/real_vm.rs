//! Workspaces in real virtual machines. Needs `ROOST_IMAGES`, and root for the network.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use disk_server::ServerSpec;
use fleet_api::host::{GuestRole, GuestStream, Host, HostError, HostEventKind, Observed, RunSpec};
use fleet_api::points::{Origin, Point, PointKind};
use guest_protocol::client::{ExecEvent, ExecOutput, Session};
use guest_protocol::frames::{ExecStart, StreamClass};
use host_agent::config::{AcceleratorChoice, Driver, NetworkMode};
use storage::export::OnDamage;
use support::network::{Outside, inside, sh_ok, traces};
use support::{World, is_running, signal, spec};

fn images() -> Option<PathBuf> {
    let images = std::env::var_os("ROOST_IMAGES").filter(|images| !images.is_empty());
    if images.is_none() {
        eprintln!("skipped: needs ROOST_IMAGES");
    }
    images.map(PathBuf::from)
}

async fn world(images: PathBuf, mode: NetworkMode) -> World {
    World::with(|config| {
        config.images = Some(images);
        config.driver = Driver::Qemu {
            program: None,
            accelerator: AcceleratorChoice::Auto,
        };
        config.network.mode = mode;
    })
    .await
}

/// `id`: control groups are the whole machine's, so each test has its own.
fn wanted(id: &str, epoch: u64) -> RunSpec {
    let mut wanted = spec(&format!("test-{id}-{}", std::process::id()), epoch);
    wanted.size.memory_mib = 512;
    wanted
}

async fn run(world: &World, spec: &RunSpec) {
    let mut events = world.host.events();
    let began = std::time::Instant::now();
    world.host.run(spec.clone()).await.unwrap();
    let over = |observed: &Observed| !matches!(observed, Observed::Starting { .. });
    let deadline = std::time::Instant::now() + Duration::from_secs(300);
    loop {
        let observed = world.host.observe(&spec.workspace).await;
        if over(&observed) {
            assert!(is_running(&observed), "{observed:#?}");
            while let Ok(event) = events.try_recv() {
                if let HostEventKind::StepFinished { step, took_ms, .. } = event.what {
                    eprintln!("{step}: {took_ms} ms");
                }
            }
            eprintln!("running after {} ms", began.elapsed().as_millis());
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{observed:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn session(world: &World, spec: &RunSpec) -> Session {
    let stream = GuestStream::Session {
        bulk: false,
        role: GuestRole::Editor,
    };
    let stream = world.host.connect(&spec.workspace, stream).await.unwrap();
    Session::connect(stream, StreamClass::Interactive, "test")
        .await
        .unwrap()
}

async fn exec(world: &World, spec: &RunSpec, script: &str) -> ExecOutput {
    let start = ExecStart {
        command: ["bash", "-c", script].map(String::from).into(),
        ..ExecStart::default()
    };
    let session = session(world, spec).await;
    session.exec_output(start).await.unwrap()
}

/// Of those `ADDRESS PORT`, the ones to which a connection opens from inside the guest.
async fn reached(world: &World, spec: &RunSpec, targets: &[String]) -> Vec<String> {
    let script = format!(
        "try() {{ timeout 4 bash -c \"exec 3<>/dev/tcp/$1/$2\" 2>/dev/null && echo \"$1 $2\"; }}\n{}\nwait",
        targets
            .iter()
            .map(|target| format!("try {target} &\n"))
            .collect::<String>()
    );
    let output = exec(world, spec, &script).await;
    let mut reached: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    reached.sort();
    reached
}

fn own_addresses() -> Vec<String> {
    sh_ok("ip -4 -o addr show | awk '{split($4, a, \"/\"); print a[1]}'")
        .lines()
        .map(Into::into)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_a_network_reaches_the_outside_and_nothing_of_ours() {
    let Some(images) = images() else { return };
    if !inside("a_guest_with_a_network_reaches_the_outside_and_nothing_of_ours") {
        return;
    }
    let outside = Outside::new("rtest-out", "198.51.100.", "10.77.1.");
    let mut server = outside.serve(8001);
    let world = world(images, NetworkMode::Auto).await;
    let before = world.files();
    let spec = wanted("network", 1);
    run(&world, &spec).await;
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut targets: Vec<String> = own_addresses()
        .iter()
        .map(|address| format!("{address} {port}"))
        .collect();
    assert!(targets.len() >= 4, "{targets:?}");
    targets.extend(["169.254.169.254 80", "10.77.1.2 8001", "172.31.255.1 80"].map(String::from));
    // The guest has a loopback of its own.
    targets.retain(|target| !target.starts_with("127."));
    targets.push("198.51.100.2 8001".into());
    assert_eq!(
        reached(&world, &spec, &targets).await,
        ["198.51.100.2 8001"]
    );

    // Inside: root's rights over the machine, and no way to anything but the same.
    let output = exec(
        &world,
        &spec,
        "sudo ip addr add 172.31.254.9/32 dev eth0; id -un; hostname; pwd",
    )
    .await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "dev\nsample\n/workspaces/sample\n");

    exec(&world, &spec, "echo kept > /workspaces/sample/file; sync").await;
    world.host.stop(&spec.workspace, 20_000).await.unwrap();
    let spec = wanted("network", 2);
    run(&world, &spec).await;
    let world = world.restart().await;
    assert_eq!(
        exec(&world, &spec, "cat /workspaces/sample/file")
            .await
            .stdout,
        b"kept\n"
    );
    world.host.delete(&spec.workspace).await.unwrap();
    let name = host_agent::runner::end::network_name(&spec.workspace);
    assert_eq!(traces(&name), "");
    assert_eq!(world.processes(), [0; 0]);
    let left: Vec<_> = world
        .files()
        .into_iter()
        .filter(|file| {
            // What the store has of it goes with the next collections.
            let stays = ["images", "vmm", "store"];
            !before.contains(file) && !stays.iter().any(|folder| file.starts_with(folder))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_without_a_network_reaches_nothing_at_all() {
    let Some(images) = images() else { return };
    let world = world(images, NetworkMode::Off).await;
    let spec = wanted("isolated", 1);
    run(&world, &spec).await;
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut targets: Vec<String> = own_addresses()
        .iter()
        .filter(|address| !address.starts_with("127."))
        .map(|address| format!("{address} {port}"))
        .collect();
    // The usual gateways of user-mode networking, too.
    targets
        .extend(["10.0.2.2", "10.0.2.3", "169.254.169.254"].map(|host| format!("{host} {port}")));
    assert_eq!(reached(&world, &spec, &targets).await, [""; 0]);
    world.host.delete(&spec.workspace).await.unwrap();
    assert_eq!(world.processes(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cycles_with_real_machines_leave_nothing_behind() {
    let Some(images) = images() else { return };
    if !inside("cycles_with_real_machines_leave_nothing_behind") {
        return;
    }
    let cycles: u64 = std::env::var("ROOST_VM_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let world = world(images, NetworkMode::Auto).await;
    for cycle in 1..=cycles {
        let spec = wanted("cycles", 2 * cycle - 1);
        run(&world, &spec).await;
        world.host.stop(&spec.workspace, 20_000).await.unwrap();
        run(&world, &wanted("cycles", 2 * cycle)).await;
        world.host.delete(&spec.workspace).await.unwrap();
        let name = host_agent::runner::end::network_name(&spec.workspace);
        assert_eq!(traces(&name), "");
        assert_eq!(world.processes(), [0; 0]);
        let left: Vec<_> = world
            .files()
            .into_iter()
            .filter(|file| file.components().count() > 1)
            .filter(|file| file.starts_with("run") || file.starts_with("workspaces"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Writes records of 4 KiB to the file PATH, each with its number, and says each number once it is durable.
const WRITER: &str = r#"
import os, struct
file = os.open("PATH", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
number = 0
while True:
    number += 1
    os.write(file, struct.pack("<I", number) * 1024)
    os.fdatasync(file)
    print(number, flush=True)
"#;

/// Fails when one of the first COUNT records of PATH is not what it was.
const READER: &str = r#"
import struct
file = open("PATH", "rb")
for number in range(1, COUNT + 1):
    assert file.read(4096) == struct.pack("<I", number) * 1024, number
"#;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Vmm,
    Monitor,
    DiskServer,
    /// VMM, monitor and disk server at once.
    All,
}

fn python(script: &str) -> ExecStart {
    ExecStart {
        command: ["python3", "-c", script].map(String::from).into(),
        ..ExecStart::default()
    }
}

/// Writes until `many` records were acknowledged, then kills; goes on listening until the end, or until as many
/// again were acknowledged. Returns the last.
async fn write_and_kill(
    world: &World,
    spec: &RunSpec,
    path: &str,
    many: u32,
    victim: Victim,
) -> u32 {
    let session = session(world, spec).await;
    let writer = python(&WRITER.replace("PATH", path));
    let mut exec = session.exec(writer).await.unwrap();
    let (mut said, mut last, mut killed) = (String::new(), 0, false);
    while let Ok(Some(event)) = exec.next().await {
        let ExecEvent::Stdout { bytes, .. } = event else {
            continue;
        };
        said += std::str::from_utf8(&bytes).unwrap();
        while let Some((line, rest)) = said.split_once('\n') {
            last = line.parse().unwrap();
            said = rest.to_owned();
        }
        if last >= many && !killed {
            killed = true;
            kill(world, spec, victim);
        }
        if last >= 2 * many {
            break;
        }
    }
    assert!(killed, "the writer ended after {last}");
    last
}

fn kill(world: &World, spec: &RunSpec, victim: Victim) {
    let monitor = world.monitor_process(&spec.workspace);
    let children = format!("/proc/{monitor}/task/{monitor}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let children = children
        .split_whitespace()
        .map(|id| id.parse::<u32>().unwrap());
    let (servers, vmms): (Vec<u32>, Vec<u32>) = children.partition(|child| {
        let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("disk-server")
    });
    let victims = match victim {
        Victim::Vmm => vmms,
        Victim::Monitor => vec![monitor],
        Victim::DiskServer => servers,
        Victim::All => [vec![monitor], servers, vmms].concat(),
    };
    for victim in victims {
        signal(victim, rustix::process::Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_whoever_is_killed() {
    let Some(images) = images() else { return };
    let mut world = world(images, NetworkMode::Off).await;
    let victims = [
        Victim::Vmm,
        Victim::DiskServer,
        Victim::Monitor,
        Victim::All,
        Victim::Vmm,
        Victim::DiskServer,
    ];
    let mut epoch = 1;
    let mut written = Vec::new();
    run(&world, &wanted("killed", epoch)).await;
    for (round, victim) in (0u32..).zip(victims) {
        let spec = wanted("killed", epoch);
        let path = format!("/workspaces/sample/records-{round}");
        // Moments of no pattern.
        let many = 5 + round * 37 % 60;
        let acknowledged = write_and_kill(&world, &spec, &path, many, victim).await;
        written.push((path, acknowledged));
        if round % 2 == 1 {
            world = world.restart().await;
        }
        let survives = matches!(victim, Victim::DiskServer);
        if !survives {
            let failed = |observed: &Observed| matches!(observed, Observed::Failed { .. });
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            while !failed(&world.host.observe(&spec.workspace).await)
                && !matches!(
                    world.host.observe(&spec.workspace).await,
                    Observed::Stopped { .. }
                )
            {
                assert!(std::time::Instant::now() < deadline, "{victim:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            epoch += 1;
            run(&world, &wanted("killed", epoch)).await;
        }
        // Also what earlier rounds wrote.
        for (path, count) in &written {
            let reader = READER.replace("PATH", path);
            let reader = reader.replace("COUNT", &count.to_string());
            let output = exec(&world, &spec, &format!("python3 -c '{reader}'")).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.success(),
                "{victim:?} in round {round}, {path}: {said}"
            );
        }
    }
    let spec = wanted("killed", epoch);
    world.host.stop(&spec.workspace, 20_000).await.unwrap();
    check_file_system(&world, &spec);
    world.host.delete(&spec.workspace).await.unwrap();
}

const FILE: &str = "/workspaces/sample/file";

async fn write(world: &World, spec: &RunSpec, text: &str) {
    let script = format!("echo {text} > {FILE}; sync");
    assert!(exec(world, spec, &script).await.success());
}

async fn written(world: &World, spec: &RunSpec) -> String {
    let output = exec(world, spec, &format!("cat {FILE}")).await;
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_goes_back_to_a_point_in_time_and_another_begins_with_one() {
    let Some(images) = images() else { return };
    let world = world(images, NetworkMode::Off).await;
    let host = &world.host;
    let spec = wanted("points", 1);
    let workspace = &spec.workspace;
    let take = |name: &str| host.take_point(workspace, name.into());
    run(&world, &spec).await;
    write(&world, &spec, "first").await;
    let first = take("first").await.unwrap();
    write(&world, &spec, "second").await;
    let refused = host.go_back(workspace, first.number).await.unwrap_err();
    assert!(matches!(refused, HostError::NotAtRest), "{refused}");
    // Its file system grows with it.
    let blocks = "df --output=size -BG / | tail -n 1";
    let before = exec(&world, &spec, blocks).await.stdout;
    host.grow_disk(workspace, 20).await.unwrap();
    let after = exec(&world, &spec, blocks).await.stdout;
    let gib = |text: Vec<u8>| -> u64 {
        let text = String::from_utf8(text).unwrap();
        text.trim().trim_end_matches('G').parse().unwrap()
    };
    let (before, after) = (gib(before), gib(after));
    assert!(
        before <= 16 && (19..=20).contains(&after),
        "{before} {after}"
    );
    let live = host.points(workspace).await.unwrap().now.live;
    assert!(live.is_some_and(|live| live.local > 0));
    host.stop(workspace, 20_000).await.unwrap();
    let second = take("second").await.unwrap();

    let refused = host.go_back(workspace, 999).await.unwrap_err();
    assert!(
        matches!(refused, HostError::NoPoint { number: 999 }),
        "{refused}"
    );
    let left = host.go_back(workspace, first.number).await.unwrap();
    assert_eq!(left.kind, PointKind::Branch);
    let spec = wanted("points", 2);
    run(&world, &spec).await;
    assert_eq!(written(&world, &spec).await, "first");

    // Both lines are there, each with what it followed.
    let points = host.points(workspace).await.unwrap();
    let follows: Vec<_> = points
        .points
        .iter()
        .map(|point| {
            let follows = point.follows.as_ref().map(|follows| follows.number);
            (point.number, follows)
        })
        .collect();
    assert_eq!(
        follows,
        [
            (first.number, None),
            (second.number, Some(first.number)),
            (left.number, Some(second.number)),
        ]
    );
    let follows = points.now.follows.as_ref().map(|follows| follows.number);
    assert_eq!(follows, Some(first.number));
    let once = points.stored;
    let counted = |point: &Point| 0 < point.stored && point.stored <= once;
    assert!(points.points.iter().all(counted), "{points:?}");

    // Also one that is the newest version, of a machine that runs.
    let third = take("third").await.unwrap();
    host.remove_point(workspace, third.number).await.unwrap();
    let numbers = || async {
        let points = host.points(workspace).await.unwrap().points;
        points.iter().map(|point| point.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers().await, [first.number, second.number, left.number]);

    let mut fork = wanted("points-fork", 1);
    // Also at a start.
    fork.size.disk_gib = 24;
    fork.origin = Some(Origin {
        workspace: workspace.clone(),
        number: second.number,
    });
    run(&world, &fork).await;
    assert_eq!(written(&world, &fork).await, "second");
    let grown = gib(exec(&world, &fork, blocks).await.stdout);
    assert!((23..=24).contains(&grown), "{grown}");
    // It needs nothing of the other any more, and the other nothing of it.
    host.delete(workspace).await.unwrap();
    host.stop(&fork.workspace, 20_000).await.unwrap();
    fork.epoch = 2;
    run(&world, &fork).await;
    assert_eq!(written(&world, &fork).await, "second");
    host.stop(&fork.workspace, 20_000).await.unwrap();
    check_file_system(&world, &fork);
    host.delete(&fork.workspace).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_whose_disk_is_full_boots_and_says_what_takes_the_room() {
    let Some(images) = images() else { return };
    let world = world(images, NetworkMode::Off).await;
    let spec = wanted("full", 1);
    run(&world, &spec).await;
    // Also what is kept for root, so that not a block is left.
    let fill = "sudo mkdir -p /workspaces/sample/target/big; cd /workspaces/sample/target/big; \
                sudo fallocate -l $(( ($(stat -f -c %f /) - 2048) * 4096 )) most; \
                sudo dd if=/dev/zero of=rest bs=4k 2>/dev/null; sync; df --output=pcent / | tail -n 1";
    let used = exec(&world, &spec, fill).await.stdout;
    assert_eq!(String::from_utf8_lossy(&used).trim(), "100%");
    world.host.stop(&spec.workspace, 20_000).await.unwrap();
    let spec = wanted("full", 2);
    run(&world, &spec).await;
    let largest = world.host.largest_folders(&spec.workspace).await.unwrap();
    assert_eq!(largest[0].path, "/workspaces/sample/target/big");
    // It can be used, and room can be made.
    let output = exec(
        &world,
        &spec,
        "sudo rm -r /workspaces/sample/target; echo ok > file; cat file",
    )
    .await;
    assert_eq!(output.stdout, b"ok\n");
    world.host.delete(&spec.workspace).await.unwrap();
}

/// Of the disk as it is here.
fn check_file_system(world: &World, spec: &RunSpec) {
    let monitor = world.config.data.join("run");
    let monitor = monitor.join(host_agent::folders::short(&spec.workspace));
    let disk = ServerSpec::read(&monitor.join("disk.json")).unwrap().disk;
    let disk = disk.open(None).unwrap();
    let image = world.folder.path().join("image");
    let file = std::fs::File::create(&image).unwrap();
    storage::export::raw(&disk, &file, OnDamage::Refuse, &mut |_, _| {}).unwrap();
    let output = std::process::Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(&image)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
