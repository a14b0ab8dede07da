//! The program `roost` as an operator meets it: what it says when it starts, and what it refuses.
#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A data folder with a short path, as sockets need, and without a network for machines.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("roost")
        .tempdir_in("/tmp")
        .unwrap();
    std::fs::write(
        folder.path().join("config.toml"),
        "[network]\nmode = 'off'\n",
    )
    .unwrap();
    folder
}

fn roost(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
    command
        .args(arguments)
        .env("ROOST_DATA", data)
        .env_remove("ROOST_IMAGES")
        .env_remove("ROOST_WEB")
        .stdin(Stdio::null());
    command
}

/// What `roost` said, when it was expected to end by itself.
fn run(data: &Path, arguments: &[&str]) -> Output {
    roost(data, arguments).output().unwrap()
}

fn refusal(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    String::from_utf8(output.stderr).unwrap()
}

struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["--json", "up"], arguments].concat();
        let mut child = roost(data, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, ready }
    }

    fn port(&self) -> u16 {
        self.ready["url"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Asks it to end, and waits.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_says_where_it_is_and_ends_in_order() {
    let data = folder();
    let server = Server::start(data.path(), &["--port", "0"]);
    let url = server.ready["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://localhost:"), "{url}");
    let link = server.ready["first_link"].as_str().unwrap();
    assert!(link.starts_with(&format!("{url}/welcome#")), "{link}");

    // Users are added while it runs.
    let added = run(
        data.path(),
        &["--json", "users", "add", "ada@example.org", "--name", "Ada"],
    );
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert!(
        added["link"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{url}/welcome#"))
    );
    let again = refusal(data.path(), &["users", "add", "ada@example.org"]);
    assert!(again.contains("ada@example.org"), "{again}");
    server.stop();
}

#[test]
fn a_second_server_on_the_folder_is_told_about_the_first() {
    let data = folder();
    let first = Server::start(data.path(), &["--port", "0"]);
    let said = refusal(data.path(), &["up", "--port", "0"]);
    assert!(
        said.contains(&format!("as process {}", first.ready["pid"])),
        "{said}"
    );
    // Killed without warning, it leaves nothing that stops the next.
    drop(first);
    Server::start(data.path(), &["--port", "0"]).stop();
}

#[test]
fn a_taken_port_means_the_next_one_now_and_later() {
    let data = folder();
    let first = Server::start(data.path(), &[]);
    let port = first.port();
    first.stop();
    let other = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let second = Server::start(data.path(), &[]);
    let moved = second.port();
    assert_ne!(moved, port);
    second.stop();
    drop(other);
    let third = Server::start(data.path(), &[]);
    assert_eq!(third.port(), moved, "the port was not remembered");
    let asked = refusal(folder().path(), &["up", "--port", &moved.to_string()]);
    assert!(asked.contains("taken"), "{asked}");
    third.stop();
}

#[test]
fn what_it_cannot_use_is_said_with_what_to_do() {
    let data = folder();
    std::fs::write(data.path().join("format"), "99\n").unwrap();
    let said = refusal(data.path(), &["up"]);
    assert!(
        said.contains("newer Roost") && said.contains("--data"),
        "{said}"
    );

    let data = folder();
    std::fs::write(data.path().join("config.toml"), "domian = 'x'\n").unwrap();
    let said = refusal(data.path(), &["up"]);
    assert!(
        said.contains("config.toml") && said.contains("domian"),
        "{said}"
    );

    let data = folder();
    let said = refusal(data.path(), &["up", "--address", "0.0.0.0", "--port", "0"]);
    assert!(
        said.contains("--tls local") && said.contains("--behind-proxy"),
        "{said}"
    );
    let said = refusal(
        data.path(),
        &[
            "up",
            "--tls-cert",
            "/nowhere.pem",
            "--tls-key",
            "/nowhere.pem",
        ],
    );
    assert!(said.contains("/nowhere.pem"), "{said}");
    let said = refusal(data.path(), &["up", "--behind-proxy", "proxy.example"]);
    assert!(said.contains("proxy.example"), "{said}");
    let said = refusal(data.path(), &["up", "--process-agent", "/bin/true"]);
    assert!(said.contains("for tests only"), "{said}");
}

#[test]
fn nobody_listens_to_others_while_a_fence_is_down() {
    // Without guest images it is not known how machines are isolated.
    let data = folder();
    let arguments = ["--address", "0.0.0.0", "--port", "0", "--tls", "local"];
    let said = refusal(data.path(), &[&["up"], &arguments[..]].concat());
    assert!(
        said.contains("--allow-weak-isolation") && said.contains("roost doctor"),
        "{said}"
    );
    let allowed = Server::start(
        data.path(),
        &[&arguments[..], &["--allow-weak-isolation"]].concat(),
    );
    assert!(
        allowed.ready["url"]
            .as_str()
            .unwrap()
            .starts_with("https://localhost:")
    );
    let trust = run(data.path(), &["--json", "trust"]);
    let trust: Value = serde_json::from_slice(&trust.stdout).unwrap();
    assert!(Path::new(trust["certificate"].as_str().unwrap()).exists());
    allowed.stop();
}

#[test]
fn the_doctor_names_what_is_off_and_the_remedy() {
    let data = folder();
    let looked = run(data.path(), &["doctor"]);
    let text = String::from_utf8(looked.stdout).unwrap();
    assert!(
        text.contains("✗ guest images") && text.contains("to mend it: "),
        "{text}"
    );
    let looked = run(data.path(), &["--json", "doctor"]);
    let report: Value = serde_json::from_slice(&looked.stdout).unwrap();
    assert!(report["layers"].as_array().unwrap().len() > 5);
}

#[test]
fn version_and_completions_need_no_server() {
    let data = folder();
    let version = run(data.path(), &["version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("roost {}\n", env!("CARGO_PKG_VERSION"))
    );
    let completions = run(data.path(), &["completions", "bash"]);
    assert!(
        String::from_utf8(completions.stdout)
            .unwrap()
            .contains("port-forward")
    );
}
