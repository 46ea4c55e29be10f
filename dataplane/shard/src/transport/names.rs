//! Names that certificates of far ends must have, by their hashes. Targets, hops and connections
//! hold the hash; whoever opens a connection asks here for the text.
//!
//! The names of static routes stay as long as the table lists them; those that applications dial
//! come and go: an account has a share, and the name that was dialled longest ago makes room, those
//! that several accounts dial last. What
//! has been forgotten is not connected to any more: nobody is ever verified by another name.

use std::collections::HashMap;

use base::{HashKey, TlsName};

/// Names that are dialled: of all accounts, and of one.
const DIALLED_MAX: usize = 2_048;
const ACCOUNT_MAX: usize = 256;
/// The longest host name (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug)]
struct Known {
    text: Box<str>,
    /// Who dialled it.
    account: u64,
    /// Names that have been dialled when it was dialled last; the table's are newer than all.
    dialled: u64,
}

/// Instead of an account: others dialled it, too, or it came from another shard or life.
const SEVERAL: u64 = 0;
/// The age of a name that the table lists.
const LISTED: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Names {
    key: HashKey,
    known: HashMap<TlsName, Known>,
    dialled: u64,
}

impl Names {
    /// `secret`: outlives this process, so that records of legs name what their successor knows.
    pub(crate) fn new(secret: &sip::token::Key) -> Self {
        let (high, low) = (u128::from_be_bytes(secret.0) >> 64, u128::from_be_bytes(secret.0));
        let half = |word: u128| u64::try_from(word & u128::from(u64::MAX)).unwrap_or(0);
        let key = HashKey([half(high), half(low)]);
        Self { key, known: HashMap::new(), dialled: 0 }
    }

    fn hash(&self, text: &str) -> TlsName {
        let hash = self.key.hash(&[b"tls", text.as_bytes()]);
        let hash = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
        TlsName(hash.clamp(1, TlsName::UNPROVEN.0 - 1))
    }

    /// The names of a new table.
    pub(crate) fn list<'t>(&mut self, names: impl Iterator<Item = &'t str>) {
        for known in self.known.values_mut().filter(|known| known.dialled == LISTED) {
            known.dialled = self.dialled;
        }
        for name in names {
            let _ = self.put(SEVERAL, name, LISTED);
        }
    }

    /// A name that an account dials. None if it can be none.
    pub(crate) fn dial(&mut self, account: u64, text: &str) -> Option<TlsName> {
        self.dialled += 1;
        self.put(account, text, self.dialled)
    }

    fn put(&mut self, account: u64, text: &str, dialled: u64) -> Option<TlsName> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let is_written = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_written) {
            return None;
        }
        let name = self.hash(&text);
        if let Some(known) = self.known.get_mut(&name) {
            // Two texts of one hash are not told apart: the second one is not to be had.
            let is_it = *known.text == *text;
            if is_it {
                known.dialled = known.dialled.max(dialled);
                // It is nobody's alone any more.
                known.account = if known.account == account { account } else { SEVERAL };
            }
            return is_it.then_some(name);
        }
        if dialled != LISTED {
            self.make_room(account);
        }
        self.known.insert(name, Known { text: text.into(), account, dialled });
        Some(name)
    }

    fn make_room(&mut self, account: u64) {
        let dialled = || self.known.iter().filter(|(_, known)| known.dialled != LISTED);
        let of_account = || dialled().filter(|(_, known)| known.account == account);
        let oldest = if account != SEVERAL && of_account().count() >= ACCOUNT_MAX {
            of_account().min_by_key(|(_, known)| known.dialled)
        } else if dialled().count() >= DIALLED_MAX {
            dialled().min_by_key(|(_, known)| (known.account == SEVERAL, known.dialled))
        } else {
            None
        };
        if let Some(name) = oldest.map(|(name, _)| *name) {
            self.known.remove(&name);
        }
    }

    /// What is to be verified.
    pub(crate) fn text(&self, name: TlsName) -> Option<&str> {
        self.known.get(&name).map(|known| &*known.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(&sip::token::Key([8; 16]))
    }

    #[test]
    fn a_name_is_known_again_however_it_is_written() {
        let mut names = names();
        let name = names.dial(1, "SIP.Example.com.").unwrap();
        assert_eq!(names.dial(2, "sip.example.com"), Some(name));
        assert_eq!(names.text(name), Some("sip.example.com"));
        assert_ne!(names.dial(1, "sip.example.org"), Some(name));
        for none in ["", ".", "a b", "a;b", &"x".repeat(254)] {
            assert_eq!(names.dial(1, none), None, "{none}");
        }
        assert_eq!(names.text(TlsName::NONE), None);
    }

    #[test]
    fn an_account_takes_room_from_itself_and_nobody_from_the_table() {
        let mut names = names();
        names.list(["carrier.example"].into_iter());
        let other = names.dial(2, "other.example").unwrap();
        let first = names.dial(1, "n0.example").unwrap();
        for at in 1..=ACCOUNT_MAX {
            names.dial(1, &format!("n{at}.example")).unwrap();
        }
        assert_eq!(names.text(first), None);
        assert_eq!(names.text(other), Some("other.example"));
        for account in 3..40 {
            for at in 0..100 {
                names.dial(account, &format!("n{at}.of{account}.example")).unwrap();
            }
        }
        assert_eq!(names.known.len(), DIALLED_MAX + 1);
        assert_eq!(names.text(other), None);
        let shared = names.dial(3, "shared.example").unwrap();
        assert_eq!(names.dial(4, "shared.example"), Some(shared));
        for at in 0..DIALLED_MAX * 2 {
            names.dial(5 + at as u64 % 20, &format!("m{at}.example")).unwrap();
        }
        assert_eq!(names.text(shared), Some("shared.example"));
        let listed = names.dial(9, "carrier.example").unwrap();
        assert_eq!(names.text(listed), Some("carrier.example"));
        // A table that does not list it leaves it to its age.
        names.list([].into_iter());
        assert_eq!(names.text(listed), Some("carrier.example"));
    }
}
