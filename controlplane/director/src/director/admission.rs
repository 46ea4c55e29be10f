//! What an account may have at one time: legs, new calls a second, alerts a second.

use std::collections::BTreeMap;

use base::Mono;
use model::{AccountLimits, AccountSid};

use crate::settings::Limits;

/// Every account's live numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    loads: BTreeMap<AccountSid, Load>,
    /// Of all accounts together.
    legs: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Of a main account: its sub-accounts' too.
    legs: u32,
    calls: Bucket,
    alerts: Bucket,
    warnings: Bucket,
    alerts_dropped: u64,
}

/// Whether an account may be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Now,
    /// It is over its rate; `first`: of those that nobody told of yet.
    Later {
        first: bool,
    },
}

/// A token bucket: `rate` a second, and at most as many at once.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Thousandths of tokens taken and not refilled yet.
    taken_milli: u64,
    at: Mono,
}

impl Admission {
    /// Counts one more leg of the account and of its family, if both may have one. `line`: the
    /// account, then its main account; with their own numbers, of which 0 takes the deployment's.
    pub(super) fn reserve(
        &mut self,
        now: Mono,
        line: [Option<(AccountSid, AccountLimits)>; 2],
        limits: &Limits,
    ) -> Result<(), &'static str> {
        let or = |own: u32, default: u32| if own > 0 { own } else { default };
        let line = line.into_iter().flatten();
        for (account, own) in line.clone() {
            let load = self.loads.entry(account).or_default();
            if load.legs >= or(own.calls_max, limits.account_calls) {
                return Err("account-calls");
            }
        }
        // The family first: what its rate refuses costs the account nothing.
        let mut taken = None;
        for (account, own) in line.clone().rev() {
            let rate = or(own.calls_per_second, limits.account_calls_per_second);
            if !self.loads.entry(account).or_default().calls.take(now, rate) {
                if let Some(family) = taken.and_then(|family| self.loads.get_mut(&family)) {
                    family.calls.give_back();
                }
                return Err("account-calls-per-second");
            }
            taken = Some(account);
        }
        self.count(line.map(|(account, _)| account));
        Ok(())
    }

    /// A leg that nobody asks for any more: it is there.
    pub(super) fn count(&mut self, line: impl Iterator<Item = AccountSid>) {
        for account in line {
            self.loads.entry(account).or_default().legs += 1;
        }
        self.legs += 1;
    }

    /// A leg is over.
    pub(super) fn release(&mut self, line: impl Iterator<Item = AccountSid>) {
        for account in line {
            if let Some(load) = self.loads.get_mut(&account) {
                load.legs = load.legs.saturating_sub(1);
            }
        }
        self.legs = self.legs.saturating_sub(1);
    }

    /// Legs that stand or are being made. A call that is over and only waits for its callbacks is
    /// none of them.
    pub(super) fn legs(&self) -> usize {
        self.legs
    }

    /// Whether the account may be told one more thing now. Warnings have a rate of their own:
    /// however many there are, a call that fails is told.
    pub(super) fn may_tell(
        &mut self,
        now: Mono,
        account: AccountSid,
        rate: u32,
        warning: bool,
    ) -> Tell {
        let load = self.loads.entry(account).or_default();
        let told = if warning { &mut load.warnings } else { &mut load.alerts };
        if told.take(now, rate) {
            return Tell::Now;
        }
        load.alerts_dropped += 1;
        Tell::Later { first: load.alerts_dropped == 1 }
    }

    /// Alerts left out since this was asked before.
    pub(super) fn dropped(&mut self, account: AccountSid) -> u64 {
        self.loads.get_mut(&account).map_or(0, |load| std::mem::take(&mut load.alerts_dropped))
    }
}

impl Bucket {
    /// One token, if there is one; `rate` 0 has none.
    fn take(&mut self, now: Mono, rate: u32) -> bool {
        let rate = u64::from(rate);
        let millis = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let refilled = millis.saturating_mul(rate);
        // What is less than a millisecond stays for the next look.
        if millis > 0 {
            self.taken_milli = self.taken_milli.saturating_sub(refilled);
            self.at = now;
        }
        if self.taken_milli + 1_000 > rate * 1_000 {
            return false;
        }
        self.taken_milli += 1_000;
        true
    }

    fn give_back(&mut self) {
        self.taken_milli = self.taken_milli.saturating_sub(1_000);
    }
}
