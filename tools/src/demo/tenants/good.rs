//! The tenant that means well, and how it fares.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Tenants;
use crate::app::{App, Service, dial};
use crate::clock::{MS, S, mono};
use crate::load::{self, Hangup, Plan};
use crate::rest::Rest;
use crate::system::{Protocol, free_port};
use crate::up::Endpoints;

const CALLERS: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);
const CALLEE: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 2);
/// A call that is not answered by then is not set up.
const ANSWER_MAX: u64 = 8 * S;
/// Between two questions to the API.
const ASKED_EACH: Duration = Duration::from_millis(25);

pub(super) struct Good {
    rest: Rest,
    switch: SocketAddr,
    callee: SocketAddr,
    number: String,
    app: App,
}

/// How a row went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Heard {
    pub(super) offered: u64,
    pub(super) set_up: u64,
    pub(super) setup_p50_ms: f64,
    pub(super) setup_p99_ms: f64,
    /// Packets that were changed or another call's, legs that heard nothing.
    pub(super) wrong: u64,
    pub(super) asked: u64,
    /// Questions to the API without a good answer.
    pub(super) unanswered: u64,
    pub(super) api_p99_ms: f64,
    /// Status callbacks that came after a later one of their call, or unsigned.
    pub(super) out_of_order: u64,
}

impl Good {
    pub(super) fn new(endpoints: &Endpoints) -> Result<Self> {
        let switch: SocketAddr = endpoints.sip_address.parse().context("no sip_address")?;
        let rest = Rest::new(endpoints);
        let callee = SocketAddr::new(CALLEE.into(), free_port(Protocol::Udp, CALLEE.into())?);
        let service = Service {
            document: dial(&format!("sip:callee@{callee}")),
            token: Some(endpoints.auth_token.clone()),
            ..Service::default()
        };
        let app = App::start(SocketAddr::new(switch.ip(), 0), service)?;
        let number = super::misdeed::number(&rest, "+1557", &app.address.to_string())?;
        Ok(Self { rest, switch, callee, number, app })
    }

    /// Calls for a while, with questions to the API beside them.
    pub(super) fn calls(&self, scale: &Tenants) -> Result<Heard> {
        let before = self.app.counts();
        let stop = AtomicBool::new(false);
        let (report, asked) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| self.ask(&stop));
            let report = load::run(self.plan(scale), &AtomicBool::new(false));
            stop.store(true, Ordering::Relaxed);
            (report, asked.join())
        });
        let report = report?;
        let mut heard = asked.unwrap_or_default();
        let after = self.app.counts();
        let caller = report.caller.as_ref();
        heard.offered = report.attempted();
        heard.set_up = report.answered();
        heard.setup_p50_ms = caller.map_or(0.0, |caller| caller.setup_p50_ms);
        heard.setup_p99_ms = caller.map_or(0.0, |caller| caller.setup_p99_ms);
        heard.wrong = report.faults();
        heard.out_of_order =
            after.out_of_order + after.unsigned - before.out_of_order - before.unsigned;
        Ok(heard)
    }

    fn ask(&self, stop: &AtomicBool) -> Heard {
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).ok();
        let (mut asked, mut unanswered) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let began = mono();
            let answer = self.rest.get("Calls.json", &[("PageSize", "20")]);
            asked += 1;
            unanswered += u64::from(answer.is_err());
            if let Some(times) = &mut times {
                times.saturating_record((mono() - began) / 1_000);
            }
            std::thread::sleep(ASKED_EACH);
        }
        let p99 = times.map_or(0, |times| times.value_at_quantile(0.99));
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let api_p99_ms = p99 as f64 / 1e3;
        Heard { asked, unanswered, api_p99_ms, ..Heard::default() }
    }

    fn plan(&self, scale: &Tenants) -> Plan {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let calls = (scale.good * super::seconds(scale.span)).ceil() as u64;
        let to = format!("sip:{}@{}", self.number, self.switch);
        let plan = plan((self.switch, CALLERS), to, scale.good);
        Plan {
            callee: Some(self.callee),
            calls,
            duration: 700 * MS,
            media: true,
            answer_timeout: ANSWER_MAX,
            ..plan
        }
    }
}

/// Calls without RTP and without a callee, for ever.
pub(super) fn plan((switch, from): (SocketAddr, Ipv4Addr), to: String, rate: f64) -> Plan {
    Plan {
        run: load::new_run(),
        to,
        from: format!("sip:tenant@{from}"),
        target: switch,
        bind: SocketAddr::new(IpAddr::V4(from), 0),
        callee: None,
        calls_placed: true,
        rate,
        ramp: 0,
        calls: 0,
        concurrent: 10_000,
        duration: S,
        media: false,
        hangup: Hangup::Caller,
        cancel_after: None,
        answer_timeout: 3 * S,
        headers: Vec::new(),
        ring: 0,
        reject: None,
        no_answer: false,
        drop_per_10k: 0,
        progress: false,
    }
}
