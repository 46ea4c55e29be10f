//! A live call: everything a successor needs of it, as one plain value. What changed of it is
//! logged at each step ([`crate::log`]).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use base::{CallId, ConnectionId, LegId, Mono, Now, ShardId, Wall};
use model::cookie::Jar;
use model::port::{ApiId, HttpId};
use model::{CallRow, CallStatus, Hook, Method, RouteSid, SipLogin, StatusHook, SubscriptionSid};
use serde::{Deserialize, Serialize};
use wire::event::Cause;

use crate::director::Endpoint;
use crate::forwards::Forwards;
use crate::log::Logged;
use crate::script::{Program, Script, Wait};
use crate::web;

/// One leg's call. It is read as version 1 of the log wrote it; since then its parts are.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Live {
    pub(crate) row: CallRow,
    /// The account's number on the wire.
    pub(crate) number: u64,
    pub(crate) shard: ShardId,
    /// NONE until the shard told it.
    pub(crate) leg: LegId,
    pub(crate) facts: Facts,
    /// What was asked of a shard, or will be once its targets are resolved.
    pub(crate) outgoing: Option<Outgoing>,
    /// What a leg of ours shows a called side that asks.
    #[serde(default)]
    pub(crate) login: Option<SipLogin>,
    pub(crate) status: Option<StatusHook>,
    pub(crate) event_application: Option<StatusHook>,
    pub(crate) fallback: Option<Hook>,
    /// What begins when a leg of the API's is answered.
    pub(crate) start: Option<Start>,
    pub(crate) script: Option<Script>,
    /// How we asked for its end.
    pub(crate) ending: Option<Ending>,
    /// What refused or failed it, where we know more than the shard.
    pub(crate) reason: Option<String>,
    pub(crate) limit_ms: u32,
    /// Told of so far.
    pub(crate) sequence: u32,
    pub(crate) callbacks: VecDeque<Callback>,
    /// What the event application was told and has not answered.
    #[serde(default)]
    pub(crate) tellings: Vec<Telling>,
    /// SIP messages that were told of it.
    #[serde(default)]
    pub(crate) signaling: Signaling,
    /// What applications set; of the pair's jar what this call knows.
    #[serde(skip)]
    pub(crate) cookies: Arc<Jar>,
    /// Written behind the rest, and only where there is something: a log of before has none.
    #[serde(skip)]
    pub(crate) once: Once,
    #[serde(skip)]
    pub(crate) volatile: Volatile,
}

/// What the dataplane told of a call's SIP messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signaling {
    /// The number of the last one.
    pub(crate) told: u32,
    /// Those that the dataplane left out so far.
    pub(crate) left_out: u32,
    /// By subscription, what it has heard of that, and what there was no room for since.
    pub(crate) missed: Vec<Missed>,
    /// Its account knows that some are.
    pub(crate) is_said: bool,
    pub(crate) relay: Relay,
}

/// Subscriptions of a call at one time are fewer.
const MISSED_MAX: usize = 64;

/// What a subscription was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missed {
    pub(crate) subscription: SubscriptionSid,
    /// So many of those that the dataplane left out were said.
    pub(crate) said: u32,
    /// For so many since there was no room in its lane.
    pub(crate) own: u32,
}

impl Signaling {
    /// What this subscription was not told and does not know of.
    pub(crate) fn missed_by(&self, subscription: SubscriptionSid) -> u32 {
        let known = self.missed.iter().find(|it| it.subscription == subscription);
        let (said, own) = known.map_or((0, 0), |it| (it.said, it.own));
        self.left_out.saturating_sub(said).saturating_add(own)
    }

    /// It was told, and how many it was not; or it was not.
    pub(crate) fn tell(&mut self, subscription: SubscriptionSid, is_told: bool) {
        let at = self.missed.iter().position(|it| it.subscription == subscription);
        let at = at.unwrap_or_else(|| {
            self.missed.push(Missed { subscription, said: 0, own: 0 });
            self.missed.len() - 1
        });
        if let Some(it) = self.missed.get_mut(at) {
            match is_told {
                true => (it.said, it.own) = (self.left_out, 0),
                false => it.own = it.own.saturating_add(1),
            }
        }
        // Who missed nothing needs no place, and neither does who has been gone for long.
        self.missed.retain(|it| it.said > 0 || it.own > 0);
        if self.missed.len() > MISSED_MAX {
            self.missed.remove(0);
        }
    }
}

/// Whether the dataplane routes the call alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Relay {
    /// An application has it from its beginning.
    #[default]
    None,
    /// It does.
    Standing,
    /// An application has taken it over.
    Taken,
    /// It was given back, and is not known to be joined again.
    Returning,
}

/// What becomes of a callback's answer, and of a callback that is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Then {
    /// The answer is executed.
    pub(crate) application: bool,
    pub(crate) fallback: Option<Hook>,
}

/// A request whose answer is executed if it has verbs. Told again by a successor, it has the same
/// token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Telling {
    pub(crate) hook: Hook,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) token: String,
}

/// What dies with the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volatile {
    /// When it became known, in this life.
    pub(crate) known: Option<Now>,
    /// The row differs from what was written.
    pub(crate) row_changed: bool,
    pub(crate) dirty: bool,
    pub(crate) logged: Logged,
    pub(crate) fetch: Option<HttpId>,
    pub(crate) tellings: Vec<HttpId>,
    /// Endpoints whose callback does not wait for its time. One that is not there has none, or one
    /// that is not due.
    pub(crate) lanes: BTreeMap<Endpoint, Lane>,
    /// When callbacks are looked at again.
    pub(crate) callbacks_at: Option<Mono>,
    /// What is read in the document that waits to begin; a successor reads it again.
    pub(crate) program: Option<Program>,
    /// Since when it is connected, if its memory is gone.
    pub(crate) joined: Option<Wall>,
    /// When the script is to be woken.
    pub(crate) wake: Option<Mono>,
    /// No shard was heard of it since it was looked for; when it is given up.
    pub(crate) missing: Option<Mono>,
    /// Its shard knows how long it may last at most.
    pub(crate) limited: bool,
    /// A command went out that something must come of, and nothing came yet.
    pub(crate) asked: bool,
    /// API requests that are answered when the call has ended.
    pub(crate) api_waits: Vec<ApiId>,
}

/// What applications are told of a leg beside its row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) sip_call_id: String,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) domain: Option<String>,
    pub(crate) domain_sid: Option<String>,
    /// X-* headers.
    pub(crate) headers: Vec<(String, String)>,
    /// Who has forwarded it before it came. Written behind the rest, and only where somebody has.
    #[serde(skip)]
    pub(crate) forwards: Forwards,
}

/// A leg of ours before and after its INVITE.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    /// The leg it is dialled for.
    pub(crate) peer: LegId,
    pub(crate) uri: String,
    pub(crate) from: String,
    pub(crate) from_name: String,
    pub(crate) headers: String,
    pub(crate) ring_ms: u32,
    pub(crate) pass_progress: bool,
    pub(crate) bridge: bool,
    pub(crate) targets: Vec<TargetHost>,
    /// The operator's own route: the target policy for tenants does not apply.
    pub(crate) trusted: bool,
    /// The shard was asked, or is about to be: this state is written first.
    pub(crate) sent: bool,
    /// A registered contact is called. Written behind the rest, and only where there is one: a log
    /// of before has none.
    #[serde(skip)]
    pub(crate) contact: Option<Contact>,
    /// The outbound route that it goes by, until the shard is asked.
    #[serde(skip)]
    pub(crate) by: Option<RouteSid>,
    /// Whose referral it was dialled for. Written as the contact is.
    #[serde(skip)]
    pub(crate) referrer: Option<CallId>,
    /// Who has forwarded the call to it. Written as the contact is.
    #[serde(skip)]
    pub(crate) forwards: Forwards,
}

/// What the way to a registered contact has beside addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contact {
    /// The address of record.
    pub(crate) to: String,
    /// Value of Route; empty for none.
    pub(crate) route: String,
    /// The listener that its phone knows.
    pub(crate) listener: u8,
    pub(crate) flow: Option<ConnectionId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetHost {
    /// With its transport behind it (`;transport=tcp`) where one is named.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// None until looked up. Not kept: a successor looks it up anew.
    #[serde(with = "found")]
    pub(crate) found: Option<Vec<base::Target>>,
}

/// Logs have a place for the addresses of before, which nobody reads.
mod found {
    use std::net::SocketAddr;

    use base::Target;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    type Written = Option<Vec<SocketAddr>>;

    pub(super) fn serialize<S: Serializer>(
        _: &Option<Vec<Target>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Written::None.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<Target>>, D::Error> {
        Written::deserialize(from).map(|_| None)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Hangup(Cause),
    Reject {
        code: u16,
        reason: String,
        retry_after: u32,
        cause: Cause,
    },
    /// If it is not answered by then.
    Cancel(Cause),
    /// It is refused with what the last leg dialled for it came to.
    PassOn {
        code: u16,
        cause: Cause,
    },
}

/// What takes effect once, however often it is told, and what was said of an end that is to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    /// When its far end said the last of its referrals that documents were let go for.
    pub(crate) referred: Wall,
    /// When it took the place of a call in a document.
    pub(crate) placed: Wall,
    /// Where its far end says that it is to be found instead; its end follows.
    pub(crate) moved: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Start {
    Ask(Hook),
    Run(String),
    /// A document that came from there.
    RunFrom {
        document: String,
        base: String,
    },
}

/// Where the first callback of an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    UnderWay,
    /// It waits in its endpoint's line.
    InLine,
}

/// A callback waiting for its turn. The first one of its endpoint is the one under way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Callback {
    pub(crate) url: String,
    pub(crate) method: Method,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) token: String,
    pub(crate) attempts: u32,
    /// Not before.
    pub(crate) due: Wall,
    #[serde(default)]
    pub(crate) then: Option<Then>,
}

impl Outgoing {
    /// A leg that its shard has dialled by itself.
    pub(crate) fn sent(uri: &str, from: &str) -> Self {
        Self {
            peer: LegId::NONE,
            uri: uri.to_owned(),
            from: from.to_owned(),
            from_name: String::new(),
            headers: String::new(),
            ring_ms: 0,
            pass_progress: false,
            bridge: false,
            targets: Vec::new(),
            trusted: false,
            sent: true,
            contact: None,
            by: None,
            referrer: None,
            forwards: Forwards::default(),
        }
    }
}

impl Live {
    /// A document of its own is asked for, or about to begin: nothing that its verbs do with other
    /// legs stands.
    pub(crate) fn is_between_verbs(&self) -> bool {
        let wait = self.script.as_ref().map(|script| &script.wait);
        matches!(wait, Some(Wait::Fetch(_) | Wait::Ready))
    }

    /// One that nothing is known of but its row and its leg.
    pub(crate) fn new(row: CallRow, number: u64, shard: ShardId, leg: LegId) -> Self {
        Self {
            row,
            number,
            shard,
            leg,
            facts: Facts::default(),
            outgoing: None,
            status: None,
            event_application: None,
            fallback: None,
            start: None,
            script: None,
            ending: None,
            reason: None,
            limit_ms: 0,
            login: None,
            sequence: 0,
            callbacks: VecDeque::new(),
            tellings: Vec::new(),
            signaling: Signaling::default(),
            cookies: Arc::default(),
            once: Once::default(),
            volatile: Volatile::default(),
        }
    }

    /// It follows a static route, whoever has it by now.
    pub(crate) fn is_relay(&self) -> bool {
        self.signaling.relay != Relay::None
    }

    /// It was answered before it heard how it was to end: what would have cancelled it does so no
    /// more, and what would have refused it is too late. True if it is to be ended otherwise.
    pub(crate) fn ending_is_late(&mut self) -> bool {
        match self.ending {
            Some(Ending::Cancel(_)) => {
                self.ending = None;
                false
            }
            Some(Ending::Reject { .. } | Ending::PassOn { .. }) => {
                self.ending = Some(Ending::Hangup(Cause::Normal));
                true
            }
            Some(Ending::Hangup(_)) | None => false,
        }
    }

    pub(crate) fn call(&self) -> CallId {
        self.row.sid
    }

    /// So many callbacks wait for the endpoint of this URL that no more are taken.
    pub(crate) fn is_lane_full(&self, url: &str, most: usize) -> bool {
        let endpoint = web::endpoint(url);
        // Few wait, as a rule: nothing is compared then.
        self.callbacks.len() >= most
            && self.callbacks.iter().filter(|it| web::endpoint(&it.url) == endpoint).count() >= most
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.row.answer_time.is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.row.status.is_final()
    }

    /// Its script has something to wait for although its leg is over.
    pub(crate) fn outlives_its_leg(&self) -> bool {
        match self.script.as_ref().map(|script| &script.wait) {
            Some(Wait::Verb(state)) => state.outlives_its_leg(),
            _ => false,
        }
    }

    /// How long it may last from its answer, milliseconds. `inbound_ms`: a call that came in has
    /// no limit of its own but what the API gave it.
    pub(crate) fn longest_ms(&self, inbound_ms: u32) -> u32 {
        let is_unlimited = self.limit_ms == 0 && self.outgoing.is_none() && !self.is_relay();
        if is_unlimited { inbound_ms } else { self.limit_ms }
    }

    /// Moves forward only.
    pub(crate) fn set_status(&mut self, status: CallStatus, now: Wall) -> bool {
        if self.row.status >= status || self.is_over() {
            return false;
        }
        self.row.status = status;
        self.touch_row(now);
        true
    }

    /// What has passed since `at`, a moment of the leg's clock: that one goes on as it was when the
    /// leg was made, and ours may have been set since.
    pub(crate) fn micros_since(&self, now: Now, at: Wall) -> u64 {
        let Some(known) = self.volatile.known else { return now.wall.micros_since(at) };
        let passed = u64::try_from(now.mono.since(known.mono).as_micros()).unwrap_or(u64::MAX);
        passed.saturating_sub(at.micros_since(known.wall))
    }

    pub(crate) fn touch_row(&mut self, now: Wall) {
        self.row.date_updated = now;
        self.volatile.row_changed = true;
    }
}
