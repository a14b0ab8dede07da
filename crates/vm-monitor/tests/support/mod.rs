//! A folder with a monitor in it, for one test; and what tests ask of it.
#![allow(dead_code)] // each test target uses its own part

pub mod agent;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk_server::ServerSpec;
use guest_protocol::codec::read_message;
use guest_protocol::frames::{StreamOpen, StreamOpened, TcpStream, stream_open};
use microvm::spec::{DriverSpec, Jail, MACHINE, NetworkSpec, ProcessSpec, VmSpec};
use monitor_protocol::client::MonitorClient;
use monitor_protocol::messages::vm_status::Phase;
use monitor_protocol::messages::{Kill, VmStatus, request};
use prost::Message;
use tokio::net::UnixStream;
use vm_monitor::MonitorSpec;
use vm_monitor::folder::Folder;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of one monitor. Dropping it ends the monitor.
pub struct World {
    pub temporary: tempfile::TempDir,
    pub folder: Folder,
    /// Starts the monitor with the `process` driver allowed.
    pub monitor_program: PathBuf,
}

impl World {
    pub fn new() -> Self {
        let temporary = tempfile::Builder::new()
            .prefix("vm-monitor-")
            .tempdir()
            .unwrap();
        let folder = Folder::new(temporary.path().join("vm"));
        let monitor_program = temporary.path().join("monitor");
        let monitor = env!("CARGO_BIN_EXE_roost-vm-monitor");
        script(
            &monitor_program,
            &format!("ROOST_ALLOW_PROCESS_DRIVER=1 exec {monitor} \"$@\""),
        );
        Self {
            temporary,
            folder,
            monitor_program,
        }
    }

    /// A VM that is the test's own agent as a plain process.
    pub fn process_spec(&self) -> MonitorSpec {
        let root_folder = self.temporary.path().join("guest");
        fs::create_dir_all(&root_folder).unwrap();
        let driver = DriverSpec::Process(ProcessSpec {
            agent: agent::program(self.temporary.path()),
            root_folder,
        });
        MonitorSpec::new("test", vm(driver))
    }

    pub fn spawn(&self, spec: &MonitorSpec) {
        self.spawn_with(spec, None);
    }

    pub fn spawn_with(&self, spec: &MonitorSpec, disk: Option<&ServerSpec>) {
        vm_monitor::spawn(&self.monitor_program, self.folder.path(), spec, disk).unwrap();
    }

    pub fn client(&self) -> MonitorClient {
        MonitorClient::new(self.folder.socket())
    }

    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.console()).unwrap_or_default()).into_owned()
    }

    /// Waits for a status that fits, which has to come within `deadline`.
    pub async fn wait_within(
        &self,
        deadline: Duration,
        what: &str,
        fits: impl Fn(&VmStatus) -> bool,
    ) -> VmStatus {
        let until = Instant::now() + deadline;
        let mut last = None;
        while Instant::now() < until {
            // The socket appears shortly after the monitor was spawned.
            if let Ok(mut watch) = self.client().watch().await {
                let left = until.saturating_duration_since(Instant::now());
                while let Ok(Ok(Some(status))) = tokio::time::timeout(left, watch.next()).await {
                    if fits(&status) {
                        return status;
                    }
                    last = Some(status);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!(
            "{what}: last seen {last:?}\n{}\n{}",
            self.log(),
            self.console()
        );
    }

    pub async fn wait(&self, phase: Phase) -> VmStatus {
        self.wait_within(PATIENCE, &format!("{phase:?}"), |status| {
            status.phase() == phase
        })
        .await
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.log()).unwrap_or_default()
    }

    /// Opens a TCP stream to a port of the guest; gives the agent's answer and the stream.
    pub async fn tcp(&self, bulk: bool, port: u32) -> (StreamOpened, UnixStream) {
        let open = StreamOpen {
            kind: Some(stream_open::Kind::Tcp(TcpStream { port })),
        };
        self.open(bulk, &open).await
    }

    pub async fn open(&self, bulk: bool, open: &StreamOpen) -> (StreamOpened, UnixStream) {
        let mut stream = self
            .client()
            .open(bulk, Bytes::from(open.encode_to_vec()))
            .await
            .unwrap();
        let opened = read_message::<StreamOpened>(&mut stream)
            .await
            .unwrap()
            .unwrap();
        (opened, stream)
    }

    pub async fn kill(&self) -> VmStatus {
        self.client()
            .ask(request::Body::Kill(Kill {}))
            .await
            .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(monitor) = self.folder.monitor() {
            signal(monitor.process, rustix::process::Signal::KILL);
        }
    }
}

pub fn vm(driver: DriverSpec) -> VmSpec {
    VmSpec {
        machine: MACHINE,
        driver,
        vcpus: 1,
        memory_mib: 512,
        network: NetworkSpec::Isolated,
        jail: Jail::default(),
    }
}

/// An executable shell script with one line.
pub fn script(path: &Path, line: &str) {
    fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn signal(process: u32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    // Gone already is as good.
    let _ = rustix::process::kill_process(process, signal);
}

/// Stops a process and waits until all its threads stand: the signal alone takes its time.
pub fn freeze(process: u32) {
    signal(process, rustix::process::Signal::STOP);
    eventually("all threads stand", || {
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    });
}

pub fn lives(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Waits for a condition that has to come true.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
