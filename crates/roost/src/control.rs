//! The control plane's configuration from ours and from the data folder.

use anyhow::Context;
use control_plane::world::World;
use control_plane::{ControlConfig, ControlPlane};
use fleet_api::ticket::TicketKey;

use crate::config::Config;
use crate::data_folder::DataFolder;

/// File that remembers where the server was last, for commands that print links.
pub const ADDRESS: &str = "address";

pub async fn open(config: &Config, data: &DataFolder) -> anyhow::Result<ControlPlane> {
    let secret = |name: &str| {
        data.secret(name, 32)
            .with_context(|| format!("cannot use the key {name} in the data folder"))
    };
    let control = ControlConfig {
        folder: data.path().into(),
        database: config.database.clone(),
        domain: config.domain.clone(),
        limits: config.limits,
        default_size: config.default_size,
        seal_key: secret("seal")?,
        tickets: ticket_key(data)?,
        version: env!("CARGO_PKG_VERSION").into(),
        world: World::real(),
    };
    ControlPlane::open(control)
        .await
        .context("cannot open the database")
}

/// What control plane and gateway share.
pub fn ticket_key(data: &DataFolder) -> anyhow::Result<TicketKey> {
    let secret = data
        .secret("tickets", 32)
        .context("cannot use the key of tickets in the data folder")?;
    Ok(TicketKey::new(&secret))
}

/// A refusal of the control plane, with its cause.
pub fn fault(fault: control_plane::fault::Fault) -> anyhow::Error {
    match fault.cause {
        Some(cause) => anyhow::anyhow!("{} ({cause})", fault.problem.detail),
        None => anyhow::anyhow!("{}", fault.problem.detail),
    }
}
