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

type Pair = (Region<'static>, Region<'static>);

/// Shared between the runtime, which writes, and whoever shows.
#[derive(Debug, Default)]
pub struct Gauges {
    regions: Mutex<Vec<Pair>>,
    stats: Mutex<Stats>,
    events: AtomicU64,
    damaged: AtomicU64,
    turns: AtomicU64,
    last: AtomicU64,
    durable: AtomicU64,
    commands_waiting: AtomicU64,
    turned: AtomicU64,
}

impl Gauges {
    pub(crate) fn attach(&self, regions: Vec<Pair>) {
        *self.regions.lock().unwrap_or_else(PoisonError::into_inner) = regions;
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
        last: Position,
        durable: Position,
        commands_waiting: usize,
    ) {
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
        if let Some(status) = store {
            render_store(status, &mut text);
        }
        text
    }

    fn render_shards(&self, now: Now, text: &mut String) {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counters: Vec<Counters> =
            regions.iter().map(|(theirs, _)| Counters::read(theirs.counters())).collect();
        for counter in Counter::ALL {
            let is_gauge = counter.help().ends_with("(gauge)") || *counter == Counter::PortSpare;
            let name = if is_gauge {
                format!("tandem_{}", counter.name())
            } else {
                format!("tandem_{}_total", counter.name())
            };
            head(text, &name, counter.help(), is_gauge);
            for (shard, counters) in counters.iter().enumerate() {
                line(text, &name, &format!("{{shard=\"{shard}\"}}"), counters.get(*counter));
            }
        }
        let name = "tandem_shard_pulse_age_seconds";
        head(text, name, "Time since the shard's last turn", true);
        for (shard, (theirs, _)) in regions.iter().enumerate() {
            let age = now.mono.0.saturating_sub(theirs.pulse().load(Ordering::Relaxed));
            let seconds = format!("{}.{:09}", age / 1_000_000_000, age % 1_000_000_000);
            line(text, name, &format!("{{shard=\"{shard}\"}}"), seconds);
        }
    }

    fn render_runtime(&self, now: Now, text: &mut String) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, durable) = (load(&self.last), load(&self.durable));
        let counters = [
            ("runtime_event_take_event", "Events taken from the shards", load(&self.events)),
            ("runtime_event_damage_event", "Events that could not be read", load(&self.damaged)),
            ("runtime_turn_take_turn", "Turns of the controlplane's runtime", load(&self.turns)),
            ("journal_append_record", "Records appended to the journal", last),
            ("director_call_incoming_call", "Incoming calls", stats.calls_incoming),
            ("director_call_refuse_call", "Calls refused by the director", stats.calls_refused),
            ("director_call_originate_call", "Calls dialled", stats.calls_originated),
            ("director_call_end_call", "Calls ended", stats.calls_ended),
            ("director_fetch_send_request", "Documents asked for", stats.fetches),
            ("director_fetch_fail_request", "Documents not got", stats.fetches_failed),
            ("director_callback_deliver_callback", "Callbacks taken", stats.callbacks_delivered),
            ("director_callback_retry_callback", "Callbacks sent again", stats.callbacks_retried),
            ("director_callback_dead_callback", "Callbacks given up", stats.callbacks_dead),
            ("director_alert_drop_alert", "Alerts over their rate", stats.alerts_dropped),
        ];
        for (name, help, value) in counters {
            let name = format!("tandem_{name}_total");
            head(text, &name, help, false);
            line(text, &name, "", value);
        }
        let age = now.mono.0.saturating_sub(load(&self.turned)) / 1_000_000;
        let waiting = load(&self.commands_waiting);
        let gauges = [
            ("runtime_turn_age_milliseconds", "Time since the runtime's last turn", age),
            ("journal_undurable_record", "Records not synced yet", last.saturating_sub(durable)),
            ("runtime_command_wait_command", "Commands waiting for room in a ring", waiting),
            ("director_call_stand_call", "Calls live", stats.calls_live as u64),
            (
                "director_callback_wait_callback",
                "Callbacks waiting",
                stats.callbacks_waiting as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let name = format!("tandem_{name}");
            head(text, &name, help, true);
            line(text, &name, "", value);
        }
    }
}

fn render_store(status: &Status, text: &mut String) {
    let gauges = [
        ("store_call_row", "Calls in the store", status.calls),
        ("store_cdr_row", "CDRs in the store", status.cdrs),
        ("store_usage_row", "Usage rows in the store", status.usage_rows),
        ("store_ledger_row", "Charges in the store", status.ledger_rows),
        ("store_alert_row", "Alerts in the store", status.alerts),
        ("store_dead_letter_row", "Callbacks given up, in the store", status.dead_letters),
        ("store_script_row", "Scripts that have not ended", status.scripts),
        ("store_write_wait_write", "Writes not committed yet", status.waiting),
        ("store_database_byte", "Size of the database", status.database_bytes),
    ];
    for (name, help, value) in gauges {
        let name = format!("tandem_{name}");
        head(text, &name, help, true);
        line(text, &name, "", value);
    }
}

fn head(text: &mut String, name: &str, help: &str, is_gauge: bool) {
    let kind = if is_gauge { "gauge" } else { "counter" };
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}
