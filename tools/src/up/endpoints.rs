//! `endpoints.json`: how outside tools find and drive the switch.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Its name inside the data directory.
pub const FILE: &str = "endpoints.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    pub supervisor: u32,
    /// 0 while it is being restarted.
    pub dataplane: u32,
    pub controlplane: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub account_sid: String,
    pub auth_token: String,
    /// `http://host:port`, without a path.
    pub api_base: String,
    /// `host:port` for SIP over UDP.
    pub sip_address: String,
    pub pids: Pids,
}

/// What the controlplane tells of the account it made on first start.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FirstAccount {
    pub(crate) account_sid: String,
    pub(crate) auth_token: String,
}

impl Endpoints {
    /// # Errors
    /// The file is not there, or not of this version.
    pub fn read(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} cannot be read: is `tandem up` running on this data directory?",
                path.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        write_private(&data_dir.join(FILE), &serde_json::to_string_pretty(self)?)
    }
}

/// Writes a file of mode 0600 in one step: a reader sees the old or the new, never half.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let next = path.with_extension("next");
    let _ = std::fs::remove_file(&next);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)
        .with_context(|| format!("{} cannot be written", next.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn written_privately_and_read_back() {
        let dir = std::env::temp_dir().join(format!("tandem-endpoints-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temporary directory");
        let said = Endpoints {
            account_sid: "AC1".to_owned(),
            pids: Pids { supervisor: 1, dataplane: 2, controlplane: 3 },
            ..Endpoints::default()
        };
        said.write(&dir).expect("first");
        said.write(&dir).expect("again");
        assert_eq!(Endpoints::read(&dir).expect("read"), said);
        let mode = std::fs::metadata(dir.join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(&dir).expect("clean");
    }
}
