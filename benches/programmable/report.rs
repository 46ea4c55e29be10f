//! What a call costs, in words.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What one run of calls cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// What is known of a call that failed.
    pub(crate) example: Option<String>,
    /// CPU nanoseconds by the threads' names.
    pub(crate) threads: BTreeMap<String, u64>,
    pub(crate) written: BTreeMap<String, u64>,
    pub(crate) journal: u64,
    pub(crate) records: u64,
    pub(crate) connections: u64,
    pub(crate) callbacks: u64,
    /// Nanoseconds.
    pub(crate) to_webhook: Vec<u64>,
    pub(crate) to_invite: Vec<u64>,
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn each(&self, sum: u64) -> f64 {
        sum as f64 / self.calls.max(1) as f64
    }

    pub(crate) fn line(&self) -> String {
        let rows = self.rows();
        let shown = |name: &str| {
            rows.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
        };
        format!(
            "{:.0} us CPU, {:.1} KB to disk, {:.1} KB journal, {} connections, {} failed {}",
            shown("CPU us"),
            shown("disk KB"),
            shown("journal KB"),
            self.connections,
            self.failed,
            self.example.as_deref().unwrap_or_default()
        )
    }

    /// Names and values, a call.
    fn rows(&self) -> Vec<(String, f64)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: f64| rows.push((name.to_owned(), value));
        row("CPU us", self.each(self.threads.values().sum()) / 1e3);
        for (name, nanos) in &self.threads {
            row(&format!("  {name}"), self.each(*nanos) / 1e3);
        }
        row("disk KB", self.each(self.written.values().sum()) / 1e3);
        for (name, bytes) in self.written.iter().filter(|(_, bytes)| **bytes > 0) {
            row(&format!("  {name} "), self.each(*bytes) / 1e3);
        }
        row("journal KB", self.each(self.journal) / 1e3);
        row("journal records", self.each(self.records));
        row("callbacks", self.each(self.callbacks));
        row("connections", self.each(self.connections));
        for (name, nanos) in
            [("INVITE -> webhook", &self.to_webhook), ("reply -> INVITE", &self.to_invite)]
        {
            row(&format!("{name} p50 us"), percentile(nanos, 50));
            row(&format!("{name} p99 us"), percentile(nanos, 99));
        }
        row("failed", self.each(self.failed as u64));
        rows
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
fn percentile(nanos: &[u64], percent: usize) -> f64 {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    let at = sorted.len() * percent / 100;
    sorted.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
}

/// The median of each row.
pub(crate) fn table(costs: &[Cost]) -> String {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut order = Vec::new();
    for (name, value) in costs.iter().flat_map(Cost::rows) {
        if !all.contains_key(&name) {
            order.push(name.clone());
        }
        all.entry(name).or_default().push(value);
    }
    let mut text = String::new();
    for name in order {
        let Some(values) = all.get_mut(&name) else { continue };
        values.sort_by(f64::total_cmp);
        let _ = writeln!(text, "  {name:<28}{:>12.2}", values[values.len() / 2]);
    }
    text
}
