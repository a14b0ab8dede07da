//! A certificate authority of this installation's own, for machines that have no certificate.
//!
//! It lives in the data folder and signs for names below the server's domain and loopback addresses only;
//! its certificate says so too, so that whoever trusts it trusts nothing else to it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{TlsError, write_private};

/// How long a server's certificate is valid, and after how long a new one is made.
const LEAF_LIFE: Duration = Duration::from_hours(30 * 24);
const LEAF_RENEWAL: Duration = Duration::from_hours(7 * 24);
const AUTHORITY_LIFE: Duration = Duration::from_hours(3650 * 24);

/// Names that certificates are kept for at a time.
const MOST_NAMES: usize = 1024;

/// The authority, with what it has signed.
pub struct Authority {
    domain: String,
    certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    leaves: Mutex<HashMap<String, (Arc<CertifiedKey>, Instant)>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Where the authority's certificate is, in this folder: the file that people and programs trust.
pub fn certificate_path(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

impl Authority {
    /// The authority in `folder`, made now if there is none.
    pub fn open(folder: &Path, domain: &str) -> Result<Self, TlsError> {
        let certificate = certificate_path(folder);
        let key = folder.join("authority.key");
        let kept = |source| TlsError::Authority {
            path: folder.into(),
            source,
        };
        fs::create_dir_all(folder).map_err(kept)?;
        if !(certificate.exists() && key.exists()) {
            let pair = KeyPair::generate()?;
            let signed = authority_params(domain).self_signed(&pair)?;
            write_private(&key, &pair.serialize_pem()).map_err(kept)?;
            fs::write(&certificate, signed.pem()).map_err(kept)?;
        }
        let pair = KeyPair::from_pem(&fs::read_to_string(&key).map_err(kept)?)?;
        // The issuer needs the name and the key only, and the name is always made in the same way.
        let issuer = Issuer::new(authority_params(domain), pair);
        Ok(Self {
            domain: domain.into(),
            certificate,
            issuer,
            leaves: Mutex::default(),
        })
    }

    fn leaf(&self, name: &str) -> Result<Arc<CertifiedKey>, TlsError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((leaf, made)) = leaves.get(name)
            && made.elapsed() < LEAF_RENEWAL
        {
            return Ok(leaf.clone());
        }
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.into()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Roost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, LEAF_LIFE);
        let signed = params.signed_by(&pair, &self.issuer)?;
        let key = PrivateKeyDer::try_from(pair.serialize_der())
            .map_err(|problem| io::Error::other(problem.to_owned()))
            .map_err(|source| TlsError::Authority {
                path: self.certificate.clone(),
                source,
            })?;
        let provider = rustls::crypto::ring::default_provider();
        let leaf = Arc::new(CertifiedKey::from_der(
            vec![signed.der().clone()],
            key,
            &provider,
        )?);
        if leaves.len() >= MOST_NAMES {
            leaves.clear();
        }
        leaves.insert(name.into(), (leaf.clone(), Instant::now()));
        Ok(leaf)
    }

    fn signs_for(&self, name: &str) -> bool {
        name == self.domain
            || name == "localhost"
            || name
                .strip_suffix(&self.domain)
                .is_some_and(|rest| rest.ends_with('.'))
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Without a name it is an address, which for an installation like this is a loopback one.
        let name = hello
            .server_name()
            .map_or_else(|| "127.0.0.1".into(), str::to_ascii_lowercase);
        if name.parse::<IpAddr>().is_err() && !self.signs_for(&name) {
            tracing::debug!(name, "a client asks for another server's name");
            return None;
        }
        self.leaf(&name)
            .inspect_err(|error| tracing::error!(%error, name, "cannot sign a certificate"))
            .ok()
    }
}

fn authority_params(domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Roost local authority for {domain}"),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = ["localhost", domain].map(|name| GeneralSubtree::DnsName(name.into()));
    let loopback = [
        CidrSubnet::from_addr_prefix(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        CidrSubnet::from_addr_prefix(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    ]
    .map(GeneralSubtree::IpAddress);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.into_iter().chain(loopback).collect(),
        excluded_subtrees: Vec::new(),
    });
    set_validity(&mut params, AUTHORITY_LIFE);
    params
}

/// From an hour ago, for clocks that are behind.
fn set_validity(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + life).into();
}
