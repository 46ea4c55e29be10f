//! Requests that say whose they are: passwords are known here alone. Whether a user exists, is
//! another domain's or has another password is answered alike, and by the same work.

use std::net::SocketAddr;

use base::{Now, ShardId};
use model::port::{OwnedCommand, OwnedVerdict};
use model::{AccountSid, DomainSid, Mapping};
use sip::digest::{Credentials, ha1};
use sip::{Message, Method, Name, Uri};
use wire::event::Claim;

use super::backoff::Tried;
use super::{Director, Trouble};

/// Told to whose domain it was.
const CREDENTIALS_ERROR: u32 = 32_202;
/// What is compared where there is nobody: as long as passwords are.
const NOBODYS: &str = "Nobodys-Password-1";

/// What a request claims.
struct Asked<'a> {
    message: Message<'a>,
    given: Credentials<'a>,
    method: Method<'static>,
}

/// The domain that it is asked of.
struct Domain {
    sid: DomainSid,
    account: AccountSid,
    lists: Vec<Mapping>,
}

impl Director {
    pub(super) fn on_claim(&mut self, now: Now, shard: ShardId, claim: &Claim<'_>) {
        let verdict = self.judge(now, claim);
        self.command(shard, OwnedCommand::Verdict { id: claim.id, verdict });
    }

    fn judge(&mut self, now: Now, claim: &Claim<'_>) -> OwnedVerdict {
        let refused = |code, retry_after| {
            let headers = String::new();
            OwnedVerdict::Answer { code, retry_after, headers }
        };
        let Some(asked) = Asked::read(claim) else { return refused(400, 0) };
        let domain = self.domain_asked(claim);
        let user = text(asked.given.user).to_owned();
        let source = claim.hop.to.ip();
        let tried = Tried { source, domain: domain.as_ref().map(|it| it.sid), user: &user };
        if let Some(seconds) = self.backoff.wait(now.mono, &tried) {
            return refused(503, seconds);
        }
        if self.is_right(domain.as_ref(), &asked) && asked.is_of_its_uri(claim) {
            self.backoff.was_right(&tried);
            return OwnedVerdict::Proven { user };
        }
        self.backoff.was_wrong(now.mono, &tried);
        if let Some(domain) = domain {
            self.tell_of_wrong(now, &domain, (&user, claim.realm, claim.hop.to));
        }
        OwnedVerdict::Wrong
    }

    fn domain_asked(&self, claim: &Claim<'_>) -> Option<Domain> {
        let domain = self.directory.domain(claim.realm)?;
        let auth = self.directory.domain_auth(domain.sid)?;
        Some(Domain { sid: domain.sid, account: domain.account, lists: auth.calls.clone() })
    }

    /// Whether the user is in one of the lists, with this password.
    fn is_right(&self, domain: Option<&Domain>, asked: &Asked<'_>) -> bool {
        let user = text(asked.given.user);
        let nobodys = [None];
        let lists = domain.map(|domain| domain.lists.iter());
        let known = lists.map(|lists| lists.map(|it| self.directory.credential(it.list, user)));
        // Each list costs a comparison, whether the user is in it or not.
        let mut is_right = false;
        for credential in known.into_iter().flatten().chain(nobodys) {
            let password = credential.map_or(NOBODYS, |it| it.password.0.as_str());
            is_right |= asked.fits(password) && credential.is_some();
        }
        is_right
    }

    fn tell_of_wrong(
        &mut self,
        now: Now,
        domain: &Domain,
        (user, realm, source): (&str, &str, SocketAddr),
    ) {
        let message = format!("call from {source} to {realm} refused: credentials of {user:?}");
        let (code, reason) = (CREDENTIALS_ERROR, "credentials-refused");
        self.alert(
            now,
            domain.account,
            Trouble { warning: true, code, reason, message, ..Trouble::default() },
        );
    }
}

impl<'a> Asked<'a> {
    fn read(claim: &Claim<'a>) -> Option<Self> {
        // Its body is left out: what it says of its length does not count.
        let message = match Message::parse(claim.head) {
            Ok(message) => message,
            Err(malformed) => malformed.partial().clone(),
        };
        let method = match message.method()? {
            Method::Invite => Method::Invite,
            Method::Register => Method::Register,
            _ => return None,
        };
        let name = match claim.registers {
            true => Name::Authorization,
            false => Name::ProxyAuthorization,
        };
        let given = message.headers_named(name).filter_map(Credentials::parse);
        let given = given.into_iter().find(|it| it.realm == claim.realm.as_bytes())?;
        Some(Self { message, given, method })
    }

    fn fits(&self, password: &str) -> bool {
        let Credentials { algorithm, user, realm, .. } = self.given;
        let ha1 = ha1(algorithm, user, realm, password.as_bytes());
        self.given.verify(ha1.bytes(), self.method)
    }

    /// The credentials are for what is asked (RFC 7616 section 3.4.6): whoever has seen them takes
    /// them nowhere else. What proxies and phones write differently does not count.
    fn is_of_its_uri(&self, claim: &Claim<'_>) -> bool {
        let Ok(digest) = Uri::parse(self.given.uri) else { return false };
        let Ok(asked) = self.message.uri() else { return false };
        let is_named = digest.host.same(asked.host)
            || model::party::host(&digest).eq_ignore_ascii_case(claim.realm);
        is_named && (claim.registers || digest.user == asked.user)
    }
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}
