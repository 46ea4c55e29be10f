//! Everything configured, found by what names it: by key, by account number, by phone number, by
//! domain, by prefix. The director decides by it; the daemon keeps one for those who read at every
//! request, and both learn of a change in the same way.

use core::cmp::Reverse;
use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet};

use base::CallId;
use wire::Service;

use crate::port::{Entity, EntityKey, Record};
use crate::query::{Cursor, EntityQuery, Listed as _, Seek};
use crate::{
    Account, AccountSid, AccountStatus, Application, ApplicationSid, Book, CallerSid, Credential,
    CredentialListSid, CredentialSid, Currency, DomainSid, EntityKind, NumberSid, OutboundRoute,
    PhoneNumber, Price, PriceKey, Resource, Secret, SipDomain, SubscriptionSid, Trunk, TrunkSid,
    VoiceConfig,
};

#[derive(Clone, Debug, Default)]
pub struct Directory {
    kinds: BTreeMap<EntityKind, BTreeMap<EntityKey, Entity>>,
    /// What is in an account's list of a kind, in the list's order.
    lists: BTreeMap<(EntityKind, AccountSid), BTreeMap<Cursor, BTreeSet<EntityKey>>>,
    by_number: BTreeMap<u64, AccountSid>,
    /// Digits without `+`.
    by_digits: BTreeMap<String, NumberSid>,
    by_domain: BTreeMap<String, DomainSid>,
    /// Verified caller ids, digits without `+`.
    callers: BTreeSet<(Option<AccountSid>, String, CallerSid)>,
    by_username: BTreeMap<(CredentialListSid, String), CredentialSid>,
    by_trunk_domain: BTreeMap<String, TrunkSid>,
    /// Numbers of trunks.
    of_trunks: BTreeSet<(TrunkSid, NumberSid)>,
    /// Subscriptions to single calls.
    of_calls: BTreeSet<(CallId, SubscriptionSid)>,
}

impl Directory {
    #[must_use]
    pub fn load(book: &Book) -> Self {
        let mut directory = Self::default();
        for entity in book.entities() {
            directory.put(entity);
        }
        directory
    }

    /// Inserts or replaces.
    pub fn put(&mut self, entity: Entity) {
        let key = entity.key();
        self.remove(key);
        match &entity {
            Entity::Account(it) => {
                self.by_number.insert(it.number, it.sid);
            }
            Entity::PhoneNumber(it) => {
                self.by_digits.insert(digits(&it.number).to_owned(), it.sid);
            }
            Entity::SipDomain(it) => {
                self.by_domain.insert(it.domain_name.clone(), it.sid);
            }
            Entity::CallerId(it) => {
                self.callers.insert((it.account, digits(&it.number).to_owned(), it.sid));
            }
            Entity::Credential(it) => {
                self.by_username.insert((it.list, it.username.clone()), it.sid);
            }
            Entity::Trunk(it) if !it.domain_name.is_empty() => {
                self.by_trunk_domain.insert(it.domain_name.clone(), it.sid);
            }
            Entity::TrunkNumber(it) => {
                self.of_trunks.insert((it.trunk, it.number));
            }
            Entity::SignalingSubscription(it) => {
                self.of_calls.extend(it.call().map(|call| (call, it.sid)));
            }
            _ => {}
        }
        for owner in lists_of(&entity) {
            let list = self.lists.entry((key.kind(), owner)).or_default();
            list.entry(entity.cursor()).or_default().insert(key);
        }
        self.kinds.entry(key.kind()).or_default().insert(key, entity);
    }

    /// True if it was there.
    pub fn remove(&mut self, key: EntityKey) -> bool {
        let Some(gone) = self.kinds.get_mut(&key.kind()).and_then(|kind| kind.remove(&key)) else {
            return false;
        };
        for owner in lists_of(&gone) {
            self.unlist(owner, &gone);
        }
        match gone {
            Entity::Account(it) => {
                self.by_number.remove(&it.number);
            }
            Entity::PhoneNumber(it) => {
                self.by_digits.remove(digits(&it.number));
            }
            Entity::SipDomain(it) => {
                self.by_domain.remove(&it.domain_name);
            }
            Entity::CallerId(it) => {
                self.callers.remove(&(it.account, digits(&it.number).to_owned(), it.sid));
            }
            Entity::Credential(it) => {
                self.by_username.remove(&(it.list, it.username));
            }
            Entity::Trunk(it) => {
                self.by_trunk_domain.remove(&it.domain_name);
            }
            Entity::TrunkNumber(it) => {
                self.of_trunks.remove(&(it.trunk, it.number));
            }
            Entity::SignalingSubscription(it) => {
                it.call().map(|call| self.of_calls.remove(&(call, it.sid)));
            }
            _ => {}
        }
        true
    }

    fn unlist(&mut self, owner: AccountSid, gone: &Entity) {
        let (key, cursor) = (gone.key(), gone.cursor());
        let Some(list) = self.lists.get_mut(&(key.kind(), owner)) else { return };
        if let Some(keys) = list.get_mut(&cursor) {
            keys.remove(&key);
            if keys.is_empty() {
                list.remove(&cursor);
            }
        }
        if list.is_empty() {
            self.lists.remove(&(key.kind(), owner));
        }
    }

    /// A write passes by.
    pub fn learn(&mut self, record: &Record) {
        match record {
            Record::Put(entity) => self.put(Entity::clone(entity)),
            Record::Delete(key) => {
                self.remove(*key);
            }
            _ => {}
        }
    }

    #[must_use]
    pub fn entity(&self, key: EntityKey) -> Option<&Entity> {
        self.kinds.get(&key.kind())?.get(&key)
    }

    /// By its key, as what it is.
    #[must_use]
    pub fn get<R: Resource>(&self, key: R::Key) -> Option<&R> {
        self.entity(key.into()).and_then(R::in_entity)
    }

    /// Everything, kind by kind.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> + Clone {
        self.kinds.values().flat_map(BTreeMap::values)
    }

    /// All of one kind.
    pub fn all<R: Resource>(&self) -> impl Iterator<Item = &R> {
        self.of_kind(R::KIND).filter_map(R::in_entity)
    }

    /// An account's of one kind, newest first.
    pub fn of<R: Resource>(&self, account: AccountSid) -> impl Iterator<Item = &R> {
        let list = self.lists.get(&(R::KIND, account));
        let keys = list.into_iter().flat_map(|list| list.values().rev().flatten());
        keys.filter_map(|key| self.entity(*key).and_then(R::in_entity))
    }

    fn of_kind(&self, kind: EntityKind) -> impl Iterator<Item = &Entity> {
        self.kinds.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// A page, newest first.
    #[must_use]
    pub fn page(&self, query: &EntityQuery) -> Vec<Entity> {
        let Some(owner) = query.account else {
            let rows = self.of_kind(query.kind).filter(|entity| query.matches(entity));
            return query.window.apply(rows.cloned().collect(), Entity::cursor);
        };
        let Some(list) = self.lists.get(&(query.kind, owner)) else { return Vec::new() };
        // In the list's order, and no more than the page has: an account may have many.
        let entity = |key: &EntityKey| self.entity(*key).filter(|entity| query.matches(entity));
        let older = |keys: &BTreeSet<EntityKey>| {
            keys.iter().rev().filter_map(entity).cloned().collect::<Vec<_>>()
        };
        let limit = query.window.limit;
        let found: Vec<Entity> = match query.window.seek {
            Seek::First => list.values().rev().flat_map(older).take(limit).collect(),
            Seek::After(after) => {
                list.range(..after).rev().flat_map(|(_, keys)| older(keys)).take(limit).collect()
            }
            Seek::Before(before) => {
                let newer = (Bound::Excluded(before), Bound::Unbounded);
                list.range(newer).flat_map(|(_, keys)| older(keys)).take(limit).collect()
            }
        };
        query.window.apply(found, Entity::cursor)
    }

    /// How many of a kind an account has, about: what was made in one moment under one number
    /// counts as one.
    #[must_use]
    pub fn count(&self, kind: EntityKind, owner: AccountSid) -> usize {
        self.lists.get(&(kind, owner)).map_or(0, BTreeMap::len)
    }

    #[must_use]
    pub fn account(&self, sid: AccountSid) -> Option<&Account> {
        self.get(sid)
    }

    /// It may have calls: it is active, and so is whoever it belongs to.
    #[must_use]
    pub fn is_active(&self, sid: AccountSid) -> bool {
        let is_active = |account: &&Account| account.status == AccountStatus::Active;
        let account = self.account(sid).filter(is_active);
        account.is_some_and(|account| self.account(account.parent).is_none_or(|it| is_active(&it)))
    }

    /// The number was verified for this account; None: for every account.
    pub(crate) fn is_verified(&self, account: Option<AccountSid>, number: &str) -> bool {
        let from = (account, digits(number).to_owned(), CallerSid(0));
        let first = self.callers.range(&from..).next();
        first.is_some_and(|(whose, number, _)| (whose, number) == (&from.0, &from.1))
    }

    #[must_use]
    pub fn account_by_number(&self, number: u64) -> Option<&Account> {
        self.get(*self.by_number.get(&number)?)
    }

    /// The number of an account that comes next; numbers are never used again.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.by_number.last_key_value().map_or(0, |(number, _)| *number) + 1
    }

    /// Who subscribed to this call alone.
    pub fn subscriptions_of_call(&self, call: CallId) -> impl Iterator<Item = SubscriptionSid> {
        let range = (call, SubscriptionSid(0))..=(call, SubscriptionSid(u128::MAX));
        self.of_calls.range(range).map(|(_, sid)| *sid)
    }

    #[must_use]
    pub fn auth_token(&self, sid: AccountSid) -> Secret {
        self.account(sid).map(|account| account.auth_token.clone()).unwrap_or_default()
    }

    #[must_use]
    pub fn domain(&self, host: &str) -> Option<&SipDomain> {
        self.get(*self.by_domain.get(&host.to_ascii_lowercase())?)
    }

    /// The trunk that a host of a Request-URI means.
    #[must_use]
    pub fn trunk(&self, host: &str) -> Option<&Trunk> {
        self.get(*self.by_trunk_domain.get(&host.to_ascii_lowercase())?)
    }

    /// A trunk has numbers.
    #[must_use]
    pub fn has_numbers(&self, trunk: TrunkSid) -> bool {
        let from = (trunk, NumberSid(0));
        self.of_trunks.range(from..).next().is_some_and(|(of, _)| *of == trunk)
    }

    #[must_use]
    pub fn number(&self, number: &str) -> Option<&PhoneNumber> {
        self.get(*self.by_digits.get(digits(number))?)
    }

    /// The credential of this user in a list.
    #[must_use]
    pub fn credential(&self, list: CredentialListSid, username: &str) -> Option<&Credential> {
        self.get(*self.by_username.get(&(list, username.to_owned()))?)
    }

    /// The credentials of a list.
    pub fn credentials(&self, list: CredentialListSid) -> impl Iterator<Item = CredentialSid> {
        let of_list = self.by_username.range((list, String::new())..);
        of_list.take_while(move |((of, _), _)| *of == list).map(|(_, sid)| *sid)
    }

    #[must_use]
    pub fn application(&self, sid: ApplicationSid) -> Option<&Application> {
        self.get(sid)
    }

    /// What an endpoint is configured to do: its application's configuration while that exists.
    #[must_use]
    pub fn config<'a>(
        &'a self,
        own: &'a VoiceConfig,
        application: Option<ApplicationSid>,
    ) -> &'a VoiceConfig {
        application.and_then(|sid| self.application(sid)).map_or(own, |it| &it.config)
    }

    /// The longest prefix among an account's own routes; else among its main account's, else among
    /// everybody's.
    #[must_use]
    pub fn route(&self, account: AccountSid, number: &str) -> Option<&OutboundRoute> {
        let holders = self.holders(account);
        let nearest = |route: &OutboundRoute| holders.iter().position(|it| *it == route.account);
        self.all::<OutboundRoute>()
            .filter(|route| {
                number.starts_with(&route.prefix) || digits(number).starts_with(&route.prefix)
            })
            .filter_map(|route| Some((nearest(route)?, route)))
            .max_by_key(|(at, route)| (Reverse(*at), route.prefix.len()))
            .map(|(_, route)| route)
    }

    /// An account's own price; else its main account's, else everybody's.
    #[must_use]
    pub fn price(&self, account: AccountSid, service: Service) -> Option<&Price> {
        self.holders(account).iter().find_map(|holder| self.get(PriceKey(*holder, service)))
    }

    /// Whether a price counts for an account once it is there: none is nearer.
    #[must_use]
    pub fn is_price_of(&self, PriceKey(whose, service): PriceKey, account: AccountSid) -> bool {
        let holders = self.holders(account);
        let mut nearer = holders.iter().take_while(|holder| **holder != whose);
        let is_none = |key| self.get::<Price>(key).is_none();
        holders.contains(&whose) && nearer.all(|holder| is_none(PriceKey(*holder, service)))
    }

    /// Whose things count for an account, the nearest first; None is everybody's.
    pub(crate) fn holders(&self, account: AccountSid) -> [Option<AccountSid>; 3] {
        [Some(account), Some(self.family(account)), None]
    }

    /// The currency that an account's calls are shown in.
    #[must_use]
    pub fn currency(&self, account: AccountSid) -> Currency {
        Service::ALL
            .into_iter()
            .find_map(|service| self.price(account, service))
            .map_or(Currency::USD, |price| price.currency)
    }
}

/// Whose lists it is in: an account's list of accounts is itself and its sub-accounts.
fn lists_of(entity: &Entity) -> impl Iterator<Item = AccountSid> + use<> {
    let (owner, parent) = match entity {
        Entity::Account(account) => (Some(account.sid), Some(account.parent)),
        other => (other.account(), None),
    };
    owner.into_iter().chain(parent.filter(|parent| Some(*parent) != owner))
}

pub(crate) fn digits(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use base::{Prng, Wall};

    use super::*;
    use crate::query::Window;
    use crate::{Nanos, PriceUnit, RouteSid};

    const MAIN: AccountSid = AccountSid(1);
    const SUB: AccountSid = AccountSid(2);
    const OTHER: AccountSid = AccountSid(3);

    fn application(random: &mut Prng, account: u128) -> Entity {
        Entity::Application(Application {
            sid: ApplicationSid(u128::from(random.below(40))),
            account: AccountSid(account),
            friendly_name: ["one", "two"][usize::from(random.chance(1, 2))].to_owned(),
            date_created: Wall(random.below(12)),
            ..Application::default()
        })
    }

    /// Whatever was put and removed, a page is what sorting everything would give.
    #[test]
    fn an_accounts_page_is_the_same_as_if_all_were_sorted() {
        let mut shown = 0;
        for seed in 0..200 {
            let (mut random, mut directory) = (Prng::new(seed), Directory::default());
            for _ in 0..80 {
                let account = 1 + u128::from(random.below(3));
                let entity = application(&mut random, account);
                match random.chance(1, 4) {
                    true => drop(directory.remove(entity.key())),
                    false => directory.put(entity),
                }
            }
            for _ in 0..20 {
                let at = Cursor { at: Wall(random.below(12)), id: u128::from(random.below(40)) };
                let seek = match random.below(3) {
                    0 => Seek::First,
                    1 => Seek::After(at),
                    _ => Seek::Before(at),
                };
                let limit = 1 + usize::try_from(random.below(9)).unwrap();
                let account = AccountSid(1 + u128::from(random.below(3)));
                let name = random.chance(1, 3).then(|| "one".to_owned());
                let query = EntityQuery {
                    kind: EntityKind::Application,
                    account: Some(account),
                    friendly_name: name,
                    number_part: None,
                    list: None,
                    trunk: None,
                    window: Window { seek, limit },
                };
                let of_account = |it: &&Entity| it.account() == Some(account) && query.matches(it);
                let all = directory.of_kind(query.kind).filter(of_account).cloned().collect();
                let expected = query.window.apply(all, Entity::cursor);
                assert_eq!(directory.page(&query), expected, "seed {seed}: {query:?}");
                shown += expected.len();
            }
        }
        assert!(shown > 5_000, "{shown}");
    }

    fn family() -> Directory {
        let mut directory = Directory::default();
        for (sid, parent) in [(MAIN, MAIN), (SUB, MAIN), (OTHER, OTHER)] {
            let number = u64::try_from(sid.0).expect("small");
            directory.put(Account { sid, parent, number, ..Account::default() }.into());
        }
        directory
    }

    #[test]
    fn a_sub_account_has_its_own_price_else_its_main_accounts_else_everybodys() {
        let mut directory = family();
        let nanos = |directory: &Directory| {
            let price = |account| directory.price(account, Service::SipEgress);
            [SUB, MAIN, OTHER].map(|account| price(account).map(|price| price.price.0))
        };
        let mut put = |account, nanos| {
            directory.put(Entity::Price(Price {
                account,
                service: Service::SipEgress,
                unit: PriceUnit::Minute,
                price: Nanos(nanos),
                currency: Currency(if account.is_some() { *b"EUR" } else { *b"USD" }),
                minimum_s: 0,
                increment_s: 1,
            }));
            directory.clone()
        };
        assert_eq!(nanos(&put(None, 1)), [Some(1), Some(1), Some(1)]);
        let known = put(Some(MAIN), 2);
        assert_eq!(nanos(&known), [Some(2), Some(2), Some(1)]);
        assert_eq!(known.currency(SUB), Currency(*b"EUR"));
        assert_eq!(known.currency(OTHER), Currency::USD);
        assert_eq!(nanos(&put(Some(SUB), 3)), [Some(3), Some(2), Some(1)]);
    }

    #[test]
    fn a_sub_account_dials_by_its_own_route_else_its_main_accounts_else_everybodys() {
        let mut directory = family();
        let mut put = |sid, account, prefix: &str| {
            let (sid, prefix) = (RouteSid(sid), prefix.to_owned());
            let route = OutboundRoute { sid, account, prefix, ..OutboundRoute::default() };
            directory.put(route.into());
            directory.clone()
        };
        let routes = |directory: &Directory| {
            let route = |account| directory.route(account, "+15550100");
            [SUB, MAIN, OTHER].map(|account| route(account).map(|route| route.sid.0))
        };
        put(1, None, "+1555");
        assert_eq!(routes(&put(2, Some(MAIN), "+1")), [Some(2), Some(2), Some(1)]);
        assert_eq!(routes(&put(3, Some(MAIN), "+15")), [Some(3), Some(3), Some(1)]);
        assert_eq!(routes(&put(4, Some(SUB), "")), [Some(4), Some(3), Some(1)]);
    }
}
