//! Extra certificate authorities: into the machine's trust store, and into the environment of programs that
//! bring a store of their own.
//!
//! This is on the way to every start, so the bundle of a quarter megabyte is read and written as a whole only when
//! the authorities have changed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::unless_full;
use crate::machine::Machine;
use crate::session::{CallError, During};

/// Marks what was appended to the bundle, so that it is not appended twice.
const BEGIN: &str = "# --- added by the host ---\n";

/// Writes the certificates and returns the environment that makes programs use them.
pub fn install(
    machine: &Machine,
    certificates: &[String],
) -> Result<BTreeMap<String, String>, CallError> {
    let bundle = machine.root.join("etc/ssl/certs/ca-certificates.crt");
    let added = machine.root.join("usr/local/share/ca-certificates");
    let written = write(&bundle, &added, certificates);
    unless_full(written, &bundle).during(|| "adding certificates".into())?;
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

fn write(bundle: &Path, added: &Path, certificates: &[String]) -> io::Result<()> {
    // The first one's file is there as long as the bundle has, or may have, anything of ours.
    let first = added.join("roost-0.crt");
    let added_before = first.exists();
    let certificates: Vec<String> = certificates
        .iter()
        .map(|certificate| format!("{}\n", certificate.trim_end()))
        .collect();
    let mut addition = String::new();
    if !certificates.is_empty() {
        addition.push_str(BEGIN);
        addition.extend(certificates.iter().map(String::as_str));
    }
    if !added_before && addition.is_empty() || added_before && ends_with(bundle, &addition)? {
        return Ok(());
    }
    fs::create_dir_all(added)?;
    for (index, certificate) in certificates.iter().enumerate() {
        fs::write(added.join(format!("roost-{index}.crt")), certificate)?;
    }
    if added_before {
        replace(bundle, &addition)?;
        if addition.is_empty() {
            fs::remove_file(first)?;
        }
        return Ok(());
    }
    if let Some(folder) = bundle.parent() {
        fs::create_dir_all(folder)?;
    }
    // A start that ends in the middle of this leaves the first one's file, so the next one replaces it.
    let mut file = OpenOptions::new().append(true).create(true).open(bundle)?;
    file.write_all(addition.as_bytes())
}

/// Whether the bundle's end is this addition, and nothing when that is empty.
fn ends_with(bundle: &Path, addition: &str) -> io::Result<bool> {
    if addition.is_empty() {
        return Ok(false);
    }
    let mut file = match File::open(bundle) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = addition.len() as u64;
    let Some(start) = file.metadata()?.len().checked_sub(length) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::with_capacity(addition.len());
    file.read_to_end(&mut end)?;
    Ok(end == addition.as_bytes())
}

/// Puts the addition in the place of an earlier one.
fn replace(bundle: &Path, addition: &str) -> io::Result<()> {
    let before = match fs::read_to_string(bundle) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let original = before.split(BEGIN).next().unwrap_or_default();
    let fresh = bundle.with_extension("roost-new");
    fs::write(&fresh, format!("{original}{addition}"))?;
    fs::rename(&fresh, bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_holds_what_was_given_last_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("certs/bundle.crt");
        let added = folder.path().join("added");
        fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        fs::write(&bundle, "OWN\n").unwrap();
        let given = |certificates: &[&str]| {
            let certificates: Vec<String> = certificates.iter().map(|&text| text.into()).collect();
            write(&bundle, &added, &certificates).unwrap();
            fs::read_to_string(&bundle).unwrap()
        };
        assert_eq!(given(&[]), "OWN\n");
        let with_a = format!("OWN\n{BEGIN}A\n");
        assert_eq!(given(&["A\n\n"]), with_a);
        assert_eq!(given(&["A"]), with_a);
        // An addition that was cut off in the middle.
        fs::write(&bundle, format!("OWN\n{BEGIN}")).unwrap();
        assert_eq!(given(&["A"]), with_a);
        assert_eq!(given(&["B", "C"]), format!("OWN\n{BEGIN}B\nC\n"));
        assert_eq!(given(&[]), "OWN\n");
        assert_eq!(given(&["A"]), with_a);
    }

    #[test]
    fn a_machine_without_a_bundle_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("certs/bundle.crt");
        write(&bundle, &folder.path().join("added"), &["A".into()]).unwrap();
        assert_eq!(fs::read_to_string(&bundle).unwrap(), format!("{BEGIN}A\n"));
    }
}
