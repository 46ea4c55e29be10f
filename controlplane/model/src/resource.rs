//! What is configured: one row of [`resources!`] a kind, which gives it its place in [`Entity`],
//! [`EntityKey`], [`EntityKind`] and [`Book`], its number in the store, and the letters of its sid.
//! A new kind is its struct with an `impl Resource`, its file in the API, and a row here.
//!
//! Rows are written: the journal counts variants in the order of the rows, the store has the kind's
//! number and the variant's name. New rows go to the end; what stands here is never changed.

use std::fmt;

use base::Wall;
use serde::{Deserialize, Serialize};

use crate::port::{ScriptLog, Standing};
use crate::query::{Cursor, Listed};
use crate::{
    AccessKey, AccessListSid, Account, AccountSid, ApiKey, Application, ApplicationSid, AuthKey,
    Binding, CallerId, CallerSid, Credential, CredentialList, CredentialListSid, CredentialSid,
    DomainAccess, DomainAuth, DomainSid, DomainSuffix, Grant, GrantKey, IpAccessControlList,
    KeySid, NumberRange, NumberSid, OutboundRoute, PhoneNumber, Price, PriceKey, RangeSid,
    RouteSid, SecondToken, Secret, SignalingSubscription, SipDomain, SubscriptionSid, SuffixSid,
    TokenKey, Trunk, TrunkNumber, TrunkNumberKey, TrunkSid,
};

/// A kind of thing that is configured.
pub trait Resource: Into<Entity> + Clone + 'static {
    /// What names it; the text of a sid where it has one.
    type Key: Into<EntityKey> + Copy + fmt::Display;
    const KIND: EntityKind;

    /// The thing, if the entity is of this kind.
    fn of(entity: Entity) -> Option<Self>;

    /// As [`Resource::of`], to look at.
    fn in_entity(entity: &Entity) -> Option<&Self>;
}

/// What its struct says of itself. The rest of [`Resource`] is made by its row.
pub(crate) trait Described {
    type Key;

    fn key(&self) -> Self::Key;

    /// Whose it is; None for what belongs to the operator.
    fn owner(&self) -> Option<AccountSid>;

    /// Its name and its moment; none for what nobody lists by them.
    fn listed(&self) -> Option<(&str, Wall)>;

    /// What must not stand in clear where it is kept.
    fn secret(&mut self) -> Option<&mut Secret> {
        None
    }
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident($type:ident, $key:ident) = $number:literal $prefix:literal
        in $all:ident;)*) => {
        /// A configured thing.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Entity {
            $($(#[$doc])* $name($type),)*
        }

        /// What names a configured thing among all of them; kinds lie together.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum EntityKey {
            $($(#[$doc])* $name($key),)*
        }

        /// A kind of [`Entity`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EntityKind {
            $($(#[$doc])* $name = $number,)*
        }

        /// Everything read from the store and the shards at start.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Book {
            $(pub $all: Vec<$type>,)*
            /// The last state of every call that has not been ended in the log.
            pub scripts: Vec<ScriptLog>,
            /// Legs with an open cell.
            pub standing: Vec<Standing>,
            /// Contacts that phones have registered.
            pub bindings: Vec<Binding>,
            /// The dataplane of before is gone with its memory (all processes died at once, or the
            /// machine): when it was last seen.
            pub lost: Option<Wall>,
        }

        impl Entity {
            #[must_use]
            pub fn key(&self) -> EntityKey {
                match self { $(Self::$name(it) => EntityKey::$name(it.key()),)* }
            }

            /// Whose it is; None for what belongs to the operator.
            #[must_use]
            pub fn account(&self) -> Option<AccountSid> {
                match self { $(Self::$name(it) => it.owner(),)* }
            }

            /// What people call it; None for what has no name.
            #[must_use]
            pub fn friendly_name(&self) -> Option<&str> {
                match self { $(Self::$name(it) => it.listed().map(|(name, _)| name),)* }
            }

            /// What must not stand in clear where it is kept.
            #[must_use]
            pub fn secret(&mut self) -> Option<&mut Secret> {
                match self { $(Self::$name(it) => it.secret(),)* }
            }
        }

        impl EntityKey {
            #[must_use]
            pub fn kind(&self) -> EntityKind {
                match self { $(Self::$name(_) => EntityKind::$name,)* }
            }
        }

        impl EntityKind {
            /// In the store; never used again for another kind.
            #[must_use]
            pub fn number(self) -> u8 {
                self as u8
            }

            /// The letters that its keys begin with as text; empty for keys that are no sids.
            #[must_use]
            pub fn prefix(self) -> &'static str {
                match self { $(Self::$name => $prefix,)* }
            }
        }

        impl Book {
            /// Everything that is configured, kind by kind.
            pub fn entities(&self) -> impl Iterator<Item = Entity> + '_ {
                std::iter::empty()$(.chain(self.$all.iter().cloned().map(Entity::$name)))*
            }

            pub fn put(&mut self, entity: Entity) {
                match entity { $(Entity::$name(it) => self.$all.push(it),)* }
            }
        }

        impl Listed for Entity {
            /// What nobody lists stands at the beginning of time.
            fn cursor(&self) -> Cursor {
                match self {
                    $(Self::$name(it) => {
                        let at = it.listed().map_or(Wall(0), |(_, at)| at);
                        Cursor { at, id: it.key().number() }
                    })*
                }
            }
        }

        impl fmt::Display for EntityKey {
            /// The name in the store.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$name(key) => key.fmt(f),)* }
            }
        }

        $(
            impl Resource for $type {
                type Key = $key;
                const KIND: EntityKind = EntityKind::$name;

                fn of(entity: Entity) -> Option<Self> {
                    match entity {
                        Entity::$name(it) => Some(it),
                        _ => None,
                    }
                }

                fn in_entity(entity: &Entity) -> Option<&Self> {
                    match entity {
                        Entity::$name(it) => Some(it),
                        _ => None,
                    }
                }
            }

            impl From<$type> for Entity {
                fn from(it: $type) -> Self {
                    Self::$name(it)
                }
            }

            impl From<$key> for EntityKey {
                fn from(key: $key) -> Self {
                    Self::$name(key)
                }
            }
        )*

        #[cfg(test)]
        const ROWS: &[(EntityKind, u8, &str)] = &[$((EntityKind::$name, $number, $prefix),)*];
    };
}

resources! {
    /// A tenant, main account or sub-account.
    Account(Account, AccountSid) = 1 "AC" in accounts;
    ApiKey(ApiKey, KeySid) = 2 "SK" in api_keys;
    Application(Application, ApplicationSid) = 3 "AP" in applications;
    PhoneNumber(PhoneNumber, NumberSid) = 4 "PN" in numbers;
    SipDomain(SipDomain, DomainSid) = 5 "SD" in domains;
    Route(OutboundRoute, RouteSid) = 6 "OR" in routes;
    /// By (account, service).
    Price(Price, PriceKey) = 7 "" in prices;
    NumberRange(NumberRange, RangeSid) = 8 "NR" in ranges;
    DomainSuffix(DomainSuffix, SuffixSid) = 9 "DX" in suffixes;
    CallerId(CallerId, CallerSid) = 10 "CI" in callers;
    /// By account.
    Grant(Grant, GrantKey) = 11 "" in grants;
    /// By account.
    SecondToken(SecondToken, TokenKey) = 12 "" in second_tokens;
    CredentialList(CredentialList, CredentialListSid) = 13 "CL" in credential_lists;
    Credential(Credential, CredentialSid) = 14 "CR" in credentials;
    /// By domain.
    DomainAuth(DomainAuth, AuthKey) = 15 "" in domain_auths;
    SignalingSubscription(SignalingSubscription, SubscriptionSid) = 20 "SU" in subscriptions;
    IpAccessControlList(IpAccessControlList, AccessListSid) = 30 "AL" in access_lists;
    /// By domain.
    DomainAccess(DomainAccess, AccessKey) = 31 "" in domain_accesses;
    Trunk(Trunk, TrunkSid) = 32 "TK" in trunks;
    /// By number.
    TrunkNumber(TrunkNumber, TrunkNumberKey) = 33 "" in trunk_numbers;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_letters_are_each_kinds_own() {
        for (at, (kind, number, prefix)) in ROWS.iter().enumerate() {
            assert_eq!((kind.number(), kind.prefix()), (*number, *prefix));
            let same = |other: &&(EntityKind, u8, &str)| {
                other.1 == *number || !prefix.is_empty() && other.2 == *prefix
            };
            assert!(!ROWS[at + 1..].iter().any(|other| same(&other)), "{kind:?}");
        }
        let keys: [EntityKey; 3] = [AccountSid(1).into(), KeySid(1).into(), NumberSid(1).into()];
        for key in keys {
            assert!(key.to_string().starts_with(key.kind().prefix()), "{key}");
        }
    }
}
