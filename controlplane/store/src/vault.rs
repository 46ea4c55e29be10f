//! Secrets that must be recovered (auth tokens sign webhooks, key secrets sign access tokens) are
//! kept sealed: AES-256-GCM with a random nonce, bound to what they belong to, so that a sealed
//! token moved to another row does not open.
//!
//! ```text
//!   sealed: | version 1 | nonce 12 | ciphertext | tag 16 |
//! ```
//!
//! The key comes from the service manager's credential store, or from a file of mode 0600 that is
//! made on first start. Without it the store's secrets are lost; with it and the database they are
//! not secret.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
/// Name of the credential and of the file.
pub const KEY_NAME: &str = "tandem-key";

/// Seals and opens.
pub struct Vault {
    key: RandomizedNonceKey,
}

/// Why there is no vault, or why something does not open.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key cannot be read or made.
    #[error("the key file {path}: {source}")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
    /// Another key would open nothing of what is there.
    #[error(
        "{store} was sealed with a key that is in neither the data directory nor the service \
         manager's credentials ({KEY_NAME}: /etc/credstore, /etc/tandem)"
    )]
    Gone { store: String },
    /// The key must be readable by its owner only.
    #[error("the key file {path} has mode {mode:03o}; `chmod 600 {path}`")]
    Mode { path: String, mode: u32 },
    /// The key must be 32 bytes.
    #[error("the key file {path} is not {KEY_BYTES} bytes long")]
    Length { path: String },
    /// Another key sealed it, it was changed, or it belongs to something else.
    #[error("a sealed secret does not open with this key")]
    Sealed,
    /// The system has no randomness.
    #[error("no randomness")]
    Random,
}

impl Vault {
    /// The key from `credentials` (the service manager's directory) if it is there, else from
    /// `data_dir`, where it is made if there is none.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub fn open(data_dir: &Path, credentials: Option<&Path>) -> Result<Self, VaultError> {
        if let Some(path) = credentials.map(|path| path.join(KEY_NAME)).filter(|path| path.exists())
        {
            // The service manager keeps its modes itself (0400, or 0440 with an ACL).
            return Self::read(&path, false);
        }
        let path = data_dir.join(KEY_NAME);
        let store = data_dir.join(crate::sqlite::FILE_NAME);
        if !path.exists() && store.exists() {
            return Err(VaultError::Gone { store: store.display().to_string() });
        }
        if !path.exists() {
            make(&path).map_err(|source| file_error(&path, source))?;
        }
        Self::read(&path, true)
    }

    /// # Errors
    /// [`VaultError::Random`].
    pub fn from_key(key: &[u8; KEY_BYTES]) -> Result<Self, VaultError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Random)?;
        Ok(Self { key })
    }

    /// `owner` names what the secret belongs to; the same must be given to [`Vault::open_sealed`].
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, owner: &str, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut text = secret.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(owner.as_bytes()), &mut text)
            .map_err(|_| VaultError::Random)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// # Errors
    /// [`VaultError::Sealed`].
    pub fn open_sealed(&self, owner: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let sealed = sealed.strip_prefix(&[VERSION]).ok_or(VaultError::Sealed)?;
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::Sealed)?;
        let mut text = text.to_vec();
        let len = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(owner.as_bytes()), &mut text)
            .map_err(|_| VaultError::Sealed)?
            .len();
        text.truncate(len);
        Ok(text)
    }

    fn read(path: &Path, check_mode: bool) -> Result<Self, VaultError> {
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(|source| file_error(path, source))?;
        let metadata = file.metadata().map_err(|source| file_error(path, source))?;
        let mode = metadata.permissions().mode() & 0o777;
        if check_mode && mode & 0o077 != 0 {
            return Err(VaultError::Mode { path: name, mode });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| file_error(path, source))?;
        let key = bytes.first_chunk::<KEY_BYTES>().filter(|_| bytes.len() == KEY_BYTES);
        Self::from_key(key.ok_or(VaultError::Length { path: name })?)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

fn file_error(path: &Path, source: io::Error) -> VaultError {
    VaultError::File { path: path.display().to_string(), source }
}

/// The key is whole under its name or not there at all: a half one would lock everything out.
fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_owner_only() {
        let vault = Vault::from_key(&[7; 32]).unwrap();
        let sealed = vault.seal("AC1", b"token").unwrap();
        assert!(!sealed.windows(5).any(|bytes| bytes == b"token"));
        assert_eq!(vault.open_sealed("AC1", &sealed).unwrap(), b"token");
        assert!(vault.open_sealed("AC2", &sealed).is_err());
        assert!(Vault::from_key(&[8; 32]).unwrap().open_sealed("AC1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open_sealed("AC1", &changed).is_err(), "byte {at}");
        }
        assert!(vault.open_sealed("AC1", b"").is_err());
    }

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Vault::open(folder.path(), None).unwrap().seal("x", b"secret").unwrap();
        let again = Vault::open(folder.path(), None).unwrap();
        assert_eq!(again.open_sealed("x", &sealed).unwrap(), b"secret");
        let path = folder.path().join(KEY_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Vault::open(folder.path(), None), Err(VaultError::Mode { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(Vault::open(folder.path(), None), Err(VaultError::Length { .. })));
    }

    #[test]
    fn no_new_key_is_made_for_an_old_store() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(crate::sqlite::FILE_NAME), b"").unwrap();
        assert!(matches!(Vault::open(folder.path(), None), Err(VaultError::Gone { .. })));
        assert!(!folder.path().join(KEY_NAME).exists());
    }

    #[test]
    fn a_credential_comes_first() {
        let (folder, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(credentials.path().join(KEY_NAME), [9; 32]).unwrap();
        let vault = Vault::open(folder.path(), Some(credentials.path())).unwrap();
        let sealed = vault.seal("x", b"secret").unwrap();
        let same = Vault::from_key(&[9; 32]).unwrap();
        assert_eq!(same.open_sealed("x", &sealed).unwrap(), b"secret");
        assert!(!folder.path().join(KEY_NAME).exists());
    }
}
