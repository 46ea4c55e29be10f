//! What was measured, as a table and as JSON.

use benches::Rounds;

use crate::bed::Run;

/// One contender's rounds.
#[derive(Debug, Default)]
pub(crate) struct Row {
    name: String,
    runs: Vec<Run>,
    peak: f64,
    memory: (u64, u64),
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rate: f64,
    peers: Vec<String>,
    calls: usize,
    limit: f64,
    rows: Vec<Row>,
}

/// One round as it happens.
pub(crate) fn line(round: usize, name: &str, run: &Run) {
    println!(
        "round {round}: {name:<20}{:>8.0} k/s{:>9.0} ns{:>9.3} % lost{:>9.0} us p99{}",
        run.rate() / 1e3,
        Row::cost(run),
        run.loss() * 100.0,
        run.latency_p99_us,
        if run.bursts_cut > 0 {
            format!("  ({} bursts cut)", run.bursts_cut)
        } else {
            String::new()
        }
    );
}

impl Row {
    fn of(&self, value: impl Fn(&Run) -> f64) -> Rounds {
        let mut rounds = Rounds::default();
        self.runs.iter().for_each(|run| rounds.push(value(run)));
        rounds
    }
}

impl Table {
    pub(crate) fn new(peers: &[String], calls: usize, limit: f64) -> Self {
        Self { rate: 0.0, peers: peers.to_vec(), calls, limit, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, run: Run) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.runs.push(run),
            None => {
                self.rows.push(Row { name: name.to_owned(), runs: vec![run], ..Row::default() });
            }
        }
    }

    pub(crate) fn peak(&mut self, name: &str, peak: f64, memory: (u64, u64)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            (row.peak, row.memory) = (peak, memory);
        }
    }

    /// Cost of `name` over cost of `peer`, minimum and median.
    fn ratio(&self, name: &str, peer: &str) -> Option<(f64, f64)> {
        let find = |name: &str| self.rows.iter().find(|row| row.name == name);
        let (ours, theirs) = (find(name)?.of(Row::cost), find(peer)?.of(Row::cost));
        Some((ours.min() / theirs.min(), ours.median() / theirs.median()))
    }

    pub(crate) fn print(&self) {
        println!();
        println!(
            "{} calls, {} legs, 172-byte RTP at {:.0} k packets/s; whole-core ns per delivered packet",
            self.calls,
            self.calls * 2,
            self.rate / 1e3
        );
        println!(
            "{:<20}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}{:>10}{:>11}",
            "", "min", "median", "napi", "loss %", "p50 us", "p99 us", "wrong", "clean k/s"
        );
        for row in &self.rows {
            let wrong: u64 = row
                .runs
                .iter()
                .map(|run| {
                    run.wrong_source + run.wrong_length + run.wrong_partner + run.wrong_sequence
                })
                .sum();
            let cost = row.of(Row::cost);
            let napi = row.of(|run| run.napi_nanos as f64 / run.received.max(1) as f64);
            println!(
                "{:<20}{:>8.0}{:>8.0}{:>8.0}{:>9.3}{:>9.0}{:>9.0}{wrong:>10}{:>11.0}",
                row.name,
                cost.min(),
                cost.median(),
                napi.min(),
                row.of(Run::loss).median() * 100.0,
                row.of(|run| run.latency_p50_us).median(),
                row.of(|run| run.latency_p99_us).median(),
                row.peak / 1e3
            );
        }
        for peer in &self.peers {
            if let Some((min, median)) = self.ratio("tandem", peer) {
                println!("tandem / {peer}: {min:.3} x by minimum, {median:.3} x by median");
            }
        }
        for row in self.rows.iter().filter(|row| row.memory.0 > 0) {
            let per_call = row.memory.1 as f64 / self.calls as f64 / 1_024.0;
            println!("{}: {per_call:.1} KiB more resident memory per call", row.name);
        }
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "name": row.name,
                    "cost_ns_min": row.of(Row::cost).min(),
                    "cost_ns_median": row.of(Row::cost).median(),
                    "loss_median": row.of(Run::loss).median(),
                    "clean_peak_packets_per_second": row.peak,
                    "resident_bytes": row.memory.0,
                    "resident_bytes_of_calls": row.memory.1,
                    "rounds": row.runs,
                })
            })
            .collect();
        let ratios: Vec<_> = self
            .peers
            .iter()
            .filter_map(|peer| {
                let (min, median) = self.ratio("tandem", peer)?;
                Some(serde_json::json!({ "peer": peer, "min": min, "median": median }))
            })
            .collect();
        let whole = serde_json::json!({
            "calls": self.calls,
            "rate": self.rate,
            "generator_limit": self.limit,
            "ratios": ratios,
            "rows": rows,
        });
        format!("{whole:#}\n")
    }
}
