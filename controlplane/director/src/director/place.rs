//! An INVITE that takes the place of another far end (Replaces, RFC 3891): whether it may is
//! decided here for calls of applications; what becomes of the legs then is the shards' doing. The
//! calls around it are none of a document's any more, as after a referral.

use base::{CallId, LegId, Now, ShardId, Wall};
use model::port::OwnedCommand;
use model::{AccountSid, CallDirection, CallRow, CallStatus, Hook, SipDomain, Trunk, party};
use wire::event::{Cause, Incoming};
use wire::table::Network;

use super::incoming::{Refusal, SETUP_MS};
use super::{Director, Trouble};
use crate::answer::Document;
use crate::live::{Ending, Facts, Live, Volatile};
use crate::script::{Input, Problem, Script, Wait};

/// Where a document begins for whoever takes a place in it.
enum Next {
    Document {
        text: String,
        base: String,
    },
    /// It is asked for.
    Fetch(Hook),
}

impl Next {
    /// None where the document has come to its end, or has been left.
    fn of(script: &Script) -> Option<Self> {
        match &script.wait {
            Wait::Over => None,
            Wait::Fetch(fetch) => Some(Self::Fetch(fetch.hook.clone())),
            Wait::Ready | Wait::Verb(_) => {
                let (text, base) = (script.document.clone(), script.base.clone());
                (!text.is_empty()).then_some(Self::Document { text, base })
            }
        }
    }
}

impl Director {
    /// The call is taken for the account whose leg it names, if its caller could have called there.
    pub(super) fn on_replaces(&mut self, now: Now, shard: ShardId, incoming: &Incoming<'_>) {
        let named = self.calls.of_leg(incoming.replaces).map(|live| live.row.account);
        let account = named.filter(|account| self.may_take_place(*account, incoming));
        let Some(account) = account else {
            // To others it is not there.
            let phrase = "Call/Transaction Does Not Exist";
            let refusal = Refusal::new(481, Cause::NotFound, phrase, "no-such-dialog", 0);
            return self.refuse_call(shard, incoming.call, &refusal);
        };
        if let Err(reason) = self.reserve(now, account) {
            let message = format!(
                "call from {} ({}), which was to take another one's place, refused: {reason}",
                incoming.from, incoming.source
            );
            let call = Some(incoming.call);
            let trouble = Trouble { call, code: 10_004, reason, message, ..Trouble::default() };
            self.alert(now, account, trouble);
            let phrase = "Service Unavailable";
            let refusal = Refusal::new(503, Cause::Overload, phrase, reason, 10_004);
            return self.refuse_call(shard, incoming.call, &refusal);
        }
        self.take_for_place(now, shard, incoming, account);
    }

    /// Its user is one of a domain of the account's, or it comes from where that account takes
    /// calls.
    fn may_take_place(&self, account: AccountSid, incoming: &Incoming<'_>) -> bool {
        let source = incoming.source.ip();
        if !incoming.user.is_empty() {
            // Of the realm that the dataplane has asked it about: the first of these that is one.
            let host = |uri: &str| sip::Uri::parse(uri.as_bytes()).ok().map(|it| party::host(&it));
            let mut hosts = [incoming.uri, incoming.from].into_iter().filter_map(host);
            let asked = hosts.find_map(|host| {
                let domain = self.directory.domain(&host).map(|domain| domain.account);
                domain.or_else(|| self.directory.trunk(&host).map(|trunk| trunk.account))
            });
            return asked == Some(account);
        }
        let takes = |sources: &[Network]| sources.iter().any(|it| it.contains(source));
        let (directory, own) = (&self.directory, self.directory.account(account));
        let is_carrier = self.settings.carriers.iter().any(|network| network.contains(source));
        !is_carrier
            && (own.is_some_and(|own| takes(&own.sources))
                || (directory.of::<SipDomain>(account))
                    .any(|domain| takes(&directory.domain_networks(domain)))
                || (directory.of::<Trunk>(account))
                    .any(|trunk| takes(&directory.trunk_networks(trunk))))
    }

    /// The leg `by` has taken the place of a call that talks with nobody: the document that the
    /// call is in begins anew for that one, which has heard nothing of it, and the call ends. If
    /// there is no such document any more the leg is nobody's, and ends too.
    pub(super) fn on_replaced(&mut self, now: Now, (call, by, at): (CallId, LegId, Wall)) {
        let to = self.calls.of_leg(by).filter(|live| !live.is_over()).map(Live::call);
        let of = |to: CallId| self.calls.get(&to);
        if to.and_then(of).is_some_and(|live| live.once.placed == at) {
            // Told again to a successor, it is done.
            return;
        }
        let account = to.and_then(of).map(|live| live.row.account);
        let is_there = |live: &&Live| {
            Some(live.call()) != to && !live.is_over() && live.ending.is_none() && !live.is_relay()
        };
        let live = self.calls.get(&call).filter(is_there);
        let script = live.filter(|live| Some(live.row.account) == account);
        let next = script.and_then(|live| live.script.as_ref()).and_then(Next::of);
        if live.is_some() {
            self.end_leg(call, Ending::Hangup(Cause::OtherAnswered));
        }
        let Some(mut live) = to.and_then(|to| self.calls.get_mut(&to)) else { return };
        let to = live.call();
        live.once.placed = at;
        live.touch();
        let Some(next) = next else {
            let message = "a call was to take a place in a document that is at its end".to_owned();
            let problem = Problem { code: 13_802, reason: "no-document", message };
            self.problem(now, to, problem, true);
            return self.end_leg(to, Ending::Hangup(Cause::Normal));
        };
        // Who rings for the call that ends is left before he is called for the other one.
        self.inbox.push_back((call, Input::Gone));
        let Some(mut live) = self.calls.get_mut(&to) else { return };
        live.script.get_or_insert_with(Script::default).wait = Wait::Ready;
        live.volatile.wake = None;
        live.touch();
        match next {
            Next::Document { text, base } => {
                let document = Document::of(text, self.settings.limits.document_bytes);
                self.run_document(now, to, document, base);
            }
            Next::Fetch(hook) => self.start_fetch(now, to, hook, Vec::new(), None),
        }
    }

    fn take_for_place(
        &mut self,
        now: Now,
        shard: ShardId,
        incoming: &Incoming<'_>,
        account: AccountSid,
    ) {
        let call = incoming.call;
        let number = self.directory.account(account).map_or(0, |account| account.number);
        let row = CallRow {
            sid: call,
            account,
            date_created: incoming.at,
            date_updated: now.wall,
            from: party::shown(incoming.from, false),
            to: party::shown(incoming.to, false),
            caller_name: Some(incoming.from_name.to_owned()).filter(|name| !name.is_empty()),
            status: CallStatus::Ringing,
            direction: CallDirection::Inbound,
            start_time: Some(incoming.at),
            price_unit: self.directory.currency(account),
            ..CallRow::default()
        };
        let live = Live {
            facts: Facts {
                sip_call_id: incoming.call_id.to_owned(),
                source: Some(incoming.source),
                ..Facts::default()
            },
            volatile: Volatile { row_changed: true, known: Some(now), ..Volatile::default() },
            ..Live::new(row, number, shard, incoming.leg)
        };
        self.calls.insert(live);
        self.calls.touch(call);
        self.command(shard, OwnedCommand::Accept { call, account: number, setup_ms: SETUP_MS });
        self.command(shard, OwnedCommand::TakePlace { call });
    }
}
