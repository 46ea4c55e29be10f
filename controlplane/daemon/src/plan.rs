//! From the configuration to what the parts are told.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use config::{Config, OnUnsupported};
use director::Settings;
use model::port::Entity;
use model::{
    AccessListSid, Account, AccountSid, Book, CallerId, CallerSid, DomainAccess, DomainSid,
    DomainSuffix, Grant, IpAccessControlList, NumberRange, OutboundRoute, RangeSid, RouteSid,
    SipDomain, SuffixSid, Trunk,
};
use store::sqlite::{Keep, Retention};
use wire::policy::{CodecOrder, Failover, RoutePolicy};
use wire::table::{Admission, Lock, Network, Place, PlaceKind, StaticRoute, Table};

use crate::clock;

/// Bytes of a listener's `service_route`, all of it.
const SERVICE_ROUTE_MAX: usize = 512;

/// Where things lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub data_dir: PathBuf,
    pub runtime_dir: PathBuf,
}

impl Places {
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let data_dir = config.node.data_dir.clone();
        let runtime_dir = if config.node.runtime_dir.as_os_str().is_empty() {
            data_dir.join("run")
        } else {
            config.node.runtime_dir.clone()
        };
        Self { data_dir, runtime_dir }
    }

    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data_dir.join(store::sqlite::FILE_NAME)
    }

    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    #[must_use]
    pub fn link(&self) -> PathBuf {
        self.runtime_dir.join("link.sock")
    }
}

/// What the director is told.
///
/// # Errors
/// If a network of the configuration cannot be read.
pub fn settings(config: &Config, shards: u8) -> anyhow::Result<Settings> {
    let plane = &config.controlplane;
    let networks = |texts: &[String], key: &'static str| {
        let parsed: Result<Vec<Network>, _> = texts.iter().map(|text| text.parse()).collect();
        parsed.context(key)
    };
    let addresses = own_sockets(config).map(|socket| socket.ip().to_string());
    let names = plane.hosts.iter().map(|name| name.to_ascii_lowercase());
    let bits = [plane.source_bits_v4, plane.source_bits_v6];
    Ok(Settings {
        node: config.node.id,
        shards,
        sip_host: sip_address(config).to_string(),
        own_hosts: addresses.chain(names).chain(public_host(config)).collect(),
        carriers: networks(&plane.carriers, "carriers")?,
        source_bits: bits,
        target_allow: networks(&plane.target_allow, "target_allow")?,
        fail_on_unsupported: plane.on_unsupported == OnUnsupported::Fail,
        webhook_connect_ms: plane.webhook_connect_ms,
        webhook_total_ms: plane.webhook_total_ms,
        limits: plane.limits,
        route_trunks: (1..)
            .zip(&config.outbound)
            .filter(|(_, outbound)| !outbound.trunk.is_empty())
            .map(|(place, outbound)| (RouteSid(place), outbound.trunk.clone()))
            .collect(),
        route_failovers: (1..)
            .zip(&config.outbound)
            .map(|(place, outbound)| Ok((RouteSid(place), failover(&outbound.failover)?)))
            .collect::<anyhow::Result<_>>()?,
        secure_listeners: (0..)
            .zip(&config.dataplane.listener)
            .filter(|(_, listener)| listener.transport.is_tls())
            .map(|(at, _)| at)
            .collect(),
        service_routes: service_routes(&config.dataplane)?,
    })
}

/// Of each listener; loose routers alone (RFC 3608 section 6.3).
fn service_routes(plane: &config::Dataplane) -> anyhow::Result<Vec<String>> {
    let is_route = |text: &str| {
        let uri = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let target = uri.and_then(model::party::Target::parse);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        is_plain && target.is_some_and(|it| it.headers.is_empty() && it.uri.params.has(b"lr"))
    };
    let all = plane.listener.iter().map(|listener| {
        let routes = &listener.service_route;
        let is_short = routes.iter().map(String::len).sum::<usize>() <= SERVICE_ROUTE_MAX;
        let is_fine = is_short && routes.iter().all(|route| is_route(route));
        is_fine.then(|| routes.join(", ")).with_context(|| {
            format!("service_route of listener `{}`: as <sip:edge.example;lr>", listener.name)
        })
    });
    all.collect()
}

/// The host of the URL that clients reach the API by.
fn public_host(config: &Config) -> Option<String> {
    let (_, rest) = config.controlplane.public_url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    model::party::host_and_port(authority).map(|(host, _)| host.to_ascii_lowercase())
}

/// Every address at which a listener is reached, as bound and as advertised.
fn own_sockets(config: &Config) -> impl Iterator<Item = SocketAddr> + '_ {
    let listeners = config.dataplane.listener.iter();
    listeners.flat_map(|listener| [Some(listener.bind), listener.advertised]).flatten()
}

/// Where phones and carriers reach us: the first listener as it is advertised.
#[must_use]
pub fn sip_address(config: &Config) -> SocketAddr {
    config.dataplane.listener.first().map_or_else(
        || SocketAddr::from(([127, 0, 0, 1], 5060)),
        |listener| listener.advertised.unwrap_or(listener.bind),
    )
}

/// Where clients reach the API.
#[must_use]
pub fn api_base(config: &Config) -> String {
    let plane = &config.controlplane;
    if plane.public_url.is_empty() {
        format!("http://{}", plane.http)
    } else {
        plane.public_url.trim_end_matches('/').to_owned()
    }
}

/// Where dialled numbers go, for every account. The numbers of these routes are their places in the
/// file.
fn outbound(config: &Config) -> Vec<OutboundRoute> {
    (1..)
        .zip(&config.outbound)
        .map(|(place, outbound)| OutboundRoute {
            sid: RouteSid(place),
            account: None,
            friendly_name: outbound.name.clone(),
            prefix: outbound.prefix.clone(),
            strip: outbound.strip,
            prepend: outbound.prepend.clone(),
            targets: outbound.targets.clone(),
            host: outbound.host.clone(),
            date_created: base::Wall(0),
            date_updated: base::Wall(0),
        })
        .collect()
}

/// What the configuration file gives beside the store: routes, and grants to accounts. Their sids
/// are their places in the file, they have no moments.
///
/// # Errors
/// A grant names no account that there is, or what is no number and no domain.
pub fn given(config: &Config, book: &mut Book) -> anyhow::Result<()> {
    book.routes.extend(outbound(config));
    let mut place = 0;
    for (at, grant) in config.grant.iter().enumerate() {
        let name = format!("grant[{at}]");
        let account = match grant.account.as_str() {
            "*" => None,
            text => Some(account_named(text, &book.accounts).context(name.clone())?.sid),
        };
        let mut next = || {
            place += 1;
            place
        };
        for text in &grant.numbers {
            let prefix = NumberRange::prefix(text);
            let prefix = prefix.with_context(|| format!("{name}: `{text}` begins no number"))?;
            let (sid, friendly_name) = (RangeSid(next()), name.clone());
            let range = NumberRange { sid, account, friendly_name, prefix, ..Default::default() };
            book.ranges.push(range);
        }
        for text in &grant.domains {
            let suffix = DomainSuffix::suffix(text);
            let suffix = suffix.with_context(|| format!("{name}: `{text}` is no host name"))?;
            let (sid, friendly_name) = (SuffixSid(next()), name.clone());
            let suffix = DomainSuffix { sid, account, friendly_name, suffix, ..Default::default() };
            book.suffixes.push(suffix);
        }
        for text in &grant.callers {
            let number = model::party::number(text);
            let number = number.with_context(|| format!("{name}: `{text}` is no number"))?;
            let (sid, friendly_name) = (CallerSid(next()), name.clone());
            let caller = CallerId { sid, account, friendly_name, number, ..Default::default() };
            book.callers.push(caller);
        }
        let bits = (grant.source_bits_v4, grant.source_bits_v6);
        if grant.any_caller || bits != (None, None) {
            let (any_caller, (source_bits_v4, source_bits_v6)) = (grant.any_caller, bits);
            let (date_created, date_updated) = Default::default();
            book.grants.push(Grant {
                account,
                any_caller,
                source_bits_v4,
                source_bits_v6,
                date_created,
                date_updated,
            });
        }
    }
    Ok(())
}

/// The account with this sid; of none the first one.
fn account_named<'a>(text: &str, accounts: &'a [Account]) -> anyhow::Result<&'a Account> {
    let account = if text.is_empty() {
        accounts.iter().min_by_key(|account| account.number)
    } else {
        accounts.iter().find(|account| account.sid.to_string() == text)
    };
    account.with_context(|| format!("no account `{text}`"))
}

/// The routes that the dataplane follows alone, in the order of the configuration.
///
/// # Errors
/// If a trunk bills an account that does not exist.
pub fn table(config: &Config, accounts: &[Account]) -> anyhow::Result<Table> {
    let mut routes = Vec::new();
    for trunk in &config.trunk {
        let account = account_named(&trunk.account, accounts)
            .with_context(|| format!("trunk `{}`", trunk.name))?;
        let networks = |texts: &[String]| -> anyhow::Result<Vec<Network>> {
            let parsed: Result<_, _> = texts.iter().map(|text| text.parse::<Network>()).collect();
            parsed.with_context(|| format!("trunk `{}`", trunk.name))
        };
        // Whoever proves a name is one of the sources by what stands for it.
        let proven = trunk
            .tls_clients
            .iter()
            .map(|name| Network { address: crate::certificates::identifier(name), bits: 128 });
        let sources: Vec<_> = networks(&trunk.sources)?.into_iter().chain(proven).collect();
        let trusted = trunk.trusted.as_ref().map(|texts| networks(texts)).transpose()?;
        routes.push(StaticRoute {
            account: account.number,
            domain: trunk.domain.to_ascii_lowercase(),
            prefix: prefix_of(&trunk.prefix),
            trusted: trusted.unwrap_or_else(|| sources.clone()),
            sources,
            targets: trunk.targets.clone(),
            host: trunk.host.clone(),
            strip: trunk.strip,
            prepend: trunk.prepend.clone(),
            rate_max: trunk.rate_max,
            calls_max: trunk.calls_max,
            ring_s: trunk.ring_s,
            media: trunk.media,
            signalling: trunk.signalling,
            tls_name: trunk.tls_name.clone(),
            transfer: trunk.transfer,
            dtmf: trunk.dtmf,
            policy: policy(config, trunk).with_context(|| format!("trunk `{}`", trunk.name))?,
            reliable: trunk.reliable,
            session_timer: trunk.session_timer,
            early_media: trunk.early_media,
            // The name alone: the dataplane reads what it stands for itself.
            login: if trunk.username.is_empty() { String::new() } else { trunk.name.clone() },
        });
    }
    Ok(Table { routes, admission: None, ..Table::default() })
}

/// The name of a service (RFC 5031) is compared without regard to case.
fn prefix_of(prefix: &str) -> String {
    let is_urn = prefix.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case("urn:"));
    if is_urn { prefix.to_ascii_lowercase() } else { prefix.to_owned() }
}

fn policy(config: &Config, trunk: &config::Trunk) -> anyhow::Result<RoutePolicy> {
    let hours: Result<_, _> = trunk.hours.iter().map(|text| text.parse()).collect();
    let allow: Result<_, _> = trunk.redirect_allow.iter().map(|text| text.parse()).collect();
    Ok(RoutePolicy {
        name: trunk.name.clone(),
        failover: failover(&trunk.failover)?,
        redirect: trunk.redirect,
        redirect_allow: allow?,
        health_s: trunk.health_s,
        priority: trunk.priority,
        weight: trunk.weight,
        cost: trunk.cost,
        by_cost: config.routing.order == config::Order::Cost,
        hours: hours?,
        utc_offset_min: trunk.utc_offset_min,
        country: trunk.country.clone(),
        caller_strip: trunk.caller_strip,
        caller_prepend: trunk.caller_prepend.clone(),
        refuses_anonymous: trunk.anonymous == config::Anonymous::Refuse,
        codecs: CodecOrder::of(trunk.codecs.iter().map(String::as_str))
            .map_err(|why| anyhow::anyhow!("codecs {why}"))?,
        listener: (0..)
            .zip(&config.dataplane.listener)
            .find(|(_, listener)| listener.name == trunk.listener && !trunk.listener.is_empty())
            .map(|(at, _)| at),
        body_parts: trunk.body_parts,
    })
}

fn failover(codes: &[u16]) -> anyhow::Result<Failover> {
    let with = |known: Failover, code: &u16| {
        known.with(*code).map_err(|why| anyhow::anyhow!("failover: {code} {why}"))
    };
    codes.iter().try_fold(Failover::NONE, with)
}

/// What the store keeps.
#[must_use]
pub fn retention(keep: &config::Retention) -> Retention {
    Retention {
        now: clock::believed,
        calls: Keep { days: keep.calls_days, rows: keep.account_calls },
        alerts: Keep { days: keep.alerts_days, rows: keep.account_alerts },
        dead_letters: Keep { days: keep.dead_letters_days, rows: keep.account_dead_letters },
    }
}

/// Whom applications answer for, and whose calls, from everything that is configured. A domain that
/// is a host of our own is left out, as the director leaves it out.
pub fn admission<'e>(
    settings: &Settings,
    key: [u64; 2],
    entities: impl Iterator<Item = &'e Entity> + Clone,
) -> Admission {
    let mut admission = Admission { key, ..Admission::default() };
    let mut lists: HashMap<Vec<Network>, u32> = HashMap::new();
    let mut list = |networks: &[Network], admission: &mut Admission| {
        if let Some(at) = lists.get(networks) {
            return *at;
        }
        let at = u32::try_from(admission.sources.len()).unwrap_or(u32::MAX);
        admission.sources.push(networks.to_vec());
        lists.insert(networks.to_vec(), at);
        at
    };
    let accounts: HashMap<AccountSid, &Account> = entities
        .clone()
        .filter_map(|entity| match entity {
            Entity::Account(account) => Some((account.sid, account)),
            _ => None,
        })
        .collect();
    let access = Access::of(entities.clone());
    // Who may call anybody is known, whether there is a number yet or not.
    for (_, networks) in entities.clone().filter_map(|entity| access.networks(entity)) {
        list(&networks, &mut admission);
    }
    let mut places = Vec::new();
    admission.locks = locks(&admission, settings, entities.clone());
    for entity in entities {
        let (hash, networks) = match entity {
            Entity::PhoneNumber(number) => {
                let Some(account) = accounts.get(&number.account) else { continue };
                let digits = number.number.strip_prefix('+').unwrap_or(&number.number);
                let hash = admission.hash(PlaceKind::Number, digits.as_bytes());
                (hash, Cow::Borrowed(account.sources.as_slice()))
            }
            Entity::SipDomain(SipDomain { domain_name: name, .. })
            | Entity::Trunk(Trunk { domain_name: name, .. })
                if !name.is_empty() && !settings.is_own_host(name) =>
            {
                let Some((_, networks)) = access.networks(entity) else { continue };
                (admission.hash(PlaceKind::Domain, name.as_bytes()), networks)
            }
            _ => continue,
        };
        let sources = list(&networks, &mut admission);
        places.push(Place { hash, sources });
    }
    places.sort_unstable_by_key(|place| place.hash);
    places.dedup_by_key(|place| place.hash);
    admission.places = places;
    admission
}

/// Lists of networks, and which domains take them.
struct Access<'e> {
    lists: HashMap<AccessListSid, &'e IpAccessControlList>,
    domains: HashMap<DomainSid, &'e DomainAccess>,
}

impl<'e> Access<'e> {
    fn of(entities: impl Iterator<Item = &'e Entity>) -> Self {
        let (mut lists, mut domains) = (HashMap::new(), HashMap::new());
        for entity in entities {
            match entity {
                Entity::IpAccessControlList(it) => drop(lists.insert(it.sid, it)),
                Entity::DomainAccess(it) => drop(domains.insert(it.domain, it)),
                _ => {}
            }
        }
        Self { lists, domains }
    }

    /// Whose networks, and from which calls to it are taken; None for what takes no calls.
    fn networks(&self, entity: &'e Entity) -> Option<(AccountSid, Cow<'e, [Network]>)> {
        let (account, own, mapped) = match entity {
            Entity::Account(it) => (it.sid, it.sources.as_slice(), &[][..]),
            Entity::SipDomain(it) => {
                let mapped = self.domains.get(&it.sid).map_or(&[][..], |it| it.lists.as_slice());
                (it.account, it.sources.as_slice(), mapped)
            }
            Entity::Trunk(it) if !it.domain_name.is_empty() => {
                (it.account, &[][..], it.access.as_slice())
            }
            _ => return None,
        };
        if mapped.is_empty() {
            return Some((account, Cow::Borrowed(own)));
        }
        let lists = mapped.iter().filter_map(|mapping| self.lists.get(&mapping.list));
        let lists = lists.flat_map(|list| list.addresses.iter().map(|it| it.network));
        Some((account, own.iter().copied().chain(lists).collect()))
    }
}

/// The domains that take credentials.
fn locks<'e>(
    admission: &Admission,
    settings: &Settings,
    entities: impl Iterator<Item = &'e Entity> + Clone,
) -> Vec<Lock> {
    let domains: HashMap<_, _> = entities
        .clone()
        .filter_map(|entity| match entity {
            Entity::SipDomain(it) if !settings.is_own_host(&it.domain_name) => {
                Some((it.sid, it.domain_name.as_bytes()))
            }
            _ => None,
        })
        .collect();
    let lock = |entity: &Entity| {
        if let Entity::Trunk(it) = entity {
            let is_open = it.credentials.is_empty() || it.domain_name.is_empty();
            let hash = admission.hash(PlaceKind::Domain, it.domain_name.as_bytes());
            let lock = Lock { hash, calls: true, registrations: false };
            return (!is_open && !settings.is_own_host(&it.domain_name)).then_some(lock);
        }
        let Entity::DomainAuth(auth) = entity else { return None };
        let hash = admission.hash(PlaceKind::Domain, domains.get(&auth.domain)?);
        let registrations = auth.registers && !auth.registrations.is_empty();
        let lock = Lock { hash, calls: !auth.calls.is_empty(), registrations };
        (lock.calls || lock.registrations).then_some(lock)
    };
    let mut locks: Vec<Lock> = entities.filter_map(lock).collect();
    locks.sort_unstable_by_key(|lock| lock.hash);
    locks.dedup_by_key(|lock| lock.hash);
    locks
}

/// The lists of networks that places have, when there is no room for all: each family's in turn,
/// its shortest first, so that nobody's many keep another's out.
pub fn sources_in_turn<'e>(
    entities: impl Iterator<Item = &'e Entity> + Clone,
) -> Vec<Vec<Network>> {
    let family: HashMap<AccountSid, AccountSid> = entities
        .clone()
        .filter_map(|entity| match entity {
            Entity::Account(account) => Some((account.sid, account.parent)),
            _ => None,
        })
        .collect();
    let access = Access::of(entities.clone());
    let mut lists: BTreeMap<AccountSid, Vec<Cow<'_, [Network]>>> = BTreeMap::new();
    for (account, sources) in entities.filter_map(|entity| access.networks(entity)) {
        let family = family.get(&account).copied().unwrap_or(account);
        lists.entry(family).or_default().push(sources);
    }
    let mut turns: Vec<(usize, Cow<'_, [Network]>)> = Vec::new();
    for mut of_family in lists.into_values() {
        let mut seen = HashSet::new();
        of_family.retain(|networks| seen.insert(networks.clone()));
        of_family.sort_by_key(|networks| networks.len());
        turns.extend(of_family.into_iter().enumerate());
    }
    turns.sort_by_key(|(turn, networks)| (*turn, networks.len()));
    let mut seen = HashSet::new();
    turns.into_iter().map(|(_, it)| it.into_owned()).filter(|it| seen.insert(it.clone())).collect()
}

#[cfg(test)]
mod tests {
    use model::{AccountSid, PhoneNumber};

    use super::*;

    const TRUNK: &str = "[[trunk]]\nname = \"t\"\nsources = [\"10.0.0.0/8\"]\n\
        targets = [\"10.0.0.1:5060\"]\ndomain = \"Example.COM\"\n";

    fn account(number: u64) -> Account {
        Account { sid: AccountSid(u128::from(number)), number, ..Account::default() }
    }

    #[test]
    fn a_service_route_is_of_loose_routers() {
        let routes = |routes: &[&str]| {
            let mut plane = Config::default().dataplane;
            plane.listener.truncate(2);
            plane.listener[1].service_route = routes.iter().map(|it| (*it).to_owned()).collect();
            service_routes(&plane)
        };
        let two = ["<sip:edge.example.com;lr>", "<sips:10.0.0.9:5061;lr>"];
        assert_eq!(routes(&two).unwrap(), [String::new(), two.join(", ")]);
        for bad in ["sip:edge;lr", "<sip:edge>", "<sip:edge;lr>\r\nX: y", "<tel:+1>", "<>"] {
            let error = routes(&[bad]).unwrap_err().to_string();
            assert!(error.contains("service_route of listener `tcp`"), "{bad}: {error}");
        }
        assert!(routes(&[&format!("<sip:{}.example;lr>", "x".repeat(512))]).is_err());
    }

    #[test]
    fn a_trunk_bills_the_account_it_names_or_the_first() {
        let accounts = [account(7), account(3)];
        let config = config::load(TRUNK).unwrap();
        let routes = table(&config, &accounts).unwrap().routes;
        assert_eq!((routes[0].account, routes[0].domain.as_str()), (3, "example.com"));
        let named = format!("{TRUNK}account = \"{}\"\n", AccountSid(7));
        let config = config::load(&named).unwrap();
        assert_eq!(table(&config, &accounts).unwrap().routes[0].account, 7);
        let error = format!("{:#}", table(&config, &accounts[1..]).unwrap_err());
        assert!(error.contains("trunk `t`: no account `AC"), "{error}");
        assert!(table(&Config::default(), &[]).unwrap().routes.is_empty());
    }

    #[test]
    fn whom_an_account_takes_calls_from_is_known_before_it_has_a_number() {
        let sources: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let account = Account { sources: sources.clone(), ..account(7) };
        let entities = [Entity::Account(account.clone())];
        let listed = admission(&Settings::default(), [1, 2], entities.iter());
        assert_eq!(
            (listed.sources.as_slice(), listed.places.len()),
            ([sources.clone()].as_slice(), 0)
        );
        let number = PhoneNumber {
            account: account.sid,
            number: "+15550001".to_owned(),
            ..PhoneNumber::default()
        };
        let domain = |name: &str| {
            let domain_name = name.to_owned();
            Entity::SipDomain(SipDomain { domain_name, ..SipDomain::default() })
        };
        let entities = [
            Entity::Account(account),
            Entity::PhoneNumber(number),
            domain("a.example"),
            domain("192.0.2.1"),
        ];
        let listed = admission(&Settings::default(), [1, 2], entities.iter());
        assert_eq!(listed.sources_of(PlaceKind::Number, b"15550001"), Some(sources.as_slice()));
        assert_eq!(listed.sources_of(PlaceKind::Domain, b"A.example"), Some([].as_slice()));
        assert_eq!(listed.sources_of(PlaceKind::Domain, b"192.0.2.1"), None, "an address is ours");
    }

    #[test]
    fn grants_of_the_file_are_what_accounts_may_take() {
        let text = "[controlplane]\nhosts = [\"SIP.example.com\"]\n\
            public_url = \"https://api.example.com:8443/x\"\ncarriers = [\"192.0.2.0/24\"]\n\
            [[grant]]\nnumbers = [\"+1 555\"]\ndomains = [\".Example.com\"]\n\
            callers = [\"+15550001\"]\n[[grant]]\naccount = \"*\"\nsource_bits_v4 = 8\n";
        let config = config::load(text).unwrap();
        let mut book = Book { accounts: vec![account(7), account(3)], ..Book::default() };
        given(&config, &mut book).unwrap();
        let directory = model::Directory::load(&book);
        let (first, other) = (AccountSid(3), AccountSid(7));
        assert!(directory.may_have_number(first, "+15551234567"));
        assert!(!directory.may_have_number(other, "+15551234567"));
        assert!(directory.may_have_domain(first, "pbx.example.com"));
        assert!(!directory.may_have_domain(other, "pbx.example.com"));
        assert!(directory.may_show_number(first, "+15550001"));
        assert_eq!(directory.grant(other).and_then(|grant| grant.source_bits_v4), Some(8));
        let settings = settings(&config, 1).unwrap();
        assert!(settings.is_own_host("sip.EXAMPLE.com") && settings.is_own_host("api.example.com"));
        assert_eq!((settings.carriers.len(), settings.source_bits), (1, [24, 48]));
        for bad in ["account = \"AC1\"", "numbers = [\"x\"]", "domains = [\"1.2.3.4\"]"] {
            let config = config::load(&format!("[[grant]]\n{bad}\n")).unwrap();
            assert!(given(&config, &mut book.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_those_that_others_see() {
        let text = "[controlplane]\npublic_url = \"https://api.example.com/\"\n";
        let config = config::load(text).unwrap();
        assert_eq!(api_base(&config), "https://api.example.com");
        assert_eq!(api_base(&Config::default()), "http://127.0.0.1:8080");
        assert_eq!(sip_address(&Config::default()).to_string(), "127.0.0.1:5060");
        assert_eq!(Places::of(&Config::default()).link(), PathBuf::from("data/run/link.sock"));
    }
}
