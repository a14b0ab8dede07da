//! What a server refuses to do unless it is told to: speak in the clear, or be reached by others while the
//! fences around virtual machines have holes. Pure.

use fleet_api::host::Layer;

use crate::config::Config;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    #[error(
        "--address {address} can be reached by others, who could read along without TLS. Use --tls local, or \
         --tls-cert and --tls-key, or name the proxy in front with --behind-proxy ADDRESS."
    )]
    Clear { address: std::net::IpAddr },
    #[error(
        "--address {address} can be reached by others, but on this machine isolation is weaker than it should be: \
         {layers} is off. `roost doctor` says how to get it; --allow-weak-isolation starts all the same."
    )]
    Weak {
        address: std::net::IpAddr,
        layers: String,
    },
}

/// Plain HTTP is for loopback and for behind a declared proxy.
pub fn check_transport(config: &Config, encrypted: bool) -> Result<(), Unsafe> {
    if encrypted || config.address.is_loopback() || !config.behind_proxy.is_empty() {
        return Ok(());
    }
    Err(Unsafe::Clear {
        address: config.address,
    })
}

/// Behind a proxy the address says nothing about who comes.
pub fn check_isolation(config: &Config, layers: &[Layer]) -> Result<(), Unsafe> {
    let local = config.address.is_loopback() && config.behind_proxy.is_empty();
    let off: Vec<_> = layers
        .iter()
        .filter(|layer| layer.isolation && !layer.on)
        .map(|layer| layer.name.as_str())
        .collect();
    if local || config.allow_weak_isolation || off.is_empty() {
        return Ok(());
    }
    Err(Unsafe::Weak {
        address: config.address,
        layers: off.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, proxy: &[&str], allow: bool) -> Config {
        Config {
            address: address.parse().unwrap(),
            behind_proxy: proxy.iter().map(ToString::to_string).collect(),
            allow_weak_isolation: allow,
            ..Config::default()
        }
    }

    #[test]
    fn clear_text_stays_on_this_machine() {
        for (address, proxy, encrypted, fine) in [
            ("127.0.0.1", &[][..], false, true),
            ("::1", &[], false, true),
            ("0.0.0.0", &[], false, false),
            ("192.0.2.1", &[], false, false),
            ("0.0.0.0", &[], true, true),
            ("0.0.0.0", &["10.0.0.1"], false, true),
        ] {
            let checked = check_transport(&config(address, proxy, false), encrypted);
            assert_eq!(checked.is_ok(), fine, "{address} {proxy:?} {encrypted}");
        }
    }

    #[test]
    fn others_come_in_only_when_the_fences_stand() {
        let layer = |on, isolation| Layer {
            name: "network".into(),
            on,
            isolation,
            detail: String::new(),
            remedy: None,
        };
        let weak = [layer(false, true)];
        let sound = [layer(true, true), layer(false, false)];
        for (config, layers, fine) in [
            (config("127.0.0.1", &[], false), &weak[..], true),
            (config("0.0.0.0", &[], false), &weak, false),
            (config("127.0.0.1", &["127.0.0.1"], false), &weak, false),
            (config("0.0.0.0", &[], true), &weak, true),
            (config("0.0.0.0", &[], false), &sound, true),
        ] {
            let checked = check_isolation(&config, layers);
            assert_eq!(checked.is_ok(), fine, "{config:?}");
        }
    }
}
