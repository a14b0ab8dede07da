//! A gateway on a free port, with a scripted control plane and a scripted host whose guests are in this
//! process.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use fleet_api::control::{Caller, Directory, Route, Setting};
use fleet_api::host::*;
use fleet_api::points::{DiskPart, Origin, Point, Points};
use fleet_api::ticket::{Door, Ticket, TicketKey};
use fleet_api::upkeep::{Collection, Compaction, DiskCheck, Import, Steps};
use fleet_api::usage::HostUsage;
use fleet_api::work::{WorkListing, WorkName, WorkRestored, WorkSaved};
use fleet_api::{Download, Later};
use gateway::{Config, Gateway};
use model::{OrganizationId, UserId, WorkspaceId, WorkspaceName};
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::CancellationToken;

pub type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

pub struct World {
    pub address: SocketAddr,
    pub directory: Arc<FakeDirectory>,
    pub host: Arc<FakeHost>,
    pub key: TicketKey,
    pub http: reqwest::Client,
    pub stop: CancellationToken,
    /// The guest's ends of sessions that were connected.
    pub guests: tokio::sync::Mutex<mpsc::UnboundedReceiver<(GuestStream, DuplexStream)>>,
}

#[derive(Default)]
pub struct FakeDirectory {
    pub routes: Mutex<HashMap<String, Route>>,
    pub signed_out: Mutex<HashSet<String>>,
    /// It cannot tell now who is signed in.
    pub silent: Mutex<bool>,
    pub settings: Mutex<HashMap<(String, String), Setting>>,
    pub started: Mutex<Vec<String>>,
    pub touched: Mutex<usize>,
}

pub struct FakeHost {
    sessions: mpsc::UnboundedSender<(GuestStream, DuplexStream)>,
    pub ports: Mutex<HashMap<u16, SocketAddr>>,
    pub running: Mutex<bool>,
    pub accelerator: Accelerator,
    events: broadcast::Sender<HostEvent>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        // An error says that another test of this process did it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = TicketKey::new(&[7; 32]);
        let (sessions, guests) = mpsc::unbounded_channel();
        let host = Arc::new(FakeHost {
            sessions,
            ports: Mutex::default(),
            running: Mutex::new(true),
            accelerator: Accelerator::Tcg,
            events: broadcast::channel(1).0,
        });
        let directory = Arc::new(FakeDirectory::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let gateway = Gateway::new(config, directory.clone(), key.clone());
        let control = Router::new().fallback(|request: axum::extract::Request| async move {
            format!("control plane: {} {:?}", request.uri(), request.headers())
        });
        tokio::spawn(gateway.serve(control, listener, None, stop.clone()));
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let world = Self {
            address,
            directory,
            host,
            key,
            http,
            stop,
            guests: tokio::sync::Mutex::new(guests),
        };
        world.add_workspace("demo", "ada");
        world.add_workspace("other", "bob");
        world
    }

    /// One whose gateway notices at once that somebody signed out.
    pub async fn watchful() -> Self {
        let patience = gateway::session::Patience {
            sign_out: Duration::from_millis(20),
            ..Default::default()
        };
        Self::with(Config {
            patience,
            ..Config::default()
        })
        .await
    }

    /// What a program of the guest listens with on this port.
    pub async fn listen(&self, port: u16) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.host.ports.lock().unwrap().insert(port, address);
        listener
    }

    /// The sign-in or token of this name ends.
    pub fn sign_out(&self, session: &str) {
        self.directory
            .signed_out
            .lock()
            .unwrap()
            .insert(session.into());
    }

    pub fn add_workspace(&self, name: &str, owner: &str) {
        let route = Route {
            workspace: WorkspaceId::new(format!("id-{name}")),
            name: WorkspaceName::parse(name).unwrap(),
            owner: UserId::new(owner),
            owner_name: owner.into(),
            owner_email: format!("{owner}@example.org"),
            state: "running".into(),
            detail: String::new(),
            folder: format!("/workspaces/{name}"),
            host: Some(self.host.clone()),
        };
        self.directory
            .routes
            .lock()
            .unwrap()
            .insert(name.into(), route);
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Route)) {
        change(self.directory.routes.lock().unwrap().get_mut(name).unwrap());
    }

    /// A signed ticket for the workspace, of its owner.
    pub fn ticket(&self, name: &str, door: Door) -> String {
        self.ticket_with(name, door, |_| {})
    }

    pub fn ticket_with(&self, name: &str, door: Door, change: impl FnOnce(&mut Ticket)) -> String {
        let route = self.directory.routes.lock().unwrap()[name].clone();
        let mut ticket = Ticket {
            user: route.owner,
            workspace: route.workspace,
            role: GuestRole::Editor,
            door,
            session: format!("session-of-{name}"),
            expires_ms: u64::MAX / 2,
            nonce: format!("{door:?}-{:?}", std::time::Instant::now()),
        };
        change(&mut ticket);
        self.key.sign(&ticket)
    }

    pub fn authority(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    /// A request to one of our origins, by the host's name; nothing is resolved.
    pub fn request(
        &self,
        method: reqwest::Method,
        host: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .header("host", self.authority(host))
    }

    pub fn get(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, host, path)
    }

    pub fn navigate(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.get(host, path)
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
    }

    pub async fn web_socket(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Socket, tungstenite::Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = tungstenite::http::Request::builder()
            .uri(format!("ws://{}{path}", self.authority(host)))
            .header("host", self.authority(host))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header(
                "sec-websocket-key",
                tungstenite::handshake::client::generate_key(),
            );
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        tokio_tungstenite::client_async(request.body(()).unwrap(), stream)
            .await
            .map(|pair| pair.0)
    }

    /// The guest's end of the next session.
    pub async fn guest(&self) -> (GuestStream, DuplexStream) {
        within(async { self.guests.lock().await.recv().await.unwrap() }).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What must happen soon.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it took too long")
}

/// Starts this application as if it listened on `port` in the guest.
pub async fn app(world: &World, port: u16, router: Router) {
    let listener = world.listen(port).await;
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

impl Directory for FakeDirectory {
    fn route(&self, workspace: &str) -> Later<'_, Option<Route>> {
        let routes = self.routes.lock().unwrap();
        let found = routes.get(workspace).or_else(|| {
            routes
                .values()
                .find(|route| route.workspace.as_str() == workspace)
        });
        let found = found.cloned();
        Box::pin(async move { found })
    }

    fn session_is_valid(&self, session: &str) -> Later<'_, Option<bool>> {
        let valid = !self.signed_out.lock().unwrap().contains(session);
        let silent = *self.silent.lock().unwrap();
        Box::pin(async move { (!silent).then_some(valid) })
    }

    fn bearer(&self, token: &str) -> Later<'_, Option<Caller>> {
        let caller = token.strip_prefix("token-of-").map(|user| Caller {
            user: UserId::new(user),
            session: token.into(),
        });
        Box::pin(async move { caller })
    }

    fn start(&self, workspace: &WorkspaceId, _user: &UserId) -> Later<'_, Result<(), String>> {
        self.started.lock().unwrap().push(workspace.to_string());
        Box::pin(async { Ok(()) })
    }

    fn stop(&self, _workspace: &WorkspaceId, _user: &UserId) -> Later<'_, Result<(), String>> {
        Box::pin(async { Err("it cannot be stopped while it starts".into()) })
    }

    fn setting(&self, user: &UserId, name: &str) -> Later<'_, Setting> {
        let key = (user.to_string(), name.to_owned());
        let setting = self
            .settings
            .lock()
            .unwrap()
            .get(&key)
            .cloned()
            .unwrap_or_default();
        Box::pin(async move { setting })
    }

    fn save_setting(
        &self,
        user: &UserId,
        name: &str,
        expected: Option<i64>,
        text: &str,
    ) -> Later<'_, Result<i64, i64>> {
        let mut settings = self.settings.lock().unwrap();
        let setting = settings
            .entry((user.to_string(), name.to_owned()))
            .or_default();
        let answer = if expected.is_some_and(|expected| expected != setting.version) {
            Err(setting.version)
        } else {
            *setting = Setting {
                version: setting.version + 1,
                text: text.into(),
            };
            Ok(setting.version)
        };
        Box::pin(async move { answer })
    }

    fn touch(&self, _workspace: &WorkspaceId) {
        *self.touched.lock().unwrap() += 1;
    }
}

impl Host for FakeHost {
    fn describe(&self) -> Later<'_, HostDescription> {
        Box::pin(async {
            HostDescription {
                id: "fake".into(),
                vcpus: 1,
                memory_mib: 1,
                memory_promised_mib: 0,
                disk_free_mib: 1,
                accelerator: self.accelerator,
                layers: Vec::new(),
                version: "0".into(),
            }
        })
    }

    fn run(&self, _spec: RunSpec) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway starts nothing")
    }

    fn stop(&self, _workspace: &WorkspaceId, _grace_ms: u64) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway stops nothing")
    }

    fn delete(&self, _workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway deletes nothing")
    }

    fn observe(&self, _workspace: &WorkspaceId) -> Later<'_, Observed> {
        unreachable!("the gateway asks the directory")
    }

    fn inventory(&self) -> Later<'_, Vec<(WorkspaceId, Observed)>> {
        unreachable!("the gateway asks the directory")
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn connect(
        &self,
        _workspace: &WorkspaceId,
        stream: GuestStream,
    ) -> Later<'_, Result<Box<dyn ByteStream>, HostError>> {
        Box::pin(async move {
            if !*self.running.lock().unwrap() {
                return Err(HostError::NotRunning);
            }
            let GuestStream::Tcp { port } = stream else {
                let (ours, guests) = tokio::io::duplex(64 * 1024);
                self.sessions.send((stream, guests)).unwrap();
                return Ok(Box::new(ours) as Box<dyn ByteStream>);
            };
            let address = self.ports.lock().unwrap().get(&port).copied();
            let address = address.ok_or(HostError::PortClosed { port })?;
            let stream = TcpStream::connect(address)
                .await
                .map_err(|_| HostError::PortClosed { port })?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn retry_clone(&self, _workspace: &WorkspaceId) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway clones nothing")
    }

    fn repositories(
        &self,
        _workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<RepositoryStatus>, HostError>> {
        unreachable!("the gateway asks for no repositories")
    }

    fn saved_work(
        &self,
        _workspace: &WorkspaceId,
        _owner: &OrganizationId,
    ) -> Later<'_, Result<WorkListing, HostError>> {
        unreachable!("the gateway asks for no saved work")
    }

    fn save_work(&self, _workspace: &WorkspaceId) -> Later<'_, Result<Vec<WorkSaved>, HostError>> {
        unreachable!("the gateway saves no work")
    }

    fn restore_work(
        &self,
        _workspace: &WorkspaceId,
        _work: &WorkName,
    ) -> Later<'_, Result<WorkRestored, HostError>> {
        unreachable!("the gateway restores no work")
    }

    fn bundle_work(
        &self,
        _workspace: &WorkspaceId,
        _owner: &OrganizationId,
        _work: &WorkName,
    ) -> Later<'_, Result<Download, HostError>> {
        unreachable!("the gateway carries no bundles")
    }

    fn figures(&self, _workspace: &WorkspaceId) -> Later<'_, Result<GuestFigures, HostError>> {
        unreachable!("the gateway shows no figures")
    }

    fn console(
        &self,
        _workspace: &WorkspaceId,
        _bytes: u64,
    ) -> Later<'_, Result<String, HostError>> {
        unreachable!("the gateway shows no console")
    }

    fn largest_folders(
        &self,
        _workspace: &WorkspaceId,
    ) -> Later<'_, Result<Vec<FolderSize>, HostError>> {
        unreachable!("the gateway looks at no disks")
    }

    fn grow_disk(
        &self,
        _workspace: &WorkspaceId,
        _disk_gib: u64,
    ) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway grows nothing")
    }

    fn points(&self, _workspace: &WorkspaceId) -> Later<'_, Result<Points, HostError>> {
        unreachable!("the gateway knows no points")
    }

    fn take_point(
        &self,
        _workspace: &WorkspaceId,
        _name: String,
    ) -> Later<'_, Result<Point, HostError>> {
        unreachable!("the gateway knows no points")
    }

    fn remove_point(
        &self,
        _workspace: &WorkspaceId,
        _number: u64,
    ) -> Later<'_, Result<(), HostError>> {
        unreachable!("the gateway knows no points")
    }

    fn download_disk(
        &self,
        _workspace: &WorkspaceId,
        _number: Option<u64>,
        _part: DiskPart,
    ) -> Later<'_, Result<Download, HostError>> {
        unreachable!("the gateway gives out no disks")
    }

    fn go_back(
        &self,
        _workspace: &WorkspaceId,
        _number: u64,
    ) -> Later<'_, Result<Point, HostError>> {
        unreachable!("the gateway knows no points")
    }

    fn check_disk(
        &self,
        _workspace: &WorkspaceId,
        _number: Option<u64>,
    ) -> Later<'_, Result<Steps<DiskCheck>, HostError>> {
        unreachable!("the gateway checks no disks")
    }

    fn compact_disk(&self, _workspace: &WorkspaceId) -> Later<'_, Result<Compaction, HostError>> {
        unreachable!("the gateway compacts no disks")
    }

    fn collect(&self, _dry: bool) -> Later<'_, Result<Vec<Collection>, HostError>> {
        unreachable!("the gateway knows no store")
    }

    fn usage(&self, _owner: &OrganizationId) -> Later<'_, Result<HostUsage, HostError>> {
        unreachable!("the gateway counts nothing")
    }

    fn import_disk(&self, _import: Import) -> Later<'_, Result<Steps<(Origin, u64)>, HostError>> {
        unreachable!("the gateway takes no disks in")
    }
}
