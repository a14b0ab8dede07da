//! The host's own requests: setting the machine up for a workspace, and stopping it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use guest_protocol::frames::{Configure, Configured, Shutdown};

use crate::git;
use crate::init;
use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, During, Outcome};

mod certificates;

/// Sets everything up; what is not the whole machine's happens in process mode too.
pub async fn configure(machine: &'static Machine, call: Call, request: Configure) -> Outcome {
    let folder = folder(machine, &request.folder)?;
    if machine.owned {
        own_machine(machine, &request).during(|| "configuring the machine".into())?;
    }
    write(machine, "etc/resolv.conf", &resolver(&request.nameservers))?;
    let identity = git::config::Identity {
        name: &request.git_user_name,
        email: &request.git_user_email,
    };
    let relay = machine.settings().git_relay_port;
    write(
        machine,
        "etc/gitconfig",
        &git::config::text(&identity, relay),
    )?;
    let trust = certificates::install(machine, &request.extra_certificates)?;
    let made = folder.clone();
    let folder_empty = machine
        .threads
        .run(move || {
            fs::create_dir_all(&made).during(|| format!("making {}", made.display()))?;
            let mut entries =
                fs::read_dir(&made).during(|| format!("listing {}", made.display()))?;
            Ok(entries.next().is_none())
        })
        .await?;
    {
        let mut settings = machine
            .settings
            .write()
            .expect("no code panics while it holds the settings");
        settings.workspace.clone_from(&folder);
        settings.environment = request.environment.into_iter().chain(trust).collect();
    }
    let folder = folder.to_string_lossy().into_owned();
    call.answer(Answer::Configured(Configured {
        folder,
        folder_empty,
    }))
    .await
}

/// Below the folder of workspaces, whatever was asked for.
fn folder(machine: &Machine, asked: &str) -> Result<PathBuf, CallError> {
    let below = Path::new(asked);
    let below = below.strip_prefix(machine.workspaces()).unwrap_or(below);
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(CallError::invalid(format!(
            "{asked} is not a folder below {}",
            machine.workspaces().display()
        )));
    }
    Ok(machine.workspaces().join(below))
}

/// What only a machine of one's own has: clock, randomness, name, network.
fn own_machine(machine: &Machine, request: &Configure) -> io::Result<()> {
    if request.time_ms != 0 {
        let time = rustix::time::Timespec {
            tv_sec: (request.time_ms / 1000) as i64,
            tv_nsec: (request.time_ms % 1000 * 1_000_000) as i64,
        };
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)?;
    }
    if !request.entropy.is_empty() {
        let random = fs::File::options().write(true).open("/dev/urandom")?;
        crate::sys::add_entropy(std::os::fd::AsFd::as_fd(&random), &request.entropy)?;
    }
    if !request.hostname.is_empty() {
        rustix::system::sethostname(request.hostname.as_bytes())?;
        let name = format!("{}\n", request.hostname);
        put(&machine.root.join("etc/hostname"), &name)?;
        let hosts_file = machine.root.join("etc/hosts");
        // Without the file there is nothing to keep.
        let before = fs::read_to_string(&hosts_file).unwrap_or_default();
        put(&hosts_file, &hosts(&before, &request.hostname))?;
    }
    if request.network {
        init::network::bring_up_ethernet()?;
    }
    Ok(())
}

/// The machine's own name with what else the file holds; sudo asks for it.
fn hosts(before: &str, hostname: &str) -> String {
    let others = before.lines().filter(|line| !line.starts_with("127.0.1.1"));
    let others: String = others.map(|line| format!("{line}\n")).collect();
    format!("{others}127.0.1.1 {hostname}\n")
}

fn resolver(nameservers: &[String]) -> String {
    nameservers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect()
}

fn write(machine: &Machine, path: &str, content: &str) -> Result<(), CallError> {
    let path = machine.root.join(path);
    put(&path, content).during(|| format!("writing {}", path.display()))
}

/// Writes one of root's files, replacing whatever is there, a link too, unless it says the same already.
fn put(path: &Path, content: &str) -> io::Result<()> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if is_file && fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let fresh = path.with_extension("roost-new");
    let written = fs::write(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // It may be what has no room.
        let _ = fs::remove_file(&fresh);
    }
    unless_full(written, path)
}

/// A full disk keeps no machine from starting, as it takes the machine to make room: what is there has to do.
fn unless_full(written: io::Result<()>, path: &Path) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(path = %path.display(), "stays as it is: the disk is full");
            Ok(())
        }
        written => written,
    }
}

/// Answers, then stops the machine. Returns in process mode only if the process cannot end.
pub async fn shut_down(machine: &'static Machine, call: Call, request: Shutdown) -> Outcome {
    let grace = Duration::from_millis(request.grace_ms.into());
    call.done().await?;
    // Not part of this call: its session ends on the way.
    machine.interactive.spawn(async move {
        init::shutdown::stop(machine, grace, init::shutdown::Ending::PowerOff).await;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_unless_it_says_the_same_and_a_full_disk_is_borne() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        put(&path, "one").unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        put(&path, "one").unwrap();
        assert_eq!(inode(&path), before);
        put(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let fails = |kind: io::ErrorKind| unless_full(Err(kind.into()), &path);
        assert!(fails(io::ErrorKind::StorageFull).is_ok());
        assert!(fails(io::ErrorKind::PermissionDenied).is_err());
    }

    #[test]
    fn resolver_and_hosts_name_what_was_given() {
        assert_eq!(resolver(&["10.0.0.1".into()]), "nameserver 10.0.0.1\n");
        let hosts = hosts("127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.9 mine", "box");
        assert_eq!(hosts, "127.0.0.1 localhost\n10.0.0.9 mine\n127.0.1.1 box\n");
    }
}
