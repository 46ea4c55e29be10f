//! Certificates: what is shown, whom is believed, who is asked.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Certificates of those who connect to a TLS listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Nobody is asked.
    #[default]
    Ignore,
    /// Whoever has one shows it; it must hold.
    Request,
    /// Nobody connects without one that holds.
    Require,
}

/// What this switch shows on TLS connections, and whom it believes. Both are read again when a file
/// changes; standing connections stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Without any, `tls/development.pem` and `tls/development.key` of the data directory, which
    /// `tandem up` makes.
    pub certificate: Vec<TlsCertificate>,
    /// PEM file of the authorities that far ends' certificates must be signed by; empty for the
    /// system's.
    pub authorities: PathBuf,
}

/// A certificate; the one is shown that has the name that a client asks for, else the first one
/// that serves its listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsCertificate {
    /// PEM file: the certificate, then those between it and its authority.
    pub chain: PathBuf,
    /// PEM file, readable by the controlplane alone.
    pub key: PathBuf,
    /// Names of listeners; empty for all.
    #[serde(default)]
    pub listeners: Vec<String>,
}

impl Tls {
    /// The certificates, those of `tandem up` where none is named. None where no listener needs
    /// any.
    #[must_use]
    pub fn certificates(&self, data_dir: &Path) -> Vec<TlsCertificate> {
        if !self.certificate.is_empty() {
            return self.certificate.clone();
        }
        let file = |name: &str| data_dir.join("tls").join(name);
        let (chain, key) = (file("development.pem"), file("development.key"));
        vec![TlsCertificate { chain, key, listeners: Vec::new() }]
    }
}
