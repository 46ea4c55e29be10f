//! The operator's API credential: of the service manager, of the file that the configuration names,
//! or of the data directory, where it is made at first start. It is in no argument, no environment
//! and no log.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use model::Secret;

use crate::tenant;

/// Name of the credential and of the file.
pub const NAME: &str = "tandem-operator";
/// Characters; what is shorter can be guessed, what is longer is not looked at.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=256;

/// `credentials`: the service manager's directory. `file`: as configured; empty for none.
///
/// # Errors
/// There is one that cannot be read, that others may read, or that could be guessed; or none can be
/// made.
pub fn credential(
    data_dir: &Path,
    credentials: Option<&Path>,
    file: &Path,
) -> anyhow::Result<Secret> {
    if let Some(path) = credentials.map(|path| path.join(NAME)).filter(|path| path.exists()) {
        // The service manager keeps its modes itself.
        return read(&path, false);
    }
    if !file.as_os_str().is_empty() {
        return read(file, true);
    }
    let path: PathBuf = data_dir.join(NAME);
    if !path.exists() {
        make(&path).with_context(|| format!("making {}", path.display()))?;
    }
    read(&path, true)
}

fn make(path: &Path) -> anyhow::Result<()> {
    let secret = u128::from_be_bytes(tenant::random()?);
    let more = u128::from_be_bytes(tenant::random()?);
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{secret:032x}{more:032x}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(())
}

fn read(path: &Path, is_ours: bool) -> anyhow::Result<Secret> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("the operator's {shown}"))?;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if is_ours && mode & 0o077 != 0 {
        bail!("the operator's {shown} has mode {mode:03o}; `chmod 600 {shown}`");
    }
    let secret = text.trim_end_matches(['\r', '\n']);
    let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        LENGTHS.contains(&secret.len()) && is_plain,
        "the operator's {shown} must be {} to {} printable characters in one line",
        LENGTHS.start(),
        LENGTHS.end()
    );
    Ok(Secret(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let none = Path::new("");
        let made = credential(folder.path(), None, none).unwrap();
        assert_eq!(made.0.len(), 64);
        assert_eq!(credential(folder.path(), Some(folder.path()), none).unwrap(), made);
        let path = folder.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(credential(folder.path(), None, none).unwrap_err().to_string().contains("chmod"));
        // What the configuration names is not made.
        let file = folder.path().join("named");
        assert!(credential(folder.path(), None, &file).is_err());
        for (text, fits) in [("short", false), (&"x".repeat(257), false), (&"x".repeat(40), true)] {
            fs::write(&file, format!("{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(credential(folder.path(), None, &file).is_ok(), fits, "{text}");
        }
    }
}
