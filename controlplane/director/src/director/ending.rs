//! The end of a leg: its CDR, its usage, its charges, all in one durable write; then the shard may
//! use the leg's cell again. Told twice, a leg yields the same rows, which the store knows by their
//! keys.

use base::{CallId, LegId, Now, ShardId};
use model::port::{ApiDone, ApiId, OwnedCommand, Record};
use model::{
    AlertSid, CallDirection, CallEvent, CallRow, CallStatus, Cdr, Currency, LedgerEntry, Nanos,
    PriceKey, Service, UsageRow, whole_seconds,
};
use wire::event::{Cause, Direction, Summary};
use wire::{Usage, UsageKey};

use super::status::{self, End};
use super::{After, Director, Timer, Trouble};
use crate::live::{Ending, Live, Outgoing};
use crate::script::Input;

/// Makes of a call's number that of the alert about its end.
const END_ALERT: u128 = 0x656e_6400_0000_0000_0000_0000_0000_0001;
/// As much for what was heard of it.
const MEDIA_ALERT: u128 = 0x6865_6172_6400_0000_0000_0000_0000_0001;

impl Director {
    pub(super) fn on_ended(&mut self, now: Now, shard: ShardId, summary: &Summary<'_>) {
        let missed = self.replay.as_ref().is_some_and(|it| it.bygone.contains_key(&summary.call));
        if !self.calls.contains(&summary.call) && self.strangers.is_turned_away(summary, missed) {
            self.said.forget(summary.call);
            let (epoch, leg) = (summary.epoch, summary.leg);
            return self.command(shard, OwnedCommand::Release { epoch, leg });
        }
        self.call_is_over(now, summary.call);
        self.write_usage(summary);
        // A leg that could not even be made has no cell to release and no CDR, only its call's row.
        if summary.leg != LegId::NONE {
            let release = After::Release { shard, epoch: summary.epoch, leg: summary.leg };
            self.afters.push(release);
        }
        let call = summary.call;
        let first = match self.calls.get(&call) {
            Some(live) => !live.is_over(),
            None => {
                self.write_stranger(now, summary);
                return;
            }
        };
        let price = self.write_cdr(summary);
        // Whoever reads what a predecessor saw may be about to dial it once more.
        self.withdraw_originate(call);
        if !first {
            self.correct_end(now, summary, price);
            return;
        }
        let end = End::of(summary);
        self.tell_missed(now, summary, end);
        self.calls.set_leg(call, summary.leg);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.shard = shard;
            live.facts.sip_call_id = summary.call_id.to_owned();
            if summary.answered.0 > 0 {
                live.row.answer_time.get_or_insert(summary.answered);
            }
            live.row.end_time = Some(summary.ended);
            set_price(&mut live.row, price);
            finish_row(&mut live, end, now);
        }
        self.alert_end(now, summary);
        self.alert_media(now, summary);
        self.call_over(now, call);
    }

    /// What happened to a leg and nobody was told of, for its dataplane died before it could say
    /// so, is told before its end: followers hear of a call in order, and whole.
    fn tell_missed(&mut self, now: Now, summary: &Summary<'_>, end: End) {
        let (call, leg) = (summary.call, summary.leg);
        if leg == LegId::NONE {
            return;
        }
        if self.calls.get(&call).is_some_and(|live| live.outgoing.is_some()) {
            self.on_dialed(now, call, leg, summary.created);
        }
        if let Some(mut live) = self.calls.get_mut(&call)
            && end.answered
            && live.set_status(CallStatus::InProgress, now.wall)
        {
            live.row.answer_time = Some(summary.answered);
            live.touch();
            self.tell_event(now, call, CallEvent::Answered);
        }
    }

    /// The end of a call was taken for earlier than it was (its leg was booked from a cell that was
    /// still open): its row says what is true. Nobody is told of an end twice.
    fn correct_end(&mut self, now: Now, summary: &Summary<'_>, price: Option<(Nanos, Currency)>) {
        let call = summary.call;
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if live.row.end_time.is_none_or(|at| at >= summary.ended) {
            return;
        }
        if summary.answered.0 > 0 {
            live.row.answer_time.get_or_insert(summary.answered);
        }
        live.row.end_time = Some(summary.ended);
        set_price(&mut live.row, price);
        finish_row(&mut live, End::of(summary), now);
        live.touch();
    }

    /// A leg that ended for something that is nobody's will leaves a sentence for its owner. A leg
    /// has one such alert, however often its end is told. What was dialled for a call is the call's
    /// trouble: its alert is found there.
    fn alert_end(&mut self, now: Now, summary: &Summary<'_>) {
        let Some(account) = self.account_of(summary) else {
            return;
        };
        let Some(trouble) = status::trouble(summary) else {
            return;
        };
        // Whoever gave a call its limit by the API knows of it.
        let limited = |live: &Live| live.limit_ms > 0;
        if summary.cause == Cause::TimeLimit && self.calls.get(&summary.call).is_some_and(limited) {
            return;
        }
        let call = Some(self.told_at(summary));
        let sid = AlertSid(summary.call.0 ^ END_ALERT);
        self.alert_as(now, sid, account, Trouble { call, ..trouble });
    }

    /// A leg that was answered and gave nothing to hear, or whose media was refused, leaves a
    /// sentence, too.
    fn alert_media(&mut self, now: Now, summary: &Summary<'_>) {
        if let Some(account) = self.account_of(summary)
            && let Some(trouble) = status::media_trouble(summary)
        {
            let call = Some(self.told_at(summary));
            let sid = AlertSid(summary.call.0 ^ MEDIA_ALERT);
            self.alert_as(now, sid, account, Trouble { call, ..trouble });
        }
    }

    /// The call at which the trouble of a leg is found: that of whoever dialled it.
    fn told_at(&self, summary: &Summary<'_>) -> CallId {
        let parent = match self.calls.get(&summary.call) {
            // What left its Dial is on its own.
            Some(live) => live.row.parent.filter(|_| live.script.is_none()),
            None => Some(summary.parent).filter(|parent| *parent != CallId::NONE),
        };
        parent.unwrap_or(summary.call)
    }

    /// A call that no shard will tell the end of: it was never made, or its leg is lost.
    pub(super) fn over_without_leg(
        &mut self,
        now: Now,
        call: CallId,
        status: CallStatus,
        cause: Cause,
        code: u16,
    ) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        if live.is_over() {
            return;
        }
        let row = &mut live.row;
        row.status = status;
        row.cause = Some(cause);
        row.sip_code = code;
        row.end_time = Some(now.wall);
        row.duration = Some(0);
        live.touch_row(now.wall);
        self.referred_without_leg(now, call, code);
        self.call_over(now, call);
    }

    /// A leg is dropped whose INVITE was never asked for.
    pub(super) fn never_was(&mut self, now: Now, call: CallId, status: CallStatus) {
        let unsent = |outgoing: &Outgoing| !outgoing.sent;
        if self.calls.get(&call).is_some_and(|live| live.outgoing.as_ref().is_some_and(unsent)) {
            self.over_without_leg(now, call, status, Cause::Canceled, 0);
        }
    }

    /// Everybody who waits for the end of a call is told.
    fn call_over(&mut self, now: Now, call: CallId) {
        self.stats.calls_ended += 1;
        let referrer = self.referrers.remove(&call);
        self.calls.touch(call);
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let account = live.row.account;
        let fetch = live.volatile.fetch.take();
        let tellings = std::mem::take(&mut live.volatile.tellings);
        live.tellings.clear();
        let waits = std::mem::take(&mut live.volatile.api_waits);
        let row = live.row.clone();
        let is_counted = !live.is_relay();
        for id in fetch.into_iter().chain(tellings) {
            self.forget_http(id);
        }
        if is_counted {
            self.admission.release(self.line(account).into_iter().flatten());
        }
        for id in waits {
            self.reply_when_stored(id, ApiDone::Call(Box::new(row.clone())));
        }
        self.inbox.push_back((call, Input::Gone));
        if !self.forward(now, call) {
            self.declined_everywhere(now, call);
            self.next_tier(now, call);
        }
        if let Some(referrer) = referrer {
            self.referred_leg_over(now, call, referrer);
        }
        if let Some(parent) = row.parent {
            self.inbox.push_back((
                parent,
                Input::ChildEnded {
                    call,
                    status: row.status,
                    code: row.sip_code,
                    cause: row.cause,
                    seconds: row.duration.unwrap_or(0),
                },
            ));
        }
        // The script's last words come before the call's end, in its followers' order.
        self.run_inbox(now);
        self.tell_event(now, call, CallEvent::Completed);
        self.calls.touch(call);
    }

    /// One row per segment, one charge per row where there is a price.
    fn write_usage(&mut self, summary: &Summary<'_>) {
        let node = self.settings.node;
        let account = self.account_of(summary);
        for usage in &summary.usage {
            let key = usage_key(node, summary, usage);
            let micros = usage.micros();
            let at = if usage.start.0 > 0 { usage.start } else { summary.ended };
            let row = UsageRow {
                key,
                account,
                call: summary.call,
                at,
                start: usage.start,
                last: usage.last,
                count: usage.count,
                micros,
                seconds: whole_seconds(micros),
                bytes: usage.bytes,
            };
            let charge = self.charge_of(&row);
            self.records.push(Record::Usage(row));
            self.records.extend(charge);
        }
    }

    /// What is charged for a row; None where it has no price.
    fn charge_of(&self, row: &UsageRow) -> Option<Record> {
        let UsageRow { key, call, at, .. } = *row;
        let account = row.account?;
        let price = self.directory.price(account, key.service)?;
        let (quantity, charge) = price.charge(row.micros, row.count);
        if charge.0 == 0 {
            return None;
        }
        let (amount, currency) = (Nanos(-charge.0), price.currency);
        Some(Record::Ledger(LedgerEntry { key, account, call, at, amount, currency, quantity }))
    }

    /// What is to be written of contacts, each row with its charge straight behind it: wherever a
    /// journal is cut, no contact is gone whose time was not charged.
    pub(super) fn charged(&self, records: Vec<Record>) -> Vec<Record> {
        let mut all = Vec::with_capacity(records.len());
        for mut record in records {
            let mut charge = None;
            if let Record::Usage(row) = &mut record {
                row.key.node = self.settings.node;
                charge = self.charge_of(row);
            }
            all.push(record);
            all.extend(charge);
        }
        all
    }

    /// What registrations cost changes for an account, or for everybody: the parts of those who
    /// have no nearer price end at the price that they had.
    pub(super) fn cut_contacts(&mut self, now: Now, key: PriceKey) {
        if key.1 != Service::SipRegistration {
            return;
        }
        let directory = &self.directory;
        let records = self.registrar.cut(now, |account| directory.is_price_of(key, account));
        let records = self.charged(records);
        self.records.extend(records);
    }

    /// What the whole leg costs; None where nothing has a price. Prices that were given in another
    /// currency before that was refused are in the ledger alone.
    fn price_of(&self, summary: &Summary<'_>) -> Option<(Nanos, Currency)> {
        let account = self.account_of(summary)?;
        let mut total: Option<(Nanos, Currency)> = None;
        for usage in &summary.usage {
            let Some(price) = self.directory.price(account, usage.service) else { continue };
            let charge = Nanos(-price.charge(usage.micros(), usage.count).1.0);
            let (sum, currency) = total.unwrap_or((Nanos(0), price.currency));
            if price.currency == currency {
                total = Some((sum.checked_add(charge)?, currency));
            }
        }
        total
    }

    fn account_of(&self, summary: &Summary<'_>) -> Option<model::AccountSid> {
        match self.calls.get(&summary.call) {
            Some(live) => Some(live.row.account),
            None => self
                .directory
                .account_by_number(summary.account)
                .map(|account| account.sid)
                .or_else(|| self.replay.as_ref()?.bygone.get(&summary.call).copied()),
        }
    }

    fn write_cdr(&mut self, summary: &Summary<'_>) -> Option<(Nanos, Currency)> {
        let reason = self.reason_of(summary.call);
        let live = self.calls.get(&summary.call);
        let price = self.price_of(summary);
        if summary.leg == LegId::NONE {
            return price;
        }
        let parent = live.map_or(Some(summary.parent), |live| live.row.parent);
        self.records.push(Record::Cdr(Box::new(Cdr {
            node: self.settings.node,
            epoch: summary.epoch,
            leg: summary.leg,
            call: summary.call,
            parent: parent.filter(|parent| *parent != CallId::NONE),
            account: self.account_of(summary),
            direction: summary.direction,
            from: summary.from.to_owned(),
            to: summary.to.to_owned(),
            remote: summary.remote,
            sip_call_id: summary.call_id.to_owned(),
            created: summary.created,
            answered: Some(summary.answered).filter(|at| at.0 > 0),
            ended: summary.ended,
            code: status::code(summary),
            cause: summary.cause,
            by: summary.by,
            reason,
            media: summary.media,
            price: price.map(|(price, _)| price),
        })));
        price
    }

    /// A leg we have no state of: refused before it was anybody's, routed by the dataplane alone,
    /// or told again after its call was finished. The row yields to a better one.
    fn write_stranger(&mut self, now: Now, summary: &Summary<'_>) {
        let price = self.write_cdr(summary);
        let Some(account) = self.account_of(summary) else {
            return;
        };
        let end = End::of(summary);
        let parent = Some(summary.parent).filter(|parent| *parent != CallId::NONE);
        let mut row = CallRow {
            sid: summary.call,
            account,
            parent,
            date_created: summary.created,
            date_updated: now.wall,
            to: summary.to.to_owned(),
            from: summary.from.to_owned(),
            direction: match (summary.direction, parent) {
                (Direction::Inbound, _) => CallDirection::Inbound,
                (Direction::Outbound, None) => CallDirection::OutboundApi,
                (Direction::Outbound, Some(_)) => CallDirection::OutboundDial,
            },
            start_time: Some(summary.created),
            answer_time: Some(summary.answered).filter(|at| at.0 > 0),
            end_time: Some(summary.ended),
            price_unit: self.directory.currency(account),
            cause: Some(summary.cause),
            sip_code: end.code,
            ..CallRow::default()
        };
        set_price(&mut row, price);
        row.status = end.status(false);
        row.duration = Some(seconds(&row));
        self.alert_end(now, summary);
        self.alert_media(now, summary);
        self.records.push(Record::CallIfAbsent(Box::new(row)));
    }

    pub(super) fn api_wait_over(&mut self, id: ApiId, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let waits = &mut live.volatile.api_waits;
        if let Some(at) = waits.iter().position(|waiting| *waiting == id) {
            waits.remove(at);
            let row = Box::new(live.row.clone());
            self.reply(id, Ok(ApiDone::Call(row)));
        }
    }

    /// No shard knows it, and nobody told its end.
    pub(super) fn orphan(&mut self, now: Now, call: CallId) {
        // A timer of an earlier search says nothing about a later one.
        let due = |at: base::Mono| at <= now.mono;
        let missing = |live: &&Live| !live.is_over() && live.volatile.missing.is_some_and(due);
        let Some(live) = self.calls.get(&call).filter(missing) else {
            return;
        };
        let (account, answered) = (live.row.account, live.is_answered());
        if let Some(seen) = self.lost.filter(|seen| live.row.date_created <= *seen) {
            return self.lose(now, call, seen);
        }
        let status = if answered { CallStatus::Completed } else { CallStatus::Failed };
        // Should it stand after all, nobody would ever end it.
        let shard = live.shard;
        self.command(shard, OwnedCommand::Hangup { call, cause: Cause::Internal });
        let message = "a call's leg is in no shard and its end was never told".to_owned();
        self.notice(Some(account), Some(call), true, message);
        self.over_without_leg(now, call, status, Cause::Internal, 0);
    }

    /// Gives the shards some time to speak of a call that they may not have.
    pub(super) fn watch_orphan(&mut self, now: Now, call: CallId) {
        let lost = self.lost.is_some() && self.replay.is_some();
        let at = now.mono + if lost { super::LOST_AFTER } else { super::ORPHAN_AFTER };
        if let Some(mut live) = self.calls.get_mut(&call)
            && live.volatile.missing.is_none()
        {
            live.volatile.missing = Some(at);
            self.at(at, Timer::Orphan(call));
        }
    }
}

fn usage_key(node: u32, summary: &Summary<'_>, usage: &Usage) -> UsageKey {
    UsageKey {
        node,
        epoch: summary.epoch,
        leg: summary.leg,
        service: usage.service,
        segment: usage.segment,
    }
}

fn set_price(row: &mut CallRow, price: Option<(Nanos, Currency)>) {
    row.price = price.map(|(price, _)| price);
    row.price_unit = price.map_or(row.price_unit, |(_, currency)| currency);
}

fn finish_row(live: &mut Live, end: End, now: Now) {
    let dropped = matches!(live.ending, Some(Ending::Hangup(_) | Ending::Cancel(_)));
    live.row.status = end.status(dropped);
    live.row.cause = Some(end.cause);
    live.row.sip_code = end.code;
    live.row.duration = Some(seconds(&live.row));
    live.touch_row(now.wall);
}

/// Answer to end.
fn seconds(row: &CallRow) -> u32 {
    let (Some(answered), Some(ended)) = (row.answer_time, row.end_time) else {
        return 0;
    };
    u32::try_from(whole_seconds(ended.micros_since(answered))).unwrap_or(u32::MAX)
}
