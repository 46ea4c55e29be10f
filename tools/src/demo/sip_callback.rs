//! `tandem demo sip-callback`: a call that the dataplane relays by a static route, told message by
//! message to an application that was never asked for it; taken over by that in mid-call, and given
//! back.
//!
//! ```text
//!   caller --INVITE--> switch --INVITE--> callee         by the route alone
//!            every message --> POST /ladder              mode callback, scope trunk
//!   caller --INFO----> switch --> POST /take             mode application: 2 s of silence, then
//!   caller <--------------------> third phone            it talks to somebody else for 3 s
//!   caller <--------------------> callee                 the document is at its end: given back
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent::{Action, Dial, Manner, PhoneCall};
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};

use super::codecs::{TRUNK_HOST, TRUNK_TARGET};
use super::phones::{Phone, Phones, now};
use crate::app::{App, Kept, Service};
use crate::clock::{MS, S, mono};
use crate::load;
use crate::rest::Rest;
use crate::system::{Protocol, free_port};

const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2));
const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 3, 253));
/// The conversations: of the trunk's call, and with the third phone.
const GROUP: u32 = 1;
const OTHER: u32 = 2;
/// How long it is listened each time, and the packets of it that have to be heard.
const LISTEN: u64 = 1_500 * MS;
const HEARD_MIN: u64 = 60;
/// How long anything may take to be told or booked.
const SETTLED_MAX: u64 = 10 * S;
/// Packets that a stream may be short of its time: the machine may be busy.
const SHORT_MAX: u64 = 100;

/// Who takes part.
struct Cast {
    phones: Phones,
    caller: Phone,
    callee: Phone,
    third: Phone,
    call: usize,
}

/// What each of the two of the trunk's call has heard of whom.
#[derive(Clone, Copy, Debug, Default)]
struct Ears {
    callers: [u64; 2],
    callees: u64,
}

/// A span of the call, and whether what was heard in it is right.
struct Span {
    what: &'static str,
    ears: Ears,
    is_right: bool,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let target: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    if !target.ip().is_loopback() || target.is_ipv6() {
        bail!("the switch takes SIP on {target}: this demonstration wants it on 127.0.0.0/8");
    }
    let rest = Rest::new(&endpoints);
    let third = SocketAddr::new(THIRD, free_port(Protocol::Udp, THIRD)?);
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Pause length=\"3\"/>\
         <Dial answerOnBridge=\"true\"><Sip>sip:g{OTHER}@{third}</Sip></Dial></Response>\n"
    );
    let service = Service {
        by_path: [("/take".to_owned(), document)].into(),
        kept: vec!["/ladder".to_owned(), "/take".to_owned()],
        token: Some(endpoints.auth_token),
        ..Service::default()
    };
    let app = App::start(SocketAddr::new(target.ip(), 0), service)?;
    let subscriptions = subscribe(&rest, &endpoints.account_sid, &app)?;
    let user = format!("+1559{:07}", load::new_run() % 10_000_000);
    let mut cast = Cast::new(third)?;
    println!("A call by the static route to {TRUNK_HOST}; no application is asked for it ...");
    let spans = cast.play(target, &user)?;
    let from = format!("sip:{user}@{CALLER}");
    let rows = settle(&rest, &from, &mut cast.phones)?;
    for sid in subscriptions {
        rest.delete(&format!(
            "/v1/Accounts/{}/SignalingSubscriptions/{sid}",
            endpoints.account_sid
        ))?;
    }
    let kept = app.kept();
    println!("{}", ladder(&kept));
    println!("{}", heard(&spans));
    let mut faults = judge_spans(&spans);
    faults.extend(cast.judge_streams());
    faults.extend(judge_told(&kept));
    faults.extend(rows);
    let counts = app.counts();
    if counts.unsigned > 0 {
        faults.push(format!("{} requests were unsigned", counts.unsigned));
    }
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if faults.is_empty() {
        println!("Told whole and in order, taken over, given back; one stream on each side.");
    }
    Ok(faults.is_empty())
}

/// Everything to /ladder, INFO from a caller to /take.
fn subscribe(rest: &Rest, account: &str, app: &App) -> Result<Vec<String>> {
    let path = format!("/v1/Accounts/{account}/SignalingSubscriptions");
    let (ladder, take) =
        (format!("http://{}/ladder", app.address), format!("http://{}/take", app.address));
    let all = [("Url", ladder.as_str()), ("Scope", "trunk"), ("FriendlyName", "tandem demo")];
    let info = [
        ("Url", take.as_str()),
        ("Scope", "trunk"),
        ("FriendlyName", "tandem demo"),
        ("SipMethod", "INFO"),
        ("Direction", "received"),
        ("Leg", "inbound"),
        ("Mode", "application"),
    ];
    let made = [rest.post(&path, &all)?, rest.post(&path, &info)?];
    let sid = |made: &serde_json::Value| made["sid"].as_str().map(str::to_owned);
    made.iter().map(|made| sid(made).context("a subscription without a sid")).collect()
}

impl Cast {
    fn new(third: SocketAddr) -> Result<Self> {
        let mut phones = Phones::default();
        let port = free_port(Protocol::Udp, CALLER)?;
        let audio = || Manner::default().with_audio();
        let caller = phones.add(SocketAddr::new(CALLER, port), audio())?;
        let callee = phones.add(TRUNK_TARGET, audio())?;
        let leaves = std::time::Duration::from_secs(3);
        let third = phones.add(third, audio().after_answer(leaves, Action::HangUp))?;
        Ok(Self { phones, caller, callee, third, call: 0 })
    }

    /// The call from its INVITE to its BYE; what was heard in each part of it.
    fn play(&mut self, target: SocketAddr, user: &str) -> Result<Vec<Span>> {
        // The subscriptions have to be published.
        self.phones.run(mono() + 300 * MS)?;
        let dial = Dial {
            to: format!("sip:g{GROUP}@{TRUNK_HOST}"),
            from: format!("sip:{user}@{CALLER}"),
            group: GROUP,
            stream: GROUP * 2,
            ..Dial::default()
        };
        self.call = self.phones.dial(self.caller, target, &dial)?;
        self.phones.run(mono() + 2 * S)?;
        let is_relayed = |ears: &Ears| ears.callers[0] >= HEARD_MIN && ears.callees >= HEARD_MIN;
        let mut spans = vec![self.listen("relayed by the route", is_relayed)?];
        self.caller_does(Action::Info('9'));
        self.phones.run(mono() + 800 * MS)?;
        let is_silent = |ears: &Ears| ears.callers == [0, 0] && ears.callees == 0;
        spans.push(self.listen("taken over: a pause", is_silent)?);
        self.wait(5 * S, |cast| {
            cast.phones.agent(cast.third).calls.iter().any(|it| it.seen.acks > 0)
        })?;
        self.phones.run(mono() + 300 * MS)?;
        let is_elsewhere =
            |ears: &Ears| ears.callers[0] == 0 && ears.callers[1] >= HEARD_MIN && ears.callees == 0;
        spans.push(self.listen("taken over: with a third phone", is_elsewhere)?);
        self.wait(8 * S, |cast| {
            cast.phones.agent(cast.third).calls.iter().all(PhoneCall::is_over)
        })?;
        self.phones.run(mono() + 500 * MS)?;
        spans.push(self.listen("given back", is_relayed)?);
        self.caller_does(Action::HangUp);
        self.phones.run(mono() + S)?;
        Ok(spans)
    }

    fn caller_does(&mut self, action: Action) {
        let call = self.call;
        if let Some(call) = self.phones.calls(self.caller).get_mut(call) {
            call.act(now(), action);
        }
    }

    /// Until that is so, or for so long.
    fn wait(&mut self, most: u64, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let until = mono() + most;
        while mono() < until && !is_so(self) {
            self.phones.run(mono() + 50 * MS)?;
        }
        Ok(())
    }

    fn listen(&mut self, what: &'static str, is_right: impl Fn(&Ears) -> bool) -> Result<Span> {
        let before = self.ears();
        self.phones.run(mono() + LISTEN)?;
        let after = self.ears();
        let since = |at: usize| after.callers[at] - before.callers[at];
        let callees = after.callees - before.callees;
        let ears = Ears { callers: [since(0), since(1)], callees };
        Ok(Span { what, ears, is_right: is_right(&ears) })
    }

    fn trunk_calls(&self) -> [Option<&PhoneCall>; 2] {
        let callee = self.phones.agent(self.callee).calls.iter().find(|it| it.group == GROUP);
        [self.phones.agent(self.caller).calls.get(self.call), callee]
    }

    fn ears(&self) -> Ears {
        let [caller, callee] = self.trunk_calls();
        let heard = |call: Option<&PhoneCall>, group: u32, stream: u32| {
            let media = call.and_then(|call| call.media.as_ref());
            let stream = media.and_then(|media| media.heard.streams.get(&(group, stream)));
            stream.map_or(0, |stream| stream.packets)
        };
        Ears {
            callers: [heard(caller, GROUP, GROUP * 2 + 1), heard(caller, OTHER, OTHER * 2 + 1)],
            callees: heard(callee, GROUP, GROUP * 2),
        }
    }

    /// Each of the two heard one stream from its first packet to its last, without a gap in its
    /// numbers: sound, silence, sound.
    fn judge_streams(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, call) in ["caller", "callee"].into_iter().zip(self.trunk_calls()) {
            let Some(media) = call.and_then(|call| call.media.as_ref()) else {
                faults.push(format!("the {name} had no media"));
                continue;
            };
            let heard = &media.heard;
            if heard.ssrcs.len() != 1 || heard.timestamp_backwards > 0 {
                faults.push(format!(
                    "the {name} heard {} SSRCs, {} times that ran backwards",
                    heard.ssrcs.len(),
                    heard.timestamp_backwards
                ));
            }
            if heard.sequence_jumps > SHORT_MAX {
                faults.push(format!("the {name} missed {} numbers", heard.sequence_jumps));
            }
            if heard.damaged + heard.foreign > 0 {
                faults.push(format!("the {name} heard what nobody had said"));
            }
        }
        faults
    }
}

fn judge_spans(spans: &[Span]) -> Vec<String> {
    let wrong = spans.iter().filter(|span| !span.is_right);
    wrong.map(|span| format!("{}: heard {:?}", span.what, span.ears)).collect()
}

/// Of each leg every message came, in order; and those that every such call has.
fn judge_told(kept: &[Kept]) -> Vec<String> {
    let mut faults = Vec::new();
    let told = || kept.iter().filter(|it| it.path == "/ladder");
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for message in told() {
        let number = message.get("SipMessageNumber").parse().unwrap_or(0);
        let before = last.entry(message.get("CallSid")).or_default();
        if number != *before + 1 {
            faults.push(format!("message {number} of a leg came behind {before}"));
        }
        *before = number;
    }
    let is_told: BTreeSet<String> = told().map(line).collect();
    for needed in [
        "inbound received INVITE",
        "outbound sent INVITE",
        "outbound received 200 INVITE",
        "inbound sent 200 INVITE",
        "inbound received ACK",
        "inbound received INFO",
        "inbound received BYE",
        "outbound sent BYE",
    ] {
        if !is_told.contains(needed) {
            faults.push(format!("nobody was told: {needed}"));
        }
    }
    let takes = kept.iter().filter(|it| it.path == "/take").count();
    if takes != 1 {
        faults.push(format!("the application was asked {takes} times"));
    }
    faults
}

fn line(message: &Kept) -> String {
    let words =
        ["SipLeg", "SipDirection", "SipResponseCode", "SipMethod"].map(|name| message.get(name));
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// All legs are over and in the books, each once.
fn settle(rest: &Rest, from: &str, phones: &mut Phones) -> Result<Vec<String>> {
    let until = mono() + SETTLED_MAX;
    loop {
        let calls = rest.list("Calls.json", "calls", &[("From", from)])?;
        let sids: Vec<&str> = calls.iter().filter_map(|call| call["sid"].as_str()).collect();
        let over = calls.iter().all(|call| !call["end_time"].is_null());
        if over && sids.len() == 3 {
            let mut faults = Vec::new();
            for sid in sids {
                let cdrs = rest.get(&format!("Calls/{sid}/Cdrs.json"), &[])?;
                let count = cdrs["cdrs"].as_array().map_or(0, Vec::len);
                if count != 1 {
                    faults.push(format!("{sid} has {count} CDRs, not one"));
                }
            }
            return Ok(faults);
        }
        if mono() > until {
            return Ok(vec![format!("{} legs of {from} are in the books, not 3", sids.len())]);
        }
        phones.run(mono() + 100 * MS)?;
    }
}

/// What was told, in the order in which it happened.
fn ladder(kept: &[Kept]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["ms", "leg", "number", "way", "message", "told"]);
    let micros = |it: &Kept| {
        let (seconds, micros) = it.get("SipTimestamp").split_once('.').unwrap_or_default();
        seconds.parse::<u64>().unwrap_or(0) * 1_000_000 + micros.parse::<u64>().unwrap_or(0)
    };
    let mut told: Vec<&Kept> = kept.iter().collect();
    told.sort_by_key(|it| micros(it));
    let first = told.first().map_or(0, |it| micros(it));
    for it in told {
        table.add_row([
            format!("{:.1}", (micros(it) - first) as f64 / 1e3),
            it.get("SipLeg").to_owned(),
            it.get("SipMessageNumber").to_owned(),
            it.get("SipDirection").to_owned(),
            format!("{} {}", it.get("SipResponseCode"), it.get("SipMethod")).trim().to_owned(),
            it.path.clone(),
        ]);
    }
    table
}

fn heard(spans: &[Span]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "in 1.5 s",
        "caller heard callee",
        "third",
        "callee heard caller",
        "verdict",
    ]);
    for Span { what, ears, is_right } in spans {
        table.add_row([
            (*what).to_owned(),
            ears.callers[0].to_string(),
            ears.callers[1].to_string(),
            ears.callees.to_string(),
            if *is_right { "right" } else { "WRONG" }.to_owned(),
        ]);
    }
    table
}
