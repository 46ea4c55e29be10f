//! `tandem demo trunks`: one number, two trunks. The first one dies, the second takes over; then
//! the controlplane is stopped (SIGSTOP), and calls still route; what they cost is in the books
//! once it goes on.
//!
//! ```text
//!   caller --INVITE +1..@trunks.demo.invalid--> switch --INVITE--> first trunk   (priority 1)
//!                                                 |                 dies: silence
//!                                                 \----INVITE--> second trunk    (priority 2)
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent::{Action, Dial, Manner};
use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use rustix::process::{Pid, Signal, kill_process};

use super::phones::{Phone, Phones, now};
use crate::clock::{MS, S, mono};
use crate::load;
use crate::rest::Rest;
use crate::system::{Protocol, free_port};
use crate::up::Endpoints;

/// The host of the routes that `tandem up --demo` makes.
pub const TRUNK_HOST: &str = "trunks.demo.invalid";
/// Where they lead, in the order of their priorities.
pub const TRUNK_TARGETS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 3, 250)), 5_097),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 3, 251)), 5_097),
];
/// Seconds between two OPTIONS to each.
pub const HEALTH_S: u16 = 5;

const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 3));
/// How long a call that routes at once may take to be answered.
const AT_ONCE: u64 = 1_500 * MS;
/// The same where a target has to be left for its silence first (4 s by default).
const AFTER_SILENCE: u64 = 8 * S;
/// How long a target is remembered that said nothing to a call.
const REMEMBERED: u64 = 30 * S;
const LISTEN: u64 = 1_500 * MS;
const HEARD_MIN: u64 = 60;
const SETTLED_MAX: u64 = 15 * S;

/// A call: what was the matter, who answered, after how long, what both heard, and what is wrong.
struct Shown {
    what: &'static str,
    by: Option<usize>,
    wanted: usize,
    took: Option<u64>,
    most: u64,
    heard: [u64; 2],
}

impl Shown {
    fn is_right(&self) -> bool {
        self.by == Some(self.wanted)
            && self.took.is_some_and(|took| took <= self.most)
            && self.heard.iter().all(|heard| *heard >= HEARD_MIN)
    }
}

/// Who takes part.
struct Cast {
    phones: Phones,
    caller: Phone,
    trunks: [Phone; 2],
    switch: SocketAddr,
    user: String,
    calls: u32,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let switch: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    if !switch.ip().is_loopback() || switch.is_ipv6() {
        bail!("the switch takes SIP on {switch}: this demonstration wants it on 127.0.0.0/8");
    }
    let rest = Rest::new(&endpoints);
    let mut cast = Cast::new(switch)?;
    println!("Calls to {TRUNK_HOST}: two trunks lead there, no application is asked ...");
    let mut shown = vec![cast.call("both trunks live", 0, AT_ONCE)?];
    cast.phones.set_dead(cast.trunks[0], true);
    let died = mono();
    shown.push(cast.call("the first one has died", 1, AFTER_SILENCE)?);
    shown.push(cast.call("it is known to be out", 1, AT_ONCE)?);
    let stopped = Stopped::new(&endpoints)?;
    shown.push(cast.call("the controlplane is stopped", 1, AT_ONCE)?);
    cast.phones.set_dead(cast.trunks[0], false);
    // It has answered OPTIONS again, and that it did not answer a call is forgotten.
    let answered = mono() + (2 * u64::from(HEALTH_S) + 1) * S;
    cast.phones.run(answered.max(died + REMEMBERED + 5 * S))?;
    shown.push(cast.call("stopped still, the first one is back", 0, AT_ONCE)?);
    drop(stopped);
    let mut faults = cast.settle(&rest)?;
    println!("{}", table(&shown));
    faults.extend(
        shown.iter().filter(|it| !it.is_right()).map(|it| format!("{} went wrong", it.what)),
    );
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if faults.is_empty() {
        println!("Each call went where it should, without the controlplane too; all are booked.");
    }
    Ok(faults.is_empty())
}

/// The controlplane, stopped until this is dropped: whatever goes wrong meanwhile, it goes on.
struct Stopped(Pid);

impl Stopped {
    fn new(endpoints: &Endpoints) -> Result<Self> {
        let pid = i32::try_from(endpoints.pids.controlplane).ok().and_then(Pid::from_raw);
        let pid = pid.context("the controlplane has no pid")?;
        kill_process(pid, Signal::STOP).context("the controlplane cannot be stopped")?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone: then there is nothing to let go on.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Cast {
    fn new(switch: SocketAddr) -> Result<Self> {
        let mut phones = Phones::default();
        let audio = || Manner::default().with_audio();
        let caller =
            phones.add(SocketAddr::new(CALLER, free_port(Protocol::Udp, CALLER)?), audio())?;
        let trunks =
            [phones.add(TRUNK_TARGETS[0], audio())?, phones.add(TRUNK_TARGETS[1], audio())?];
        let user = format!("+1559{:07}", load::new_run() % 10_000_000);
        Ok(Self { phones, caller, trunks, switch, user, calls: 0 })
    }

    /// One call from its INVITE to its BYE.
    fn call(&mut self, what: &'static str, wanted: usize, most: u64) -> Result<Shown> {
        self.calls += 1;
        let group = self.calls;
        let dial = Dial {
            to: format!("sip:g{group}@{TRUNK_HOST}"),
            from: format!("sip:{}@{CALLER}", self.user),
            group,
            stream: group * 2,
            ..Dial::default()
        };
        let call = self.phones.dial(self.caller, self.switch, &dial)?;
        let begun = mono();
        let is_answered = |phones: &Phones, caller| {
            phones.agent(caller).calls.get(call).is_some_and(|it| it.seen.answered_at.is_some())
        };
        while mono() < begun + most + S && !is_answered(&self.phones, self.caller) {
            self.phones.run(mono() + 20 * MS)?;
        }
        let seen = self.phones.agent(self.caller).calls.get(call).map(|it| &it.seen);
        let took = seen.and_then(|it| Some(it.answered_at?.since(it.dialed_at).as_nanos()));
        let took = took.and_then(|took| u64::try_from(took).ok());
        self.phones.run(mono() + LISTEN + 300 * MS)?;
        let by = (0..2).find(|at| {
            let calls = &self.phones.agent(self.trunks[*at]).calls;
            calls.iter().any(|it| it.group == group && it.seen.answered_at.is_some())
        });
        let heard = [
            self.heard(self.caller, group, 1),
            by.map_or(0, |by| self.heard(self.trunks[by], group, 0)),
        ];
        if let Some(call) = self.phones.calls(self.caller).get_mut(call) {
            call.act(now(), Action::HangUp);
        }
        self.phones.run(mono() + S)?;
        Ok(Shown { what, by, wanted, took, most, heard })
    }

    fn heard(&self, phone: Phone, group: u32, side: u32) -> u64 {
        let call = self.phones.agent(phone).calls.iter().find(|it| it.group == group);
        let media = call.and_then(|call| call.media.as_ref());
        let stream = media.and_then(|media| media.heard.streams.get(&(group, group * 2 + side)));
        stream.map_or(0, |stream| stream.packets)
    }

    /// Each call has its caller's leg and one for each trunk that was tried, all in the books, each
    /// once.
    fn settle(&mut self, rest: &Rest) -> Result<Vec<String>> {
        let from = format!("sip:{}@{CALLER}", self.user);
        // The call that left the first trunk has three legs.
        let wanted = usize::try_from(self.calls)? * 2 + 1;
        let until = mono() + SETTLED_MAX;
        loop {
            let calls = rest.list("Calls.json", "calls", &[("From", &from)])?;
            let sids: Vec<&str> = calls.iter().filter_map(|call| call["sid"].as_str()).collect();
            let over = calls.iter().all(|call| !call["end_time"].is_null());
            if over && sids.len() >= wanted {
                let mut faults = Vec::new();
                for sid in &sids {
                    let cdrs = rest.get(&format!("Calls/{sid}/Cdrs.json"), &[])?;
                    let count = cdrs["cdrs"].as_array().map_or(0, Vec::len);
                    if count != 1 {
                        faults.push(format!("{sid} has {count} CDRs, not one"));
                    }
                }
                if sids.len() != wanted {
                    faults.push(format!("{} legs are in the books, not {wanted}", sids.len()));
                }
                return Ok(faults);
            }
            if mono() > until {
                let found = sids.len();
                return Ok(vec![format!("{found} legs of {from} are in the books, not {wanted}")]);
            }
            self.phones.run(mono() + 100 * MS)?;
        }
    }
}

fn table(shown: &[Shown]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["", "answered by", "after ms", "caller heard", "callee heard", "verdict"]);
    for it in shown {
        table.add_row([
            it.what.to_owned(),
            it.by.map_or("nobody", |by| ["first trunk", "second trunk"][by]).to_owned(),
            it.took.map_or_else(String::new, |took| (took / MS).to_string()),
            it.heard[0].to_string(),
            it.heard[1].to_string(),
            if it.is_right() { "right" } else { "WRONG" }.to_owned(),
        ]);
    }
    table
}
