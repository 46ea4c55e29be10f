//! The operator's figures, in the Prometheus text format: the shards' counters as they stand in
//! their regions, the runtime's own, the store's.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base::Now;
use director::Stats;
use store::{Position, Status};
use wire::counter::{Counter, Counters};
use wire::region::Region;

use crate::health::Health;

/// A shard whose last turn is older stands still, or is gone.
const PULSE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

type Pair = (Region<'static>, Region<'static>);

/// Shared between the runtime, which writes, and whoever shows.
#[derive(Debug, Default)]
pub struct Gauges {
    /// How journal, store and disk are.
    pub health: Health,
    regions: Mutex<Vec<Pair>>,
    stats: Mutex<Stats>,
    events: AtomicU64,
    damaged: AtomicU64,
    turns: AtomicU64,
    last: AtomicU64,
    durable: AtomicU64,
    journal_bytes: AtomicU64,
    commands_waiting: AtomicU64,
    turned: AtomicU64,
}

impl Gauges {
    pub(crate) fn attach(&self, regions: Vec<Pair>) {
        *self.regions.lock().unwrap_or_else(PoisonError::into_inner) = regions;
    }

    /// The epoch of the dataplane that is attached, if all its shards have taken a turn lately.
    pub(crate) fn beating(&self, now: base::Mono) -> Option<u32> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let age =
            |theirs: &Region<'_>| now.since(base::Mono(theirs.pulse().load(Ordering::Relaxed)));
        let beats = regions.iter().all(|(theirs, _)| age(theirs) < PULSE_MAX);
        regions.first().filter(|_| beats).map(|(theirs, _)| theirs.epoch())
    }

    pub(crate) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn damage(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn turn(
        &self,
        now: Now,
        stats: Stats,
        (last, durable, journal_bytes): (Position, Position, u64),
        commands_waiting: usize,
    ) {
        self.journal_bytes.store(journal_bytes, Ordering::Relaxed);
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.durable.store(durable, Ordering::Relaxed);
        self.commands_waiting.store(commands_waiting as u64, Ordering::Relaxed);
        self.turned.store(now.mono.0, Ordering::Relaxed);
    }

    /// All of it as text. `store`: None if it cannot be asked now.
    #[must_use]
    pub fn render(&self, now: Now, store: Option<&Status>) -> String {
        let mut text = String::new();
        self.render_shards(now, &mut text);
        self.render_runtime(now, &mut text);
        render_health(&self.health, &mut text);
        let name = "tandem_sip_target_out_since_seconds";
        head(&mut text, name, "Since when a target is asked last, in seconds of 1970", true);
        for (labels, since) in self.health.targets.figures(now.mono) {
            line(&mut text, name, &labels, since);
        }
        if let Some(status) = store {
            render_store(status, &mut text);
        }
        text
    }

    fn render_shards(&self, now: Now, text: &mut String) {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counters: Vec<Counters> =
            regions.iter().map(|(theirs, _)| Counters::read(theirs.counters())).collect();
        let mut shown = "";
        for counter in Counter::ALL {
            let name = format!("tandem_{}", counter.metric());
            if shown != counter.metric() {
                shown = counter.metric();
                head(text, &name, counter.metric_help(), counter.is_gauge());
            }
            let reason = counter.reason().map_or_else(String::new, |reason| {
                // A comment to the format, a help to whoever reads.
                let _ = writeln!(text, "# {reason}: {}", counter.help());
                format!(",reason=\"{reason}\"")
            });
            for (shard, counters) in counters.iter().enumerate() {
                let labels = format!("{{shard=\"{shard}\"{reason}}}");
                line(text, &name, &labels, counters.get(*counter));
            }
        }
        let name = "tandem_shard_pulse_age_seconds";
        head(text, name, "Time since the shard's last turn", true);
        for (shard, (theirs, _)) in regions.iter().enumerate() {
            let age = now.mono.0.saturating_sub(theirs.pulse().load(Ordering::Relaxed));
            line(text, name, &format!("{{shard=\"{shard}\"}}"), seconds(age));
        }
    }

    fn render_runtime(&self, now: Now, text: &mut String) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, durable) = (load(&self.last), load(&self.durable));
        let counters = [
            ("events_received_total", "Events taken from the shards", load(&self.events)),
            ("events_unreadable_total", "Events that could not be read", load(&self.damaged)),
            ("runtime_turns_total", "Turns of the controlplane's runtime", load(&self.turns)),
            ("journal_records_appended_total", "Records appended to the journal", last),
            ("journal_bytes_total", "Bytes written to the journal", load(&self.journal_bytes)),
            ("calls_incoming_total", "Incoming calls", stats.calls_incoming),
            ("calls_refused_total", "Calls refused by the director", stats.calls_refused),
            ("calls_unknown_total", "Calls to nobody's number or domain", stats.calls_unknown),
            ("calls_dialled_total", "Calls dialled", stats.calls_originated),
            ("calls_ended_total", "Calls ended", stats.calls_ended),
            ("document_fetches_total", "Documents asked for", stats.fetches),
            ("document_fetches_failed_total", "Documents not got", stats.fetches_failed),
            ("callbacks_made_total", "Callbacks that were to be told", stats.callbacks_made),
            ("callbacks_delivered_total", "Callbacks taken", stats.callbacks_delivered),
            ("callbacks_retried_total", "Callbacks sent again", stats.callbacks_retried),
            ("callbacks_abandoned_total", "Callbacks given up", stats.callbacks_dead),
            ("callbacks_replayed_total", "Dead letters delivered", stats.callbacks_replayed),
            ("relays_taken_total", "Relayed legs taken over", stats.relays_taken),
            ("messages_left_out_total", "SIP messages not told", stats.messages_left_out),
            ("alerts_dropped_total", "Alerts over their rate", stats.alerts_dropped),
        ];
        for (name, help, value) in counters {
            let name = format!("tandem_{name}");
            head(text, &name, help, false);
            line(text, &name, "", value);
        }
        let waiting = load(&self.commands_waiting);
        let gauges = [
            ("journal_records_unsynced", "Records not synced yet", last.saturating_sub(durable)),
            ("commands_waiting", "Commands waiting for room in a ring", waiting),
            ("calls_live", "Calls live", stats.calls_live as u64),
            ("calls_ending", "Calls over that wait for callbacks", stats.calls_ending as u64),
            ("callbacks_waiting", "Callbacks waiting", stats.callbacks_waiting as u64),
        ];
        for (name, help, value) in gauges {
            let name = format!("tandem_{name}");
            head(text, &name, help, true);
            line(text, &name, "", value);
        }
        let name = "tandem_runtime_turn_age_seconds";
        head(text, name, "Time since the runtime's last turn", true);
        line(text, name, "", seconds(now.mono.0.saturating_sub(load(&self.turned))));
    }
}

fn render_health(health: &Health, text: &mut String) {
    for (name, help, is_gauge, value) in health.figures() {
        let name = format!("tandem_{name}");
        head(text, &name, help, is_gauge);
        line(text, &name, "", value);
    }
}

fn render_store(status: &Status, text: &mut String) {
    let gauges = [
        ("store_calls", "Calls in the store", status.calls),
        ("store_cdrs", "CDRs in the store", status.cdrs),
        ("store_usage_rows", "Usage rows in the store", status.usage_rows),
        ("store_charges", "Charges in the store", status.ledger_rows),
        ("store_alerts", "Alerts in the store", status.alerts),
        ("store_dead_letters", "Callbacks given up, in the store", status.dead_letters),
        (
            "store_dead_letters_dropped",
            "Dead letters dropped of accounts that had too many",
            status.dead_letters_dropped,
        ),
        ("store_scripts", "Scripts that have not ended", status.scripts),
        ("store_writes_waiting", "Writes not committed yet", status.waiting),
        ("store_database_bytes", "Size of the database", status.database_bytes),
        ("store_database_free_bytes", "Of it, what the next rows take", status.free_bytes),
    ];
    for (name, help, value) in gauges {
        let name = format!("tandem_{name}");
        head(text, &name, help, true);
        line(text, &name, "", value);
    }
    let name = "tandem_store_rows_removed_total";
    head(text, name, "Old rows removed, and those beyond an account's share", false);
    line(text, name, "", status.removed);
}

fn head(text: &mut String, name: &str, help: &str, is_gauge: bool) {
    let kind = if is_gauge { "gauge" } else { "counter" };
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Nanoseconds in the base unit, exact.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_stands_once_and_its_name_says_its_kind() {
        let gauges = Gauges::default();
        let text = gauges.render(Now::default(), Some(&Status::default()));
        let mut seen = BTreeSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a kind");
            assert!(
                seen.insert(name.to_owned()),
                "{name} stands twice: its lines must be together"
            );
            assert!(name.starts_with("tandem_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let odd = ["_ms", "_milliseconds", "_us", "_micros", "_kib", "_percent"];
            assert!(!odd.iter().any(|unit| name.ends_with(unit)), "{name}: base units");
        }
        assert!(seen.contains("tandem_sip_messages_received_total"));
        assert!(seen.contains("tandem_discards_total"));
    }
}
