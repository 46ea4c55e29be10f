//! Bytes of documents that a family of accounts has read in a second: reading them is work, whoever
//! does it. What is over the budget waits for it, for as long as an answer is waited for; what
//! would wait longer is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Mono;
use model::AccountSid;

use crate::settings::Limits;

/// The budgets of families that have used theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Budgets {
    families: BTreeMap<AccountSid, Budget>,
}

/// A token bucket that may go into debt: what is in debt waits.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    /// Thousandths of bytes taken and not refilled yet.
    taken_milli: u64,
    at: Mono,
}

impl Budgets {
    /// Takes `bytes`: how long they have to wait for what was taken before; None, and nothing is
    /// taken, if that were longer than `patience`.
    pub(super) fn take(
        &mut self,
        now: Mono,
        family: AccountSid,
        bytes: usize,
        limits: &Limits,
        patience: Duration,
    ) -> Option<Duration> {
        let rate = u64::from(limits.account_document_bytes_per_second.max(1));
        let most = u64::from(limits.account_document_bytes_at_once) * 1_000;
        let budget = self.families.entry(family).or_default();
        let millis = u64::try_from(now.since(budget.at).as_millis()).unwrap_or(u64::MAX);
        // What is less than a millisecond stays for the next look.
        if millis > 0 {
            budget.taken_milli = budget.taken_milli.saturating_sub(millis.saturating_mul(rate));
            budget.at = now;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000);
        let taken = budget.taken_milli.saturating_add(bytes);
        let wait = Duration::from_millis(taken.saturating_sub(most).div_ceil(rate));
        if wait > patience {
            return None;
        }
        budget.taken_milli = taken;
        Some(wait)
    }
}
