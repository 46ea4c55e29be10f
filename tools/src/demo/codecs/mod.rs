//! `tandem demo codecs`: a caller and a callee who share one codec of two, or none, in each way of
//! answering and changing. Each must hear what the other says, or be told why not.
//!
//! ```text
//!   caller 127.0.2.1 --INVITE--> switch --webhook--> application (TwiML <Dial>)
//!                                switch ----INVITE--> callee 127.0.3.n      (or by a static route)
//!   each says numbered packets in a codec that is in force, and judges what it hears
//! ```

mod judge;
mod rows;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent::{Action, Dial, Manner};
use anyhow::{Context, Result, bail};

use super::phones::{Phone, Phones, now};
use crate::app::{App, Service};
use crate::clock::{MS, S, mono};
use crate::load;
use crate::rest::Rest;
use crate::system::{Protocol, free_port};
use judge::{Ear, Told};
use rows::{Row, Via};

/// The route that `tandem up --demo` makes, so that a static trunk can be shown: calls to this host
/// from loopback go to that address.
pub const TRUNK_HOST: &str = "static.demo.invalid";
/// See [`TRUNK_HOST`].
pub const TRUNK_TARGET: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 3, 254)), 5_099);

const CALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 2, 1));
/// Between two calls: a static call has reached its callee by then.
const APART: u64 = 200 * MS;
/// From dialling: a digit is pressed.
const DIGIT_AT: u64 = 3_500 * MS;
/// From dialling: everything that a row does is over, and has settled.
const LISTEN_AT: u64 = 6 * S;
/// How long it is listened.
const LISTEN: u64 = 1_500 * MS;
/// How long the closing records may take.
const BOOKED_MAX: u64 = 10 * S;
/// Packets of that time that have to be heard, of 75 that are said: the machine may be busy.
const HEARD_MIN: u64 = 60;

/// A row that is being played.
struct Play {
    row: Row,
    /// Number of the conversation.
    group: u32,
    from: String,
    callee: Phone,
    /// The caller's call.
    call: Option<usize>,
    dial_at: u64,
    uri: String,
    number: Option<String>,
    _app: Option<App>,
    before: [Ear; 2],
    heard: [Ear; 2],
}

/// What happens next, to which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Dial,
    Digit,
    Listen,
    Heard,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let target: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    if !target.ip().is_loopback() || target.is_ipv6() {
        bail!("the switch takes SIP on {target}: this demonstration wants it on 127.0.0.0/8");
    }
    let rest = Rest::new(&endpoints);
    let mut phones = Phones::default();
    let port = free_port(Protocol::Udp, CALLER)?;
    let caller = phones.add(SocketAddr::new(CALLER, port), Manner::default().with_audio())?;
    let trunk = phones.add(TRUNK_TARGET, Manner::default().with_audio())?;
    let mut plays = Vec::new();
    for (row, group) in rows::all().into_iter().zip(1_u32..) {
        plays.push(prepare(row, group, (&rest, target), &mut phones, trunk)?);
    }
    println!("{} calls, each with RTP both ways; this takes about {} s ...", plays.len(), {
        (plays.len() as u64 * APART + LISTEN_AT + LISTEN) / S + 3
    });
    play(&mut plays, &mut phones, caller, target)?;
    // BYE and its answer, the closing records.
    phones.run(mono() + 2 * S)?;
    let booked = mono() + BOOKED_MAX;
    let mut told = Vec::new();
    for play in &plays {
        // A static route's call is in the books under its URI, for no application saw its number.
        let uri = play.caller_uri();
        let from = if play.row.via == Via::Trunk { &uri } else { &play.from };
        told.push(Told::ask(&rest, from, booked)?);
        if let Some(sid) = &play.number {
            rest.delete(&format!("IncomingPhoneNumbers/{sid}.json"))?;
        }
    }
    Ok(report(&plays, &told, &phones, caller))
}

/// The callee, and what leads to it.
fn prepare(
    row: Row,
    group: u32,
    (rest, target): (&Rest, SocketAddr),
    phones: &mut Phones,
    trunk: Phone,
) -> Result<Play> {
    let run = load::new_run() % 100_000;
    let (phone, from) = (format!("+1557{run:05}{group:02}"), format!("+1558{run:05}{group:02}"));
    let dial_at = 0;
    let play = |callee, uri, number, app| Play {
        row: row.clone(),
        group,
        from,
        callee,
        call: None,
        dial_at,
        uri,
        number,
        _app: app,
        before: [Ear::default(); 2],
        heard: [Ear::default(); 2],
    };
    if row.via == Via::Trunk {
        return Ok(play(trunk, format!("sip:g{group}@{TRUNK_HOST}"), None, None));
    }
    let host = Ipv4Addr::new(127, 0, 3, u8::try_from(group).context("too many rows")?);
    let address = SocketAddr::new(host.into(), free_port(Protocol::Udp, host.into())?);
    let callee = phones.add(address, row.callee_manner())?;
    let bridge = if row.via == Via::Bridge { " answerOnBridge=\"true\"" } else { "" };
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Dial{bridge}>\
         <Sip>sip:g{group}@{address}</Sip></Dial></Response>\n"
    );
    let service = Service { document, ..Service::default() };
    let app = App::start(SocketAddr::new(target.ip(), 0), service)?;
    let voice = format!("http://{}/voice", app.address);
    let made = rest.post(
        "IncomingPhoneNumbers.json",
        &[("PhoneNumber", &phone), ("VoiceUrl", &voice), ("VoiceMethod", "POST")],
    )?;
    let sid = made["sid"].as_str().context("the API made a number without a sid")?.to_owned();
    Ok(play(callee, format!("sip:{phone}@{target}"), Some(sid), Some(app)))
}

/// All calls, one after another begun, at one time standing.
fn play(plays: &mut [Play], phones: &mut Phones, caller: Phone, target: SocketAddr) -> Result<()> {
    let start = mono() + 100 * MS;
    let mut agenda = Vec::new();
    for (at, play) in plays.iter_mut().enumerate() {
        play.dial_at = start + at as u64 * APART;
        agenda.push((play.dial_at, Step::Dial, at));
        if play.row.digit_to().is_some() {
            agenda.push((play.dial_at + DIGIT_AT, Step::Digit, at));
        }
        agenda.push((play.dial_at + LISTEN_AT, Step::Listen, at));
        agenda.push((play.dial_at + LISTEN_AT + LISTEN, Step::Heard, at));
    }
    agenda.sort_unstable();
    for (time, step, at) in agenda {
        phones.run(time)?;
        let play = &mut plays[at];
        match step {
            Step::Dial => {
                if play.row.via == Via::Trunk {
                    phones.set_manner(play.callee, play.row.callee_manner());
                }
                let dial = Dial {
                    to: play.uri.clone(),
                    from: play.caller_uri(),
                    group: play.group,
                    stream: play.group * 2,
                    manner: Some(play.row.caller_manner(LISTEN_AT + LISTEN + 300 * MS)),
                    ..Dial::default()
                };
                play.call = Some(phones.dial(caller, target, &dial)?);
            }
            Step::Digit => play.press(phones, caller),
            Step::Listen => play.before = play.ears(phones, caller),
            Step::Heard => play.heard = play.ears(phones, caller),
        }
    }
    phones.run(mono() + 500 * MS)
}

impl Play {
    fn caller_uri(&self) -> String {
        format!("sip:{}@{CALLER}", self.from)
    }

    /// What has come to the caller's ear and to the callee's.
    fn ears(&self, phones: &Phones, caller: Phone) -> [Ear; 2] {
        let at_caller = self.call.and_then(|call| phones.agent(caller).calls.get(call));
        let at_callee = phones.agent(self.callee).calls.iter().find(|it| it.group == self.group);
        let stream = self.group * 2;
        [Ear::of(at_caller, (self.group, stream + 1)), Ear::of(at_callee, (self.group, stream))]
    }

    /// Presses 5 on the phone that does it in this row.
    fn press(&self, phones: &mut Phones, caller: Phone) {
        let by_caller = self.row.digit_to() == Some(1);
        let calls = phones.calls(if by_caller { caller } else { self.callee });
        if let Some(call) = calls.iter_mut().find(|call| call.group == self.group) {
            let has_events = call.in_force().iter().any(|(codec, ..)| codec.is_telephone_event());
            call.act(now(), if has_events { Action::Digit('5') } else { Action::Info('5') });
        }
    }

    /// What was heard while it was listened, by caller and callee.
    fn listened(&self) -> [Ear; 2] {
        [self.heard[0].since(&self.before[0]), self.heard[1].since(&self.before[1])]
    }
}

/// The table, and whether every row is right.
fn report(plays: &[Play], told: &[Told], phones: &Phones, caller: Phone) -> bool {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "way",
        "caller's codecs",
        "callee's codecs",
        "heard A->B",
        "heard B->A",
        "verdict",
    ]);
    let (mut heard, mut refused, mut wrong) = (0, 0, 0);
    for (play, told) in plays.iter().zip(told) {
        let code = play.call.map_or(0, |call| phones.agent(caller).calls[call].seen.code);
        let [to_caller, to_callee] = play.listened();
        let verdict = judge::verdict(&play.row, (to_callee, to_caller), code, told, HEARD_MIN);
        match &verdict {
            Ok(judge::Right::Heard) => heard += 1,
            Ok(judge::Right::Refused(_)) => refused += 1,
            Err(_) => wrong += 1,
        }
        let [of_caller, of_callee] = play.row.codecs();
        table.add_row([
            play.row.way.to_owned(),
            of_caller,
            of_callee,
            to_callee.to_string(),
            to_caller.to_string(),
            verdict.map_or_else(|wrong| format!("WRONG: {wrong}"), |right| right.to_string()),
        ]);
    }
    println!("{table}");
    println!(
        "{} ways: {heard} heard both ways, {refused} refused or ended with a reason, {wrong} wrong.",
        plays.len()
    );
    wrong == 0
}
