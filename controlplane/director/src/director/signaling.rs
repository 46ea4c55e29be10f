//! SIP messages that the dataplane tells, and those who are told: one callback for each
//! subscription that a message fits, in the order of the call and at least once. A call that the
//! dataplane routes alone is known here from the first message of it that somebody wants.

use std::hash::{DefaultHasher, Hash, Hasher};

use base::{CallId, Now, ShardId};
use model::port::{OwnedCommand, Record};
use model::{
    AccountSid, CallDirection, CallRow, CallStatus, SignalingSubscription, SubscriptionSid, stamp,
};
use wire::SipMessage;
use wire::event::Direction;

use super::callback::Queued;
use super::{Director, Timer, Trouble};
use crate::live::{Facts, Live, Outgoing, Relay, Then, Volatile};

/// Messages waiting for one call, and in one lane of it: those that calls are made and ended with
/// have the rest of the room.
const PER_CALL_MAX: usize = 192;
const PER_LANE_MAX: usize = 32;
/// How long a call that is over may have messages yet: those of the legs dialled for it.
const UNSUBSCRIBE_AFTER: std::time::Duration = std::time::Duration::from_secs(32);

impl Director {
    pub(super) fn on_message(&mut self, now: Now, shard: ShardId, message: &SipMessage<'_>) {
        let account = self.directory.account_by_number(message.account).map(|it| it.sid);
        let Some(account) = account.filter(|account| self.directory.is_active(*account)) else {
            return;
        };
        let call = message.call;
        if !self.calls.contains(&call) {
            // What an application has is known before its messages are, or is over.
            if !message.trunk {
                return;
            }
            self.learn_relay(now, shard, account, message);
        }
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        // Told again after a death.
        if live.signaling.told >= message.number {
            return;
        }
        live.signaling.told = message.number;
        live.signaling.left_out = live.signaling.left_out.saturating_add(message.left_out);
        let call_id = header(message, "Call-ID").unwrap_or_default();
        if live.facts.sip_call_id.is_empty() {
            live.facts.sip_call_id = call_id.to_owned();
        }
        live.touch();
        for id in &message.wanted {
            let subscription = self.directory.get::<SignalingSubscription>(SubscriptionSid(*id));
            let ours = subscription.filter(|it| it.account == account);
            if let Some(subscription) = ours.cloned() {
                self.tell_message(now, message, &subscription);
            }
        }
        self.say_left_out(now, account, call);
    }

    fn tell_message(&mut self, now: Now, message: &SipMessage<'_>, to: &SignalingSubscription) {
        let call = message.call;
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let carries_call = matches!(message.method, "INVITE" | "ACK" | "BYE" | "CANCEL" | "REFER");
        let is_full = !carries_call
            && (live.callbacks.len() >= PER_CALL_MAX
                || live.is_lane_full(&to.hook.url, PER_LANE_MAX));
        let mut params = self.row_params(live);
        message_params(message, to, live.signaling.missed_by(to.sid), &mut params);
        let then = Then { application: to.is_application, fallback: to.fallback.clone() };
        let queued = Queued { params, token: token(message, to.sid), then: Some(then) };
        let is_queued = !is_full && self.enqueue_if_room(now, call, &to.hook, queued);
        if let Some(mut live) = self.calls.get_mut(&call) {
            live.signaling.tell(to.sid, is_queued);
            self.stats.messages_left_out += u64::from(!is_queued);
        }
    }

    /// Once a call, its account reads that not all was told.
    fn say_left_out(&mut self, now: Now, account: AccountSid, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        let is_whole = live.signaling.left_out == 0 && live.signaling.missed.is_empty();
        if is_whole || live.signaling.is_said {
            return;
        }
        live.signaling.is_said = true;
        let trouble = Trouble {
            call: Some(call),
            warning: true,
            code: 20_429,
            reason: "sip-messages-left-out",
            message: "SIP messages of the call come faster than they can be told; some are left \
                      out, and how many goes with the next one"
                .to_owned(),
            ..Trouble::default()
        };
        self.alert(now, account, trouble);
    }

    /// A leg that the dataplane routes alone: from now on it has a row while it stands.
    fn learn_relay(
        &mut self,
        now: Now,
        shard: ShardId,
        account: AccountSid,
        message: &SipMessage<'_>,
    ) {
        let is_outbound = message.direction == Direction::Outbound;
        let answered = (message.answered.0 > 0).then_some(message.answered);
        let row = CallRow {
            sid: message.call,
            account,
            parent: Some(message.parent).filter(|parent| *parent != CallId::NONE),
            date_created: message.created,
            date_updated: now.wall,
            to: message.to.to_owned(),
            from: message.from.to_owned(),
            status: match (answered, is_outbound) {
                (Some(_), _) => CallStatus::InProgress,
                (None, true) => CallStatus::Initiated,
                (None, false) => CallStatus::Ringing,
            },
            direction: match is_outbound {
                true => CallDirection::OutboundDial,
                false => CallDirection::Inbound,
            },
            start_time: Some(message.created),
            answer_time: answered,
            price_unit: self.directory.currency(account),
            ..CallRow::default()
        };
        let mut live = Live::new(row, message.account, shard, message.leg);
        live.facts = Facts::default();
        live.outgoing = is_outbound.then(|| Outgoing::sent(message.to, message.from));
        live.signaling.relay = Relay::Standing;
        live.volatile = Volatile { row_changed: true, known: Some(now), ..Volatile::default() };
        self.calls.insert(live);
        self.calls.touch(message.call);
    }

    /// An application goes on with a leg of a relay: it is taken out of that, if it is not yet.
    pub(super) fn begin_on_relay(&mut self, now: Now, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call).filter(|live| live.start.is_some()) else {
            return;
        };
        if live.ending.is_some() {
            return;
        }
        let shard = live.shard;
        let before = std::mem::replace(&mut live.signaling.relay, Relay::Taken);
        live.touch();
        if before != Relay::Taken {
            self.stats.relays_taken += 1;
            self.command(shard, OwnedCommand::Take { call });
        }
        self.abandon(now, call);
        self.start_script(now, call);
    }

    /// The relay has its leg back; should the other one be gone, it ends.
    pub(super) fn give_back(&mut self, call: CallId) {
        let Some(mut live) = self.calls.get_mut(&call) else {
            return;
        };
        live.signaling.relay = Relay::Returning;
        live.volatile.wake = None;
        let shard = live.shard;
        live.touch();
        self.command(shard, OwnedCommand::GiveBack { call });
    }

    /// A leg is joined: if it was given back, it is back.
    pub(super) fn relay_joined(&mut self, call: CallId) {
        if let Some(mut live) = self.calls.get_mut(&call)
            && live.signaling.relay == Relay::Returning
        {
            live.signaling.relay = Relay::Standing;
            live.touch();
        }
    }

    /// What our predecessor may have died before commanding; the dataplane knows it if not.
    pub(super) fn resume_relay(&mut self, call: CallId) {
        let Some(live) = self.calls.get(&call) else {
            return;
        };
        let shard = live.shard;
        match live.signaling.relay {
            Relay::Taken => self.command(shard, OwnedCommand::Take { call }),
            Relay::Returning => self.command(shard, OwnedCommand::GiveBack { call }),
            Relay::None | Relay::Standing => {}
        }
    }

    /// A call that somebody subscribed to alone is over.
    pub(super) fn call_is_over(&mut self, now: Now, call: CallId) {
        if self.directory.subscriptions_of_call(call).next().is_some() {
            self.after(now, UNSUBSCRIBE_AFTER, Timer::Unsubscribe(call));
        }
    }

    pub(super) fn unsubscribe(&mut self, call: CallId) {
        let over: Vec<_> = self.directory.subscriptions_of_call(call).collect();
        for sid in over {
            self.directory.remove(sid.into());
            self.records.push(Record::Delete(sid.into()));
        }
    }

    /// Subscriptions to calls that ended while nobody was here.
    pub(super) fn forget_subscriptions(
        &mut self,
        now: Now,
        standing: &std::collections::BTreeSet<CallId>,
    ) {
        let of_calls = self.directory.all::<SignalingSubscription>();
        let calls: std::collections::BTreeSet<CallId> =
            of_calls.filter_map(SignalingSubscription::call).collect();
        for call in calls.difference(standing) {
            self.call_is_over(now, *call);
        }
    }
}

/// The same whenever the same message is told the same subscription.
fn token(message: &SipMessage<'_>, to: SubscriptionSid) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, message.call, message.number, to).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(0), half(1))
}

fn header<'m>(message: &'m SipMessage<'_>, name: &str) -> Option<&'m str> {
    headers(message).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn headers<'m>(message: &'m SipMessage<'_>) -> impl Iterator<Item = (&'m str, &'m str)> {
    message.headers.split("\r\n").filter_map(|line| line.split_once(": "))
}

/// What is said of a message, beside what is said of its call. A header that stands several times
/// is one parameter with all its values (RFC 3261 section 7.3.1).
fn message_params(
    message: &SipMessage<'_>,
    to: &SignalingSubscription,
    left_out: u32,
    params: &mut Vec<(String, String)>,
) {
    let mut put = |name: &str, value: String| params.push((name.to_owned(), value));
    put("Timestamp", stamp::rfc2822(message.at));
    put("CallbackSource", "sip-message".to_owned());
    put("SubscriptionSid", to.sid.to_string());
    put("SipMessageNumber", message.number.to_string());
    put("SipTimestamp", format!("{}.{:06}", message.at.0 / 1_000_000, message.at.0 % 1_000_000));
    put("SipDirection", if message.sent { "sent" } else { "received" }.to_owned());
    let leg = if message.direction == Direction::Outbound { "outbound" } else { "inbound" };
    put("SipLeg", leg.to_owned());
    put("SipTrunk", message.trunk.to_string());
    put("SipMethod", message.method.to_owned());
    if message.code > 0 {
        put("SipResponseCode", message.code.to_string());
        put("SipReasonPhrase", message.start.to_owned());
    } else {
        put("SipRequestUri", message.start.to_owned());
    }
    put("SipCSeq", message.cseq.to_string());
    if left_out > 0 {
        put("SipMessagesLeftOut", left_out.to_string());
    }
    if message.is_cut {
        put("SipMessageCut", "true".to_owned());
    }
    let mut named: Vec<(String, String)> = Vec::new();
    for (name, value) in headers(message) {
        match named.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => {
                values.push_str(", ");
                values.push_str(value);
            }
            None => named.push((name.to_owned(), value.to_owned())),
        }
    }
    for (name, value) in named {
        put(&format!("SipHeader_{name}"), value);
    }
    if !message.body.is_empty() {
        put("SipBody", message.body.to_owned());
    }
}
