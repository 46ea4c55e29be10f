//! Legs of ours: for a dial's targets and for the API. A number goes by an outbound route, a SIP
//! URI to its host; addresses chosen by tenants are held against the target policy, before and
//! after a look-up.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{CallId, ConnectionId, Door, LegId, Now, ShardId, Transport};
use model::address::target;
use model::port::{Output, OwnedCommand, OwnedOriginate, Resolve};
use model::{
    AccountSid, Binding, CallDirection, CallRow, CallStatus, RouteSid, SipDomain, SipLogin,
    StatusHook, party,
};
use sip::{Scheme, Uri};
use wire::command::{Originate, Targets};
use wire::event::Cause;

use super::calls::CallMut;
use super::trunk::SECURE_ERROR;
use super::{Director, Timer, registrar, tiers};
use crate::forwards::Forwards;
use crate::live::{Contact, Live, Outgoing, TargetHost, Volatile};
use crate::script::{ChildSpec, Input, Problem, Target};

/// How long a host is looked up.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);
/// Phones of a user that one referral rings.
const REFERRED_MAX: usize = 8;
const HEADER_BYTES_MAX: usize = 2_048;

/// Why a target cannot be called.
#[derive(Debug)]
pub(super) struct Undialable {
    pub(super) code: u32,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Where a leg goes, before look-ups.
#[derive(Debug)]
pub(super) struct Way {
    uri: String,
    headers: String,
    targets: Vec<TargetHost>,
    trusted: bool,
    contact: Option<Contact>,
    /// Where it must be made, for its flow.
    shard: Option<ShardId>,
    login: Option<SipLogin>,
    /// The outbound route that it is.
    route: Option<RouteSid>,
}

/// A leg to be made, whoever wants it.
pub(super) struct NewLeg {
    pub(super) call: CallId,
    pub(super) account: AccountSid,
    pub(super) parent: Option<CallId>,
    pub(super) peer: LegId,
    pub(super) shard: ShardId,
    pub(super) to: String,
    pub(super) caller: String,
    pub(super) caller_name: String,
    pub(super) ring_ms: u32,
    pub(super) limit_ms: u32,
    pub(super) pass_progress: bool,
    pub(super) bridge: bool,
    pub(super) status: Option<StatusHook>,
    pub(super) login: Option<SipLogin>,
    pub(super) direction: CallDirection,
    pub(super) forwards: Forwards,
}

impl Director {
    /// A leg for one target of a dial; of a user who has registered, one for each contact of the
    /// highest q: they ring together ([`tiers`]).
    pub(super) fn spawn(&mut self, now: Now, parent: CallId, spec: ChildSpec) {
        let Some(live) = self.calls.get(&parent) else {
            return self.referred_without_leg(now, spec.call, 487);
        };
        let account = live.row.account;
        let Target::Sip(text) = &spec.target else {
            return self.spawn_one(now, parent, spec, None);
        };
        let Some(user) = self.user_called(account, text) else {
            return self.spawn_one(now, parent, spec, None);
        };
        // A referral rings the contacts that are asked for most, and no others.
        let referrer = self.referrers.get(&spec.call).copied();
        let is_referral = referrer.is_some();
        let by_tls = spec.is_trunk && self.is_trunk_secure(live);
        let contacts = self.contacts_called(&user, text, by_tls);
        let mut first = tiers::next(&contacts, u32::MAX);
        let room = match is_referral {
            true => REFERRED_MAX - 1,
            false => self.room_for_forks(parent),
        };
        first.truncate(room.saturating_add(1));
        let share = tiers::share(&contacts, spec.ring_ms);
        let ring_ms = if is_referral { spec.ring_ms } else { share };
        let spec = ChildSpec { ring_ms, ..spec };
        let more = first.split_off(first.len().min(1));
        let forks = match referrer {
            Some(referrer) => self.announce_referred(now, referrer, (&spec, more)),
            None => self.announce(now, parent, (&spec, more)),
        };
        self.spawn_contact(now, parent, spec, first.first());
        for (fork, contact) in forks {
            self.spawn_contact(now, parent, fork, Some(&contact));
        }
    }

    /// A leg to a contact of a user's; to nobody, where none is registered.
    pub(super) fn spawn_contact(
        &mut self,
        now: Now,
        parent: CallId,
        spec: ChildSpec,
        contact: Option<&Binding>,
    ) {
        let way = self.contact_way(&name(&spec.target), contact);
        self.spawn_one(now, parent, spec, Some(way));
    }

    fn spawn_one(
        &mut self,
        now: Now,
        parent: CallId,
        spec: ChildSpec,
        known: Option<Result<Way, Undialable>>,
    ) {
        let Some(live) = self.calls.get(&parent) else {
            return self.referred_without_leg(now, spec.call, 487);
        };
        let account = live.row.account;
        let direction = match live.row.direction {
            of_trunk if spec.is_trunk && of_trunk.trunk().is_some() => of_trunk,
            _ => CallDirection::OutboundDial,
        };
        let (peer, shard) = (live.leg, live.shard);
        let caller_name = self.name_of(live, &spec.target);
        // Whether it can be dialled or not, a target costs its account the same. What the account
        // has no room for is not made, and leaves no row.
        if let Err(reason) = self.reserve(now, account) {
            let message = format!("a leg to {} was refused: {reason}", name(&spec.target));
            self.problem(now, parent, Problem { code: 10_004, reason, message }, false);
            self.inbox.push_back((parent, Input::ChildRefused { call: spec.call }));
            return self.referred_without_leg(now, spec.call, 503);
        }
        let shown = self.caller_of(parent, &spec);
        if let Ok((_, Some(message))) = &shown {
            let (reason, message) = ("dial-caller-id", message.clone());
            self.problem(now, parent, Problem { code: 13_214, reason, message }, true);
        }
        let (caller, mut way) = match shown {
            Ok((caller, _)) => (caller, known.unwrap_or_else(|| self.way(account, &spec.target))),
            Err(undialable) => (String::new(), Err(undialable)),
        };
        if let Ok(way) = &mut way {
            way.headers.push_str(&self.lines_of_forwards(parent, &spec, way.contact.is_some()));
            way.headers.push_str(&spec.referred);
        }
        let leg = NewLeg {
            call: spec.call,
            account,
            parent: Some(parent),
            peer,
            shard,
            to: name(&spec.target),
            caller,
            caller_name,
            ring_ms: spec.ring_ms,
            limit_ms: spec.limit_ms,
            pass_progress: spec.pass_progress,
            bridge: true,
            status: spec.status,
            login: spec.login,
            direction,
            forwards: spec.forwards,
        };
        match way {
            Ok(way) => self.make_leg(now, leg, way),
            Err(error) => {
                let Undialable { code, reason, message } = error;
                let is_away = matches!(reason, "user-not-registered" | "contact-not-secure");
                self.problem(now, parent, Problem { code, reason, message }, is_away);
                self.failed_leg(now, leg, reason);
            }
        }
    }

    /// Makes the call and asks for its addresses, or for the leg at once.
    pub(super) fn make_leg(&mut self, now: Now, leg: NewLeg, way: Way) {
        self.stats.calls_originated += 1;
        let call = leg.call;
        let live = self.new_live(now, leg, Some(way));
        self.calls.insert(live);
        self.calls.touch(call);
        self.look_up(now, call);
    }

    /// A call that never was, for the record; its place is taken as any other's is.
    fn failed_leg(&mut self, now: Now, leg: NewLeg, reason: &str) {
        let call = leg.call;
        let is_trunk = leg.direction.trunk().is_some();
        let mut live = self.new_live(now, leg, None);
        live.reason = Some(reason.to_owned());
        self.calls.insert(live);
        let (status, cause, code) = match reason {
            "caller-not-owned" if is_trunk => (CallStatus::Failed, Cause::Forbidden, 403),
            // The next target is tried; a number that no route leads to is none.
            "no-outbound-route" => (CallStatus::Failed, Cause::NotFound, 404),
            _ if is_trunk => (CallStatus::Failed, Cause::Unreachable, 480),
            "user-not-registered" | "contact-not-secure" => {
                (CallStatus::NoAnswer, Cause::NoAnswer, 480)
            }
            _ => (CallStatus::Failed, Cause::NotFound, 404),
        };
        self.over_without_leg(now, call, status, cause, code);
    }

    fn new_live(&self, now: Now, leg: NewLeg, way: Option<Way>) -> Live {
        let account = self.directory.account(leg.account);
        let way = way.unwrap_or(Way {
            uri: String::new(),
            headers: String::new(),
            targets: Vec::new(),
            trusted: false,
            contact: None,
            shard: None,
            login: None,
            route: None,
        });
        let row = CallRow {
            sid: leg.call,
            account: leg.account,
            parent: leg.parent,
            date_created: now.wall,
            date_updated: now.wall,
            to: leg.to,
            from: leg.caller.clone(),
            caller_name: Some(leg.caller_name.clone()).filter(|name| !name.is_empty()),
            status: CallStatus::Queued,
            direction: leg.direction,
            price_unit: self.directory.currency(leg.account),
            ..CallRow::default()
        };
        let number = account.map_or(0, |account| account.number);
        let shard = way.shard.unwrap_or(leg.shard);
        Live {
            outgoing: Some(Outgoing {
                peer: leg.peer,
                uri: way.uri,
                from: self.caller_uri(&leg.caller),
                from_name: leg.caller_name,
                headers: way.headers,
                ring_ms: leg.ring_ms.max(1_000),
                pass_progress: leg.pass_progress,
                bridge: leg.bridge,
                targets: way.targets,
                trusted: way.trusted,
                sent: false,
                contact: way.contact,
                by: way.route,
                referrer: self.referrers.get(&leg.call).map(super::refer::Referrer::call),
                forwards: leg.forwards,
            }),
            status: leg.status,
            login: way.login.or(leg.login),
            limit_ms: leg.limit_ms,
            volatile: Volatile { row_changed: true, known: Some(now), ..Volatile::default() },
            ..Live::new(row, number, shard, LegId::NONE)
        }
    }

    /// Where a target is reached, or why it is not.
    pub(super) fn way(&self, account: AccountSid, target: &Target) -> Result<Way, Undialable> {
        match target {
            Target::Number(number) => self.number_way(account, number),
            Target::Sip(text) => match self.user_called(account, text) {
                Some(user) => {
                    let contacts = self.contacts_called(&user, text, false);
                    let first = tiers::next(&contacts, u32::MAX).into_iter().next();
                    self.contact_way(text, first.as_ref())
                }
                None => self.sip_way(text),
            },
        }
    }

    /// The user of a domain of the account's own that phones register at, whom a SIP URI names.
    pub(super) fn user_called(&self, account: AccountSid, text: &str) -> Option<registrar::User> {
        let user = self.user_named(text)?;
        let domain = self.directory.get::<SipDomain>(user.0)?;
        let registers = self.directory.domain_auth(domain.sid).is_some_and(|it| it.registers);
        (domain.account == account && registers && !user.1.is_empty()).then_some(user)
    }

    /// The same of whoever's domain.
    fn user_named(&self, text: &str) -> Option<registrar::User> {
        let party::Target { uri, .. } = party::Target::parse(text)?;
        let domain = self.directory.domain(&party::host(&uri))?;
        let mut user = [0; 64];
        let user = core::str::from_utf8(uri.user_value(&mut user)?).ok()?;
        Some((domain.sid, user.to_owned()))
    }

    /// Where the user is reached that a SIP URI names; for a `sips:` URI (RFC 5630 section 3.3),
    /// and for whoever wants TLS, where a phone has registered by it.
    pub(super) fn contacts_called(
        &self,
        user: &registrar::User,
        text: &str,
        by_tls: bool,
    ) -> Vec<Binding> {
        let Some(party::Target { uri, .. }) = party::Target::parse(text) else {
            return Vec::new();
        };
        let mut contacts = self.registrar.contacts_of(user, &uri);
        if by_tls || uri.scheme == Scheme::Sips {
            let secure = &self.settings.secure_listeners;
            contacts.retain(|it| secure.contains(&it.hop.via.listener()));
        }
        contacts
    }

    /// The way to a registered contact: its URI, by the flow on which it registered.
    fn contact_way(&self, text: &str, contact: Option<&Binding>) -> Result<Way, Undialable> {
        let undialable = |code, reason, message| Undialable { code, reason, message };
        let Some(contact) = contact else {
            let user = self.user_named(text);
            return Err(
                match user.is_some_and(|user| !self.registrar.contacts(&user).is_empty()) {
                    true => {
                        let message =
                            format!("{text}: no phone of this user has registered by TLS");
                        undialable(SECURE_ERROR, "contact-not-secure", message)
                    }
                    false => {
                        let message = format!("{text}: no phone of this user is registered");
                        undialable(32_009, "user-not-registered", message)
                    }
                },
            );
        };
        let target = party::Target::parse(text);
        let wanted = target.as_ref().map_or("", |it| it.headers);
        let Some(headers) = headers(wanted) else {
            let message = format!("{text}: a header may not be sent");
            return Err(undialable(13_224, "sip-headers", message));
        };
        let (to, flow) = contact_target(contact);
        let transport = if flow.is_some() { Transport::Tcp } else { Transport::Udp };
        let host = to.ip().to_string() + transport.suffix();
        Ok(Way {
            uri: contact.contact.clone(),
            headers,
            targets: vec![TargetHost { host, port: Some(to.port()), found: None }],
            // It registered from there.
            trusted: true,
            contact: Some(Contact {
                to: target.map_or_else(String::new, |it| party::plain(&it.uri)),
                route: contact.path.join(", "),
                listener: contact.hop.via.listener(),
                flow,
            }),
            shard: flow.map(|flow| flow.shard),
            login: None,
            route: None,
        })
    }

    fn number_way(&self, account: AccountSid, number: &str) -> Result<Way, Undialable> {
        let Some(route) = self.directory.route(account, number) else {
            return Err(Undialable {
                code: 13_224,
                reason: "no-outbound-route",
                message: format!("no outbound route leads to {number}"),
            });
        };
        let strip = usize::from(route.strip).min(number.len());
        let user = format!("{}{}", route.prepend, &number[strip..]);
        let first = route.targets.first().map_or("", |target| Transport::split(target).0);
        let host = if route.host.is_empty() { first } else { route.host.as_str() };
        let targets = route.targets.iter().filter_map(|target| {
            let (at, _) = Transport::split(target);
            let (host, port) = party::host_and_port(at)?;
            // What names no transport leaves it to the host's records.
            Some(TargetHost { host: host + &target[at.len()..], port, found: None })
        });
        Ok(Way {
            uri: party::at_host(&user, host),
            headers: String::new(),
            targets: targets.collect(),
            trusted: true,
            contact: None,
            shard: None,
            login: self.settings.login_of(route.sid),
            route: Some(route.sid),
        })
    }

    fn sip_way(&self, text: &str) -> Result<Way, Undialable> {
        let bad = |reason, message| Err(Undialable { code: 13_224, reason, message });
        let Some(party::Target { uri, headers: wanted }) = party::Target::parse(text) else {
            return bad("sip-uri", format!("{text:?} is no SIP URI"));
        };
        let named = uri.transport().map(<[u8]>::to_ascii_lowercase);
        let transport = match named.as_deref() {
            // RFC 3261 section 26.2.2: whatever the parameter says, on TLS alone.
            None | Some(b"udp" | b"tcp" | b"tls") if uri.scheme == Scheme::Sips => {
                Transport::Tls.suffix()
            }
            // The host's records say it (RFC 3263 section 4.1).
            None => "",
            Some(b"udp") => ";transport=udp",
            Some(b"tcp") => Transport::Tcp.suffix(),
            Some(b"tls") => Transport::Tls.suffix(),
            Some(_) => {
                let message = format!("{text}: sip: over UDP, TCP or TLS is what there is");
                return bad("transport", message);
            }
        };
        if let Some(address) = uri.host.ip()
            && let Some(kind) = target::refused(address, &self.settings.target_allow)
        {
            return bad("target-refused", format!("{text}: {kind} addresses may not be called"));
        }
        let Some(headers) = headers(wanted) else {
            return bad("sip-headers", format!("{text}: a header may not be sent"));
        };
        let host = party::host(&uri) + transport;
        let target = TargetHost { host, port: uri.port, found: None };
        let (uri, targets) = (party::request_uri(&uri), vec![target]);
        let (contact, shard, login) = (None, None, None);
        Ok(Way { uri, headers, targets, trusted: false, contact, shard, login, route: None })
    }

    /// From of a leg: a SIP URI as it is, anything else as a user of ours.
    fn caller_uri(&self, caller: &str) -> String {
        match party::Target::parse(caller) {
            Some(target) => party::plain(&target.uri),
            None => party::at_host(caller, &self.settings.sip_host),
        }
    }

    /// Finds the addresses of a leg's targets; asks for the names among them.
    pub(super) fn look_up(&mut self, now: Now, call: CallId) {
        let Some(outgoing) =
            self.calls.get_mut(&call).and_then(|live| live.into_live().outgoing.as_mut())
        else {
            return;
        };
        let trusted = outgoing.trusted;
        let mut unknown = Vec::new();
        for (at, target) in outgoing.targets.iter_mut().enumerate() {
            if target.found.is_some() {
                continue;
            }
            let (host, transport) = Transport::split(&target.host);
            match host.parse::<IpAddr>() {
                Ok(address) => {
                    let port = target.port.unwrap_or_else(|| transport.port());
                    let address = SocketAddr::new(address, port);
                    target.found = Some(vec![base::Target::by(transport, address)]);
                }
                Err(_) => {
                    let transport = (host.len() < target.host.len()).then_some(transport);
                    unknown.push((at, host.to_owned(), target.port, transport));
                }
            }
        }
        if unknown.is_empty() {
            return self.originate(now, call);
        }
        let account = self.calls.get(&call).map(|live| live.row.account).unwrap_or_default();
        let family = (!trusted).then(|| self.directory.family(account));
        for (at, host, port, transport) in unknown {
            let id = self.fresh_id();
            self.resolves.insert(id, (call, at));
            self.after(now, RESOLVE_PATIENCE, Timer::Resolve(id));
            self.effects.push(Output::Resolve(Resolve { id, family, host, port, transport }));
        }
    }

    pub(super) fn on_resolved(&mut self, now: Now, id: u64, found: Vec<base::Target>) {
        let Some((call, at)) = self.resolves.remove(&id) else {
            return;
        };
        let allow = self.settings.target_allow.clone();
        let Some(mut live) = self.calls.get_mut(&call).filter(|live| !live.is_over()) else {
            return;
        };
        let Some(outgoing) = live.outgoing.as_mut().filter(|outgoing| !outgoing.sent) else {
            return;
        };
        let trusted = outgoing.trusted;
        let fine =
            |to: &base::Target| trusted || target::refused(to.address.ip(), &allow).is_none();
        if let Some(target) = outgoing.targets.get_mut(at) {
            target.found = Some(found.into_iter().filter(fine).collect());
        }
        live.touch();
        self.originate(now, call);
    }

    /// Sends the INVITE once every target's addresses are there; without any, the leg has failed.
    pub(super) fn originate(&mut self, now: Now, call: CallId) {
        let live = self.calls.get_mut(&call).filter(|live| !live.is_over());
        let Some(live) = live.map(CallMut::into_live) else {
            return;
        };
        let Some(outgoing) = live.outgoing.as_mut() else {
            return;
        };
        let Some((targets, tls_names)) = found_targets(outgoing) else {
            return;
        };
        if targets.is_empty() {
            let (account, to) = (live.row.account, live.row.to.clone());
            let is_trunk = live.row.direction.trunk().is_some();
            let parent = live.row.parent.unwrap_or(call);
            live.reason = Some("target-unresolved".to_owned());
            let message = format!("{to}: no address that may be called");
            let problem = Problem { code: 13_224, reason: "target-unresolved", message };
            debug_assert!(self.directory.account(account).is_some());
            self.problem(now, parent, problem, false);
            let (cause, code) =
                if is_trunk { (Cause::Unreachable, 480) } else { (Cause::NotFound, 404) };
            self.over_without_leg(now, call, CallStatus::Failed, cause, code);
            return;
        }
        let contact = outgoing.contact.clone();
        let listener = contact.as_ref().map_or(Originate::ANY_LISTENER, |it| it.listener);
        let Contact { to, route, flow, .. } = contact.unwrap_or_default();
        // A successor finds the route that a number goes by anew.
        let is_number = outgoing.trusted && outgoing.contact.is_none();
        let route_of = || self.directory.route(live.row.account, &live.row.to);
        let by = outgoing.by.or_else(|| route_of().filter(|_| is_number).map(|route| route.sid));
        let (failover, group) = self.settings.failover_of(by);
        let command = OwnedOriginate {
            call,
            account: live.number,
            parent: live.row.parent.unwrap_or(CallId::NONE),
            peer: outgoing.peer,
            listener,
            targets,
            uri: outgoing.uri.clone(),
            to,
            route,
            flow,
            from: outgoing.from.clone(),
            from_name: outgoing.from_name.clone(),
            headers: outgoing.headers.clone(),
            ring_ms: outgoing.ring_ms,
            limit_ms: live.limit_ms,
            pass_progress: outgoing.pass_progress,
            bridge: outgoing.bridge,
            tls_names,
            login: live.login.clone(),
            failover,
            group,
        };
        if !fits(&command) {
            return self.never_sent(now, call, "command-too-long");
        }
        let shard = live.shard;
        live.volatile.limited = true;
        if let Some(outgoing) = live.outgoing.as_mut() {
            outgoing.sent = true;
        }
        self.calls.touch(call);
        self.command(shard, OwnedCommand::Originate(Box::new(command)));
        // A shard may die with the command in its hand; then nobody ever tells an end.
        self.watch_orphan(now, call);
    }

    /// The command that should have made the leg did not leave: it is over, and its owner is told
    /// why.
    fn never_sent(&mut self, now: Now, call: CallId, reason: &'static str) {
        let Some(mut live) = self.calls.get_mut(&call).filter(|live| !live.is_over()) else {
            return;
        };
        live.reason = Some(reason.to_owned());
        let parent = live.row.parent.unwrap_or(call);
        let message = format!("the leg to {:.100} could not be asked for: {reason}", live.row.to);
        self.problem(now, parent, Problem { code: 13_224, reason, message }, false);
        self.over_without_leg(now, call, CallStatus::Failed, Cause::Internal, 0);
    }

    /// A command for the call was given up before its shard had it. A leg that was yet to be made
    /// is over at once; one that stands is looked for.
    pub fn handle_unsent(&mut self, now: Now, call: CallId) {
        let asked = |live: &Live| live.outgoing.as_ref().is_some_and(|it| it.sent);
        match self.calls.get(&call).filter(|live| !live.is_over()) {
            Some(live) if live.leg == LegId::NONE && asked(live) => {
                // Should an earlier one have arrived, nobody would ever end what it made.
                let (shard, cause) = (live.shard, Cause::Internal);
                self.command(shard, OwnedCommand::Hangup { call, cause });
                self.never_sent(now, call, "command-not-sent");
            }
            Some(_) => self.watch_orphan(now, call),
            None => {}
        }
        self.settle(now);
    }

    /// The next shard in turn, for a call of its own.
    pub(super) fn any_shard(&mut self) -> ShardId {
        let shard = self.next_shard % self.settings.shards.max(1);
        self.next_shard = shard.wrapping_add(1);
        shard
    }
}

/// Where a contact is reached: by its connection, else where its REGISTER came from, which is what
/// a NAT or a proxy keeps open (RFC 3581); a phone that names its own address with another port,
/// and wants no answers where it sends from, means that.
pub(super) fn contact_target(contact: &Binding) -> (SocketAddr, Option<ConnectionId>) {
    let source = contact.hop.to;
    if let Door::Connection { id, .. } = contact.hop.via {
        return (source, Some(id));
    }
    let named = Uri::parse(contact.contact.as_bytes()).ok().filter(|_| contact.path.is_empty());
    let named = named.and_then(|uri| {
        Some(SocketAddr::new(uri.host.ip()?.to_canonical(), uri.port_or_default()))
    });
    let is_own = |named: &SocketAddr| {
        let is_near = named.ip() == source.ip().to_canonical() && named.port() > 0;
        is_near && !contact.kept.is_behind_nat
    };
    let own = named.filter(is_own);
    (own.unwrap_or(source), None)
}

/// Where an outgoing leg may go, with what certificates must name there; None while names are
/// looked up.
fn found_targets(outgoing: &Outgoing) -> Option<(Targets, Vec<String>)> {
    let (mut targets, mut tls_names) = (Targets::new(), Vec::new());
    for target in &outgoing.targets {
        let (host, _) = Transport::split(&target.host);
        for found in target.found.as_ref()? {
            if targets.try_push(*found).is_err() {
                break;
            }
            // What was asked for, not what a name server made of it (RFC 5922 section 4).
            let name = if found.transport == Transport::Tls { host } else { "" };
            tls_names.push(name.trim_matches(['[', ']']).to_owned());
        }
    }
    Some((targets, tls_names))
}

/// The command has room in a record of the ring: its text, and the rest at its longest.
fn fits(order: &OwnedOriginate) -> bool {
    const REST: usize = 512 + 2 * SipLogin::BYTES_MAX;
    let texts =
        [&order.uri, &order.to, &order.route, &order.from, &order.from_name, &order.headers];
    let texts = texts.into_iter().chain(&order.tls_names);
    texts.map(|text| text.len()).sum::<usize>() + REST <= wire::MESSAGE_BYTES_MAX
}

/// A target as it is shown.
pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Number(number) => number.clone(),
        Target::Sip(text) => match party::Target::parse(text) {
            Some(target) => party::plain(&target.uri),
            None => text.clone(),
        },
    }
}

/// Header lines from a URI's headers: `X-*` and User-to-User alone, nothing that could start
/// another line.
fn headers(text: &str) -> Option<String> {
    let mut lines = String::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (party::unescape(name)?, party::unescape(value)?);
        let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ours = name.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("x-"));
        let allowed = ours || name.eq_ignore_ascii_case("User-to-User");
        if !token || !allowed || value.contains(|c: char| c.is_control()) {
            return None;
        }
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    (lines.len() <= HEADER_BYTES_MAX).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_headers_leave() {
        assert_eq!(headers("").as_deref(), Some(""));
        assert_eq!(headers("X-A=1&x-b=a%20b").as_deref(), Some("X-A: 1\r\nx-b: a b\r\n"));
        for bad in ["Via=x", "X-A=1%0d%0aVia:%20x", "X-A%0d=1", "X-A", "Route=%3Csip:x%3E"] {
            assert_eq!(headers(bad), None, "{bad}");
        }
    }
}
