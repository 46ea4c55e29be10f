//! The certificate of a switch that nobody has given one: signed by itself, for the names and
//! addresses of its listeners, made once and kept. Whoever is to believe it is given its file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result};
use config::Config;

/// Makes it where a TLS listener needs one and none is configured.
///
/// # Errors
/// If its files cannot be written.
pub(super) fn make(config: &Config) -> Result<()> {
    let listeners = &config.dataplane.listener;
    let is_needed = listeners.iter().any(|it| it.transport.is_tls());
    if !is_needed || !config.tls.certificate.is_empty() {
        return Ok(());
    }
    let files = config.tls.certificates(&config.node.data_dir);
    let files = files.first().context("no place for a certificate")?;
    if files.chain.exists() && files.key.exists() {
        return Ok(());
    }
    let folder = files.chain.parent().context("no folder for a certificate")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(names(config))?;
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(rcgen::DnType::CommonName, "Tandem development");
    params.distinguished_name = subject;
    let certificate = params.self_signed(&key)?;
    // The key first: a certificate without one is made again.
    write(&files.key, 0o600, &key.serialize_pem())?;
    write(&files.chain, 0o644, &certificate.pem())?;
    say!("a development certificate was made: {}", files.chain.display());
    Ok(())
}

/// What the switch is called: its hosts, the addresses of its listeners, loopback.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(config.controlplane.hosts.iter().cloned());
    let all = config.dataplane.listener.iter();
    let addresses = all.flat_map(|it| [Some(it.bind), it.advertised]).flatten();
    let addresses = addresses.map(|address| address.ip()).filter(|it| !it.is_unspecified());
    names.extend(addresses.map(|address| address.to_string()));
    names.extend(["127.0.0.1", "::1"].map(str::to_owned));
    names.sort_unstable();
    names.dedup();
    names
}

fn write(file: &Path, mode: u32, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(mode).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.with_context(|| format!("{}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_every_name_of_the_switch() {
        let folder = std::env::temp_dir().join(format!("tandem-tls-{}", std::process::id()));
        let mut config = Config::default();
        config.node.data_dir.clone_from(&folder);
        config.controlplane.hosts = vec!["sip.example.com".to_owned()];
        make(&config).unwrap();
        let read = || fs::read(folder.join("tls/development.pem")).unwrap();
        let first = read();
        make(&config).unwrap();
        assert_eq!(read(), first);
        assert_eq!(names(&config), ["127.0.0.1", "::1", "localhost", "sip.example.com"]);
        let key = fs::metadata(folder.join("tls/development.key")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
        // Its own certificates are not touched, and without TLS there is none.
        fs::remove_dir_all(folder.join("tls")).unwrap();
        config.dataplane.listener.retain(|it| !it.transport.is_tls());
        make(&config).unwrap();
        assert!(!folder.join("tls").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
