//! The first tenant: made when the store has none, and told to the operator in a file that only he
//! can read. Its token is never in a log, an argument or the environment.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use base::Wall;
use model::{Account, AccountSid, AccountStatus, Secret};
use rustix::rand::{GetRandomFlags, getrandom};

/// Name of the file in the runtime directory.
pub const FILE: &str = "first-account.json";

/// `N` random bytes of the system's.
///
/// # Errors
/// If the system has none.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = getrandom(&mut bytes, GetRandomFlags::empty()).context("randomness")?;
    anyhow::ensure!(got == N, "the system gave {got} random bytes instead of {N}");
    Ok(bytes)
}

/// A new main account with number 1. Calls to its numbers are taken from this machine only until
/// its owner names the networks of his carriers.
///
/// # Errors
/// As [`random`].
pub fn first_account(name: &str, now: Wall) -> anyhow::Result<Account> {
    let sid = AccountSid(u128::from_be_bytes(random()?));
    let token = u128::from_be_bytes(random()?);
    let loopback = ["127.0.0.0/8", "::1/128"];
    Ok(Account {
        sid,
        number: 1,
        auth_token: Secret(format!("{token:032x}")),
        friendly_name: name.to_owned(),
        status: AccountStatus::Active,
        parent: sid,
        date_created: now,
        date_updated: now,
        sources: loopback.iter().filter_map(|text| text.parse().ok()).collect(),
        ..Account::default()
    })
}

/// The account that was made first and is still active.
#[must_use]
pub fn first_of(accounts: &[Account]) -> Option<&Account> {
    let active = accounts.iter().filter(|account| account.status == AccountStatus::Active);
    active.min_by_key(|account| account.number)
}

/// Writes `first-account.json`, mode 0600, whole or not at all.
///
/// # Errors
/// What the system says.
pub fn tell(
    runtime_dir: &Path,
    account: &Account,
    api_base: &str,
    sip_address: &str,
) -> io::Result<()> {
    let body = serde_json::json!({
        "account_sid": account.sid.to_string(),
        "auth_token": account.auth_token.0,
        "api_base": api_base,
        "sip_address": sip_address,
    });
    let (path, draft) = (runtime_dir.join(FILE), runtime_dir.join(format!("{FILE}.new")));
    let _ = fs::remove_file(&draft);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{body:#}")?;
    file.sync_all()?;
    fs::rename(&draft, &path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_account_is_told_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let account = first_account("Demo", Wall(5)).unwrap();
        assert_ne!(account.sid, first_account("Demo", Wall(5)).unwrap().sid);
        assert_eq!(account.auth_token.0.len(), 32);
        for _ in 0..2 {
            tell(folder.path(), &account, "http://127.0.0.1:8080", "127.0.0.1:5060").unwrap();
        }
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(told["account_sid"], account.sid.to_string());
        assert_eq!(told["auth_token"], account.auth_token.0);
    }
}
