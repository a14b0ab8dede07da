//! Extra certificate authorities: into the machine's trust store, and into the environment of programs that
//! bring a store of their own.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::machine::Machine;
use crate::session::{CallError, During};

/// Marks what was appended to the bundle, so that it is not appended twice.
const BEGIN: &str = "# --- added by the host ---\n";

/// Writes the certificates and returns the environment that makes programs use them.
pub fn install(
    machine: &Machine,
    certificates: &[String],
) -> Result<BTreeMap<String, String>, CallError> {
    let added = machine.root.join("usr/local/share/ca-certificates");
    let bundle = machine.root.join("etc/ssl/certs/ca-certificates.crt");
    let write = || -> io::Result<()> {
        let before = match fs::read_to_string(&bundle) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let original = before.split(BEGIN).next().unwrap_or_default();
        if certificates.is_empty() && original.len() == before.len() {
            return Ok(());
        }
        let mut text = original.to_owned();
        fs::create_dir_all(&added)?;
        if let Some(folder) = bundle.parent() {
            fs::create_dir_all(folder)?;
        }
        if !certificates.is_empty() {
            text.push_str(BEGIN);
        }
        for (index, certificate) in certificates.iter().enumerate() {
            let certificate = format!("{}\n", certificate.trim_end());
            fs::write(added.join(format!("roost-{index}.crt")), &certificate)?;
            text.push_str(&certificate);
        }
        let fresh = bundle.with_extension("roost-new");
        fs::write(&fresh, text)?;
        fs::rename(&fresh, &bundle)
    };
    write().during(|| "adding certificates".into())?;
    if certificates.is_empty() {
        return Ok(BTreeMap::new());
    }
    let path = bundle.to_string_lossy().into_owned();
    let names = [
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO",
        "PIP_CERT",
        "REQUESTS_CA_BUNDLE",
    ];
    Ok(names
        .into_iter()
        .map(|name| (name.to_owned(), path.clone()))
        .collect())
}
