//! `tandem demo relay`: real calls through a running switch, and the bill for them.
//!
//! ```text
//!   load tool --INVITE number--> switch --webhook--> application (TwiML <Dial><Sip>)
//!   load tool <----INVITE sip:---- switch            RTP both ways, BYE
//!   afterwards: CDRs and usage by REST = what the load tool says it talked
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::app::{App, Service, dial};
use crate::clock::{S, mono, parse_duration};
use crate::load::{self, Hangup, Plan, Report};
use crate::rest::Rest;
use crate::system::{Protocol, free_port};

/// How long the bill may take after the last BYE.
const SETTLED_MAX: u64 = 20 * S;
/// How far the switch's and the load tool's idea of one leg's talk time may be apart, seconds: each
/// stamps the same two messages, once sent and once received.
const LEG_TOLERANCE_S: f64 = 0.1;

/// How many calls, and how they are judged.
#[derive(Clone, Debug, clap::Args)]
pub struct Calls {
    /// Calls in all
    #[arg(long, short = 'n', default_value_t = 20)]
    pub calls: u64,
    /// Calls per second
    #[arg(long, short, default_value_t = 5.0)]
    pub rate: f64,
    /// Talk time of a call
    #[arg(long, short, default_value = "5s", value_parser = parse_duration)]
    pub duration: u64,
    /// Loss above this is a failure, percent
    #[arg(long, default_value_t = 1.0)]
    pub max_loss: f64,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let args = &args.relay;
    let rest = Rest::new(&endpoints);
    let account = rest.get(".json", &[]).context("the API does not answer")?;
    println!(
        "Account {} ({})",
        endpoints.account_sid,
        account["friendly_name"].as_str().unwrap_or("-")
    );

    let target: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    let callee = SocketAddr::new(target.ip(), free_port(Protocol::Udp, target.ip())?);
    let service = Service {
        document: dial(&format!("sip:callee@{callee}")),
        token: Some(endpoints.auth_token),
        ..Service::default()
    };
    let app = App::start(SocketAddr::new(target.ip(), 0), service)?;
    let number = number(&rest, &app)?;
    println!(
        "Number {} -> http://{}/voice -> <Dial><Sip>sip:callee@{callee}",
        number.phone, app.address
    );
    println!(
        "Placing {} calls of {:.0} s, {} a second, with RTP both ways ...",
        args.calls,
        seconds(args.duration),
        args.rate
    );
    let before = usage(&rest)?;
    let plan = plan(args, &number, target, callee);
    let report = load::run(plan, &AtomicBool::new(false))?;
    print!("{}", load::render(&report));

    let bill = settle(&rest, &number, &report)?;
    let after = usage(&rest)?;
    let counts = app.counts();
    println!(
        "Application: {} documents, {} status callbacks {:?}, {} signatures right, {} wrong, \
         {} out of order",
        counts.documents,
        counts.callbacks,
        counts.statuses,
        counts.signed,
        counts.unsigned,
        counts.out_of_order
    );
    println!("{}", bill.table());
    rest.delete(&format!("IncomingPhoneNumbers/{}.json", number.sid))?;

    let mut faults = judge_load(args, &report);
    faults.extend(bill.judge(&report, &before, &after));
    if counts.unsigned > 0 || counts.out_of_order > 0 {
        faults.push("webhooks were unsigned or out of order".to_owned());
    }
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if faults.is_empty() {
        println!("Every call answered, every packet heard, ledger = CDRs = talk time.");
    }
    Ok(faults.is_empty())
}

pub(super) struct Number {
    sid: String,
    pub(super) phone: String,
    pub(super) caller: String,
}

/// A number of this run's own, so that its calls are told from others.
pub(super) fn number(rest: &Rest, app: &App) -> Result<Number> {
    let digits = load::new_run() % 10_000_000;
    let phone = format!("+1555{digits:07}");
    let voice = format!("http://{}/voice", app.address);
    let status = format!("http://{}/status", app.address);
    let made = rest.post(
        "IncomingPhoneNumbers.json",
        &[
            ("PhoneNumber", &phone),
            ("FriendlyName", "tandem demo"),
            ("VoiceUrl", &voice),
            ("VoiceMethod", "POST"),
            ("StatusCallback", &status),
            ("StatusCallbackMethod", "POST"),
            ("StatusCallbackEvent", "initiated"),
            ("StatusCallbackEvent", "ringing"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
        ],
    )?;
    let sid = made["sid"].as_str().context("the API made a number without a sid")?.to_owned();
    Ok(Number { sid, phone, caller: format!("+1556{digits:07}") })
}

fn plan(args: &Calls, number: &Number, target: SocketAddr, callee: SocketAddr) -> Plan {
    Plan {
        run: load::new_run(),
        to: format!("sip:{}@{target}", number.phone),
        from: format!("sip:{}@{target}", number.caller),
        target,
        bind: SocketAddr::new(target.ip(), 0),
        callee: Some(callee),
        calls_placed: true,
        rate: args.rate,
        ramp: 0,
        calls: args.calls,
        concurrent: 10_000,
        duration: args.duration,
        media: true,
        hangup: Hangup::Both,
        cancel_after: None,
        answer_timeout: 30 * S,
        headers: Vec::new(),
        ring: 0,
        reject: None,
        no_answer: false,
        drop_per_10k: 0,
        progress: true,
    }
}

fn judge_load(args: &Calls, report: &Report) -> Vec<String> {
    let mut faults = Vec::new();
    if report.answered() < args.calls {
        faults.push(format!("{} of {} calls were answered", report.answered(), args.calls));
    }
    if report.directions.len() < 2 {
        faults.push("a direction was not heard".to_owned());
    }
    for direction in &report.directions {
        if direction.loss_percent > args.max_loss || direction.silent > 0 {
            faults.push(format!(
                "{}: {:.3} % lost, {} silent",
                direction.name, direction.loss_percent, direction.silent
            ));
        }
        if direction.corrupt + direction.foreign > 0 {
            faults.push(format!("{}: content changed or mixed up", direction.name));
        }
    }
    faults
}

/// Seconds used, by category, as the account's usage records say; exact.
pub(super) fn usage(rest: &Rest) -> Result<BTreeMap<String, f64>> {
    let rows = rest.list("Usage/Records.json", "usage_records", &[])?;
    let row =
        |row: &Value| Some((row["category"].as_str()?.to_owned(), number_of(&row["usage_exact"])));
    Ok(rows.iter().filter_map(row).collect())
}

/// One leg's record and its usage facts.
struct Leg {
    inbound: bool,
    /// By its CDR, seconds.
    talked: f64,
    duration: String,
    /// Category to exact seconds, by the ledger.
    ledger: BTreeMap<String, f64>,
    price: String,
    mos: String,
}

pub(super) struct Bill {
    legs: Vec<Leg>,
    calls: u64,
}

/// Waits until every call of the run is closed and booked, and fetches its records.
pub(super) fn settle(rest: &Rest, number: &Number, report: &Report) -> Result<Bill> {
    let until = mono() + SETTLED_MAX;
    let expected = report.attempted();
    loop {
        let parents =
            rest.list("Calls.json", "calls", &[("To", &number.phone), ("PageSize", "1000")])?;
        let mut calls = parents.clone();
        for parent in &parents {
            let sid = parent["sid"].as_str().unwrap_or_default();
            calls.extend(rest.list("Calls.json", "calls", &[("ParentCallSid", sid)])?);
        }
        let over = calls.iter().all(|call| !call["end_time"].is_null());
        let complete = over && parents.len() as u64 >= expected;
        if complete || mono() > until {
            if !complete {
                println!(
                    "WARNING: {} of {expected} calls are in the books after {:.0} s",
                    parents.len(),
                    seconds(SETTLED_MAX)
                );
            }
            let legs = calls.iter().map(|call| leg(rest, call)).collect::<Result<_>>()?;
            return Ok(Bill { legs, calls: parents.len() as u64 });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn leg(rest: &Rest, call: &Value) -> Result<Leg> {
    let sid = call["sid"].as_str().unwrap_or_default();
    let cdr = rest.get(&format!("Calls/{sid}/Cdrs.json"), &[])?;
    let cdrs = cdr["cdrs"].as_array().cloned().unwrap_or_default();
    if cdrs.len() != 1 {
        bail!("call {sid} has {} CDRs, not one", cdrs.len());
    }
    let facts = rest.get(&format!("Calls/{sid}/Usage.json"), &[])?;
    let mut ledger = BTreeMap::new();
    for fact in facts["usage_rows"].as_array().into_iter().flatten() {
        let category = fact["category"].as_str().unwrap_or("-").to_owned();
        *ledger.entry(category).or_insert(0.0) += number_of(&fact["usage_exact"]);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    Ok(Leg {
        inbound: call["direction"].as_str().is_some_and(|direction| direction == "inbound"),
        talked: number_of(&cdrs[0]["duration_exact"]),
        duration: text(&call["duration"]),
        ledger,
        price: text(&call["price"]),
        mos: text(&cdrs[0]["media"]["mos"]),
    })
}

impl Bill {
    fn talked(&self, inbound: bool) -> f64 {
        self.legs.iter().filter(|leg| leg.inbound == inbound).map(|leg| leg.talked).sum()
    }

    fn booked(&self, category: &str) -> f64 {
        self.legs.iter().filter_map(|leg| leg.ledger.get(category)).sum()
    }

    fn count(&self, inbound: bool) -> usize {
        self.legs.iter().filter(|leg| leg.inbound == inbound).count()
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header([
            "billed",
            "legs",
            "CDR seconds",
            "whole seconds",
            "ledger seconds",
            "price",
            "MOS",
        ]);
        for (name, inbound, category) in
            [("caller's leg", true, "sip-ingress"), ("callee's leg", false, "sip-egress")]
        {
            let legs = || self.legs.iter().filter(|leg| leg.inbound == inbound);
            let whole: f64 = legs().filter_map(|leg| leg.duration.parse::<f64>().ok()).sum();
            let price: f64 = legs().filter_map(|leg| leg.price.parse::<f64>().ok()).sum();
            let mos = legs().filter_map(|leg| leg.mos.parse::<f64>().ok()).fold(f64::MAX, f64::min);
            table.add_row([
                name.to_owned(),
                self.count(inbound).to_string(),
                format!("{:.3}", self.talked(inbound)),
                format!("{whole:.0}"),
                format!("{:.3} ({category})", self.booked(category)),
                format!("{:.4}", price.abs()),
                if mos < f64::MAX { format!("{mos:.2}") } else { "-".to_owned() },
            ]);
        }
        let relayed = format!("{:.3} (media-relay)", self.booked("media-relay"));
        table.add_row(["media", "", "", "", &relayed, "", ""]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Ledger = CDRs = talk time, and the account's sums moved by as much.
    fn judge(
        &self,
        report: &Report,
        before: &BTreeMap<String, f64>,
        after: &BTreeMap<String, f64>,
    ) -> Vec<String> {
        let mut faults = self.judge_legs(report);
        for category in ["sip-ingress", "sip-egress"] {
            let get = |sums: &BTreeMap<String, f64>| sums.get(category).copied().unwrap_or(0.0);
            let (moved, booked) = (get(after) - get(before), self.booked(category));
            let what = format!("{category}, usage records against ledger");
            faults.extend(unequal(&what, moved, booked, 0.001));
        }
        faults
    }

    /// Ledger = CDRs = talk time.
    pub(super) fn judge_legs(&self, report: &Report) -> Vec<String> {
        let mut faults = Vec::new();
        let talk = |role: &Option<load::Signalling>| role.as_ref().map_or(0.0, |r| r.talk_seconds);
        #[expect(clippy::cast_precision_loss, reason = "a tolerance")]
        let tolerance = LEG_TOLERANCE_S * self.calls.max(1) as f64;
        for (name, inbound, category, talked) in [
            ("caller's legs", true, "sip-ingress", talk(&report.caller)),
            ("callee's legs", false, "sip-egress", talk(&report.callee)),
        ] {
            let (cdrs, booked) = (self.talked(inbound), self.booked(category));
            faults.extend(unequal(&format!("{name}, ledger against CDRs"), booked, cdrs, 0.001));
            let what = format!("{name}, CDRs against the load tool");
            faults.extend(unequal(&what, cdrs, talked, tolerance));
        }
        if self.calls != report.attempted() {
            faults.push(format!(
                "{} calls in the books, {} placed",
                self.calls,
                report.attempted()
            ));
        }
        faults
    }
}

fn unequal(what: &str, left: f64, right: f64, tolerance: f64) -> Option<String> {
    ((left - right).abs() > tolerance).then(|| format!("{what}: {left:.3} s against {right:.3} s"))
}

fn number_of(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
const fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
