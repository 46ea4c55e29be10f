//! Is a row right? The table, and what is wrong in it.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::good::Heard;
use super::{Row, Tenants, seconds};

/// What the good tenant waits may be so many times the control runs' worst (GOALS.md S10) ...
const TIMES: f64 = 2.0;
/// ... of which less than this is the machine's noise, milliseconds: the bad tenant, the good one
/// and the switch share its cores.
const NOISE_MS: f64 = 50.0;

/// Runs without the bad tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    runs: Vec<Heard>,
}

impl Control {
    pub(super) fn add(&mut self, heard: Heard) {
        self.runs.push(heard);
    }

    fn worst(&self, of: fn(&Heard) -> f64) -> f64 {
        self.runs.iter().map(of).fold(NOISE_MS, f64::max)
    }
}

/// What is wrong with a row.
pub(super) fn faults(scale: &Tenants, control: &Control, row: &Row) -> Vec<String> {
    let heard = &row.heard;
    let mut faults = own_faults(heard);
    if row.done == 0 {
        faults.push("the bad tenant did nothing".to_owned());
    }
    if !scale.unhurried {
        let setup = control.worst(|heard| heard.setup_p99_ms) * TIMES;
        let api = control.worst(|heard| heard.api_p99_ms) * TIMES;
        for (what, is, most) in
            [("set-up", heard.setup_p99_ms, setup), ("the API", heard.api_p99_ms, api)]
        {
            if is > most {
                faults.push(format!("{what} took {is:.0} ms"));
            }
        }
    }
    faults
}

fn own_faults(heard: &Heard) -> Vec<String> {
    let mut faults = Vec::new();
    if heard.set_up < heard.offered || heard.offered == 0 {
        faults.push(format!("{} of {} calls set up", heard.set_up, heard.offered));
    }
    if heard.wrong > 0 {
        faults.push(format!("{} packets or legs corrupt, mixed up or silent", heard.wrong));
    }
    if heard.unanswered > 0 || heard.asked == 0 {
        faults.push(format!("{} of {} questions not answered", heard.unanswered, heard.asked));
    }
    if heard.out_of_order > 0 {
        faults.push(format!("{} callbacks out of order or unsigned", heard.out_of_order));
    }
    faults
}

/// All rows, judged.
pub(super) struct Verdict<'a> {
    pub(super) scale: &'a Tenants,
    pub(super) control: &'a Control,
    pub(super) rows: &'a [Row],
    /// How long until the switch was at rest, nanoseconds; None if it was not in time.
    pub(super) rested: Option<u64>,
}

impl Verdict<'_> {
    fn whole(&self) -> Vec<String> {
        let runs = self.control.runs.iter().flat_map(own_faults);
        let mut faults: Vec<String> = runs.map(|fault| format!("control run: {fault}")).collect();
        if self.rested.is_none() {
            faults.push("the switch is not at rest after ten seconds".to_owned());
        }
        faults
    }

    pub(super) fn is_right(&self) -> bool {
        let right = |row: &Row| faults(self.scale, self.control, row).is_empty();
        self.rows.iter().all(right) && self.whole().is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.table());
        for fault in self.whole() {
            let _ = writeln!(text, "WRONG: {fault}");
        }
        if let Some(rested) = self.rested {
            let _ = writeln!(text, "The switch was at rest after {:.1} s.", seconds(rested));
        }
        if self.is_right() {
            let timed = if self.scale.unhurried { "" } else { " in its time" };
            let _ = writeln!(
                text,
                "Every call of the good tenant was set up{timed}, whatever the other did."
            );
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header([
            "the bad tenant",
            "times",
            "good calls",
            "set-up p50 ms",
            "p99 ms",
            "API asked",
            "unanswered",
            "p99 ms",
            "verdict",
        ]);
        for (at, heard) in self.control.runs.iter().enumerate() {
            let row = [format!("control {}", at + 1), "-".to_owned()];
            table.add_row(cells(row, heard, &own_faults(heard)));
        }
        for row in self.rows {
            let first = [row.misdeed.name().to_owned(), row.done.to_string()];
            table.add_row(cells(first, &row.heard, &faults(self.scale, self.control, row)));
        }
        for column in table.column_iter_mut().skip(1).take(7) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    pub(super) fn figures(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "misdeed": row.misdeed.name(),
                "done": row.done,
                "good": row.heard,
                "faults": faults(self.scale, self.control, row),
            })
        });
        json!({
            "control": self.control.runs,
            "rows": rows.collect::<Vec<_>>(),
            "rested_ms": self.rested.map(|ns| ns / 1_000_000),
            "faults": self.whole(),
        })
    }
}

fn cells(first: [String; 2], heard: &Heard, faults: &[String]) -> Vec<String> {
    let verdict = match faults.is_empty() {
        true => "right".to_owned(),
        false => format!("WRONG: {}", faults.join("; ")),
    };
    let mut cells = first.to_vec();
    cells.extend([
        format!("{}/{}", heard.set_up, heard.offered),
        format!("{:.1}", heard.setup_p50_ms),
        format!("{:.1}", heard.setup_p99_ms),
        heard.asked.to_string(),
        heard.unanswered.to_string(),
        format!("{:.1}", heard.api_p99_ms),
        verdict,
    ]);
    cells
}
