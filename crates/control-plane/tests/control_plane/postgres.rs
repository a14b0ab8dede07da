//! A PostgreSQL server of the distribution, in a folder and on a port of its own, for as long as the tests run.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    databases: Mutex<u32>,
}

/// Address of a new, empty database.
pub fn database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = start();
        stop_at_exit(&server);
        server
    });
    let number = {
        let mut databases = server
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *databases += 1;
        *databases
    };
    let name = format!("roost{number}");
    run(as_postgres(&server.programs.join("createdb")).args([
        "-h",
        "127.0.0.1",
        "-p",
        &server.port.to_string(),
        "-U",
        "postgres",
        &name,
    ]));
    format!("postgres://postgres@127.0.0.1:{}/{name}", server.port)
}

fn start() -> Server {
    let programs = programs();
    let folder = tempfile::Builder::new()
        .prefix("roost-postgres")
        .tempdir()
        .unwrap();
    if is_root() {
        let (user, group) = postgres_ids();
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    let data = folder.path().join("data");
    run(as_postgres(&programs.join("initdb"))
        .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
        .arg(&data));
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = format!(
        "-c listen_addresses=127.0.0.1 -p {port} -c fsync=off -k {}",
        folder.path().display()
    );
    run(as_postgres(&programs.join("pg_ctl"))
        .arg("-D")
        .arg(&data)
        .args(["-w", "-t", "60", "-l"])
        .arg(folder.path().join("log"))
        .args(["-o", &options, "start"]));
    Server {
        programs,
        folder,
        port,
        databases: Mutex::new(0),
    }
}

/// Nothing of it is left, however the tests end: a small process waits for ours to be gone.
fn stop_at_exit(server: &Server) {
    let folder = server.folder.path();
    let stop = as_postgres(&server.programs.join("pg_ctl"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-m", "immediate", "stop"])
        .get_args()
        .map(|argument| format!("'{}'", argument.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ");
    let program = if is_root() {
        "runuser".into()
    } else {
        server.programs.join("pg_ctl")
    };
    let script = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.2; done; '{}' {stop}; rm -rf '{}'",
        std::process::id(),
        program.display(),
        folder.display()
    );
    #[expect(
        clippy::zombie_processes,
        reason = "it outlives the test that starts it"
    )]
    let _watcher = Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
}

fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect(
        "there is no PostgreSQL server here: sudo ./dev deps, or apt-get install postgresql",
    )
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

fn postgres_ids() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("Debian's package makes a user postgres: sudo ./dev deps")
        .split(':')
        .collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

fn run(command: &mut Command) {
    let started = Instant::now();
    let output: io::Result<_> = command.current_dir("/").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success() && started.elapsed() < Duration::from_secs(120),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
