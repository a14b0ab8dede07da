//! The monitor as the host agent sees it, with an agent that is a plain process.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::process::Command;
use std::time::Duration;

use guest_protocol::codec::read_message;
use guest_protocol::frames::{StreamOpen, StreamOpened, failure, stream_open};
use monitor_protocol::client::MonitorError;
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Continue, Pause, Stop, request};
use prost::Message;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use support::agent::{CUT, ECHO, GIT, REFUSED, SLEEP};
use support::{World, eventually, freeze, lives, signal};

/// Not a test but the agent of the others, see `support::agent`.
#[tokio::test]
async fn the_agent() {
    support::agent::run().await;
}

async fn ready() -> World {
    let world = World::new();
    world.spawn(&world.process_spec());
    world.wait(Phase::Ready).await;
    world
}

const STOP: request::Body = request::Body::Stop(Stop {
    deadline_ms: 20_000,
});

#[tokio::test]
async fn a_start_is_told_step_by_step() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    let names: Vec<_> = status.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["prepare", "vmm", "guest"]);
    assert!(lives(status.vmm_process));
    assert_eq!(
        world.folder.monitor().unwrap().process,
        status.monitor_process
    );
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end_each_by_itself() {
    let world = ready().await;
    let sent: Vec<u8> = (0..8_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    for bulk in [false, true] {
        let (opened, stream) = world.tcp(bulk, ECHO).await;
        assert_eq!(opened.failure, None);
        let (mut reader, mut writer) = stream.into_split();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        // The echo ends after our end was seen in the guest.
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut received));
        read.unwrap();
        assert!(received == sent, "{} bytes came back", received.len());
    }
}

/// Of the 8 MB that a workspace may take beside its VMM, most is the host agent's.
#[tokio::test]
async fn a_monitor_that_has_carried_much_holds_little() {
    let world = ready().await;
    let mut streams = Vec::new();
    for number in 0..20 {
        let (_, mut stream) = world.tcp(number % 2 == 0, ECHO).await;
        stream.write_all(&vec![7; 100_000]).await.unwrap();
        stream.read_exact(&mut vec![0; 100_000]).await.unwrap();
        streams.push(stream);
    }
    let monitor = world.folder.monitor().unwrap().process;
    let memory = std::fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
    let private = memory
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .unwrap();
    let kilobytes: u64 = private.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(
        kilobytes < 4096,
        "{kilobytes} kB with {} streams open",
        streams.len()
    );
}

#[tokio::test]
async fn the_guests_own_refusal_reaches_who_asked() {
    let world = ready().await;
    let (opened, mut stream) = world.tcp(false, REFUSED).await;
    assert_eq!(opened.failure.unwrap().kind(), failure::Kind::Refused);
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let world = ready().await;
    let (_, mut stuck) = world.tcp(false, ECHO).await;
    let stuck = tokio::spawn(async move { stuck.write_all(&vec![1; 32 << 20]).await });
    let (_, mut other) = world.tcp(false, ECHO).await;
    for _ in 0..100 {
        other.write_all(b"key").await.unwrap();
        let mut echo = [0; 3];
        other.read_exact(&mut echo).await.unwrap();
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

#[tokio::test]
async fn a_stop_is_orderly_and_leaves_nothing_behind() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    let end = world.client().ask(STOP).await.unwrap();
    assert_eq!(end.phase(), Phase::Exited);
    assert!(end.orderly, "{end:?}");
    eventually("the monitor ends when its VM's end was seen", || {
        !lives(status.monitor_process)
    });
    assert!(!lives(status.vmm_process));
    assert!(!world.folder.socket().exists());
    let record = world.folder.read_exit().unwrap().unwrap();
    assert!(record.orderly && record.was_ready, "{record:?}");
    assert!(world.folder.monitor().is_none());
}

#[tokio::test]
async fn a_kill_takes_everything_that_ran_in_the_guest() {
    let world = ready().await;
    let (_, mut stream) = world.tcp(false, SLEEP).await;
    let mut process = String::new();
    stream.read_to_string(&mut process).await.unwrap();
    let process: u32 = process.parse().unwrap();
    assert!(lives(process));
    let end = world.kill().await;
    assert!(
        !end.orderly && end.detail.contains("killed on request"),
        "{end:?}"
    );
    assert!(!lives(process));
}

#[tokio::test]
async fn a_vm_that_dies_is_noticed_within_a_second_and_its_console_says_more() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    signal(status.vmm_process, Signal::KILL);
    let exited = |status: &monitor_protocol::messages::VmStatus| status.phase() == Phase::Exited;
    let end = world
        .wait_within(Duration::from_secs(1), "the end is seen", exited)
        .await;
    assert!(!end.orderly);
    assert!(end.detail.contains("signal: 9"), "{}", end.detail);
    assert!(
        end.detail.contains("the agent says hello to its console"),
        "{}",
        end.detail
    );
    // It can be asked about for a while, and goes when somebody has been told.
    world.kill().await;
    eventually("the monitor ends", || !lives(status.monitor_process));
}

#[tokio::test]
async fn a_terminated_monitor_stops_its_vm_in_order() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    signal(status.monitor_process, Signal::TERM);
    let end = world.wait(Phase::Exited).await;
    assert!(end.orderly, "{end:?}");
}

#[tokio::test]
async fn a_vm_never_outlives_its_monitor() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    signal(status.monitor_process, Signal::KILL);
    eventually("the VMM dies with its monitor", || {
        !lives(status.vmm_process)
    });
    assert!(matches!(
        world.client().status().await,
        Err(MonitorError::Gone { .. })
    ));
    assert!(world.folder.monitor().is_none());
    // The folder is free again, and the new run owes nothing to the old.
    world.spawn(&world.process_spec());
    let again = world.wait(Phase::Ready).await;
    assert_ne!(again.monitor_process, status.monitor_process);
}

#[tokio::test]
async fn a_folder_has_one_monitor() {
    let world = ready().await;
    let error = vm_monitor::spawn(
        &world.monitor_program,
        world.folder.path(),
        &world.process_spec(),
        None,
    )
    .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    let second = Command::new(&world.monitor_program)
        .args(["vm-monitor", "--dir"])
        .arg(world.folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("another monitor runs"), "{text}");
    assert_eq!(world.client().status().await.unwrap().phase(), Phase::Ready);
}

/// Executed again by the next test, as the host agent that does not live long.
#[test]
fn the_host_agent() {
    if let Some(folder) = std::env::var_os("ROOST_TEST_HOST_AGENT") {
        let folder = vm_monitor::folder::Folder::new(folder);
        let spec = folder.read_spec().unwrap();
        let program = folder.path().parent().unwrap().join("monitor");
        vm_monitor::spawn(&program, folder.path(), &spec, None).unwrap();
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(
            children.trim(),
            "",
            "the monitor is nobody's child, and nothing is left unreaped"
        );
    }
}

#[tokio::test]
async fn a_monitor_outlives_who_started_it() {
    let world = World::new();
    std::fs::create_dir_all(world.folder.path()).unwrap();
    world.folder.write_spec(&world.process_spec()).unwrap();
    let parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_host_agent"])
        .env("ROOST_TEST_HOST_AGENT", world.folder.path())
        .output()
        .unwrap();
    assert!(
        parent.status.success(),
        "{}",
        String::from_utf8_lossy(&parent.stdout)
    );
    let status = world.wait(Phase::Ready).await;
    let (_, mut stream) = world.tcp(false, ECHO).await;
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).await.unwrap();
    assert_eq!(echo, "still here");
    assert!(lives(status.monitor_process));
}

#[tokio::test]
async fn git_in_the_guest_reaches_the_relay() {
    let world = World::new();
    let mut spec = world.process_spec();
    let socket = world.temporary.path().join("relay.sock");
    spec.relay_socket = Some(socket.clone());
    let relay = UnixListener::bind(socket).unwrap();
    world.spawn(&spec);
    world.wait(Phase::Ready).await;

    let (_, mut stream) = world.tcp(false, GIT).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (mut connection, _) = relay.accept().await.unwrap();
    let mut request = [0; 18];
    connection.read_exact(&mut request).await.unwrap();
    assert_eq!(&request, b"GET / HTTP/1.1\r\n\r\n");
    connection
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    drop(connection);
    let opened = read_message::<StreamOpened>(&mut stream)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(opened.failure, None);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[tokio::test]
async fn git_gets_an_error_when_nobody_relays() {
    let world = World::new();
    let mut spec = world.process_spec();
    spec.relay_socket = Some(world.temporary.path().join("nobody.sock"));
    world.spawn(&spec);
    world.wait(Phase::Ready).await;
    let (_, mut stream) = world.tcp(false, GIT).await;
    let opened = read_message::<StreamOpened>(&mut stream)
        .await
        .unwrap()
        .unwrap();
    assert!(opened.failure.unwrap().message.contains("relay"));
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_paused_vm_says_so_and_goes_on() {
    let world = ready().await;
    let (_, mut stream) = world.tcp(false, ECHO).await;
    world
        .client()
        .ask(request::Body::Pause(Pause {}))
        .await
        .unwrap();
    let status = world.wait(Phase::Paused).await;
    assert_eq!(status.detail, "paused on request");
    stream.write_all(b"x").await.unwrap();
    world
        .client()
        .ask(request::Body::Continue(Continue {}))
        .await
        .unwrap();
    world.wait(Phase::Ready).await;
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_silent_agent_is_reported_and_so_is_its_return() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    freeze(status.vmm_process);
    let silent = world.wait(Phase::Unresponsive).await;
    assert!(silent.detail.contains("does not answer"), "{silent:?}");
    signal(status.vmm_process, Signal::CONT);
    world.wait(Phase::Ready).await;
}

#[tokio::test]
async fn a_stop_that_the_guest_does_not_heed_becomes_a_kill() {
    let world = ready().await;
    let status = world.client().status().await.unwrap();
    freeze(status.vmm_process);
    let stop = request::Body::Stop(Stop { deadline_ms: 300 });
    let end = world.client().ask(stop).await.unwrap();
    assert!(
        !end.orderly && end.detail.contains("did not stop in time"),
        "{end:?}"
    );
}

#[tokio::test]
async fn the_process_driver_needs_to_be_allowed() {
    let world = World::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_roost-vm-monitor"));
    vm_monitor::spawn(program, world.folder.path(), &world.process_spec(), None).unwrap();
    eventually("the refusal is on record", || {
        world.folder.read_exit().unwrap().is_some()
    });
    let record = world.folder.read_exit().unwrap().unwrap();
    assert!(
        record.cause.contains("ROOST_ALLOW_PROCESS_DRIVER=1"),
        "{record:?}"
    );
    eventually("the monitor ends", || world.folder.monitor().is_none());
}

#[tokio::test]
async fn an_agent_that_cannot_be_started_is_explained() {
    let world = World::new();
    let mut spec = world.process_spec();
    let microvm::spec::DriverSpec::Process(process) = &mut spec.vm.driver else {
        unreachable!()
    };
    process.agent = "/nonexistent/roost-agent".into();
    world.spawn(&spec);
    eventually("the failure is on record", || {
        world.folder.read_exit().unwrap().is_some()
    });
    let record = world.folder.read_exit().unwrap().unwrap();
    assert!(
        record
            .cause
            .contains("/nonexistent/roost-agent cannot be started"),
        "{record:?}"
    );
}

#[tokio::test]
async fn garbage_on_the_socket_harms_nobody() {
    let world = ready().await;
    for garbage in [
        &b"\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x02\xff\xff",
        b"\0",
    ] {
        let mut connection = tokio::net::UnixStream::connect(world.folder.socket())
            .await
            .unwrap();
        connection.write_all(garbage).await.unwrap();
        connection.shutdown().await.unwrap();
        let _ = connection.read_to_end(&mut Vec::new()).await;
    }
    let unknown = request::Body::Status(Default::default());
    assert_eq!(
        world.client().ask(unknown).await.unwrap().phase(),
        Phase::Ready
    );
}

#[tokio::test]
async fn a_link_that_was_cut_comes_back() {
    let world = ready().await;
    for bulk in [false, true] {
        let open = guest_protocol::frames::TcpStream { port: CUT };
        let open = StreamOpen {
            kind: Some(stream_open::Kind::Tcp(open)),
        };
        let stream = world
            .client()
            .open(bulk, open.encode_to_vec().into())
            .await
            .unwrap();
        // Whatever was on it has ended.
        let _ = BufReader::new(stream).read_to_end(&mut Vec::new()).await;
        let (opened, mut stream) = world.tcp(bulk, ECHO).await;
        assert_eq!(opened.failure, None);
        stream.write_all(b"back").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut echo = String::new();
        stream.read_to_string(&mut echo).await.unwrap();
        assert_eq!(echo, "back");
    }
    assert_eq!(world.client().status().await.unwrap().phase(), Phase::Ready);
}

#[tokio::test]
async fn a_console_that_never_ends_fills_no_disk() {
    let world = World::new();
    let mut spec = world.process_spec();
    let microvm::spec::DriverSpec::Process(process) = &mut spec.vm.driver else {
        unreachable!()
    };
    process.agent = world.temporary.path().join("talker");
    support::script(
        &process.agent,
        "yes this is the guest | head -c 5000000; echo the last line",
    );
    world.spawn(&spec);
    let end = world.wait(Phase::Exited).await;
    assert!(end.phase() == Phase::Exited, "{end:?}");
    let console = world.console();
    assert!(
        console.len() <= 512 * 1024 && console.ends_with("the last line\n"),
        "{} bytes",
        console.len()
    );
}

#[tokio::test]
async fn a_spec_that_cannot_be_read_is_on_record() {
    let world = World::new();
    world.spawn(&world.process_spec());
    world.wait(Phase::Ready).await;
    world.kill().await;
    eventually("the monitor ends", || world.folder.monitor().is_none());
    std::fs::remove_file(world.folder.exit()).unwrap();
    std::fs::write(world.folder.spec(), "{").unwrap();
    let run = Command::new(&world.monitor_program)
        .args(["vm-monitor", "--dir"])
        .arg(world.folder.path())
        .status();
    assert!(run.unwrap().success(), "it did all it could");
    let record = world.folder.read_exit().unwrap().unwrap();
    assert!(
        record.cause.contains("spec.json cannot be read"),
        "{record:?}"
    );
}

#[test]
fn specs_of_other_versions_are_read() {
    let world = World::new();
    std::fs::create_dir_all(world.folder.path()).unwrap();
    // As format 2 was written first, with a field of a later one.
    std::fs::write(world.folder.spec(), include_str!("fixtures/spec-2.json")).unwrap();
    let spec = world.folder.read_spec().unwrap();
    assert_eq!(
        (spec.format, spec.name.as_str(), spec.vm.memory_mib),
        (2, "demo", 1024)
    );
    assert_eq!(spec.vm.jail.user, Some(100_000));
}
