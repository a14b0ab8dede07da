//! The options of `roost up`, which stand above the configuration file.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, Tls, default_data};

#[derive(Debug, Args)]
pub struct Up {
    /// Folder of everything that Roost keeps; config.toml in it holds further settings
    #[arg(long, env = "ROOST_DATA")]
    data: Option<PathBuf>,
    /// Address to listen on; beyond loopback it needs TLS or a proxy in front
    #[arg(long, env = "ROOST_ADDRESS")]
    address: Option<IpAddr>,
    /// Port to listen on; without it 7070, or the next that is free
    #[arg(long, env = "ROOST_PORT")]
    port: Option<u16>,
    /// Host name of the dashboard; the editor and previews are below it
    #[arg(long, env = "ROOST_DOMAIN")]
    domain: Option<String>,
    /// `local`: certificates of an authority of this installation's own, see `roost trust`
    #[arg(long, value_parser = ["local"], conflicts_with_all = ["tls_cert", "tls_key"])]
    tls: Option<String>,
    /// Certificate chain, PEM, for the domain and *.DOMAIN
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address or network of a reverse proxy whose X-Forwarded-* headers are believed
    #[arg(long, env = "ROOST_BEHIND_PROXY", value_delimiter = ',')]
    behind_proxy: Vec<String>,
    /// Listen beyond loopback though an isolation layer is off
    #[arg(long)]
    allow_weak_isolation: bool,
    /// Stop the workspaces in order when the server ends: for places where nothing outlives it, such as containers
    #[arg(long)]
    stop_workspaces: bool,
    /// Folder of the guest images
    #[arg(long, env = "ROOST_IMAGES")]
    images: Option<PathBuf>,
    /// Folder of the front end, instead of the one that is built in
    #[arg(long, env = "ROOST_WEB")]
    web: Option<PathBuf>,
    /// `postgres://…` instead of the file in the data folder
    #[arg(long, env = "ROOST_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// Log one JSON object a line
    #[arg(long)]
    pub log_json: bool,
    /// A guest agent to run as a plain process; isolates nothing
    #[arg(long, hide = true)]
    process_agent: Option<PathBuf>,
}

impl Up {
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(default_data)
    }

    /// The configuration with what was said on the command line.
    pub fn into_config(self, file: Config) -> Config {
        let tls = match (self.tls, self.tls_cert, self.tls_key) {
            (Some(_), ..) => Tls::Local {},
            (None, Some(certificate), Some(key)) => Tls::Files { certificate, key },
            (None, ..) => file.tls,
        };
        let mut config = Config {
            address: self.address.unwrap_or(file.address),
            port: self.port.or(file.port),
            domain: self.domain.unwrap_or(file.domain).to_ascii_lowercase(),
            tls,
            allow_weak_isolation: self.allow_weak_isolation || file.allow_weak_isolation,
            stop_workspaces: self.stop_workspaces || file.stop_workspaces,
            images: self.images.or(file.images),
            web: self.web.or(file.web),
            database: self.database.or(file.database),
            ..file
        };
        if !self.behind_proxy.is_empty() {
            config.behind_proxy = self.behind_proxy;
        }
        config.vm.process_agent = self.process_agent.or(config.vm.process_agent);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    /// What the line says, whatever the environment of the test says.
    fn parse(arguments: &[&str]) -> Result<Up, clap::Error> {
        let matches = Up::augment_args(Command::new("up"))
            .mut_args(|argument| argument.env(None::<&str>))
            .try_get_matches_from([&["up"], arguments].concat())?;
        Up::from_arg_matches(&matches)
    }

    fn config(arguments: &[&str], file: Config) -> Config {
        parse(arguments).expect("a line").into_config(file)
    }

    #[test]
    fn options_stand_above_the_file() {
        let file = Config {
            port: Some(1),
            domain: "a.example".into(),
            ..Config::default()
        };
        assert_eq!(config(&[], file.clone()), file);
        let changed = config(
            &["--port", "2", "--domain", "B.example", "--tls", "local"],
            file,
        );
        assert_eq!(
            (changed.port, changed.domain.as_str()),
            (Some(2), "b.example")
        );
        assert_eq!(changed.tls, Tls::Local {});
        let cut = parse(&["--tls-cert", "/c"]);
        assert!(cut.is_err(), "a certificate without its key was taken");
    }
}
