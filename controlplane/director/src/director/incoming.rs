//! An INVITE came in: whose is it, may it, what is to be run. Nothing is spent on a call before the
//! account is known and agrees; each refusal has a reason that the tenant can read.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use base::{CallId, LegId, Now, ShardId, Wall};
use model::port::OwnedCommand;
use model::{
    AccountSid, AlertSid, CallDirection, CallRow, CallStatus, NumberSid, Trunk, TrunkSid,
    VoiceConfig, party,
};
use sip::{Number, Scheme, Uri};
use wire::event::{Cause, Incoming};

use super::status::told_of;
use super::{Director, Trouble, trunk};
use crate::answer::Document;
use crate::forwards::Forwards;
use crate::live::{Facts, Live, Volatile};
use crate::script::{Trunking, parse_any};

/// How long a call may stay unanswered while its application decides and dials.
pub(super) const SETUP_MS: u32 = 600_000;
/// A call so much older than we are, microseconds, had its cell when cells were looked through.
const BYGONE_US: u64 = 100_000;
const HEADERS_MAX: usize = 64;
/// Told to whoever takes no calls from a source.
const WELCOME_ERROR: u32 = 32_201;

/// The endpoint that was called.
struct Place {
    account: AccountSid,
    config: VoiceConfig,
    /// As its owner has it, whatever was dialled.
    number: Option<(NumberSid, String)>,
    domain: Option<(String, String)>,
    /// The source is in the endpoint's list.
    welcome: bool,
    rule: &'static str,
    trunk: Option<Trunked>,
}

/// How a call of a trunk's goes.
struct Trunked {
    trunk: TrunkSid,
    /// The number that its switch dials, empty for none; None for a call to one of its own.
    dialled: Option<String>,
    /// By TLS alone.
    secure: bool,
}

/// An INVITE that the dataplane refused by itself.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Refused<'a> {
    pub(super) at: Wall,
    pub(super) source: SocketAddr,
    pub(super) code: u16,
    pub(super) cause: Cause,
    pub(super) uri: &'a str,
    pub(super) why: &'a str,
}

/// Why a call is not taken.
pub(super) struct Refusal {
    code: u16,
    cause: Cause,
    phrase: &'static str,
    retry_after: u32,
    /// Machine-readable, with the code applications know.
    reason: &'static str,
    error: u32,
}

impl Director {
    pub(super) fn on_incoming(&mut self, now: Now, shard: ShardId, incoming: &Incoming<'_>) {
        if self.calls.contains(&incoming.call) {
            return self.resume(now, incoming.call);
        }
        let source = incoming.source.ip();
        if self.is_bygone(now, incoming) {
            // Its end follows. Nothing is asked or told of it, but the account has it in its books,
            // unless it would have been refused: then it was.
            if let Some(place) = self.place(incoming.uri, source, incoming.user)
                && self.may_come(&place).is_ok()
                && let Some(replay) = &mut self.replay
            {
                replay.bygone.insert(incoming.call, place.account);
            } else {
                self.strangers.turn_away(incoming.call);
            }
            return;
        }
        self.stats.calls_incoming += 1;
        if incoming.replaces != LegId::NONE {
            return self.on_replaces(now, shard, incoming);
        }
        let Some(place) = self.place(incoming.uri, source, incoming.user) else {
            self.stats.calls_unknown += 1;
            if let Some(count) = self.strangers.tell(now.mono) {
                let (uri, source) = (incoming.uri, incoming.source);
                let message = format!(
                    "no number or domain for {uri}, called from {source}; {count} such calls since \
                     this was said last"
                );
                self.notice(None, Some(incoming.call), false, message);
            }
            let refusal = Refusal::new(404, Cause::NoRoute, "Not Found", "no-endpoint", 0);
            return self.refuse_call(shard, incoming.call, &refusal);
        };
        let secured = self.is_secured(&place, incoming.listener);
        if let Err(refusal) = secured.and_then(|()| self.admit(now, &place)) {
            let trouble = Trouble {
                call: Some(incoming.call),
                code: refusal.error,
                reason: refusal.reason,
                message: format!(
                    "call from {} ({}) to {} refused with {}: {}",
                    incoming.from, incoming.source, incoming.uri, refusal.code, refusal.reason
                ),
                ..Trouble::default()
            };
            self.alert(now, place.account, trouble);
            return self.refuse_call(shard, incoming.call, &refusal);
        }
        self.take(now, shard, incoming, place);
    }

    /// The dataplane refused an INVITE before it was a call: the owner of what it was for is told,
    /// the operator in any case.
    pub(super) fn on_refused(&mut self, now: Now, refused: &Refused<'_>) {
        let &Refused { source, code, cause, uri, why, .. } = refused;
        let (number, warning, words) =
            told_of(cause).unwrap_or_else(|| (32_011, true, cause.name()));
        let and = if why.is_empty() { "" } else { ": " };
        let message = format!("call from {source} to {uri} refused with {code}: {words}{and}{why}");
        let place = self.place(uri, source.ip(), "");
        let owner = place.as_ref().map(|place| place.account);
        if let Some(place) = place {
            let account = place.account;
            let message = message.clone();
            // The dataplane knows the same lists, and tells of a sample.
            let (number, reason) = match cause {
                Cause::Forbidden if !place.welcome => (WELCOME_ERROR, place.rule),
                _ => (number, cause.name()),
            };
            let trouble = Trouble { warning, code: number, reason, message, ..Trouble::default() };
            self.alert_as(now, refused.alert(), account, trouble);
        }
        self.notice(owner, None, false, message);
    }

    /// It came in before our time, and stood no more when that began: it was finished already and
    /// is told again, or its caller gave up while nobody was there.
    fn is_bygone(&self, now: Now, incoming: &Incoming<'_>) -> bool {
        self.replay.as_ref().is_some_and(|replay| {
            let since = replay.since;
            // The clock may have been set since then: what is not of the future is of this one.
            let began = match incoming.at <= now.wall {
                true => since.wall.under(since.offset(), now.offset()),
                false => since.wall,
            };
            let age = began.micros_since(incoming.at);
            // Of a moment that is yet to come: the clock was set back before we began.
            let ahead = incoming.at.micros_since(now.wall);
            age.max(ahead) > BYGONE_US && !replay.standing.contains(&incoming.call)
        })
    }

    pub(super) fn refuse_call(&mut self, shard: ShardId, call: CallId, refusal: &Refusal) {
        self.stats.calls_refused += 1;
        self.strangers.turn_away(call);
        let &Refusal { code, cause, phrase, retry_after, .. } = refusal;
        let reason = phrase.to_owned();
        self.command(shard, OwnedCommand::Reject { call, code, reason, retry_after, cause });
    }

    /// By the host of the Request-URI if it is a domain of somebody's, else by its user as a
    /// number. Where the host is an address or a name of ours no domain counts: numbers belong to
    /// whoever has them, whatever domains another tenant has made. So it is with what a carrier
    /// sends, and where the number's owner takes calls from there and the domain's does not.
    fn place(&self, uri: &str, source: IpAddr, user: &str) -> Option<Place> {
        let uri = Uri::parse(uri.as_bytes()).ok()?;
        let is_carrier = self.settings.carriers.iter().any(|network| network.contains(source));
        match (self.place_by_domain(&uri, source, user), self.place_by_number(&uri, source)) {
            (Some(domain), Some(number)) => {
                let goes_first = is_carrier || !domain.welcome && number.welcome;
                Some(if goes_first { number } else { domain })
            }
            (domain, number) => domain.or(number),
        }
    }

    fn place_by_domain(&self, uri: &Uri<'_>, source: IpAddr, user: &str) -> Option<Place> {
        let host = party::host(uri);
        if uri.scheme == Scheme::Tel || self.settings.is_own_host(&host) {
            return None;
        }
        let Some(domain) = self.directory.domain(&host) else {
            return self.place_by_trunk(uri, (&host, source), user);
        };
        Some(Place {
            account: domain.account,
            config: self.directory.config(&domain.config, domain.application).clone(),
            number: None,
            domain: Some((domain.domain_name.clone(), domain.sid.to_string())),
            // A user of the domain's, as its credentials have proven, may come from anywhere.
            welcome: !user.is_empty()
                || self.directory.domain_networks(domain).iter().any(|it| it.contains(source)),
            rule: "domain-source-refused",
            trunk: None,
        })
    }

    /// A trunk's domain, by which its switch dials.
    fn place_by_trunk(
        &self,
        uri: &Uri<'_>,
        (host, source): (&str, IpAddr),
        user: &str,
    ) -> Option<Place> {
        let trunk = self.directory.trunk(host)?;
        let networks = self.directory.trunk_networks(trunk);
        Some(Place {
            account: trunk.account,
            config: VoiceConfig::default(),
            number: None,
            domain: Some((trunk.domain_name.clone(), trunk.sid.to_string())),
            welcome: !user.is_empty() || networks.iter().any(|network| network.contains(source)),
            rule: "trunk-source-refused",
            trunk: Some(Trunked {
                trunk: trunk.sid,
                dialled: Some(Number::from_uri(uri).map(|it| it.to_string()).unwrap_or_default()),
                secure: trunk.secure,
            }),
        })
    }

    fn place_by_number(&self, uri: &Uri<'_>, source: IpAddr) -> Option<Place> {
        let number = self.directory.number(Number::from_uri(uri)?.as_str())?;
        let account = self.directory.account(number.account)?;
        let trunk = self.directory.trunk_of(number.sid);
        let trunk = trunk.map(|it| Trunked { trunk: it.sid, dialled: None, secure: false });
        Some(Place {
            account: number.account,
            config: self.directory.config(&number.config, number.application).clone(),
            number: Some((number.sid, number.number.clone())),
            domain: None,
            welcome: account.sources.iter().any(|network| network.contains(source)),
            rule: "account-source-refused",
            trunk,
        })
    }

    /// By what is configured, whatever stands now.
    fn may_come(&self, place: &Place) -> Result<(), Refusal> {
        if !place.welcome {
            return Err(Refusal::new(
                403,
                Cause::Forbidden,
                "Forbidden",
                place.rule,
                WELCOME_ERROR,
            ));
        }
        if !self.directory.is_active(place.account) {
            let reason = "account-not-active";
            return Err(Refusal::new(403, Cause::Forbidden, "Forbidden", reason, 10_001));
        }
        let dialled = place.trunk.as_ref().and_then(|it| it.dialled.as_ref());
        if dialled.is_some_and(String::is_empty) {
            return Err(Refusal::new(404, Cause::NoRoute, "Not Found", "no-number", 32_101));
        }
        if place.config.voice.is_none() && place.trunk.is_none() {
            return Err(Refusal::new(404, Cause::NoRoute, "Not Found", "no-voice-url", 21_205));
        }
        Ok(())
    }

    /// A trunk that takes TLS alone is called by TLS.
    fn is_secured(&self, place: &Place, listener: u8) -> Result<(), Refusal> {
        let wants = place.welcome && place.trunk.as_ref().is_some_and(|it| it.secure);
        if !wants || self.settings.secure_listeners.contains(&listener) {
            return Ok(());
        }
        let (reason, error) = ("tls-required", trunk::SECURE_ERROR);
        Err(Refusal::new(403, Cause::Forbidden, "Forbidden", reason, error))
    }

    fn admit(&mut self, now: Now, place: &Place) -> Result<(), Refusal> {
        self.may_come(place)?;
        self.reserve(now, place.account).map_err(|reason| {
            let phrase = "Service Unavailable";
            let refusal = Refusal::new(503, Cause::Overload, phrase, reason, 10_004);
            Refusal { retry_after: 1, ..refusal }
        })
    }

    /// Counts one more leg of the account, if it may have one.
    pub(super) fn reserve(&mut self, now: Now, account: AccountSid) -> Result<(), &'static str> {
        if self.durability.is_sick() {
            return Err("store-not-writing");
        }
        if !self.directory.is_active(account) {
            return Err("account-not-active");
        }
        if self.admission.legs() >= self.settings.limits.calls {
            return Err("node-calls");
        }
        let own = |it| self.directory.account(it).map(|it| it.limits).unwrap_or_default();
        let line = self.line(account).map(|of| of.map(|sid| (sid, own(sid))));
        self.admission.reserve(now.mono, line, &self.settings.limits)
    }

    /// An account and, of a sub-account, the one whose bounds its family shares.
    pub(super) fn line(&self, account: AccountSid) -> [Option<AccountSid>; 2] {
        let family = self.directory.family(account);
        [Some(account), (family != account).then_some(family)]
    }

    /// Accepted at once, which stops the shard's hold; then the application is asked.
    fn take(&mut self, now: Now, shard: ShardId, incoming: &Incoming<'_>, place: Place) {
        let call = incoming.call;
        let account = place.account;
        let number = self.directory.account(account).map_or(0, |account| account.number);
        let VoiceConfig { voice, voice_fallback, status_callback, event_application } =
            place.config;
        let (phone_number, dialled) = place.number.unzip();
        let (domain, domain_sid) = place.domain.unzip();
        let by_trunk = place.trunk.as_ref().and_then(|it| it.dialled.clone());
        let direction = match &place.trunk {
            Some(Trunked { trunk, dialled: None, .. }) => {
                CallDirection::TrunkingOriginating(*trunk)
            }
            Some(Trunked { trunk, .. }) => CallDirection::TrunkingTerminating(*trunk),
            None => CallDirection::Inbound,
        };
        let row = CallRow {
            sid: call,
            account,
            date_created: incoming.at,
            date_updated: now.wall,
            from: party::shown(incoming.from, dialled.is_some() || place.trunk.is_some()),
            to: dialled.or(by_trunk).unwrap_or_else(|| party::shown(incoming.to, false)),
            forwarded_from: Some(party::shown(incoming.diversion, true))
                .filter(|party| !party.is_empty()),
            caller_name: Some(incoming.from_name.to_owned()).filter(|name| !name.is_empty()),
            phone_number,
            status: CallStatus::Ringing,
            direction,
            start_time: Some(incoming.at),
            price_unit: self.directory.currency(account),
            ..CallRow::default()
        };
        let live = Live {
            facts: Facts {
                sip_call_id: incoming.call_id.to_owned(),
                source: Some(incoming.source),
                domain,
                domain_sid,
                headers: headers(incoming.headers),
                forwards: Forwards::told(incoming.forwards, incoming.forward_count),
            },
            status: status_callback,
            event_application,
            fallback: voice_fallback,
            volatile: Volatile { row_changed: true, known: Some(now), ..Volatile::default() },
            ..Live::new(row, number, shard, incoming.leg)
        };
        self.calls.insert(live);
        self.calls.touch(call);
        self.command(shard, OwnedCommand::Accept { call, account: number, setup_ms: SETUP_MS });
        match (direction.trunk(), voice) {
            (Some(trunk), _) => self.carry(now, call, trunk),
            (None, Some(voice)) => self.start_fetch(now, call, voice, Vec::new(), None),
            (None, None) => {}
        }
    }

    /// A trunk's call goes where its trunk says, by a document of ours.
    fn carry(&mut self, now: Now, call: CallId, trunk: TrunkSid) {
        let Some(row) = self.calls.get(&call).map(|live| &live.row) else { return };
        let number = row.to.clone();
        let (text, problems) = match row.direction {
            CallDirection::TrunkingTerminating(_) => {
                (Trunking::to_number(number).text(), Vec::new())
            }
            _ => match self.directory.get::<Trunk>(trunk).cloned() {
                Some(trunk) => self.originating(&trunk, &number),
                None => (Trunking::default().text(), Vec::new()),
            },
        };
        for problem in problems {
            self.problem(now, call, problem, false);
        }
        let program = parse_any(&text, usize::MAX);
        self.run_document(now, call, Document { text, program }, String::new());
    }
}

impl Refused<'_> {
    /// Told again, it is the same alert.
    fn alert(&self) -> AlertSid {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        AlertSid(u128::from(self.at.0) << 64 | u128::from(hasher.finish()))
    }
}

impl Refusal {
    pub(super) fn new(
        code: u16,
        cause: Cause,
        phrase: &'static str,
        reason: &'static str,
        error: u32,
    ) -> Self {
        Self { code, cause, phrase, retry_after: 0, reason, error }
    }
}

/// `Name: value` lines.
fn headers(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (header_name(name.trim()), value.trim().to_owned()))
        .take(HEADERS_MAX)
        .collect()
}

/// Applications look for User-to-User as its RFC writes it (7433); X-* names are the caller's own.
fn header_name(name: &str) -> String {
    const USER_TO_USER: &str = "User-to-User";
    if name.eq_ignore_ascii_case(USER_TO_USER) { USER_TO_USER.to_owned() } else { name.to_owned() }
}
