//! From the configuration to what the parts are told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use config::{Config, OnUnsupported};
use director::{Limits, Settings};
use model::port::Entity;
use model::{Account, AccountSid, OutboundRoute, RouteSid, SipDomain};
use wire::table::{Admission, Network, Place, PlaceKind, StaticRoute, Table};

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
        self.data_dir.join("tandem.db")
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
    let target_allow = plane.target_allow.iter().map(|text| text.parse::<Network>());
    Ok(Settings {
        node: config.node.id,
        shards,
        sip_host: sip_address(config).to_string(),
        own_hosts: own_sockets(config).map(|socket| socket.ip().to_string()).collect(),
        target_allow: target_allow.collect::<Result<_, _>>().context("target_allow")?,
        fail_on_unsupported: plane.on_unsupported == OnUnsupported::Fail,
        webhook_connect_ms: plane.webhook_connect_ms,
        webhook_total_ms: plane.webhook_total_ms,
        limits: Limits::default(),
    })
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
#[must_use]
pub fn outbound(config: &Config) -> Vec<OutboundRoute> {
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

/// The routes that the dataplane follows alone, in the order of the configuration.
///
/// # Errors
/// If a trunk bills an account that does not exist.
pub fn table(config: &Config, accounts: &[Account]) -> anyhow::Result<Table> {
    let mut routes = Vec::new();
    for trunk in &config.trunk {
        let account = if trunk.account.is_empty() {
            accounts.iter().min_by_key(|account| account.number)
        } else {
            accounts.iter().find(|account| account.sid.to_string() == trunk.account)
        };
        let account = account
            .with_context(|| format!("trunk `{}`: no account `{}`", trunk.name, trunk.account))?;
        let networks = |texts: &[String]| -> anyhow::Result<Vec<Network>> {
            let parsed: Result<_, _> = texts.iter().map(|text| text.parse::<Network>()).collect();
            parsed.with_context(|| format!("trunk `{}`", trunk.name))
        };
        routes.push(StaticRoute {
            account: account.number,
            domain: trunk.domain.to_ascii_lowercase(),
            prefix: trunk.prefix.clone(),
            sources: networks(&trunk.sources)?,
            trusted: networks(trunk.trusted.as_ref().unwrap_or(&trunk.sources))?,
            targets: trunk.targets.clone(),
            host: trunk.host.clone(),
            strip: trunk.strip,
            prepend: trunk.prepend.clone(),
            rate_max: trunk.rate_max,
            calls_max: trunk.calls_max,
            ring_s: trunk.ring_s,
            media: trunk.media,
        });
    }
    Ok(Table { routes, admission: None })
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
    // Who may call anybody is known, whether there is a number yet or not.
    for entity in entities.clone() {
        if let Entity::Account(Account { sources, .. })
        | Entity::SipDomain(SipDomain { sources, .. }) = entity
        {
            list(sources, &mut admission);
        }
    }
    let mut places = Vec::new();
    for entity in entities {
        let (hash, networks) = match entity {
            Entity::PhoneNumber(number) => {
                let Some(account) = accounts.get(&number.account) else { continue };
                let digits = number.number.strip_prefix('+').unwrap_or(&number.number);
                (admission.hash(PlaceKind::Number, digits.as_bytes()), &account.sources)
            }
            Entity::SipDomain(domain) if !settings.is_own_host(&domain.domain_name) => {
                let name = domain.domain_name.as_bytes();
                (admission.hash(PlaceKind::Domain, name), &domain.sources)
            }
            _ => continue,
        };
        let sources = list(networks, &mut admission);
        places.push(Place { hash, sources });
    }
    places.sort_unstable_by_key(|place| place.hash);
    places.dedup_by_key(|place| place.hash);
    admission.places = places;
    admission
}

/// What the API takes at most.
#[must_use]
pub fn api_limits(api: &config::Api) -> api::Limits {
    api::Limits {
        source_rate: api.source_rate,
        source_burst: api.source_burst,
        account_rate: api.account_rate,
        account_burst: api.account_burst,
        account_requests: api.account_requests,
        login_failures: api.login_failures,
        login_failure_s: api.login_failure_s,
        connections: api.connections,
        source_connections: api.source_connections,
        first_byte: Duration::from_millis(api.first_byte_ms.into()),
        write: Duration::from_millis(api.write_ms.into()),
        answer_bytes: api.answer_bytes,
    }
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
    fn a_trunk_bills_the_account_it_names_or_the_first() {
        let accounts = [account(7), account(3)];
        let config = config::load(TRUNK).unwrap();
        let routes = table(&config, &accounts).unwrap().routes;
        assert_eq!((routes[0].account, routes[0].domain.as_str()), (3, "example.com"));
        let named = format!("{TRUNK}account = \"{}\"\n", AccountSid(7));
        let config = config::load(&named).unwrap();
        assert_eq!(table(&config, &accounts).unwrap().routes[0].account, 7);
        let error = table(&config, &accounts[1..]).unwrap_err().to_string();
        assert!(error.contains("trunk `t`"), "{error}");
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
    fn addresses_are_those_that_others_see() {
        let text = "[controlplane]\npublic_url = \"https://api.example.com/\"\n";
        let config = config::load(text).unwrap();
        assert_eq!(api_base(&config), "https://api.example.com");
        assert_eq!(api_base(&Config::default()), "http://127.0.0.1:8080");
        assert_eq!(sip_address(&Config::default()).to_string(), "127.0.0.1:5060");
        assert_eq!(Places::of(&Config::default()).link(), PathBuf::from("data/run/link.sock"));
    }
}
