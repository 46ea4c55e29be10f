//! What answers a registrar's challenge (RFC 3261 section 22, RFC 8760): of those that it offers
//! the strongest, for the realm that the trunk names or for any.

use base::Prng;
use sip::digest::{Algorithm, Answer, Challenge, ha1};
use sip::{Message, Method, Name, Writer};

use crate::plan::Registration;

/// A challenge that was answered; it is answered anew as it was.
#[derive(Debug)]
pub(super) struct Given {
    gives: Name,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    algorithm: Algorithm,
    qop: bool,
    cnonce: [u8; 16],
}

/// Who answers.
pub(super) struct Login<'a> {
    pub(super) plan: &'a Registration,
    pub(super) random: &'a mut Prng,
}

impl Login<'_> {
    /// `before`: what was answered and was not enough. None if this is not to be answered: another
    /// realm, nothing that we have, or a password that is wrong.
    pub(super) fn answer(self, message: &Message<'_>, before: Option<&Given>) -> Option<Given> {
        let (asks, gives) = match message.status() {
            Some(401) => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        let wanted = self.plan.realm.as_bytes();
        let digest = self.plan.digest;
        let ours = |it: &Challenge<'_>| {
            (wanted.is_empty() || it.realm == wanted)
                && digest.is_none_or(|digest| digest == it.algorithm)
        };
        let all = message.headers_named(asks).filter_map(Challenge::parse).filter(ours);
        let challenge = all.reduce(|best, next| {
            let stronger = (best.algorithm, next.algorithm) == (Algorithm::Md5, Algorithm::Sha256);
            if stronger { next } else { best }
        })?;
        // Behind an answer of ours it says that the password is wrong, unless the nonce was old.
        let is_same = before.is_some_and(|before| before.nonce == challenge.nonce);
        if is_same || before.is_some() && !challenge.stale {
            return None;
        }
        let mut cnonce = [0; 16];
        crate::transport::reply::hex(self.random.u64(), &mut cnonce);
        Some(Given {
            gives,
            realm: challenge.realm.to_vec(),
            nonce: challenge.nonce.to_vec(),
            opaque: challenge.opaque.map(<[u8]>::to_vec),
            algorithm: challenge.algorithm,
            qop: challenge.qop_auth,
            cnonce,
        })
    }
}

impl Given {
    pub(super) fn write<'b>(
        &self,
        writer: Writer<'b>,
        plan: &Registration,
        uri: &[u8],
    ) -> Writer<'b> {
        let challenge = Challenge {
            realm: &self.realm,
            nonce: &self.nonce,
            opaque: self.opaque.as_deref(),
            algorithm: self.algorithm,
            stale: false,
            qop_auth: self.qop,
        };
        let user = plan.user.as_bytes();
        let ha1 = ha1(self.algorithm, user, &self.realm, plan.password.as_bytes());
        let answer = Answer {
            user,
            ha1: ha1.bytes(),
            method: Method::Register,
            uri,
            nc: 1,
            cnonce: &self.cnonce,
            session: false,
        };
        challenge.answer(writer, self.gives, &answer)
    }
}
