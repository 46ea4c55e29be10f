//! Certificates of TLS connections: read from their files, given to the dataplane in a sealed
//! memfd, and again whenever a file changes. What cannot be read is said, and what was given before
//! stays; the dataplane judges the rest, and says what it cannot use.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use aws_lc_rs::digest;
use config::Config;
use rustix::fs::{MemfdFlags, SealFlags};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wire::material::{Certificate, Client, IDENTIFIERS, MATERIAL_BYTES_MAX, Material};

/// What is never changed again.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// A file as it was seen last: which one, when it or its mode was changed, and its length.
type Seen = Option<(u64, i64, i64, u64)>;

/// See the module.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<Files>,
    /// Empty for the system's.
    authorities: PathBuf,
    /// Far ends that are known by what their certificates name.
    clients: Vec<Client>,
    /// As they were when they were read last.
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    listeners: Vec<u8>,
}

impl Certificates {
    /// None where no listener speaks TLS.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let listeners = &config.dataplane.listener;
        if !listeners.iter().any(|listener| listener.transport.is_tls()) {
            return None;
        }
        let index = |name: &String| listeners.iter().position(|it| it.name == *name);
        let files = config.tls.certificates(&config.node.data_dir).into_iter().map(|it| {
            let named = it.listeners.iter().filter_map(index);
            let listeners = named.filter_map(|at| u8::try_from(at).ok()).collect();
            Files { chain: it.chain, key: it.key, listeners }
        });
        Some(Self {
            files: files.collect(),
            authorities: config.tls.authorities.clone(),
            clients: clients(config),
            seen: Vec::new(),
        })
    }

    /// What is to be given to the dataplane, if a file has changed since this was asked last.
    ///
    /// # Errors
    /// What cannot be read; it is tried again the next time.
    pub fn changed(&mut self) -> anyhow::Result<Option<OwnedFd>> {
        let files = self.files.iter().flat_map(|files| [&files.chain, &files.key]);
        let files = files.chain([&self.authorities]);
        let seen: Vec<Seen> = files.map(|file| look(file)).collect();
        if seen == self.seen {
            return Ok(None);
        }
        self.seen = seen;
        let read = self.read().and_then(|material| sealed(&material));
        if read.is_err() {
            // It may pass by itself.
            self.seen.clear();
        }
        read.map(Some)
    }

    /// Everything is to be given again: somebody else asks for it.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    fn read(&self) -> anyhow::Result<Material> {
        let certificates = self.files.iter().map(|files| {
            let (chain, key) = (read(&files.chain)?, read(&files.key)?);
            let _ = certificates_of(&chain, &files.chain)?;
            let is_key = PrivateKeyDer::from_pem_slice(&key);
            is_key.with_context(|| format!("{}: there is no private key", files.key.display()))?;
            Ok(Certificate { chain, key, listeners: files.listeners.clone() })
        });
        let certificates = certificates.collect::<anyhow::Result<Vec<_>>>()?;
        let (authorities, clients) = (self.authorities()?, self.clients.clone());
        Ok(Material { certificates, authorities, clients })
    }

    fn authorities(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        if self.authorities.as_os_str().is_empty() {
            let found = rustls_native_certs::load_native_certs();
            return Ok(found.certs.iter().map(|der| der.to_vec()).collect());
        }
        certificates_of(&read(&self.authorities)?, &self.authorities)
    }
}

/// What stands for a name in lists of networks: its hash as an address that is nobody's, the same
/// in every process and for ever.
#[must_use]
pub fn identifier(name: &str) -> IpAddr {
    let hash = digest::digest(&digest::SHA256, name.to_ascii_lowercase().as_bytes());
    let hash = hash.as_ref().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    IpAddr::from((IDENTIFIERS | hash >> 28).to_be_bytes())
}

fn clients(config: &Config) -> Vec<Client> {
    let names = config.trunk.iter().flat_map(|trunk| &trunk.tls_clients);
    let named =
        |name: &String| Client { name: name.to_ascii_lowercase(), known_as: identifier(name) };
    let mut clients: Vec<_> = names.map(named).collect();
    clients.sort_by(|a, b| a.name.cmp(&b.name));
    clients.dedup();
    clients
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{}", file.display()))
}

/// The certificates of a PEM file, DER.
fn certificates_of(pem: &[u8], file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let found = CertificateDer::pem_slice_iter(pem).map(|it| it.map(|der| der.to_vec()));
    let found: Vec<_> =
        found.collect::<Result<_, _>>().with_context(|| format!("{}", file.display()))?;
    ensure!(!found.is_empty(), "{}: there is no certificate in it", file.display());
    Ok(found)
}

fn look(file: &Path) -> Seen {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec(), found.len()))
}

/// A memfd with the encoded material, sealed against every change.
fn sealed(material: &Material) -> anyhow::Result<OwnedFd> {
    let mut bytes = vec![0; MATERIAL_BYTES_MAX];
    let len = wire::encode(material, &mut bytes).context("there are too many certificates")?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("tandem-tls", flags).context("memory for certificates")?;
    let mut file = fs::File::from(fd);
    file.write_all(&bytes[..len]).context("memory for certificates")?;
    rustix::fs::fcntl_add_seals(&file, SEALS).context("sealing certificates")?;
    Ok(file.into())
}
