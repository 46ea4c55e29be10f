//! What came out: calls, talk time, and a quality line per direction, as a table and as JSON.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::record::{LegRecord, judge};
use super::role::Outcome;
use crate::clock::MS;

/// A leg that lived no longer may have heard nothing.
const SHORT_NS: u64 = 200 * MS;
/// The same where the peer is a stranger who may start later.
const LATE_NS: u64 = 1_000 * MS;

/// Quality of all streams of one direction. Times are milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Direction {
    pub name: &'static str,
    /// Streams with at least one packet heard.
    pub streams: u64,
    /// Answered legs that heard nothing.
    pub silent: u64,
    /// None where the sender is not of this tool's run.
    pub sent: Option<u64>,
    pub received: u64,
    pub lost: u64,
    pub loss_percent: f64,
    /// Not arrived because the call was being hung up: not loss.
    pub cut: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// Content changed on the way.
    pub corrupt: u64,
    /// Packets of another call.
    pub foreign: u64,
    /// Streams whose SSRC changed.
    pub restarted: u64,
    pub rtcp: u64,
    pub jitter_mean_ms: f64,
    pub jitter_max_ms: f64,
    pub delay_min_ms: f64,
    pub delay_mean_ms: f64,
    pub delay_p50_ms: f64,
    pub delay_p99_ms: f64,
    pub delay_max_ms: f64,
    pub mos_mean: f64,
    pub mos_min: f64,
}

/// Signalling of one role.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Signalling {
    pub attempted: u64,
    pub answered: u64,
    /// Final code (408: no answer at all) to count.
    pub failed: BTreeMap<u16, u64>,
    pub cancelled: u64,
    pub cancel_crossed: u64,
    pub unanswered: u64,
    pub unacknowledged: u64,
    pub bye_unanswered: u64,
    pub bye_refused: BTreeMap<u16, u64>,
    pub left_standing: u64,
    pub without_sdp: u64,
    /// Calls that left more than 50 ms after they were due, because as many as are allowed stood.
    pub held_back: u64,
    pub reinvites: u64,
    pub options: u64,
    pub messages: u64,
    pub retransmissions: u64,
    pub retransmissions_heard: u64,
    pub unparsed: u64,
    pub unknown_dialog: u64,
    pub packets_sent: u64,
    pub packets_received: u64,
    /// Packets that came for a port without a call, or not from the call's peer.
    pub packets_stray: u64,
    /// The first packets whose content was changed or of another call.
    pub wrong_packets: Vec<String>,
    pub talk_seconds: f64,
    /// Talk time with each call rounded up to whole seconds.
    pub talk_seconds_ceil: u64,
    pub setup_p50_ms: f64,
    pub setup_p99_ms: f64,
    pub setup_max_ms: f64,
    pub ring_p50_ms: f64,
    pub ring_p99_ms: f64,
    /// CPU time over elapsed time of its thread.
    pub busy: f64,
    pub send_late_p50_ms: f64,
    pub send_late_p99_ms: f64,
    pub send_late_max_ms: f64,
}

/// The whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub elapsed_s: f64,
    pub calls_per_second: f64,
    pub caller: Option<Signalling>,
    pub callee: Option<Signalling>,
    pub directions: Vec<Direction>,
    /// Where the tool, not what it measures, was the limit. Empty: it was not.
    pub tool_limits: Vec<String>,
}

impl Report {
    /// Calls answered, as the caller saw them (or the callee, where it is alone).
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.front().map_or(0, |role| role.answered)
    }

    #[must_use]
    pub fn attempted(&self) -> u64 {
        self.front().map_or(0, |role| role.attempted)
    }

    /// Worst loss of the directions, percent; a direction in which nothing was heard at all counts
    /// 100.
    #[must_use]
    pub fn loss_percent_max(&self) -> f64 {
        self.directions.iter().map(|d| d.loss_percent).fold(0.0, f64::max)
    }

    /// Calls that did not come about.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.front().map_or(0, |role| role.failed.values().sum::<u64>() + role.unanswered)
    }

    /// Calls that were not placed when they were due.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.front().map_or(0, |role| role.held_back)
    }

    fn front(&self) -> Option<&Signalling> {
        self.caller.as_ref().or(self.callee.as_ref())
    }

    /// Content that must never happen: changed, mixed up, missing.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.directions.iter().map(|d| d.corrupt + d.foreign + d.silent).sum()
    }
}

pub(crate) fn build(
    caller: Option<Outcome>,
    callee: Option<Outcome>,
    limits: Vec<String>,
) -> Report {
    let mut report = Report { tool_limits: limits, ..Report::default() };
    for (name, role) in [("caller", &caller), ("callee", &callee)] {
        if let Some(role) = role {
            own_limits(name, role, &mut report.tool_limits);
            report.elapsed_s = report.elapsed_s.max(seconds(role.elapsed_ns));
        }
    }
    report.caller = caller.as_ref().map(signalling);
    report.callee = callee.as_ref().map(signalling);
    if report.elapsed_s > 0.0 {
        report.calls_per_second = count(report.attempted()) / report.elapsed_s;
    }
    let (a, b) = (caller.as_ref(), callee.as_ref());
    if let Some(ear) = b.filter(|role| !role.records.is_empty()) {
        report.directions.push(direction("caller -> callee", ear, a));
    }
    if let Some(ear) = a.filter(|role| !role.records.is_empty()) {
        report.directions.push(direction("callee -> caller", ear, b));
    }
    report
}

/// What the tool itself did badly.
fn own_limits(name: &str, role: &Outcome, limits: &mut Vec<String>) {
    let late = role.lateness.value_at_quantile(0.99);
    if !role.lateness.is_empty() && late > 5_000 {
        limits.push(format!(
            "{name}: 1 % of its packets left more than {:.1} ms late: delay and jitter are partly \
             its own",
            millis(late)
        ));
    }
    if role.busy > 0.9 {
        limits.push(format!("{name}: its thread was {:.0} % busy", role.busy * 100.0));
    }
    if role.totals.missed > 0 {
        limits.push(format!("{name}: {} calls were not placed in time", role.totals.missed));
    }
    let refused: u64 = role.records.iter().map(|leg| leg.send_errors).sum();
    if refused > 0 {
        limits.push(format!("{name}: the kernel refused {refused} RTP packets"));
    }
    if role.sip_send_errors > 0 {
        limits.push(format!("{name}: the kernel refused {} SIP messages", role.sip_send_errors));
    }
}

fn signalling(role: &Outcome) -> Signalling {
    let totals = &role.totals;
    #[expect(clippy::cast_precision_loss, reason = "shown to the millisecond")]
    let talk_seconds = totals.talk_ns as f64 / 1e9;
    let at = |histogram: &Histogram<u64>, q| millis(histogram.value_at_quantile(q));
    Signalling {
        attempted: totals.attempted,
        answered: totals.answered,
        failed: totals.failed.clone(),
        cancelled: totals.cancelled,
        cancel_crossed: totals.cancel_crossed,
        unanswered: totals.unanswered,
        unacknowledged: totals.unacknowledged,
        bye_unanswered: totals.bye_unanswered,
        bye_refused: totals.bye_refused.clone(),
        left_standing: totals.left_standing,
        without_sdp: totals.without_sdp,
        held_back: totals.held_back,
        reinvites: totals.reinvites,
        options: totals.options,
        messages: totals.messages,
        retransmissions: totals.retransmissions,
        retransmissions_heard: totals.retransmissions_heard,
        unparsed: totals.unparsed,
        unknown_dialog: totals.unknown_dialog,
        packets_sent: role.sent,
        packets_received: role.received,
        packets_stray: role.stray,
        wrong_packets: role.samples.clone(),
        talk_seconds,
        talk_seconds_ceil: totals.talk_s_ceil,
        setup_p50_ms: at(&totals.setup_us, 0.5),
        setup_p99_ms: at(&totals.setup_us, 0.99),
        setup_max_ms: millis(totals.setup_us.max()),
        ring_p50_ms: at(&totals.ring_us, 0.5),
        ring_p99_ms: at(&totals.ring_us, 0.99),
        busy: role.busy,
        send_late_p50_ms: at(&role.lateness, 0.5),
        send_late_p99_ms: at(&role.lateness, 0.99),
        send_late_max_ms: millis(role.lateness.max()),
    }
}

/// What `ear` heard; `mouth` is the other role where it ran here too.
fn direction(name: &'static str, ear: &Outcome, mouth: Option<&Outcome>) -> Direction {
    let spoken: HashMap<u32, &LegRecord> =
        mouth.iter().flat_map(|m| &m.records).map(|leg| (leg.stream, leg)).collect();
    let listeners: HashMap<u32, &LegRecord> =
        mouth.iter().flat_map(|m| &m.records).map(|leg| (leg.heard, leg)).collect();
    let both = mouth.is_some();
    let mut all = Direction { name, mos_min: f64::MAX, ..Direction::default() };
    let mut jitter_us = 0;
    let mut heard_streams = Vec::with_capacity(ear.records.len());
    for leg in &ear.records {
        all.corrupt += leg.corrupt;
        all.foreign += leg.foreign;
        all.rtcp += leg.rtcp;
        if leg.heard == 0 {
            all.silent += u64::from(is_silence(leg, listeners.get(&leg.stream).copied(), both));
            continue;
        }
        heard_streams.push(leg.heard);
        let heard = judge(leg, spoken.get(&leg.heard).copied());
        all.streams += 1;
        all.received += leg.unique;
        all.lost += heard.lost;
        all.cut += heard.cut;
        all.duplicated += leg.duplicates;
        all.reordered += leg.reordered;
        all.restarted += u64::from(leg.sources > 1);
        jitter_us += leg.jitter_us;
        all.jitter_max_ms = all.jitter_max_ms.max(millis(leg.jitter_max_us));
        all.mos_mean += heard.mos;
        all.mos_min = all.mos_min.min(heard.mos);
    }
    if let Some(mouth) = mouth {
        let heard: std::collections::HashSet<u32> = heard_streams.into_iter().collect();
        // What was said to nobody is lost too, but for what the hang-up cut.
        let unheard = mouth.records.iter().filter(|leg| !heard.contains(&leg.stream));
        all.lost += unheard.map(|leg| leg.sent.saturating_sub(2)).sum::<u64>();
        all.sent = Some(mouth.records.iter().map(|leg| leg.sent).sum());
    }
    finish(&mut all, jitter_us, &ear.delay);
    all
}

/// Whether a leg that heard nothing should have: its peer (who heard it) spoke, or there was time
/// for a peer to.
fn is_silence(leg: &LegRecord, peer: Option<&LegRecord>, both: bool) -> bool {
    match peer {
        Some(peer) => peer.sent > 2,
        None if both => leg.talked_ns > SHORT_NS,
        None => leg.talked_ns > LATE_NS,
    }
}

fn finish(all: &mut Direction, jitter_us: u64, delay: &Histogram<u64>) {
    let streams = count(all.streams.max(1));
    all.mos_mean /= streams;
    if all.streams == 0 {
        all.mos_min = 0.0;
    }
    all.jitter_mean_ms = count(jitter_us) / streams / 1_000.0;
    let due = all.received + all.lost;
    all.loss_percent = match due {
        0 if all.silent > 0 => 100.0,
        0 => 0.0,
        _ => count(all.lost) * 100.0 / count(due),
    };
    all.delay_min_ms = millis(if delay.is_empty() { 0 } else { delay.min() });
    all.delay_mean_ms = delay.mean() / 1_000.0;
    all.delay_p50_ms = millis(delay.value_at_quantile(0.5));
    all.delay_p99_ms = millis(delay.value_at_quantile(0.99));
    all.delay_max_ms = millis(delay.max());
}

/// The tables, for people.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for (name, role) in [("caller", &report.caller), ("callee", &report.callee)] {
        if let Some(role) = role {
            render_role(&mut text, name, role);
        }
    }
    let _ = writeln!(text, "ran {:.1} s, {:.1} calls/s", report.elapsed_s, report.calls_per_second);
    if !report.directions.is_empty() {
        let _ = writeln!(text, "{}", quality_table(&report.directions));
    }
    for packet in
        [&report.caller, &report.callee].into_iter().flatten().flat_map(|r| &r.wrong_packets)
    {
        let _ = writeln!(text, "wrong packet: {packet}");
    }
    for limit in &report.tool_limits {
        let _ = writeln!(text, "LIMIT OF THE TOOL ITSELF: {limit}");
    }
    text
}

fn render_role(text: &mut String, name: &str, role: &Signalling) {
    let failed: u64 = role.failed.values().sum();
    let _ = write!(
        text,
        "{name}: {} calls, {} answered, {failed} failed",
        role.attempted, role.answered
    );
    for (code, count) in &role.failed {
        let _ = write!(text, " [{code}: {count}]");
    }
    let odd = [
        ("cancelled", role.cancelled),
        ("cancel crossed answer", role.cancel_crossed),
        ("not answered in time", role.unanswered),
        ("never acknowledged", role.unacknowledged),
        ("BYE unanswered", role.bye_unanswered),
        ("BYE refused", role.bye_refused.values().sum()),
        ("left standing", role.left_standing),
        ("answer without SDP", role.without_sdp),
        ("held back", role.held_back),
        ("retransmitted", role.retransmissions),
        ("retransmissions heard", role.retransmissions_heard),
        ("unreadable", role.unparsed),
        ("for no call of ours", role.unknown_dialog),
        ("stray packets", role.packets_stray),
    ];
    for (what, count) in odd.iter().filter(|(_, count)| *count > 0) {
        let _ = write!(text, ", {count} {what}");
    }
    let _ = write!(text, "; talked {:.1} s", role.talk_seconds);
    if role.setup_max_ms > 0.0 {
        let _ = write!(
            text,
            "; set-up p50 {:.2} ms, p99 {:.2} ms",
            role.setup_p50_ms, role.setup_p99_ms
        );
    }
    let _ = writeln!(
        text,
        "; thread {:.0} % busy, sends late p99 {:.2} ms",
        role.busy * 100.0,
        role.send_late_p99_ms
    );
}

fn quality_table(directions: &[Direction]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header = vec![String::new()];
    header.extend(directions.iter().map(|d| d.name.to_owned()));
    table.set_header(header);
    let row = |name: &str, value: &dyn Fn(&Direction) -> String| {
        let mut cells = vec![name.to_owned()];
        cells.extend(directions.iter().map(value));
        cells
    };
    let sent = |d: &Direction| d.sent.map_or_else(|| "-".to_owned(), |sent| sent.to_string());
    table.add_row(row("streams", &|d| d.streams.to_string()));
    table.add_row(row("silent", &|d| d.silent.to_string()));
    table.add_row(row("packets sent", &sent));
    table.add_row(row("received", &|d| d.received.to_string()));
    table.add_row(row("lost", &|d| format!("{} ({:.3} %)", d.lost, d.loss_percent)));
    table.add_row(row("cut by hang-up", &|d| d.cut.to_string()));
    table.add_row(row("duplicated", &|d| d.duplicated.to_string()));
    table.add_row(row("reordered", &|d| d.reordered.to_string()));
    table.add_row(row("corrupt / foreign", &|d| format!("{} / {}", d.corrupt, d.foreign)));
    table.add_row(row("jitter mean / max, ms", &|d| {
        format!("{:.2} / {:.2}", d.jitter_mean_ms, d.jitter_max_ms)
    }));
    table.add_row(row("delay min / mean, ms", &|d| {
        format!("{:.3} / {:.3}", d.delay_min_ms, d.delay_mean_ms)
    }));
    table.add_row(row("delay p50 / p99, ms", &|d| {
        format!("{:.3} / {:.3}", d.delay_p50_ms, d.delay_p99_ms)
    }));
    table.add_row(row("MOS mean / min", &|d| format!("{:.2} / {:.2}", d.mos_mean, d.mos_min)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn millis(us: u64) -> f64 {
    count(us) / 1_000.0
}

fn seconds(ns: u64) -> f64 {
    count(ns) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "counts shown to people")]
const fn count(value: u64) -> f64 {
    value as f64
}
