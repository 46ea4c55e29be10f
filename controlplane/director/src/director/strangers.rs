//! Calls that were turned away before they were anybody's: counted, and told of now and then. None
//! of them has a row or a CDR, for whoever sends them chooses how many there are.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use base::{CallId, LegId, Mono};
use wire::event::{Direction, Party, Summary};

/// Turned away, and the end not told yet: the refusal is on its way.
const TURNED_AWAY_MAX: usize = 4_096;
const TELL_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    calls: BTreeSet<CallId>,
    /// The oldest first; some are told of already.
    order: VecDeque<CallId>,
    told: Option<Mono>,
    untold: u64,
}

impl Strangers {
    /// Its end will be told, whoever brings it about.
    pub(super) fn turn_away(&mut self, call: CallId) {
        if self.calls.insert(call) {
            self.order.push_back(call);
        }
        if self.order.len() > TURNED_AWAY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
    }

    /// The leg never was more than an INVITE of nobody's. Its caller may have given up before our
    /// refusal came, or our predecessor's, who alone knew: of a call that was anybody's there is a
    /// log. `missed`: nobody was there to refuse it.
    pub(super) fn is_turned_away(&mut self, summary: &Summary<'_>, missed: bool) -> bool {
        let known = self.calls.remove(&summary.call);
        let by_either = matches!(summary.by, Party::Application | Party::Remote);
        summary.direction == Direction::Inbound
            && summary.leg != LegId::NONE
            && summary.account == 0
            && summary.answered.0 == 0
            && (known || by_either && !missed)
    }

    /// How many are to be told of with this one; None for not yet.
    pub(super) fn tell(&mut self, now: Mono) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.since(told) < TELL_AGAIN) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}
