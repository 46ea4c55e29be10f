//! Nonces of digest challenges: made without state, and what is kept of those that came back, so
//! that no answer to a challenge counts twice (RFC 7616 section 3.4, `nc`).
//!
//! ```text
//!   nonce: | seconds | epoch | shard | count | half a MAC over these, source and realm |
//! ```
//!
//! One of another shard, or of the run before, is ours and old: whoever brings it is challenged
//! anew, with `stale=true`, and asks nobody for his password. What is kept is bounded: where a set
//! of places is full of nonces that live, one more is old as well.

use core::net::IpAddr;

use base::HashKey;
use sip::digest::{Credentials, Freshness, NONCE_LIFE_SECONDS, Nonce, check_nonce, make_nonce};
use sip::token::Key;

use crate::plan::Plan;

/// Nonces that are known to have been used, in sets of [`WAYS`]: a thousand new ones a second for
/// their whole life, twice.
const PLACES: usize = 1 << 17;
const WAYS: usize = 8;
/// Counts behind the highest one that may still come: datagrams overtake each other.
const WINDOW: u32 = 64;

/// What the credentials' nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Fresh,
    /// Of the request that used this count last: it is repeated.
    Again,
    /// Of a request that was another one.
    Used,
    Stale,
    Foreign,
}

#[derive(Debug)]
pub(crate) struct Nonces {
    key: Key,
    table: HashKey,
    /// Epoch and shard, in a mark's upper half.
    ours: u32,
    made: u16,
    /// Hash of the nonce (0: free); when it was made and its highest count; the counts before that
    /// one that came, the latest lowest; the request of the highest.
    // Words alone, so that the memory is taken when it is used.
    places: Vec<[u64; 4]>,
}

impl Nonces {
    pub(crate) fn new(plan: &Plan, epoch: u32) -> Self {
        let ours = u32::from_be_bytes([epoch.to_le_bytes()[0], plan.shard, 0, 0]);
        let (key, table) = (plan.keys.token, plan.keys.table);
        Self { key, table, ours, made: 0, places: vec![[0; 4]; PLACES] }
    }

    /// Another one, for whoever asks from `source`.
    pub(crate) fn make(&mut self, seconds: u64, source: IpAddr, realm: &[u8]) -> Nonce {
        self.made = self.made.wrapping_add(1);
        make_nonce(&self.key, seconds, self.ours | u32::from(self.made), source, realm)
    }

    /// Judges what came back, and remembers that it did. `request`: a hash of the request.
    pub(crate) fn judge(
        &mut self,
        seconds: u64,
        source: IpAddr,
        given: &Credentials<'_>,
        request: u64,
    ) -> Judged {
        let (stamp, mark) = match check_nonce(&self.key, given.nonce, seconds, source, given.realm)
        {
            Freshness::Fresh { stamp, mark } => (stamp, mark),
            Freshness::Stale => return Judged::Stale,
            Freshness::Foreign => return Judged::Foreign,
        };
        if mark & 0xffff_0000 != self.ours {
            return Judged::Stale;
        }
        // Who does not count (RFC 2069) uses it once.
        let count = given.nonce_count().unwrap_or(1);
        let hash = self.table.hash(&[given.nonce]).max(1);
        let Some(place) = self.place(hash, seconds) else { return Judged::Stale };
        if place[0] != hash {
            *place = [hash, u64::from(stamp) << 32, 0, 0];
        }
        let highest = u32::try_from(place[1] & u64::from(u32::MAX)).unwrap_or(0);
        if count > highest {
            let ahead = count - highest;
            // The highest of before is the first behind the one that it is now.
            let before = place[2] << 1 | u64::from(highest > 0);
            place[2] = before.checked_shl(ahead - 1).unwrap_or(0);
            place[1] = u64::from(stamp) << 32 | u64::from(count);
            place[3] = request;
            return Judged::Fresh;
        }
        if count == highest {
            return if place[3] == request { Judged::Again } else { Judged::Used };
        }
        let behind = highest - count;
        let bit = 1_u64.checked_shl(behind - 1).unwrap_or(0);
        if behind > WINDOW || count == 0 || place[2] & bit != 0 {
            return Judged::Used;
        }
        place[2] |= bit;
        Judged::Fresh
    }

    /// The nonce's place, or one for it.
    fn place(&mut self, hash: u64, seconds: u64) -> Option<&mut [u64; 4]> {
        let sets = PLACES / WAYS;
        let first = usize::try_from(hash).unwrap_or(0) % sets * WAYS;
        let set = &mut self.places[first..first + WAYS];
        let own = set.iter().position(|place| place[0] == hash);
        let is_free = |place: &[u64; 4]| {
            place[0] == 0 || seconds.saturating_sub(place[1] >> 32) > NONCE_LIFE_SECONDS
        };
        let at = own.or_else(|| set.iter().position(is_free))?;
        set.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(shard: u8, epoch: u8) -> Nonces {
        Nonces {
            key: Key([9; 16]),
            table: HashKey([1, 2]),
            ours: u32::from_be_bytes([epoch, shard, 0, 0]),
            made: 0,
            places: vec![[0; 4]; PLACES],
        }
    }

    fn value(nonce: &Nonce, nc: &str) -> String {
        let nonce = String::from_utf8_lossy(nonce.bytes()).into_owned();
        let count = match nc {
            "" => String::new(),
            nc => format!(",qop=auth,nc={nc},cnonce=\"c\""),
        };
        format!(
            "Digest username=\"a\",realm=\"r\",nonce=\"{nonce}\",uri=\"sip:r\",response=\"x\"{count}"
        )
    }

    #[test]
    fn each_count_of_a_nonce_is_taken_once() {
        let mut nonces = nonces(1, 7);
        let source = "192.0.2.1".parse().unwrap();
        let nonce = nonces.make(1_000, source, b"r");
        assert_ne!(nonces.make(1_000, source, b"r").bytes(), nonce.bytes());
        let mut judge = |nc: &str, at, request| {
            let value = value(&nonce, nc);
            let given = Credentials::parse(value.as_bytes()).unwrap();
            nonces.judge(at, source, &given, request)
        };
        for (nc, request, judged) in [
            ("00000001", 1, Judged::Fresh),
            ("00000001", 1, Judged::Again),
            ("00000001", 2, Judged::Used),
            ("", 3, Judged::Used),
            ("00000005", 4, Judged::Fresh),
            ("00000003", 5, Judged::Fresh),
            ("00000003", 5, Judged::Used),
            ("00000001", 1, Judged::Used),
            ("00000000", 6, Judged::Used),
            ("00000100", 7, Judged::Fresh),
            ("00000005", 4, Judged::Used),
            ("000000c1", 8, Judged::Fresh),
            ("000000bf", 9, Judged::Used),
        ] {
            assert_eq!(judge(nc, 1_010, request), judged, "{nc} {request}");
        }
        assert_eq!(judge("00000101", 1_061, 1), Judged::Stale);
    }

    #[test]
    fn a_nonce_of_another_shard_or_run_is_old_and_a_strange_one_nothing() {
        let source = "192.0.2.1".parse().unwrap();
        let mut ours = nonces(1, 7);
        for (shard, epoch, judged) in
            [(1, 7, Judged::Fresh), (2, 7, Judged::Stale), (1, 6, Judged::Stale)]
        {
            let value = value(&nonces(shard, epoch).make(1_000, source, b"r"), "00000001");
            let given = Credentials::parse(value.as_bytes()).unwrap();
            assert_eq!(ours.judge(1_000, source, &given, 1), judged, "{shard} {epoch}");
            let elsewhere = "192.0.2.2".parse().unwrap();
            assert_eq!(ours.judge(1_000, elsewhere, &given, 1), Judged::Foreign);
        }
    }

    #[test]
    fn where_all_places_are_taken_one_more_is_old_until_they_have_died() {
        let source = "192.0.2.1".parse().unwrap();
        let mut nonces = nonces(1, 7);
        let mut took = 0;
        // A set is full long before all are.
        let late = loop {
            let value = value(&nonces.make(1_000, source, b"r"), "00000001");
            let given = Credentials::parse(value.as_bytes()).unwrap();
            match nonces.judge(1_000, source, &given, 1) {
                Judged::Fresh => took += 1,
                judged => {
                    assert_eq!(judged, Judged::Stale);
                    break value;
                }
            }
        };
        assert!(took > PLACES / 16, "{took}");
        let given = Credentials::parse(late.as_bytes()).unwrap();
        assert_eq!(nonces.judge(1_000, source, &given, 1), Judged::Stale);
        let value = value(&nonces.make(1_061, source, b"r"), "00000001");
        let given = Credentials::parse(value.as_bytes()).unwrap();
        assert_eq!(nonces.judge(1_061, source, &given, 1), Judged::Fresh);
    }
}
