//! The published table: static routes as configured, and whom applications answer for, as that
//! changes.
//!
//! A change outdates the table before whoever made it is answered: until the next one is there, the
//! dataplane asks about what the old one does not list. Making a table is linear in what is
//! configured, so that many changes in a row are published together: what it costs is at most a
//! twentieth of the time.

use std::time::Duration;

use base::Mono;
use director::Settings;
use model::EntityKind;
use model::port::Record;
use wire::table::{self, StaticRoute, Table};

use crate::clock;
use crate::directory::Directory;
use crate::ends::Ends;

/// The shortest time between two tables.
const EVERY: Duration = Duration::from_millis(20);
/// The same in what making one took.
const SHARE: u32 = 20;

/// Keeps the shards' tables as the configuration is.
#[derive(Debug, Default)]
pub struct Publisher {
    routes: Table,
    /// What makes the list of those who are answered for: none, and everybody is asked about.
    rules: Option<(Settings, [u64; 2])>,
    is_outdated: bool,
    next_at: Mono,
}

impl Publisher {
    /// Static routes alone.
    #[must_use]
    pub fn routes(routes: Table) -> Self {
        Self { routes, is_outdated: true, ..Self::default() }
    }

    /// With the list. `key`: random, of this life.
    #[must_use]
    pub fn listing(routes: Table, settings: Settings, key: [u64; 2]) -> Self {
        Self { rules: Some((settings, key)), ..Self::routes(routes) }
    }

    /// A write passes by. True if what is published does not hold any more, for the first time.
    pub fn learn(&mut self, records: &[Record]) -> bool {
        let changes = self.rules.is_some() && records.iter().any(is_listed);
        let is_news = changes && !self.is_outdated;
        self.is_outdated |= changes;
        is_news
    }

    /// Whose targets a shard speaks of, as the operator calls it.
    #[must_use]
    pub fn name_of(&self, group: u64) -> String {
        let of = |route: &&StaticRoute| {
            wire::policy::group_of(route.account, &route.policy.name) == group
        };
        match self.routes.routes.iter().find(of) {
            Some(route) => route.policy.name.clone(),
            None if group >> 63 == 0 => format!("account {group}"),
            None => "outbound".to_owned(),
        }
    }

    /// When [`Publisher::publish`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        if self.is_outdated { self.next_at } else { Mono::NEVER }
    }

    /// Shows the shards what has changed, if it is time.
    pub fn publish(&mut self, now: Mono, directory: &Directory, shards: &[Ends]) {
        if !self.is_outdated || now < self.next_at || shards.is_empty() {
            return;
        }
        let begun = clock::sample().mono;
        let mut table = self.current(directory);
        if !shards.iter().all(|ends| write(ends, &table)) {
            tracing::error!(
                places = table.admission.as_ref().map_or(0, |it| it.places.len()),
                "what is configured does not fit the published table: every call is asked about, \
                 and some sources that are listed count as strangers"
            );
            if let Some(admission) = &mut table.admission {
                admission.sources = directory.sources_in_turn();
            }
            publish_part(&mut table, |table| shards.iter().all(|ends| write(ends, table)));
        }
        self.is_outdated = false;
        self.next_at = now + EVERY.max(clock::sample().mono.since(begun) * SHARE);
    }

    /// What holds now. What is billed to an account that is not active goes nowhere.
    fn current(&self, directory: &Directory) -> Table {
        let admission =
            self.rules.as_ref().map(|(settings, key)| directory.admission(settings, *key));
        let is_active = |route: &&StaticRoute| directory.is_active(route.account);
        let routes = self.routes.routes.iter().filter(is_active).cloned().collect();
        let key = self.rules.as_ref().map_or([0; 2], |(_, key)| *key);
        Table { routes, admission, watch: directory.watch(key) }
    }
}

/// As many of the known sources as there is room for, the first of them: nobody's many cost others
/// theirs. Whoever is left out is a stranger, and nobody is refused unasked.
fn publish_part(table: &mut Table, write: impl Fn(&Table) -> bool) {
    if let Some(admission) = &mut table.admission {
        admission.is_partial = true;
        admission.places.clear();
    }
    while !write(table) {
        match &mut table.admission {
            Some(admission) if !admission.sources.is_empty() => {
                admission.sources.truncate(admission.sources.len() * 3 / 4);
            }
            _ if !table.watch.filters.is_empty() => {
                tracing::error!("nobody is told of SIP messages: subscriptions do not fit");
                table.watch.filters.clear();
            }
            _ => {
                tracing::error!("the static routes alone do not fit the published table");
                return;
            }
        }
    }
}

/// The table does not hold any more.
pub fn outdate(shards: &[Ends]) {
    shards.iter().filter_map(|ends| ends.memory.ours.table()).for_each(table::outdate);
}

fn write(ends: &Ends, table: &Table) -> bool {
    let written = ends.memory.ours.table().is_none_or(|area| table::publish(area, table).is_ok());
    ends.memory.bell.ring();
    written
}

/// Whether a record changes who is answered for.
fn is_listed(record: &Record) -> bool {
    let key = match record {
        Record::Put(entity) => entity.key(),
        Record::Delete(key) => *key,
        _ => return false,
    };
    let listed = [
        EntityKind::Account,
        EntityKind::PhoneNumber,
        EntityKind::SipDomain,
        EntityKind::DomainAuth,
        EntityKind::SignalingSubscription,
    ];
    listed.contains(&key.kind())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use model::AccountStatus::{Active, Suspended};
    use wire::table::{Network, TABLE_BYTES_MAX};

    use super::*;

    #[test]
    fn a_static_route_of_an_account_that_is_not_active_is_left_out() {
        let config = "[[trunk]]\nname = \"t\"\nsources = [\"10.0.0.0/8\"]\n\
            targets = [\"10.0.0.1:5060\"]\n";
        let config = config::load(config).unwrap();
        let account = |sid, parent, number, status| model::Account {
            sid: model::AccountSid(sid),
            parent: model::AccountSid(parent),
            number,
            status,
            ..model::Account::default()
        };
        for (parent, own, left) in
            [(Active, Active, 1), (Active, Suspended, 0), (Suspended, Active, 0)]
        {
            let accounts = vec![account(2, 1, 3, own), account(1, 1, 4, parent)];
            let table = crate::plan::table(&config, &accounts).unwrap();
            assert_eq!(table.routes[0].account, 3);
            let publisher = Publisher::listing(table, Settings::default(), [1, 2]);
            let directory = Directory::new(&model::Book { accounts, ..model::Book::default() });
            assert_eq!(publisher.current(&directory).routes.len(), left);
        }
    }

    #[test]
    fn what_is_subscribed_to_is_published_while_its_account_is_active() {
        let subscription = model::SignalingSubscription {
            sid: model::SubscriptionSid(9),
            account: model::AccountSid(2),
            methods: 4,
            ..model::SignalingSubscription::default()
        };
        for (status, told) in [(Active, vec![(3, 9, 4)]), (Suspended, Vec::new())] {
            let account = model::Account {
                sid: model::AccountSid(2),
                parent: model::AccountSid(2),
                number: 3,
                status,
                ..model::Account::default()
            };
            let book = model::Book {
                accounts: vec![account],
                subscriptions: vec![subscription.clone()],
                ..model::Book::default()
            };
            let mut publisher = Publisher::listing(Table::default(), Settings::default(), [1, 2]);
            let watch = publisher.current(&Directory::new(&book)).watch;
            let found: Vec<_> =
                watch.filters.iter().map(|it| (it.account, it.id, it.methods)).collect();
            assert_eq!((watch.key, found), ([1, 2], told));
            publisher.is_outdated = false;
            assert!(publisher.learn(&[Record::Put(Box::new(subscription.clone().into()))]));
        }
    }

    #[test]
    fn a_tenant_with_too_many_networks_costs_nobody_elses() {
        let network = |number: u32| {
            let address = std::net::Ipv6Addr::from_bits(u128::from(number)).into();
            Network { address, bits: 128 }
        };
        let account = |sid: u128, sources: Vec<Network>| model::Account {
            sid: model::AccountSid(sid),
            parent: model::AccountSid(sid.min(2)),
            number: u64::try_from(sid).unwrap(),
            sources,
            ..model::Account::default()
        };
        // One family has one network in each of a hundred and fifty thousand lists, an honest
        // account twenty in its only one.
        let honest: Vec<Network> = (0..20).map(|at| network(u32::MAX - at)).collect();
        let mut accounts = vec![account(1, honest.clone())];
        accounts.extend((2..150_000).map(|at| account(at.into(), vec![network(at)])));
        let directory = Directory::new(&model::Book { accounts, ..model::Book::default() });
        let admission = directory.admission(&Settings::default(), [1, 2]);
        let mut table =
            Table { routes: Vec::new(), admission: Some(admission), ..Table::default() };
        let words = TABLE_BYTES_MAX / 8 + 2;
        let area: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        assert!(table::publish(&area, &table).is_err(), "it does not fit");
        table.admission.as_mut().unwrap().sources = directory.sources_in_turn();
        publish_part(&mut table, |table| table::publish(&area, table).is_ok());
        let read = table::read(&area, &mut 0).unwrap().unwrap().admission.unwrap();
        assert!(read.is_partial && read.places.is_empty());
        assert!(read.sources.contains(&honest) && read.sources.len() > 500);
    }
}
