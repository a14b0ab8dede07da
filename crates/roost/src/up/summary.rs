//! What a server says when it is ready.

use std::path::Path;

use fleet_api::host::{Accelerator, HostDescription};
use serde_json::json;

use crate::config::Config;
use crate::print;

pub struct Summary<'a> {
    pub url: &'a str,
    /// While nobody can sign in: where the first administrator chooses a password.
    pub first_link: Option<String>,
    /// The port that was wanted, and the one that was free.
    pub port_instead_of: Option<(u16, u16)>,
    pub host: &'a HostDescription,
    pub data: &'a Path,
    pub config: &'a Config,
}

impl Summary<'_> {
    pub fn print(&self, json: bool) {
        let text = if json {
            let line = json!({
                "url": self.url,
                "first_link": self.first_link,
                "pid": std::process::id(),
                "data": self.data,
                "accelerator": self.host.accelerator,
            });
            line.to_string()
        } else {
            self.in_words()
        };
        // A server runs on though nobody reads what it says.
        let _ = print::line(text);
    }

    fn in_words(&self) -> String {
        let mut lines = vec![String::new(), format!("  Roost is ready at  {}", self.url)];
        if let Some(link) = &self.first_link {
            lines.push(String::new());
            lines.push(
                "  Nobody can sign in yet. Make yourself the administrator, with this link, once:"
                    .into(),
            );
            lines.push(format!("  {link}"));
        }
        lines.push(String::new());
        if let Some((wanted, used)) = self.port_instead_of {
            lines.push(format!(
                "  Port {wanted} is taken, so it is {used}, now and the next time."
            ));
        }
        lines.push(format!("  Machines   {}", self.machines()));
        let off: Vec<_> = self
            .host
            .layers
            .iter()
            .filter(|layer| !layer.on)
            .map(|layer| layer.name.as_str())
            .collect();
        if !off.is_empty() {
            lines.push(format!(
                "  Off here   {} (`roost doctor` says how to get them)",
                off.join(", ")
            ));
        }
        lines.push(format!("  Data       {}", self.data.display()));
        if self.config.domain == "localhost" && !self.config.address.is_loopback() {
            lines.push(
                "  Other machines cannot reach *.localhost: give this one a name with --domain."
                    .into(),
            );
        }
        lines.push("  Ctrl-C stops the server; workspaces keep running.".into());
        lines.push(String::new());
        lines.join("\n")
    }

    fn machines(&self) -> &'static str {
        match self.host.accelerator {
            Accelerator::Kvm => "KVM",
            Accelerator::Tcg => {
                "software emulation, as there is no working KVM: several times slower"
            }
            Accelerator::Process => "none: plain processes, for tests only",
        }
    }
}
