//! Answers to challenges (RFC 3261 section 22, RFC 7616): the first one that a phone can answer, as
//! it stands in the message.

use base::Prng;
use sip::digest::{Answer, Challenge, ha1};
use sip::{Message, Method, Name, Writer};

/// Bytes of a line of credentials.
const LINE_BYTES: usize = 2_048;

/// A name and its password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Credentials for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The header line, without its end.
    pub(super) line: String,
    /// The password was right, the nonce too old.
    pub(super) stale: bool,
}

impl Login {
    /// What a 401 or 407 asks for, for this request; none if nothing in it can be answered.
    pub(super) fn answer(
        &self,
        response: &Message<'_>,
        (method, uri): (Method<'_>, &[u8]),
        random: &mut Prng,
    ) -> Option<Given> {
        let (asks, gives) = match response.status() {
            Some(401) => (Name::WwwAuthenticate, Name::Authorization),
            Some(407) => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
            _ => return None,
        };
        let challenge = response.headers_named(asks).find_map(Challenge::parse)?;
        let user = self.user.as_bytes();
        let ha1 = ha1(challenge.algorithm, user, challenge.realm, self.password.as_bytes());
        let cnonce = format!("{:016x}", random.u64());
        let answer = Answer {
            user,
            ha1: ha1.bytes(),
            method,
            uri,
            nc: 1,
            cnonce: cnonce.as_bytes(),
            session: false,
        };
        let mut room = [0; LINE_BYTES];
        let written = challenge.answer(Writer::new(&mut room), gives, &answer).lines().ok()?;
        let line = String::from_utf8_lossy(written).trim_end().to_owned();
        Some(Given { line, stale: challenge.stale })
    }
}
