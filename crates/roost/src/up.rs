//! `roost up`: control plane, gateway and host agent in one process, on embedded defaults.
//!
//! ```text
//! options ─► data folder (locked) ─► control plane ─► host agent ─► may it listen there? ─► gateway ─► URL
//! ```

mod options;
mod safety;
mod summary;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use control_plane::ControlPlane;
use fleet_api::host::{Host, Observed};
use gateway::Gateway;
use gateway::arrival::TrustedProxy;
use gateway::session::Patience;
use gateway::tls::Acceptor;
use gateway::tls::authority::Authority;
use host_agent::LocalHost;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, Tls};
use crate::data_folder::DataFolder;
use crate::print;
use crate::{control, doctor, host, logs, port, trust};

pub use options::Up;

/// File that remembers the port.
const PORT: &str = "port";

/// Between two looks at this machine for `roost doctor`.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// How long the server waits for workspaces that it stops when it ends. Those are killed that take longer than their
/// grace, so none should.
const STOPPED_WITHIN: Duration = Duration::from_secs(100);

impl Up {
    pub async fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        logs::start(self.log_json);
        let path = self.data();
        // The folder first: a second server must not even read another one's settings as its own.
        let data = DataFolder::open(&path)?;
        let config = self.into_config(Config::load(data.path())?);
        let proxies = proxies(&config)?;
        let tls = tls(&config, &data)?;
        safety::check_transport(&config, tls.is_some())?;

        let control = Arc::new(control::open(&config, &data).await?);
        let host =
            LocalHost::new(host::config(&config, data.path())?, control.credentials()).await?;
        let host: Arc<dyn Host> = Arc::new(host);
        let description = host.describe().await;
        safety::check_isolation(&config, &description.layers)?;
        control.attach_host(host.clone()).await;

        let remembered = data.recall(PORT).and_then(|text| text.parse().ok());
        let bound = port::listen(config.address, config.port, remembered).await?;
        let address = bound
            .listener
            .local_addr()
            .context("a bound socket has an address")?;
        let url = url(&config, tls.is_some(), address);
        if config.port.is_none() {
            data.remember(PORT, &address.port().to_string())?;
        }
        data.remember(control::ADDRESS, &url)?;

        let stop = CancellationToken::new();
        let gateway = Gateway::new(
            gateway::Config {
                domain: config.domain.clone(),
                proxies,
                web: config.web.clone(),
                patience: Patience::default(),
            },
            control.directory(),
            control::ticket_key(&data)?,
        );
        let serving =
            tokio::spawn(gateway.serve(control.router(), bound.listener, tls, stop.clone()));
        let (reconciler, until) = (control.clone(), stop.clone());
        let reconciling = tokio::spawn(async move { reconciler.run(until).await });
        let _reporting =
            AbortOnDropHandle::new(tokio::spawn(report(host.clone(), data.path().into())));

        // Before anybody is told that it runs, or a signal that comes at once would just end it.
        let mut signals = Signals::listen()?;
        let link = control.first_link().await.map_err(control::fault)?;
        summary::Summary {
            url: &url,
            first_link: link.map(|link| format!("{url}/welcome#{}", link.token)),
            port_instead_of: bound.instead_of.map(|wanted| (wanted, address.port())),
            host: &description,
            data: data.path(),
            config: &config,
        }
        .print(json);

        signals.wait().await;
        if config.stop_workspaces {
            tokio::select! {
                stopped = control.stop_workspaces(STOPPED_WITHIN) => {
                    if let Err(fault) = stopped {
                        tracing::error!(?fault, "the workspaces are not stopped");
                    }
                }
                // Whoever asks twice does not want to wait.
                () = signals.wait() => {}
            }
        }
        stop.cancel();
        let (served, reconciled) = tokio::join!(serving, reconciling);
        served.context("the gateway failed")?;
        reconciled.context("the reconciler failed")?;
        leave(&control, host.as_ref(), json).await;
        Ok(ExitCode::SUCCESS)
    }
}

fn proxies(config: &Config) -> anyhow::Result<Vec<TrustedProxy>> {
    let parsed = config.behind_proxy.iter().map(|text| text.parse());
    parsed.collect::<Result<_, _>>().context("behind_proxy")
}

fn tls(config: &Config, data: &DataFolder) -> anyhow::Result<Option<Acceptor>> {
    Ok(match &config.tls {
        Tls::Off {} => None,
        Tls::Files { certificate, key } => Some(Acceptor::from_files(certificate, key)?),
        Tls::Local {} => {
            let authority = Authority::open(&trust::folder(data.path()), &config.domain)?;
            Some(Acceptor::from_resolver(Arc::new(authority))?)
        }
    })
}

/// The main origin, as a browser on this machine or in the domain reaches it.
fn url(config: &Config, encrypted: bool, address: SocketAddr) -> String {
    let (scheme, own) = if encrypted {
        ("https", 443)
    } else {
        ("http", 80)
    };
    if address.port() == own {
        format!("{scheme}://{}", config.domain)
    } else {
        format!("{scheme}://{}:{}", config.domain, address.port())
    }
}

/// Keeps what `roost doctor` says about a running server fresh.
async fn report(host: Arc<dyn Host>, data: std::path::PathBuf) {
    loop {
        let text = serde_json::to_vec(&host.describe().await)
            .expect("a description has only plain fields");
        if let Err(error) = tokio::fs::write(data.join(doctor::REPORT), text).await {
            tracing::warn!(%error, "cannot write what this machine can do");
        }
        tokio::time::sleep(REPORT_EVERY).await;
    }
}

/// What asks the server to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn leave(control: &ControlPlane, host: &dyn Host, json: bool) {
    let running = host
        .inventory()
        .await
        .iter()
        .filter(|(_, observed)| {
            matches!(
                observed,
                Observed::Running { .. } | Observed::Starting { .. }
            )
        })
        .count();
    control.close().await;
    if json {
        return;
    }
    match running {
        0 => print::remark("Stopped."),
        1 => print::remark("Stopped. One workspace keeps running; `roost up` takes it up again."),
        many => print::remark(format_args!(
            "Stopped. {many} workspaces keep running; `roost up` takes them up again."
        )),
    }
}
