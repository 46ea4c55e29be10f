//! An authority of the tests, and certificates that it signs, as files.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tandem-tls-").tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("it is written");
        Self { folder, issuer }
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The lines of a configuration that believes it.
    pub(crate) fn believed(&self) -> String {
        format!("\n[tls]\nauthorities = \"{}\"\n", self.file().display())
    }

    /// A certificate for a name or address, with its key in the same file.
    pub(crate) fn sign(&self, name: &str) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = self.folder.path().join(format!("{name}.pem"));
        let text = format!("{}{}", signed.pem(), key.serialize_pem());
        std::fs::write(&file, text).expect("it is written");
        file
    }
}
