//! What all parts of the agent share: whose machine it is, where things lie, which threads work on what.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use guest_protocol::link::Link;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::exec::Programs;
use crate::files::watch::Watches;
use crate::git::wip::Turns;
use crate::options::Options;
use crate::processes::Processes;
use crate::terminals::Terminals;
use crate::threads::Threads;
use crate::user::User;

/// Sessions at a time: two for each tab, and those of the host.
const MAX_SESSIONS: usize = 256;

/// The machine. There is one, for as long as the process lives.
pub struct Machine {
    pub user: User,
    /// Root's files that the agent writes lie below: `/` in a VM.
    pub root: PathBuf,
    /// Whether the whole machine is the agent's: clock, name, network.
    pub owned: bool,
    /// New at every start.
    pub boot: Bytes,
    /// What `Configure` has set.
    pub settings: RwLock<Settings>,
    pub threads: Threads,
    pub processes: Processes,
    pub terminals: Terminals,
    pub programs: Programs,
    pub watches: Watches,
    pub wip: Turns,
    /// Between savings of work in progress.
    pub wip_interval: Duration,
    /// Places for sessions.
    pub sessions: Semaphore,
    /// `cgroup.procs` of the user's processes.
    pub cgroup: OnceCell<Arc<OwnedFd>>,
    /// For what people feel: terminals live here.
    pub interactive: Handle,
    /// For everything that may take its time.
    pub bulk: Handle,
    /// The link over which the agent opens streams to the host, while there is one.
    pub bulk_link: watch::Sender<Option<Link>>,
}

/// What the host has configured.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Absolute; the folder that the editor opens.
    pub workspace: PathBuf,
    /// For terminals and programs, in addition to what every login has.
    pub environment: BTreeMap<String, String>,
    pub git_relay_port: Option<u16>,
}

/// What differs between a VM and a plain process.
pub struct Place {
    pub user: User,
    pub root: PathBuf,
    pub owned: bool,
    pub git_relay_port: Option<u16>,
    pub wip_interval: Duration,
}

impl Machine {
    /// Never freed: every part may hold on to it.
    pub fn start(
        place: Place,
        interactive: Handle,
        bulk: Handle,
    ) -> std::io::Result<&'static Self> {
        let Place {
            user,
            root,
            owned,
            git_relay_port,
            wip_interval,
        } = place;
        let threads = Threads::start(owned.then_some(&user))?;
        let workspace = root.join("workspaces");
        Ok(Box::leak(Box::new(Self {
            user,
            root,
            owned,
            boot: Bytes::copy_from_slice(&guest_protocol::link::random_nonce()),
            settings: RwLock::new(Settings {
                workspace,
                git_relay_port,
                ..Settings::default()
            }),
            threads,
            processes: Processes::default(),
            terminals: Terminals::default(),
            programs: Programs::default(),
            watches: Watches::default(),
            wip: Turns::default(),
            wip_interval,
            sessions: Semaphore::new(MAX_SESSIONS),
            cgroup: OnceCell::new(),
            interactive,
            bulk,
            bulk_link: watch::Sender::new(None),
        })))
    }

    /// Folders and user of process mode.
    pub fn for_tests(options: &Options) -> std::io::Result<Place> {
        let root = options.root_folder.canonicalize()?;
        let home = root.join("home");
        for folder in ["home", "workspaces", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let user = User::current(&home);
        Ok(Place {
            user,
            root,
            owned: false,
            git_relay_port: options.git_relay_port,
            wip_interval: options.wip_interval,
        })
    }

    pub fn settings(&self) -> Settings {
        self.settings
            .read()
            .expect("no code panics while it holds the settings")
            .clone()
    }

    /// The folder that the editor opens.
    pub fn workspace(&self) -> PathBuf {
        self.settings().workspace
    }

    /// Where workspaces lie.
    pub fn workspaces(&self) -> PathBuf {
        self.root.join("workspaces")
    }

    /// What a login of the user, or of root, finds in its environment.
    pub fn environment(&self, as_root: bool) -> BTreeMap<String, String> {
        let (name, home) = if as_root && self.owned {
            ("root".into(), PathBuf::from("/root"))
        } else {
            (self.user.name.clone(), self.user.home.clone())
        };
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut environment: BTreeMap<String, String> = [
            ("HOME", home.to_string_lossy().into_owned()),
            ("USER", name.clone()),
            ("LOGNAME", name),
            ("SHELL", self.user.shell.to_string_lossy().into_owned()),
            ("PATH", path.into()),
            ("LANG", "C.UTF-8".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if self.owned && !as_root {
            environment.insert(
                "XDG_RUNTIME_DIR".into(),
                format!("/run/user/{}", self.user.uid),
            );
        }
        if !self.owned {
            // git reads what the agent wrote, and not the real machine's configuration.
            let config = self.root.join("etc/gitconfig");
            environment.insert(
                "GIT_CONFIG_SYSTEM".into(),
                config.to_string_lossy().into_owned(),
            );
        }
        environment.extend(self.settings().environment);
        environment
    }
}
