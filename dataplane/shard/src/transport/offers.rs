//! Which algorithms a challenge offers. Both, the better one first (RFC 8760 section 2.3); but
//! phones of before that RFC give up on a challenge whose algorithm they do not know, although the
//! other one stands beside it (baresip 1.0 does). So whoever was offered
//! both and comes again with another request and no credentials is offered MD5 alone, and from then
//! on if he answers that.
//!
//! ```text
//!   nobody --challenged--> Both --another request without credentials--> Md5 --answered--> Only
//!                            ^-------another request without credentials---/
//! ```

use core::net::IpAddr;

use base::HashKey;

/// Callers that are remembered; one that falls on another's place takes it.
const PLACES: usize = 4_096;
/// How long, seconds.
const KEPT: u64 = 86_400;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Offered {
    #[default]
    Both,
    Md5,
    Only,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Hash of whoever asks; 0 for nobody.
    who: u64,
    /// The request that was challenged last.
    request: u64,
    seconds: u64,
    offered: Offered,
}

#[derive(Debug)]
pub(crate) struct Offers {
    key: HashKey,
    places: Vec<Place>,
}

impl Offers {
    pub(crate) fn new(key: HashKey) -> Self {
        Self { key, places: vec![Place::default(); PLACES] }
    }

    /// Names whoever asks: his source and what he says that he is.
    pub(crate) fn who(&self, source: IpAddr, from: &[u8]) -> u64 {
        let hash = match source.to_canonical() {
            IpAddr::V4(ip) => self.key.hash(&[&ip.octets(), from]),
            IpAddr::V6(ip) => self.key.hash(&[&ip.octets(), from]),
        };
        hash.max(1)
    }

    fn place(&mut self, who: u64) -> &mut Place {
        let at = usize::try_from(who).unwrap_or(0) % PLACES;
        &mut self.places[at]
    }

    /// What it was offered, for a request whose credentials are old or wrong.
    pub(crate) fn offered_both(&mut self, who: u64) -> bool {
        let place = self.place(who);
        place.who != who || place.offered == Offered::Both
    }

    /// A request without credentials is challenged: whether both are offered.
    pub(crate) fn offers_both(&mut self, who: u64, request: u64, seconds: u64) -> bool {
        let place = self.place(who);
        if place.who != who || seconds.saturating_sub(place.seconds) > KEPT {
            *place = Place { who, request, seconds, offered: Offered::Both };
            return true;
        }
        if place.request != request {
            place.offered = match place.offered {
                Offered::Both => Offered::Md5,
                Offered::Md5 => Offered::Both,
                Offered::Only => Offered::Only,
            };
        }
        (place.request, place.seconds) = (request, seconds);
        place.offered == Offered::Both
    }

    /// It was answered. True if that is news: he knows MD5 alone.
    pub(crate) fn answered(&mut self, who: u64, is_md5: bool) -> bool {
        let place = self.place(who);
        if place.who != who {
            return false;
        }
        match (place.offered, is_md5) {
            (Offered::Both, _) | (_, false) => *place = Place::default(),
            (Offered::Md5, true) => {
                place.offered = Offered::Only;
                return true;
            }
            (Offered::Only, true) => {}
        }
        false
    }

    /// He is known to know MD5 alone.
    pub(crate) fn learn(&mut self, who: u64, seconds: u64) {
        *self.place(who) = Place { who, request: 0, seconds, offered: Offered::Only };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_on_both_is_offered_one_and_keeps_it() {
        let mut offers = Offers::new(HashKey([1, 2]));
        let old = offers.who("192.0.2.1".parse().unwrap(), b"sip:a@x");
        assert_ne!(old, offers.who("192.0.2.1".parse().unwrap(), b"sip:b@x"));
        assert!(offers.offers_both(old, 1, 10) && offers.offers_both(old, 1, 11), "repeated");
        assert!(!offers.offers_both(old, 2, 40) && !offers.offers_both(old, 2, 41));
        assert!(offers.answered(old, true) && !offers.answered(old, true));
        assert!(!offers.offers_both(old, 3, 100) && !offers.offers_both(old, 4, 200));
        // It has learnt.
        offers.answered(old, false);
        assert!(offers.offers_both(old, 5, 300));
        offers.answered(old, true);
        assert!(offers.offers_both(old, 6, 400), "it answered where it had the choice");
        // One that answers neither is offered both again.
        assert!(!offers.offers_both(old, 7, 500) && offers.offers_both(old, 8, 600));
        offers.learn(old, 700);
        assert!(!offers.offers_both(old, 9, 700));
        assert!(offers.offers_both(old, 9, 700 + KEPT + 1), "forgotten");
    }
}
