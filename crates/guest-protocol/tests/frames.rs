//! Frames that were ever written stay decodable: `fixtures/generation-1.txt` holds one of every kind.
//!
//! A line is the message, the kind, and the encoded frame in hexadecimal. Lines are only ever added: a frame of
//! a new kind is given a sample below and written by `ROOST_ADD_FIXTURES=1 cargo test -p guest-protocol`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use guest_protocol::frames::{
    self, ClientFrame, Data, FileEvent, FileInfo, Role, ServerFrame, StreamClass, StreamOpen,
    StreamOpened, TerminalSize, client_frame, failure, file_event, server_frame, stream_open,
};
use prost::Message;

/// Names of all variants, which the compiler keeps complete.
macro_rules! kinds {
    ($name:ident, $enum:path, $($variant:ident),+ $(,)?) => {
        mod $name {
            use $enum as Kind;
            pub const ALL: &[&str] = &[$(stringify!($variant)),+];
            pub fn name(kind: &Kind) -> &'static str {
                match kind { $(Kind::$variant(_) => stringify!($variant)),+ }
            }
        }
    };
}

kinds!(open, super::stream_open::Kind, Session, Tcp, Git);
kinds!(
    client,
    super::client_frame::Body,
    Hello,
    Cancel,
    Credit,
    Data,
    Ping,
    FileStat,
    FileList,
    FileRead,
    FileWrite,
    FileMakeDirectory,
    FileRename,
    FileCopy,
    FileRemove,
    FileWatch,
    FileArchive,
    FileExtract,
    FileLink,
    SearchText,
    SearchFiles,
    TerminalCreate,
    TerminalAttach,
    TerminalResize,
    TerminalClose,
    TerminalList,
    ExecStart,
    ExecAttach,
    ExecSignal,
    ExecList,
    PortsWatch,
    MetricsWatch,
    RepositoriesStatus,
    ListProcesses,
    WipSave,
    WipList,
    WipRestore,
    WipBundle,
    WipUnbundle,
    Configure,
    Shutdown,
);
kinds!(
    server,
    super::server_frame::Body,
    Welcome,
    Failure,
    Done,
    Data,
    Credit,
    Pong,
    FileInfo,
    FileListing,
    FileWritten,
    FileEvents,
    SearchMatches,
    SearchFinished,
    SearchPaths,
    TerminalState,
    TerminalExited,
    Terminals,
    ExecStarted,
    ExecExited,
    Execs,
    Ports,
    Metrics,
    Repositories,
    Processes,
    WipSaved,
    WipListing,
    WipRestored,
    WipBundled,
    WipUnbundled,
    Configured,
);

type Fixtures = BTreeMap<(String, String), Vec<u8>>;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/generation-1.txt")
}

fn fixtures() -> Fixtures {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (message, kind, digits) = (word(), word(), word());
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (
            (message, kind),
            (0..digits.len()).step_by(2).map(byte).collect(),
        )
    };
    text.lines().map(line).collect()
}

/// Decodes, and gives what it is and its bytes when encoded again.
fn again(message: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    match message {
        "StreamOpen" => {
            let frame = StreamOpen::decode(bytes).unwrap();
            (
                open::name(frame.kind.as_ref().unwrap()).into(),
                frame.encode_to_vec(),
            )
        }
        "StreamOpened" => {
            let frame = StreamOpened::decode(bytes).unwrap();
            let kind = if frame.failure.is_some() {
                "Failed"
            } else {
                "Opened"
            };
            (kind.into(), frame.encode_to_vec())
        }
        "ClientFrame" => {
            let frame = ClientFrame::decode(bytes).unwrap();
            (
                client::name(frame.body.as_ref().unwrap()).into(),
                frame.encode_to_vec(),
            )
        }
        "ServerFrame" => {
            let frame = ServerFrame::decode(bytes).unwrap();
            (
                server::name(frame.body.as_ref().unwrap()).into(),
                frame.encode_to_vec(),
            )
        }
        other => panic!("no message {other}"),
    }
}

#[test]
fn every_frame_ever_written_is_decoded_without_loss() {
    let fixtures = fixtures();
    assert!(!fixtures.is_empty());
    for ((message, kind), bytes) in fixtures {
        assert_eq!(again(&message, &bytes), (kind, bytes));
    }
}

#[test]
fn there_is_a_frame_of_every_kind() {
    let mut fixtures = fixtures();
    if std::env::var_os("ROOST_ADD_FIXTURES").is_some() {
        for (key, bytes) in samples() {
            fixtures.entry(key).or_insert(bytes);
        }
        let mut text = String::new();
        for ((message, kind), bytes) in &fixtures {
            write!(text, "{message} {kind} ").unwrap();
            bytes
                .iter()
                .for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(file(), text).unwrap();
    }
    let all = [
        ("StreamOpen", open::ALL),
        ("StreamOpened", &["Opened", "Failed"][..]),
        ("ClientFrame", client::ALL),
        ("ServerFrame", server::ALL),
    ];
    for (message, kinds) in all {
        for kind in kinds {
            let key = (message.to_owned(), (*kind).to_owned());
            assert!(fixtures.contains_key(&key), "no {message} {kind}");
        }
    }
}

/// What today's code says with those frames is still what the fixtures say.
#[test]
fn samples_decode_to_the_same_as_their_fixtures() {
    let fixtures = fixtures();
    for (key, bytes) in samples() {
        assert_eq!(fixtures.get(&key), Some(&bytes), "{key:?}");
    }
}

fn text(text: &str) -> String {
    text.into()
}

fn samples() -> Fixtures {
    let mut samples = Fixtures::new();
    let mut add = |message: &str, bytes: Vec<u8>| {
        let (kind, _) = again(message, &bytes);
        samples.insert((message.into(), kind), bytes);
    };
    for kind in opens() {
        add(
            "StreamOpen",
            StreamOpen { kind: Some(kind) }.encode_to_vec(),
        );
    }
    add(
        "StreamOpened",
        StreamOpened { failure: None }.encode_to_vec(),
    );
    add(
        "StreamOpened",
        StreamOpened {
            failure: Some(failed()),
        }
        .encode_to_vec(),
    );
    for (call, body) in requests().into_iter().enumerate() {
        add(
            "ClientFrame",
            ClientFrame {
                call: call as u64,
                body: Some(body),
            }
            .encode_to_vec(),
        );
    }
    for (call, body) in answers().into_iter().enumerate() {
        add(
            "ServerFrame",
            ServerFrame {
                call: call as u64,
                body: Some(body),
            }
            .encode_to_vec(),
        );
    }
    samples
}

fn opens() -> Vec<stream_open::Kind> {
    let session = frames::SessionStream {
        class: StreamClass::Bulk.into(),
        role: Role::Editor.into(),
    };
    vec![
        stream_open::Kind::Session(session),
        stream_open::Kind::Tcp(frames::TcpStream { port: 8080 }),
        stream_open::Kind::Git(frames::GitStream {}),
    ]
}

fn failed() -> frames::Failure {
    frames::Failure {
        kind: failure::Kind::Refused.into(),
        message: text("nobody listens"),
    }
}

fn data() -> Data {
    Data {
        offset: 300,
        bytes: vec![0, 255, 10].into(),
        channel: 1,
        end: true,
    }
}

fn reference() -> String {
    text("refs/roost/wip/main/20270101T000000.000Z")
}

fn size() -> Option<TerminalSize> {
    Some(TerminalSize {
        columns: 132,
        rows: 50,
    })
}

fn info() -> FileInfo {
    FileInfo {
        r#type: 1,
        symlink: true,
        size: 5_000_000_000,
        modified_ms: 1_790_000_000_123,
        created_ms: -5,
        mode: 0o755,
        version: text("1f.5"),
        name: text("naïve.txt"),
        writable: true,
        // Of later than the fixture.
        ..FileInfo::default()
    }
}

fn requests() -> Vec<client_frame::Body> {
    use client_frame::Body;
    let path = || text("/workspaces/demo/a b");
    let pair = || [(text("KEY"), text("a=b"))].into();
    vec![
        Body::Hello(frames::Hello {
            generation: 1,
            client: text("workbench 0.1.0"),
        }),
        Body::Cancel(frames::Cancel {}),
        Body::Credit(frames::Credit { bytes: 65_536 }),
        Body::Data(data()),
        Body::Ping(frames::Ping {}),
        Body::FileStat(frames::FileStat {
            path: path(),
            no_follow: true,
        }),
        Body::FileList(frames::FileList { path: path() }),
        Body::FileRead(frames::FileRead {
            path: path(),
            offset: 7,
            length: 9,
        }),
        Body::FileWrite(frames::FileWrite {
            path: path(),
            create: true,
            overwrite: true,
            if_version: text("v"),
            mode: 0o600,
            make_parents: true,
            // Of later than the fixture.
            ..frames::FileWrite::default()
        }),
        Body::FileMakeDirectory(frames::FileMakeDirectory {
            path: path(),
            parents: true,
        }),
        Body::FileRename(frames::FileRename {
            from: path(),
            to: text("/b"),
            overwrite: true,
        }),
        Body::FileCopy(frames::FileCopy {
            from: path(),
            to: text("/b"),
            overwrite: true,
        }),
        Body::FileRemove(frames::FileRemove {
            path: path(),
            recursive: true,
        }),
        Body::FileWatch(frames::FileWatch {
            path: path(),
            recursive: true,
            excludes: vec![text("**/node_modules/**")],
            resume: 8,
            resume_watch: vec![1, 2].into(),
        }),
        Body::FileArchive(frames::FileArchive {
            path: path(),
            zip: true,
        }),
        Body::FileExtract(frames::FileExtract { path: path() }),
        Body::SearchText(frames::SearchText {
            root: path(),
            pattern: text("a.*b"),
            regex: true,
            case_sensitive: true,
            whole_word: true,
            includes: vec![text("*.rs")],
            excludes: vec![text("target")],
            no_ignore: true,
            max_results: 10,
        }),
        Body::SearchFiles(frames::SearchFiles {
            root: path(),
            query: text("mn"),
            excludes: vec![text("target")],
            max_results: 10,
            no_ignore: true,
            includes: vec![text("*.rs")],
        }),
        Body::TerminalCreate(frames::TerminalCreate {
            size: size(),
            working_directory: path(),
            command: vec![text("bash"), text("-l")],
            environment: pair(),
            title: text("build"),
            key: text("k"),
        }),
        Body::TerminalAttach(frames::TerminalAttach {
            terminal: text("t1"),
            size: size(),
            have: 12_345,
            repaint: true,
        }),
        Body::TerminalResize(frames::TerminalResize {
            terminal: text("t1"),
            size: size(),
        }),
        Body::TerminalClose(frames::TerminalClose {
            terminal: text("t1"),
        }),
        Body::TerminalList(frames::TerminalList {}),
        Body::ExecStart(frames::ExecStart {
            command: vec![text("make"), text("-j2")],
            working_directory: path(),
            environment: pair(),
            root: true,
            linger_seconds: 5,
            stdin: true,
            key: text("k"),
        }),
        Body::ExecAttach(frames::ExecAttach {
            exec: text("x1"),
            stdout_offset: 1,
            stderr_offset: 2,
        }),
        Body::ExecSignal(frames::ExecSignal {
            exec: text("x1"),
            signal: 15,
        }),
        Body::ExecList(frames::ExecList {}),
        Body::PortsWatch(frames::PortsWatch {}),
        Body::MetricsWatch(frames::MetricsWatch { interval_ms: 500 }),
        Body::RepositoriesStatus(frames::RepositoriesStatus {}),
        Body::ListProcesses(frames::ListProcesses {}),
        Body::Configure(frames::Configure {
            hostname: text("demo"),
            time_ms: 1_790_000_000_123,
            workspace_name: text("demo"),
            git_user_name: text("Zoë"),
            git_user_email: text("zoe@example.org"),
            environment: pair(),
            extra_certificates: vec![text("PEM")],
            nameservers: vec![text("172.31.255.1")],
            folder: text("demo"),
            entropy: vec![9, 8, 7].into(),
            network: true,
        }),
        Body::Shutdown(frames::Shutdown { grace_ms: 3000 }),
        Body::FileLink(frames::FileLink {
            path: path(),
            target: text("../target"),
            overwrite: true,
        }),
        Body::WipSave(frames::WipSave {
            path: path(),
            reason: text("stop"),
            always: true,
        }),
        Body::WipList(frames::WipList { path: path() }),
        Body::WipRestore(frames::WipRestore {
            path: path(),
            reference: reference(),
        }),
        Body::WipBundle(frames::WipBundle {
            path: path(),
            reference: reference(),
            max_bytes: 1_000_000,
            whole: true,
        }),
        Body::WipUnbundle(frames::WipUnbundle { path: path() }),
    ]
}

fn answers() -> Vec<server_frame::Body> {
    use server_frame::Body;
    vec![
        Body::Welcome(frames::Welcome {
            generation: 1,
            agent_version: text("0.1.0"),
            boot: vec![3; 16].into(),
            home: text("/home/dev"),
            workspace: text("/workspaces/demo"),
            time_ms: 1_790_000_000_123,
        }),
        Body::Failure(failed()),
        Body::Done(frames::Done {}),
        Body::Data(data()),
        Body::Credit(frames::Credit { bytes: 65_536 }),
        Body::Pong(frames::Pong {}),
        Body::FileInfo(info()),
        Body::FileListing(frames::FileListing {
            entries: vec![info()],
            more: true,
        }),
        Body::FileWritten(frames::FileWritten { info: Some(info()) }),
        Body::FileEvents(frames::FileEvents {
            events: vec![FileEvent {
                kind: file_event::Kind::Deleted.into(),
                path: text("/a"),
            }],
            sequence: 9,
            rescan: true,
            watch: vec![1, 2].into(),
        }),
        Body::SearchMatches(frames::SearchMatches {
            files: vec![frames::FileMatches {
                path: text("/a"),
                lines: vec![frames::LineMatch {
                    line: 3,
                    text: text("a needle"),
                    spans: vec![frames::Span { start: 2, end: 8 }],
                }],
            }],
        }),
        Body::SearchFinished(frames::SearchFinished {
            limit_hit: true,
            files_searched: 99,
        }),
        Body::SearchPaths(frames::SearchPaths {
            paths: vec![text("/a"), text("/b")],
        }),
        Body::TerminalState(frames::TerminalState {
            terminal: text("t1"),
            offset: 77,
            continued: true,
            repaint: vec![27, 91, 72].into(),
            size: size(),
            title: text("bash"),
            process: 42,
        }),
        Body::TerminalExited(frames::TerminalExited {
            code: 9,
            signaled: true,
        }),
        Body::Terminals(frames::Terminals {
            terminals: vec![frames::terminals::Terminal {
                terminal: text("t1"),
                title: text("bash"),
                size: size(),
                process: 42,
                attached: 2,
                working_directory: text("/a"),
                created_ms: 1_790_000_000_123,
                foreground: text("vim"),
                command: vec![text("bash")],
                key: text("k"),
            }],
        }),
        Body::ExecStarted(frames::ExecStarted {
            exec: text("x1"),
            process: 43,
            stdout_offset: 1,
            stderr_offset: 2,
        }),
        Body::ExecExited(frames::ExecExited {
            code: 1,
            signaled: true,
        }),
        Body::Execs(frames::Execs {
            execs: vec![frames::execs::Exec {
                exec: text("x1"),
                command: vec![text("make")],
                process: 43,
                running: true,
                code: 3,
            }],
        }),
        Body::Ports(frames::Ports {
            ports: vec![frames::ports::Port {
                port: 8000,
                process: text("python3"),
                pid: 44,
                loopback_only: true,
                command: text("python3 -m http.server"),
            }],
        }),
        Body::Metrics(frames::Metrics {
            cpu: 0.75,
            cpus: 2,
            memory_used: 1,
            memory_total: 2,
            disk_used: 3,
            disk_total: 4,
            load: 1.5,
            uptime_ms: 5,
            processes: 6,
        }),
        Body::Repositories(frames::Repositories {
            repositories: vec![frames::repositories::Repository {
                path: text("/a"),
                branch: text("main"),
                uncommitted: 1,
                unpushed: 2,
                no_remote: true,
                stashes: 3,
                error: text("no"),
            }],
        }),
        Body::Processes(frames::Processes {
            processes: vec![frames::processes::Process {
                pid: 1,
                parent: 2,
                user: text("dev"),
                memory: 3,
                cpu_seconds: 0.25,
                command: text("vim"),
            }],
        }),
        Body::Configured(frames::Configured {
            folder: text("/workspaces/demo"),
            folder_empty: true,
        }),
        Body::WipSaved(frames::WipSaved {
            repositories: vec![frames::wip_saved::Repository {
                path: text("/a"),
                reference: reference(),
                commit: text("1234"),
                changed: true,
                files: 2,
                bytes: 5_000_000_000,
                left_out: vec![text("video")],
                error: text("no"),
            }],
            more: true,
        }),
        Body::WipListing(frames::WipListing {
            repositories: vec![frames::wip_listing::Repository {
                path: text("/a"),
                saved: vec![frames::wip_listing::Saved {
                    reference: reference(),
                    commit: text("1234"),
                    branch: text("main"),
                    head: text("5678"),
                    time_ms: 1_790_000_000_123,
                    reason: text("timer"),
                    operation: text("merge"),
                    files: 1,
                    bytes: 2,
                    insertions: 3,
                    deletions: 4,
                }],
                error: text("no"),
            }],
            more: true,
        }),
        Body::WipRestored(frames::WipRestored {
            before: reference(),
            before_commit: text("1234"),
            files: 2,
        }),
        Body::WipBundled(frames::WipBundled {
            reference: reference(),
            commit: text("1234"),
        }),
        Body::WipUnbundled(frames::WipUnbundled {
            references: vec![reference()],
        }),
    ]
}
