//! Published static routes with what counts against their limits. A leg holds its route by what the
//! route *is*, not by where it stands in the table: a new table in another order changes nothing
//! for calls that stand.

mod index;
mod number;

use base::{HashKey, Mono, Now};
use core::net::IpAddr;
use sip::Uri;
use wire::event::Cause;
use wire::table::{Lock, Network, PlaceKind, SignallingSources, StaticRoute, Table};

use self::index::{Index, Wanted};
pub(crate) use self::number::{at_target, caller_uri, is_anonymous, route_uri};
use crate::cx::Core;
use crate::health::Probes;
use crate::transport::far_end::FarEnd;
use crate::transport::guard::{Bucket, Standing};
use crate::transport::networks::{Networks, is_open};
use crate::transport::targets::{Group, Targets};
use crate::watch::Asked;

/// Names a route across tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteHandle {
    /// Hash of what makes it this route: whose, from where, to where.
    pub(crate) id: u64,
    /// Where it stood last.
    hint: u32,
    /// What counts against its limits.
    state: u32,
}

/// What counts against the limits of a route. It outlives a table that does not list the route, as
/// long as calls stand on it, and a route that is sent elsewhere.
#[derive(Debug)]
struct State {
    /// Hash of whose the route is and for what, and which of its like.
    key: u64,
    rate: Bucket,
    /// Calls that stand on it.
    calls: u32,
    listed: bool,
}

/// A route of the table.
#[derive(Clone, Copy, Debug)]
struct Listed {
    id: u64,
    /// Index into the states.
    state: u32,
    /// Whose share of what is known of targets it uses.
    group: Group,
}

/// A published table with what is made of it before it holds: to be made where no packet waits.
#[derive(Debug)]
pub struct Published {
    table: Table,
    /// As many as the routes.
    names: Vec<Names>,
    networks: Networks,
    asked: Asked,
    index: Index,
    probes: Probes,
}

/// What a route is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Whose its limits are.
    key: u64,
    id: u64,
    group: Group,
}

impl Published {
    /// `key`: the shard's for tables ([`crate::plan::Keys::table`]).
    #[must_use]
    pub fn new(mut table: Table, key: &HashKey) -> Self {
        let asked = Asked::new(core::mem::take(&mut table.watch));
        let names = |route| Names {
            key: key_of(route, key),
            id: id_of(route, key),
            group: group_of(route),
        };
        let names = table.routes.iter().map(names).collect();
        let networks = networks(&table);
        let index = Index::new(&table, key);
        let probes = Probes::new(&table);
        Self { table, names, networks, asked, index, probes }
    }

    /// Takes it into force, and holds what was in force before.
    pub(crate) fn swap(&mut self, routes: &mut Routes, core: &mut Core<'_>, now: Mono) {
        core.reserve_legs(&self.table);
        core.names.list(self.table.routes.iter().map(|route| route.tls_name.as_str()));
        let networks = core::mem::replace(&mut self.networks, Networks::everybody(&[]));
        self.networks = core.guard.replace(networks);
        self.asked = core.watch.replace(core::mem::take(&mut self.asked));
        let table = core::mem::take(&mut self.table);
        self.table = routes.replace(table, &self.names, now);
        core::mem::swap(&mut routes.index, &mut self.index);
    }
}

impl Published {
    /// Who is asked whether he lives.
    pub(crate) fn swap_probes(&mut self, probes: &mut Probes, core: &mut Core<'_>, now: Mono) {
        probes.replace(&mut self.probes, core, now);
    }
}

#[derive(Debug)]
pub(crate) struct Routes {
    table: Table,
    index: Index,
    /// As many as the table's.
    listed: Vec<Listed>,
    states: Vec<State>,
    is_outdated: bool,
    /// Some route takes calls from all the world; some list of an account's or a domain's does.
    is_open: bool,
    is_admission_open: bool,
}

/// Whether an INVITE that no static route fits may be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admits {
    Yes,
    /// Whoever is called takes no calls from there.
    NotFrom,
    /// No number, no domain.
    Nobody,
}

/// Why a call that a route fits is not taken.
pub(crate) type Full = (u16, Cause);

impl Routes {
    /// From where a trunk's far end is obeyed, whatever its call follows: what the first route says
    /// that takes calls from there.
    pub(crate) fn signalling_of(&self, source: FarEnd) -> Option<SignallingSources> {
        let lists = |route: &&StaticRoute| source.is_in(&route.sources);
        self.table.routes.iter().find(lists).map(|route| route.signalling)
    }

    pub(crate) fn new() -> Self {
        Self {
            table: Table::default(),
            index: Index::default(),
            listed: Vec::new(),
            states: Vec::new(),
            is_outdated: false,
            is_open: false,
            is_admission_open: false,
        }
    }

    /// A new table: what stood on a route or used its rate counts on, wherever it leads by now. The
    /// table before.
    pub(crate) fn replace(&mut self, table: Table, names: &[Names], now: Mono) -> Table {
        self.states.iter_mut().for_each(|state| state.listed = false);
        let sources = table.routes.iter().flat_map(|route| &route.sources);
        self.is_open = sources.into_iter().any(is_open);
        let lists = table.admission.iter().flat_map(|it| &it.sources);
        self.is_admission_open = lists.flatten().any(is_open);
        // Known ones first: a place that is to be known must not be given to a new one.
        let known: Vec<_> = names.iter().map(|names| self.take_known(names.key)).collect();
        let routes = table.routes.iter().zip(names).zip(known);
        self.listed = routes
            .map(|((route, Names { key, id, group }), known)| Listed {
                id: *id,
                group: *group,
                state: known.unwrap_or_else(|| {
                    let rate = Bucket::full(route.rate_max, now);
                    place(&mut self.states, State { key: *key, rate, calls: 0, listed: true })
                }),
            })
            .collect();
        core::mem::replace(&mut self.table, table)
    }

    fn take_known(&mut self, key: u64) -> Option<u32> {
        let at = self.states.iter().position(|state| state.key == key && !state.listed)?;
        self.states[at].listed = true;
        u32::try_from(at).ok()
    }

    /// Whether a far end there may refer: some route that takes calls from there says so.
    pub(crate) fn may_refer(&self, source: FarEnd) -> bool {
        let lists = |route: &&StaticRoute| source.is_in(&route.sources);
        self.table.routes.iter().filter(lists).any(|route| route.transfer)
    }

    /// Whether some route of the account's takes calls from there.
    pub(crate) fn takes_from(&self, account: u64, source: FarEnd) -> bool {
        let takes = |route: &StaticRoute| source.is_in(&route.sources);
        self.table.routes.iter().any(|route| route.account == account && takes(route))
    }

    /// The place of the route that a far end's INVITE is of which calls nobody: one that fits, else
    /// the first one that takes calls from there.
    pub(crate) fn of_source(&self, search: &Search<'_>, core: &mut Core<'_>) -> Option<usize> {
        let Search { source, account, .. } = *search;
        let takes = |route: &StaticRoute| {
            account.is_none_or(|account| account == route.account) && source.is_in(&route.sources)
        };
        let found = self.choose(search, core);
        found.or_else(|| self.table.routes.iter().position(takes))
    }

    /// The route at this place.
    pub(crate) fn at_place(&self, at: usize) -> &StaticRoute {
        &self.table.routes[at]
    }

    /// The route of the trunk with this name, whoever's it is.
    pub(crate) fn named(&self, name: &str) -> Option<&StaticRoute> {
        let place = self.index.named(name)?;
        let route = self.table.routes.get(usize::try_from(place).ok()?)?;
        (route.policy.name == name).then_some(route)
    }

    /// Names the route at this place, whatever its limits are.
    pub(crate) fn handle(&self, at: usize) -> RouteHandle {
        let listed = self.listed[at];
        let hint = u32::try_from(at).unwrap_or(u32::MAX);
        RouteHandle { id: listed.id, hint, state: listed.state }
    }

    /// The place of the route that a call follows first of those that fit and were not tried.
    pub(crate) fn choose(&self, search: &Search<'_>, core: &mut Core<'_>) -> Option<usize> {
        // A stranger is in no route's networks but those that are open to the world.
        let may_fit = search.standing == Standing::Trunk || self.is_open;
        if self.table.routes.is_empty() || !may_fit {
            return None;
        }
        let Core { targets, random, .. } = core;
        let wanted = Fitting { routes: self, search, targets };
        let random = |below| random.below(below);
        let place = self.index.choose(&self.table.routes, search.uri, &wanted, random)?;
        usize::try_from(place).ok()
    }

    /// Whose share of what is known of targets the route at this place uses.
    pub(crate) fn group_of(&self, handle: RouteHandle) -> Group {
        self.at(handle).map_or(0, |at| self.listed[at].group)
    }

    /// What the route at this place is called in [`Search::tried`].
    pub(crate) fn id_at(&self, at: usize) -> u64 {
        self.listed[at].id
    }

    /// Whom calls on the route at this place are billed to.
    pub(crate) fn account_at(&self, at: usize) -> u64 {
        self.table.routes[at].account
    }

    /// One more call on the route at this place. Over its limits: refused, but for an urgent call,
    /// which counts all the same.
    pub(crate) fn take(
        &mut self,
        at: usize,
        now: Mono,
        is_urgent: bool,
    ) -> Result<RouteHandle, Full> {
        let (route, listed) = (&self.table.routes[at], self.listed[at]);
        let state = &mut self.states[listed.state as usize];
        let full = route.calls_max > 0 && state.calls >= route.calls_max;
        let burst = route.rate_max.max(1);
        let is_over = full && !is_urgent || !state.rate.take(route.rate_max, burst, now);
        if is_over && !is_urgent {
            return Err((503, Cause::Overload));
        }
        Ok(self.handle(at))
    }

    /// The same of a call for which another one ends: its rate counts, and no more calls stand.
    pub(crate) fn take_rate(&mut self, at: usize, now: Mono) -> Result<RouteHandle, Full> {
        let (route, listed) = (&self.table.routes[at], self.listed[at]);
        let state = &mut self.states[listed.state as usize];
        match state.rate.take(route.rate_max, route.rate_max.max(1), now) {
            true => Ok(self.handle(at)),
            false => Err((503, Cause::Overload)),
        }
    }

    /// Whether some list takes calls from all the world.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open || self.is_admission_open
    }

    /// Whether somebody answers for what is called, and takes calls from there. While another table
    /// is on its way this one refuses nothing.
    pub(crate) fn admits(&self, uri: &Uri<'_>, source: FarEnd) -> Admits {
        if self.is_outdated { Admits::Yes } else { self.admits_now(uri, source) }
    }

    /// What a domain that is called takes credentials for, and its name in `out`, lower case.
    pub(crate) fn lock_of<'o>(
        &self,
        uri: &Uri<'_>,
        out: &'o mut [u8; 255],
    ) -> Option<(&'o [u8], Lock)> {
        if uri.scheme == sip::uri::Scheme::Tel {
            return None;
        }
        let len = host_value(uri, out)?.len();
        let host = &mut out[..len];
        host.make_ascii_lowercase();
        let lock = self.table.admission.as_ref()?.lock_of(host)?;
        Some((host, lock))
    }

    /// As [`Routes::admits`], by what stands here.
    pub(crate) fn admits_now(&self, uri: &Uri<'_>, source: FarEnd) -> Admits {
        let Some(admission) = self.table.admission.as_ref() else { return Admits::Yes };
        let domain = || {
            let mut host = [0; 255];
            admission.sources_of(PlaceKind::Domain, host_value(uri, &mut host)?)
        };
        let number = || {
            let number = sip::Number::from_uri(uri)?;
            let digits = number.bytes();
            let digits = digits.strip_prefix(b"+").unwrap_or(digits);
            admission.sources_of(PlaceKind::Number, digits)
        };
        let takes = |sources: &[Network]| source.is_in(sources);
        let is_tel = uri.scheme == sip::uri::Scheme::Tel;
        let sources = if is_tel { number() } else { domain().or_else(number) };
        match sources {
            None if admission.is_partial => Admits::Yes,
            None => Admits::Nobody,
            Some(sources) if takes(sources) => Admits::Yes,
            // Whose call it is the director says, who knows the carriers.
            Some(_) if !is_tel && number().is_some_and(takes) => Admits::Yes,
            Some(_) => Admits::NotFrom,
        }
    }

    /// Whether another table is on its way.
    pub(crate) fn set_outdated(&mut self, is_outdated: bool) {
        self.is_outdated = is_outdated;
    }

    fn at(&self, handle: RouteHandle) -> Option<usize> {
        let hint = handle.hint as usize;
        if self.listed.get(hint).is_some_and(|listed| listed.id == handle.id) {
            return Some(hint);
        }
        self.listed.iter().position(|listed| listed.id == handle.id)
    }

    pub(crate) fn get(&self, handle: RouteHandle) -> Option<&StaticRoute> {
        self.table.routes.get(self.at(handle)?)
    }

    /// A call stands on the route from now on.
    pub(crate) fn enter(&mut self, handle: RouteHandle) {
        if let Some(state) = self.states.get_mut(handle.state as usize) {
            state.calls += 1;
        }
    }

    /// Calls that stand on any.
    pub(crate) fn calls(&self) -> usize {
        self.states.iter().map(|state| state.calls as usize).sum()
    }

    /// It does not any more.
    pub(crate) fn leave(&mut self, handle: RouteHandle) {
        if let Some(state) = self.states.get_mut(handle.state as usize) {
            state.calls = state.calls.saturating_sub(1);
        }
    }
}

/// Puts a state where none is needed any more, else behind the others.
fn place(states: &mut Vec<State>, state: State) -> u32 {
    let at = states.iter().position(|state| !state.listed && state.calls == 0);
    let at = at.unwrap_or(states.len());
    match states.get_mut(at) {
        Some(place) => *place = state,
        None => states.push(state),
    }
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What is looked for among the routes.
#[derive(Clone, Copy)]
pub(crate) struct Search<'s> {
    pub(crate) uri: &'s Uri<'s>,
    pub(crate) source: FarEnd,
    pub(crate) standing: Standing,
    pub(crate) now: Now,
    /// Only this account's; of whomever's where there is none so far.
    pub(crate) account: Option<u64>,
    /// Those that were tried.
    pub(crate) tried: &'s [u64],
    /// The caller does not show himself, and routes that refuse such callers fit no more.
    pub(crate) hidden: bool,
}

struct Fitting<'s> {
    routes: &'s Routes,
    search: &'s Search<'s>,
    targets: &'s Targets,
}

impl Wanted for Fitting<'_> {
    fn fits(&self, place: u32, route: &StaticRoute) -> bool {
        let Search { source, now, account, tried, hidden, .. } = *self.search;
        let listed = &self.routes.listed[place as usize];
        account.is_none_or(|account| account == route.account)
            && !tried.contains(&listed.id)
            && !(hidden && route.policy.refuses_anonymous)
            && source.is_in(&route.sources)
            && route.policy.is_open_at(now.wall.seconds())
    }

    fn is_out(&self, place: u32, route: &StaticRoute) -> bool {
        let group = self.routes.listed[place as usize].group;
        self.targets.all_out(group, &route.targets, self.search.now.mono)
    }
}

/// A trunk's own share; of one without a name the route's.
pub(crate) fn group_of(route: &StaticRoute) -> Group {
    let StaticRoute { account, domain, prefix, policy, .. } = route;
    match policy.name.is_empty() {
        false => wire::policy::group_of(*account, &policy.name),
        true => wire::policy::group_of(*account, &format!("{domain}/{prefix}")),
    }
}

/// Whose limits a route's are: those of an account for what it dials by a trunk.
fn key_of(route: &StaticRoute, key: &HashKey) -> u64 {
    let account = route.account.to_le_bytes();
    let (domain, prefix) = (route.domain.as_bytes(), route.prefix.as_bytes());
    key.hash(&[&account, domain, prefix, route.policy.name.as_bytes()])
}

/// What makes a route this route; its limits and its numbers may change.
fn id_of(route: &StaticRoute, key: &HashKey) -> u64 {
    let mut bytes = [0; 64];
    let mut id = key.hash(&[
        &route.account.to_le_bytes(),
        route.domain.as_bytes(),
        route.prefix.as_bytes(),
        route.host.as_bytes(),
        route.prepend.as_bytes(),
        route.policy.name.as_bytes(),
    ]);
    let networks = route.sources.iter().map(|network| (network.address, u16::from(network.bits)));
    let targets = route.targets.iter().map(|target| (target.address.ip(), target.address.port()));
    for (address, number) in networks.chain(targets) {
        let len = match address {
            IpAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                bytes[..16].copy_from_slice(&v6.octets());
                16
            }
        };
        id = key.hash(&[&id.to_le_bytes(), &bytes[..len], &number.to_le_bytes()]);
    }
    id
}

/// Whose networks a table knows. Where it does not say who is known, everybody is; where it could
/// not say it of all, those that it leaves out are strangers.
fn networks(table: &Table) -> Networks {
    let trunks: Vec<Network> = table.routes.iter().flat_map(|r| &r.sources).copied().collect();
    match &table.admission {
        None => Networks::everybody(&trunks),
        Some(admission) => {
            let known: Vec<Network> = admission.sources.iter().flatten().copied().collect();
            Networks::new(&trunks, &known)
        }
    }
}

/// The host of a SIP URI as a domain is listed: an address without brackets.
fn host_value<'o>(uri: &Uri<'_>, out: &'o mut [u8]) -> Option<&'o [u8]> {
    use std::io::Write;
    let room = out.len();
    let mut rest = &mut *out;
    match uri.host {
        sip::Host::Name(name) => rest.write_all(name).ok()?,
        sip::Host::Ip(address) => write!(rest, "{address}").ok()?,
    }
    let left = rest.len();
    Some(&out[..room - left])
}

/// The host of a SIP URI as written, without port.
pub(crate) fn host_text(uri: &[u8]) -> &[u8] {
    let rest = uri.iter().position(|byte| *byte == b':').map_or(uri, |at| &uri[at + 1..]);
    let rest = rest.iter().position(|byte| *byte == b'@').map_or(rest, |at| &rest[at + 1..]);
    let end = if rest.first() == Some(&b'[') {
        rest.iter().position(|byte| *byte == b']').map_or(rest.len(), |at| at + 1)
    } else {
        rest.iter().position(|byte| matches!(byte, b':' | b';' | b'?')).unwrap_or(rest.len())
    };
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, calls_max: u32) -> StaticRoute {
        StaticRoute {
            account: 1,
            domain: String::new(),
            prefix: prefix.to_owned(),
            sources: vec!["192.0.2.0/24".parse().unwrap()],
            trusted: Vec::new(),
            targets: vec!["198.51.100.1:5060".parse().unwrap()],
            host: String::new(),
            strip: 0,
            prepend: String::new(),
            rate_max: 0,
            calls_max,
            ring_s: 30,
            media: wire::table::MediaSources::default(),
            signalling: SignallingSources::default(),
            tls_name: String::new(),
            login: String::new(),
            transfer: false,
            dtmf: wire::table::Digits::default(),
            policy: wire::policy::RoutePolicy::default(),
            reliable: wire::table::ReliableRinging::default(),
            session_timer: true,
            early_media: wire::table::EarlyMedia::default(),
        }
    }

    fn replace(routes: &mut Routes, table: Table, now: Mono) {
        let Published { table, names, index, .. } = Published::new(table, &HashKey([1, 2]));
        routes.replace(table, &names, now);
        routes.index = index;
    }

    fn at(routes: &Routes, uri: &str) -> Option<usize> {
        let uri = &Uri::parse(uri.as_bytes()).unwrap();
        let source = "192.0.2.7".parse::<IpAddr>().unwrap().into();
        let (standing, now) = (Standing::Trunk, Now::default());
        let search =
            Search { uri, source, standing, now, account: None, tried: &[], hidden: false };
        let wanted = Fitting { routes, search: &search, targets: &Targets::new() };
        let place = routes.index.choose(&routes.table.routes, uri, &wanted, |_| 0);
        place.map(|place| place as usize)
    }

    fn find(routes: &mut Routes, uri: &str) -> Result<Option<RouteHandle>, Full> {
        let at = at(routes, uri);
        at.map(|at| routes.take(at, Mono(0), false)).transpose()
    }

    #[test]
    fn limits_follow_the_route_whatever_its_place_in_the_table() {
        let mut routes = Routes::new();
        let table = |list: &[StaticRoute]| Table {
            routes: list.to_vec(),
            admission: None,
            ..Table::default()
        };
        replace(&mut routes, table(&[route("1", 2), route("2", 1)]), Mono(0));
        let one = find(&mut routes, "sip:1@h").unwrap().unwrap();
        let two = find(&mut routes, "sip:2@h").unwrap().unwrap();
        routes.enter(one);
        routes.enter(two);
        assert_eq!(find(&mut routes, "sip:2@h"), Err((503, Cause::Overload)));
        replace(&mut routes, table(&[route("3", 0), route("2", 1), route("1", 2)]), Mono(1));
        assert_eq!(find(&mut routes, "sip:2@h"), Err((503, Cause::Overload)), "its call stands");
        assert!(find(&mut routes, "sip:1@h").unwrap().is_some(), "one of two");
        routes.leave(two);
        assert!(find(&mut routes, "sip:2@h").unwrap().is_some());
        routes.leave(one);
        routes.leave(one);
        assert!(find(&mut routes, "sip:3@h").unwrap().is_some(), "nobody else's count was touched");
    }

    #[test]
    fn calls_count_on_while_their_route_is_away_or_leads_elsewhere() {
        let mut routes = Routes::new();
        let table = |list: &[StaticRoute]| Table {
            routes: list.to_vec(),
            admission: None,
            ..Table::default()
        };
        replace(&mut routes, table(&[route("1", 1), route("2", 1)]), Mono(0));
        let one = find(&mut routes, "sip:1@h").unwrap().unwrap();
        routes.enter(one);
        replace(&mut routes, table(&[route("3", 1), route("4", 1)]), Mono(1));
        assert!(routes.get(one).is_none());
        let three = find(&mut routes, "sip:3@h").unwrap().unwrap();
        routes.enter(three);
        replace(&mut routes, table(&[route("4", 1), route("3", 1), route("1", 1)]), Mono(2));
        assert_eq!(find(&mut routes, "sip:1@h"), Err((503, Cause::Overload)), "its call stands");
        let targets = vec!["198.51.100.9:5060".parse().unwrap()];
        let sources = vec!["192.0.0.0/16".parse().unwrap()];
        let elsewhere = StaticRoute { targets, sources, ..route("1", 1) };
        replace(&mut routes, table(&[elsewhere]), Mono(3));
        assert_eq!(find(&mut routes, "sip:1@h"), Err((503, Cause::Overload)), "it stands still");
        assert!(routes.get(one).is_none(), "it does not go on to the new targets");
        routes.leave(one);
        assert!(find(&mut routes, "sip:1@h").unwrap().is_some());
        routes.leave(three);
        for round in 0..100 {
            replace(&mut routes, table(&[route(&round.to_string(), 1)]), Mono(4 + round));
        }
        assert!(routes.states.len() <= 4, "what nobody needs is used again");
    }

    #[test]
    fn a_table_that_could_not_list_all_refuses_nobody_and_knows_whom_it_lists() {
        let sources = vec![vec!["192.0.2.0/24".parse().unwrap()]];
        let admission = wire::table::Admission { key: [1, 2], sources, ..Default::default() };
        let table = |is_partial| {
            let admission = Some(wire::table::Admission { is_partial, ..admission.clone() });
            Table { routes: Vec::new(), admission, ..Table::default() }
        };
        let uri = Uri::parse(b"sip:+15550001@h").unwrap();
        let address: IpAddr = "203.0.113.9".parse().unwrap();
        let source = address.into();
        let mut routes = Routes::new();
        replace(&mut routes, table(false), Mono(0));
        assert_eq!(routes.admits(&uri, source), Admits::Nobody);
        replace(&mut routes, table(true), Mono(0));
        assert_eq!(routes.admits(&uri, source), Admits::Yes);
        let networks = networks(&table(true));
        assert_eq!(networks.standing(address), Standing::Stranger);
        assert_eq!(networks.standing("192.0.2.7".parse().unwrap()), Standing::Known);
    }

    #[test]
    fn a_number_takes_from_where_the_domain_that_is_named_does_not() {
        let carriers = vec!["192.0.2.0/24".parse().unwrap()];
        let mut admission = wire::table::Admission {
            key: [1, 2],
            sources: vec![carriers, vec!["203.0.113.0/24".parse().unwrap()]],
            ..Default::default()
        };
        for (kind, text, sources) in
            [(PlaceKind::Number, &b"15550001"[..], 0), (PlaceKind::Domain, b"trap.test", 1)]
        {
            let hash = admission.hash(kind, text);
            admission.places.push(wire::table::Place { hash, sources });
        }
        admission.places.sort_by_key(|place| place.hash);
        let mut routes = Routes::new();
        let table = Table { routes: Vec::new(), admission: Some(admission), ..Table::default() };
        replace(&mut routes, table, Mono(0));
        for (uri, source, admits) in [
            ("sip:+15550001@trap.test", "192.0.2.9", Admits::Yes),
            ("sip:+15550001@trap.test", "203.0.113.9", Admits::Yes),
            ("sip:+15550001@trap.test", "198.51.100.9", Admits::NotFrom),
            ("sip:bob@trap.test", "192.0.2.9", Admits::NotFrom),
        ] {
            let source = source.parse::<IpAddr>().unwrap().into();
            assert_eq!(
                routes.admits(&Uri::parse(uri.as_bytes()).unwrap(), source),
                admits,
                "{uri}"
            );
        }
    }

    #[test]
    fn a_number_is_routed_by_its_value_and_written_as_a_user_part_may_be() {
        let mut routes = Routes::new();
        replace(
            &mut routes,
            Table {
                routes: vec![route("+1", 0), route("#", 0)],
                admission: None,
                ..Table::default()
            },
            Mono(0),
        );
        assert!(find(&mut routes, "sip:%2B1555@h").unwrap().is_some());
        assert!(find(&mut routes, "sip:%2321@h").unwrap().is_some());
        assert!(find(&mut routes, "sip:2@h").unwrap().is_none());
        let stripped = StaticRoute { strip: 2, prepend: "00".to_owned(), ..route("+1", 0) };
        let mut out = [0; 128];
        let uri = route_uri(&stripped, b"sip:%2B1555;npdi@h", &mut out).unwrap();
        assert_eq!(core::str::from_utf8(uri).unwrap(), "sip:00555;npdi@198.51.100.1:5060");
        let uri = route_uri(&stripped, b"tel:+1-555-01", &mut out).unwrap();
        assert_eq!(core::str::from_utf8(uri).unwrap(), "sip:0055501@198.51.100.1:5060");
        let uri = route_uri(&route("#", 0), b"sip:#21@h", &mut out).unwrap();
        assert_eq!(core::str::from_utf8(uri).unwrap(), "sip:%2321@198.51.100.1:5060");
    }
}
