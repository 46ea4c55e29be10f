//! Requests that say whose they are: passwords are known here alone. Whether a user exists, is
//! another domain's or has another password is answered alike, and by the same work.

use base::{Now, ShardId};
use model::port::{OwnedCommand, OwnedVerdict, Record};
use model::{AccountSid, Binding, DomainSid, Mapping};
use sip::digest::{Credentials, ha1};
use sip::{Message, Method, Name, Uri};
use wire::event::Claim;

use super::backoff::Tried;
use super::durability::After;
use super::{Director, Trouble, registrar};

/// Told to whose domain it was: wrong credentials of a call and of a registration, too many
/// contacts or another's, contacts that cannot be read.
const CREDENTIALS_ERROR: u32 = 32_202;
const REGISTRATION_ERROR: u32 = 32_212;
const BINDINGS_ERROR: u32 = 32_007;
const CONTACT_ERROR: u32 = 32_105;
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
        let (verdict, records) = self.judge(now, claim);
        let command = OwnedCommand::Verdict { id: claim.id, verdict };
        if records.is_empty() {
            return self.command(shard, command);
        }
        // No 200 before it is true.
        self.records.extend(records);
        self.afters.push(After::Command { shard, command });
    }

    /// Whoever has registered was right about his password from where he is: a successor knows it,
    /// too, whatever others guess.
    pub(super) fn remember_proven(&mut self, bindings: &[Binding]) {
        for binding in bindings {
            let (source, domain) = (binding.hop.to.ip(), Some(binding.domain));
            self.backoff.was_right(&Tried { source, domain, user: &binding.user });
        }
    }

    fn judge(&mut self, now: Now, claim: &Claim<'_>) -> (OwnedVerdict, Vec<Record>) {
        let Some(asked) = Asked::read(claim) else { return (refused(400, 0), Vec::new()) };
        let domain = self.domain_asked(claim);
        let user = text(asked.given.user).to_owned();
        let source = claim.hop.to.ip();
        let tried = Tried { source, domain: domain.as_ref().map(|it| it.sid), user: &user };
        if let Some(seconds) = self.backoff.wait(now.mono, &tried) {
            return (refused(503, seconds), Vec::new());
        }
        if !self.is_right(domain.as_ref(), &asked) || !asked.is_of_its_uri(claim) {
            self.backoff.was_wrong(now.mono, &tried);
            if let Some(domain) = domain {
                self.tell_of_wrong(now, &domain, (&user, claim));
            }
            return (OwnedVerdict::Wrong, Vec::new());
        }
        self.backoff.was_right(&tried);
        match domain {
            Some(domain) if claim.registers => self.registered(now, &domain, (&asked, claim), user),
            _ => (OwnedVerdict::Proven { user }, Vec::new()),
        }
    }

    /// A REGISTER of somebody who is a user of the domain.
    fn registered(
        &mut self,
        now: Now,
        domain: &Domain,
        (asked, claim): (&Asked<'_>, &Claim<'_>),
        user: String,
    ) -> (OwnedVerdict, Vec<Record>) {
        if self.durability.is_sick() {
            return (refused(503, 5), Vec::new());
        }
        if !self.directory.is_active(domain.account) {
            return (refused(403, 0), Vec::new());
        }
        // A user registers nobody but himself (RFC 3261 section 10.3, step 4).
        let is_himself = asked.user_of_to().as_deref() == Some(user.as_str());
        let user = (domain.sid, user);
        let register = registrar::Asked {
            message: &asked.message,
            hop: claim.hop,
            account: domain.account,
            user: &user,
            service_route: self.settings.service_route(claim.hop.via.listener()),
        };
        let (rng, limits) = (&mut self.rng, &self.settings.limits);
        let answered = match is_himself {
            true => self.registrar.register(now, &register, limits, || rng.wide()),
            false => registrar::Answered::refused(403, "credentials of another user"),
        };
        let registrar::Answered { code, headers, records, refreshed, why } = answered;
        let (records, refreshed) = (self.charged(records), self.charged(refreshed));
        self.records.extend(refreshed);
        if !why.is_empty() {
            let source = claim.hop.to;
            let message =
                format!("registration from {source} at {} refused with {code}: {why}", claim.realm);
            let (code, reason) = match code {
                403 => (BINDINGS_ERROR, "registration-refused"),
                _ => (CONTACT_ERROR, "registration-not-taken"),
            };
            let trouble = Trouble { warning: true, code, reason, message, ..Trouble::default() };
            self.alert(now, domain.account, trouble);
        }
        (OwnedVerdict::Answer { code, retry_after: 0, headers }, records)
    }

    fn domain_asked(&self, claim: &Claim<'_>) -> Option<Domain> {
        let Some(domain) = self.directory.domain(claim.realm) else {
            return self.trunk_asked(claim);
        };
        let auth = self.directory.domain_auth(domain.sid)?;
        let lists = match claim.registers {
            true if auth.registers => &auth.registrations,
            true => return None,
            false => &auth.calls,
        };
        Some(Domain { sid: domain.sid, account: domain.account, lists: lists.clone() })
    }

    /// A trunk's domain, which takes calls alone. Its number stands in a domain's place.
    fn trunk_asked(&self, claim: &Claim<'_>) -> Option<Domain> {
        let trunk = self.directory.trunk(claim.realm).filter(|_| !claim.registers)?;
        let (sid, lists) = (DomainSid(trunk.sid.0), trunk.credentials.clone());
        Some(Domain { sid, account: trunk.account, lists })
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

    fn tell_of_wrong(&mut self, now: Now, domain: &Domain, (user, claim): (&str, &Claim<'_>)) {
        let (what, code) = match claim.registers {
            true => ("registration", REGISTRATION_ERROR),
            false => ("call", CREDENTIALS_ERROR),
        };
        let (source, realm) = (claim.hop.to, claim.realm);
        let message = format!("{what} from {source} to {realm} refused: credentials of {user:?}");
        let reason = "credentials-refused";
        let trouble = Trouble { warning: true, code, reason, message, ..Trouble::default() };
        self.alert(now, domain.account, trouble);
    }
}

fn refused(code: u16, retry_after: u32) -> OwnedVerdict {
    OwnedVerdict::Answer { code, retry_after, headers: String::new() }
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

    /// The user of the address of record, as it is meant.
    fn user_of_to(&self) -> Option<String> {
        let to = self.message.to().ok()?.uri().ok()?;
        let mut user = [0; 64];
        Some(text(to.user_value(&mut user)?).to_owned())
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
