//! Is a row right? The table, and what is wrong in it.

use std::fmt::Write as _;

use agent::stranger::Worst;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::honest::Heard;
use super::{From, Row, Scale};

/// Loss may be so many points above the control runs' worst, percent.
const LOSS_MARGIN: f64 = 0.5;
/// Delay may be so many times the control runs' worst (GOALS.md S9) ...
const DELAY_TIMES: f64 = 2.0;
/// ... of which less than this is the machine's noise, milliseconds.
const DELAY_NOISE_MS: f64 = 3.0;
/// An answer may be so many times as large as its request (GOALS.md S4).
const ANSWER_RATIO_MAX: f64 = 1.5;
/// Bytes back for each one sent, over ten seconds (GOALS.md S4).
const BYTES_RATIO_MAX: f64 = 1.0;
/// What was sent before the ten seconds may pay for so much in them, and a first answer comes
/// before there is a sum to judge: bytes.
const EXCESS_MAX: u64 = 2_048;

/// Runs without strangers.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    runs: Vec<Heard>,
    /// Legs of honest calls in rows that were played again.
    pub(super) first_tries: u64,
}

/// What strangers left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    /// Calls in the books.
    pub(super) rows: u64,
    /// Legs made beyond those of honest calls.
    pub(super) legs: u64,
}

impl Control {
    pub(super) fn add(&mut self, heard: Heard) {
        self.runs.push(heard);
    }

    /// Legs of honest calls that no row of the table has.
    pub(super) fn legs(&self) -> u64 {
        self.first_tries + self.runs.iter().map(|it| it.legs).sum::<u64>()
    }

    fn loss(&self) -> f64 {
        self.runs.iter().map(|it| it.rtp_lost_percent).fold(0.0, f64::max)
    }

    fn delay(&self) -> f64 {
        self.runs.iter().map(|it| it.rtp_p99_ms).fold(0.0, f64::max)
    }

    /// CPU of the dataplane over time, the least of the runs.
    fn load(&self) -> f64 {
        self.runs.iter().map(load).fold(f64::MAX, f64::min)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn load(heard: &Heard) -> f64 {
    heard.cpu_ns as f64 / heard.elapsed_ns.max(1) as f64
}

/// What is wrong with a row.
pub(super) fn faults(scale: &Scale, control: &Control, row: &Row) -> Vec<String> {
    let Row { honest, flooded, .. } = row;
    let mut faults = honest_faults(honest);
    if !scale.untimed {
        let (loss, delay) = (control.loss() + LOSS_MARGIN, control.delay().max(DELAY_NOISE_MS));
        if honest.rtp_lost_percent > loss {
            faults.push(format!("{:.2} % of RTP lost", honest.rtp_lost_percent));
        }
        if honest.rtp_p99_ms > delay * DELAY_TIMES {
            faults.push(format!("RTP p99 {:.1} ms", honest.rtp_p99_ms));
        }
    }
    // Who sends from the trunk's address is no stranger to the switch.
    if row.from == From::Trunk {
        return faults;
    }
    let count = &flooded.count;
    if count.answers_max > 1 {
        faults.push(format!("{} datagrams for one request", count.answers_max));
    }
    if count.ratio_max > ANSWER_RATIO_MAX {
        faults.push(format!("an answer of {:.2} x its request", count.ratio_max));
    }
    if count.bytes_ratio() > BYTES_RATIO_MAX {
        faults.push(format!("{:.2} bytes back for each", count.bytes_ratio()));
    }
    faults
}

fn honest_faults(honest: &Heard) -> Vec<String> {
    let mut faults = Vec::new();
    for (who, set_up, offered) in [
        ("trunk", honest.trunk_set_up, honest.trunk_offered),
        ("application", honest.application_set_up, honest.application_offered),
    ] {
        if set_up < offered || offered == 0 {
            faults.push(format!("{who}: {set_up} of {offered} calls set up"));
        }
    }
    if honest.wrong > 0 {
        faults.push(format!("{} packets or legs corrupt, mixed up or silent", honest.wrong));
    }
    faults
}

/// All rows, judged.
pub(super) struct Verdict<'a> {
    scale: &'a Scale,
    control: &'a Control,
    rows: &'a [Row],
    left: Left,
    worst: [Worst; 2],
}

impl<'a> Verdict<'a> {
    pub(super) fn new(scale: &'a Scale, control: &'a Control, rows: &'a [Row], left: Left) -> Self {
        Self { scale, control, rows, left, worst: [Worst::default(); 2] }
    }

    /// What the one and the worst of the many got back over ten seconds.
    pub(super) fn with_worst(self, worst: [Worst; 2]) -> Self {
        Self { worst, ..self }
    }

    /// What is wrong beside the rows.
    fn whole(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for heard in &self.control.runs {
            faults.extend(honest_faults(heard).into_iter().map(|it| format!("control run: {it}")));
        }
        let Left { rows, legs } = self.left;
        if rows + legs > 0 {
            faults.push(format!("strangers left {rows} calls in the books, and made {legs} legs"));
        }
        for (worst, who) in self.worst.iter().zip(["the one", "one of the many"]) {
            if worst.excess > EXCESS_MAX {
                faults.push(format!(
                    "over ten seconds {who} got {} B more than it sent",
                    worst.excess
                ));
            }
        }
        faults
    }

    pub(super) fn is_right(&self) -> bool {
        let right = |row: &Row| faults(self.scale, self.control, row).is_empty();
        self.rows.iter().all(right) && self.whole().is_empty()
    }

    /// CPU of the dataplane, its kernel work included, for each datagram of strangers,
    /// microseconds.
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn cost_us(&self, row: &Row) -> f64 {
        let more = (load(&row.honest) - self.control.load()).max(0.0);
        let each = row.flooded.elapsed_ns as f64 / row.flooded.count.sent.max(1) as f64;
        more * each / 1e3
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.table());
        for fault in self.whole() {
            let _ = writeln!(text, "WRONG: {fault}");
        }
        let [one, many] = self.worst;
        let _ = writeln!(
            text,
            "Over any ten seconds a stranger got at most {:.2} bytes back for each it sent \
             (one source), {:.2} (the worst of the many).",
            one.ratio, many.ratio
        );
        if self.is_right() {
            let timed = if self.scale.untimed { "" } else { ", heard as without strangers" };
            let _ = writeln!(
                text,
                "Every honest call set up{timed}; no stranger got more than one datagram for a \
                 request, or left a call behind."
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header([
            "strangers send",
            "from",
            "trunk calls",
            "application's",
            "RTP lost %",
            "p99 ms",
            "sent/s",
            "answered",
            "most for one",
            "answer/request",
            "bytes back",
            "CPU us",
            "verdict",
        ]);
        for (at, heard) in self.control.runs.iter().enumerate() {
            let name = format!("control {}", at + 1);
            let mut cells = vec![name, "-".to_owned()];
            cells.extend(heard_cells(heard));
            cells.resize(12, "-".to_owned());
            cells.push(verdict(&honest_faults(heard)));
            table.add_row(cells);
        }
        for row in self.rows {
            let mut cells = vec![row.kind.name().to_owned(), row.from.name().to_owned()];
            cells.extend(heard_cells(&row.honest));
            let count = &row.flooded.count;
            cells.extend([
                format!("{:.0}", row.flooded.rate()),
                count.answers.to_string(),
                count.answers_max.to_string(),
                format!("{:.2}", count.ratio_max),
                format!("{:.2}", count.bytes_ratio()),
                format!("{:.1}", self.cost_us(row)),
                verdict(&faults(self.scale, self.control, row)),
            ]);
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(2).take(10) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    pub(super) fn figures(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let count = &row.flooded.count;
            json!({
                "kind": row.kind.name(),
                "from": row.from.name(),
                "honest": row.honest,
                "sent": count.sent,
                "answers": count.answers,
                "answers_max": count.answers_max,
                "answer_ratio_max": count.ratio_max,
                "bytes_ratio": count.bytes_ratio(),
                "cpu_us": self.cost_us(row),
                "faults": faults(self.scale, self.control, row),
            })
        });
        json!({
            "control": self.control.runs,
            "rows": rows.collect::<Vec<_>>(),
            "left": self.left.rows,
            "legs_of_strangers": self.left.legs,
            "ten_seconds_ratio": self.worst.map(|worst| worst.ratio),
            "ten_seconds_excess": self.worst.map(|worst| worst.excess),
            "faults": self.whole(),
        })
    }
}

fn heard_cells(heard: &Heard) -> [String; 4] {
    [
        format!("{}/{}", heard.trunk_set_up, heard.trunk_offered),
        format!("{}/{}", heard.application_set_up, heard.application_offered),
        format!("{:.2}", heard.rtp_lost_percent),
        format!("{:.2}", heard.rtp_p99_ms),
    ]
}

fn verdict(faults: &[String]) -> String {
    if faults.is_empty() { "right".to_owned() } else { format!("WRONG: {}", faults.join("; ")) }
}
