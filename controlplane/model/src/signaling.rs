//! Subscriptions to SIP messages: which messages of an account's calls are told, to whom, and
//! whether the answer is executed. The dataplane knows them as numbers and hashes
//! ([`wire::table::Watch`]).

use base::{CallId, HashKey, Wall};
use serde::{Deserialize, Serialize};
use wire::event::Direction;
use wire::table::{HeaderFilter, MessageFilter, ValueFilter, Watch};
pub use wire::table::{WATCHED_METHODS, WATCHED_TEXT_MAX};

use crate::resource::Described;
use crate::{AccountSid, Directory, Hook, SubscriptionSid};

/// Subscriptions of an account to all its calls, and to one call of its.
pub const SUBSCRIPTIONS_MAX: usize = 32;
pub const SUBSCRIPTIONS_PER_CALL_MAX: usize = 8;
/// Subscriptions of an account to calls one by one, together.
pub const CALL_SUBSCRIPTIONS_MAX: usize = 1_000;
/// Response codes and classes of one.
pub const RESPONSES_MAX: usize = 16;

/// Slots of subscriptions to one call are behind those to all calls.
const CALL_SLOTS: u8 = 56;
const _: () = assert!(CALL_SLOTS as usize + SUBSCRIPTIONS_PER_CALL_MAX <= 64);

/// Who wants to be told of which SIP messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalingSubscription {
    pub sid: SubscriptionSid,
    pub account: AccountSid,
    pub friendly_name: String,
    /// Bits of [`WATCHED_METHODS`]; 0 for any.
    pub methods: u16,
    /// Codes, or their first digits.
    pub responses: Vec<u16>,
    /// None: both.
    pub way: Option<Way>,
    /// None: both.
    pub leg: Option<Direction>,
    pub header: Option<HeaderTest>,
    /// Each call's first message that fits, and none after it.
    pub once: bool,
    pub scope: Scope,
    /// Its bit in the dataplane, among those of its account; given when it is made.
    pub slot: u8,
    pub hook: Hook,
    /// Asked when `hook` is given up.
    pub fallback: Option<Hook>,
    /// The answer is executed on the leg.
    pub is_application: bool,
    pub date_created: Wall,
    pub date_updated: Wall,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    Received,
    Sent,
}

/// Whose messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Every call of the account.
    #[default]
    Account,
    /// Its calls that follow a static route.
    Trunk,
    /// One call, and the legs dialled for it.
    Call(CallId),
}

/// A header that must be there. Names are compared without case, and so are values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderTest {
    /// Its long form.
    pub name: String,
    pub value: HeaderValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderValue {
    Any,
    Is(String),
    StartsWith(String),
}

/// The long name of a header that RFCs know, however it is written; empty for any other.
#[must_use]
pub fn long_name(text: &str) -> &'static str {
    sip::Name::of(text.as_bytes()).text()
}

impl SignalingSubscription {
    /// The names of its methods.
    pub fn method_names(&self) -> impl Iterator<Item = &'static str> {
        let is_one = |(bit, _): &(u32, &str)| self.methods >> bit & 1 == 1;
        (0..).zip(WATCHED_METHODS).filter(is_one).map(|(_, name)| name)
    }

    /// The one call that it is about.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        match self.scope {
            Scope::Call(call) => Some(call),
            Scope::Account | Scope::Trunk => None,
        }
    }

    /// As the dataplane has it; `account`: the account's number there.
    #[must_use]
    pub fn filter(&self, account: u64, key: HashKey) -> MessageFilter {
        let header = self.header.as_ref().map(|test| {
            let value = |text: &String, is_whole| {
                let hash = Watch::value_hash(key, text.as_bytes());
                let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
                ValueFilter { len, hash, is_whole }
            };
            HeaderFilter {
                name: Watch::name_hash(key, test.name.as_bytes()),
                value: match &test.value {
                    HeaderValue::Any => None,
                    HeaderValue::Is(text) => Some(value(text, true)),
                    HeaderValue::StartsWith(text) => Some(value(text, false)),
                },
            }
        });
        MessageFilter {
            account,
            call: self.call().unwrap_or(CallId::NONE),
            id: self.sid.0,
            slot: self.slot,
            methods: self.methods,
            responses: self.responses.clone(),
            ways: self.way.map_or(3, |way| 1 << way as u8),
            legs: self.leg.map_or(3, |leg| 1 << leg as u8),
            trunk_only: self.scope == Scope::Trunk,
            once: self.once,
            header,
        }
    }
}

impl Directory {
    /// A slot that no subscription like this one has, if there may be another one: beside those to
    /// all calls of its account, or to its call. None says how many there are.
    ///
    /// # Errors
    /// As many as there may be.
    pub fn subscription_slot(&self, new: &SignalingSubscription) -> Result<u8, usize> {
        let all = || self.of::<SignalingSubscription>(new.account);
        let alike = all().filter(|it| match new.call() {
            Some(_) => it.call() == new.call(),
            None => it.call().is_none(),
        });
        let taken: Vec<u8> = alike.map(|it| it.slot).collect();
        let (first, slots, most) = match new.call() {
            Some(_) => (CALL_SLOTS, 64 - CALL_SLOTS, SUBSCRIPTIONS_PER_CALL_MAX),
            None => (0, CALL_SLOTS, SUBSCRIPTIONS_MAX),
        };
        if taken.len() >= most {
            return Err(most);
        }
        let to_calls = || all().filter(|it| it.call().is_some()).count();
        if new.call().is_some() && to_calls() >= CALL_SUBSCRIPTIONS_MAX {
            return Err(CALL_SUBSCRIPTIONS_MAX);
        }
        // Behind the last one: what a standing call knows of one that is gone is not taken for this
        // one's.
        let begin = taken.iter().max().map_or(0, |last| last - first + 1);
        let turn = (0..slots).map(|at| first + (begin + at) % slots);
        turn.into_iter().find(|slot| !taken.contains(slot)).ok_or(most)
    }

    /// Everything that is asked for, as the dataplane is to know it. Of accounts that may have
    /// calls.
    #[must_use]
    pub fn watch(&self, key: [u64; 2]) -> Watch {
        let hash = HashKey(key);
        let mut filters: Vec<MessageFilter> = (self.all::<SignalingSubscription>())
            .filter(|it| self.is_active(it.account))
            .filter_map(|it| Some(it.filter(self.account(it.account)?.number, hash)))
            .collect();
        filters.sort_by_key(|filter| (filter.account, filter.call));
        Watch { key, filters }
    }
}

impl Described for SignalingSubscription {
    type Key = SubscriptionSid;

    fn key(&self) -> SubscriptionSid {
        self.sid
    }

    fn owner(&self) -> Option<AccountSid> {
        Some(self.account)
    }

    fn listed(&self) -> Option<(&str, Wall)> {
        Some((&self.friendly_name, self.date_created))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(sid: u128, scope: Scope) -> SignalingSubscription {
        let account = AccountSid(1);
        SignalingSubscription { sid: SubscriptionSid(sid), account, scope, ..Default::default() }
    }

    #[test]
    fn each_has_a_slot_of_its_own_and_there_are_so_many() {
        let mut directory = Directory::default();
        let mut slots = std::collections::BTreeSet::new();
        for at in 0..SUBSCRIPTIONS_MAX {
            let mut new = subscription(at as u128 + 1, Scope::Account);
            new.slot = directory.subscription_slot(&new).expect("there is room");
            assert!(slots.insert(new.slot) && new.slot < CALL_SLOTS);
            directory.put(new.into());
        }
        let more = subscription(100, Scope::Trunk);
        assert_eq!(directory.subscription_slot(&more), Err(SUBSCRIPTIONS_MAX));
        let of_call = |call| subscription(200, Scope::Call(CallId(call)));
        for at in 0..SUBSCRIPTIONS_PER_CALL_MAX {
            let mut new = of_call(7);
            new.sid = SubscriptionSid(300 + at as u128);
            new.slot = directory.subscription_slot(&new).expect("a call's are its own");
            assert!(slots.insert(new.slot) && new.slot >= CALL_SLOTS);
            directory.put(new.into());
        }
        assert_eq!(directory.subscription_slot(&of_call(7)), Err(SUBSCRIPTIONS_PER_CALL_MAX));
        assert_eq!(directory.subscription_slot(&of_call(8)), Ok(CALL_SLOTS));
    }

    /// A call that stands may know that the one that is gone has told what it tells once.
    #[test]
    fn a_slot_that_was_given_up_is_not_the_next_ones() {
        let mut directory = Directory::default();
        let mut first = subscription(1, Scope::Account);
        first.slot = directory.subscription_slot(&first).expect("room");
        let mut second = subscription(2, Scope::Account);
        directory.put(first.clone().into());
        second.slot = directory.subscription_slot(&second).expect("room");
        directory.put(second.clone().into());
        directory.remove(first.sid.into());
        let third = directory.subscription_slot(&subscription(3, Scope::Account));
        assert!(third.is_ok_and(|slot| slot != first.slot && slot != second.slot));
    }
}
