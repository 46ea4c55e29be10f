//! `tandem demo tenants`: one tenant does its worst, in each of the ways that brought a switch
//! down, while another one places its calls.
//!
//! ```text
//!   callers 127.0.5.1 --INVITE--> switch --webhook, 4 status callbacks--> the good tenant
//!   callers 127.0.5.3 --INVITE--> switch --webhook, callbacks---> the bad tenant: 64 KB of
//!                                                                 entities, dead targets, silence
//!   the bad tenant ----------REST, wrong logins, slow reading, silent connections--> switch
//! ```
//!
//! Each row is judged against control runs in which the bad tenant sleeps (GOALS.md S10): every
//! call of the good one set up in at most twice the time, its questions to the API answered, all of
//! them, in at most twice the time, its callbacks in order; and ten seconds after the last row the
//! switch is at rest. A bad row is played once more, for the machine may have been busy.

mod good;
mod misdeed;
mod table;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::clock::{MS, S, mono, parse_duration};
use crate::desk;
use crate::rest::Rest;
use crate::up::Endpoints;
use good::{Good, Heard};
use misdeed::{Bad, Misdeed};
use table::{Control, Verdict};

/// A misdeed begins so long before the good tenant's calls.
const EDGE: u64 = 500 * MS;
/// How soon the switch is at rest again (GOALS.md S10).
const REST_MAX: u64 = 10 * S;

/// How much, and how it is judged.
#[derive(Clone, Debug, clap::Args)]
pub struct Tenants {
    /// The good tenant's calls a second (tenants)
    #[arg(long, default_value_t = 10.0)]
    pub good: f64,
    /// They begin for so long, in each row (tenants)
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub span: u64,
    /// Only misdeeds whose name has this in it (tenants)
    #[arg(long, default_value = "")]
    pub misdeed: String,
    /// Do not judge times: the machine is not ours alone (tenants)
    #[arg(long)]
    pub unhurried: bool,
    /// Write what was measured as JSON (tenants)
    #[arg(long)]
    pub measured: Option<PathBuf>,
}

/// One row of the table.
struct Row {
    misdeed: Misdeed,
    heard: Heard,
    /// How often it was done.
    done: u64,
}

/// Both tenants.
struct Stage<'a> {
    scale: &'a Tenants,
    good: Good,
    bad: Bad,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let scale = &args.tenants;
    let desk = desk::operator(&endpoints, &args.data_dir, None)?;
    let accounts = ["good", "bad"].map(|name| account(&desk, &endpoints, name));
    let [good, bad] = accounts;
    let (good, bad) = (good?, bad?);
    let sids = [good.account_sid.clone(), bad.account_sid.clone()];
    let stage = Stage { scale, good: Good::new(&good)?, bad: Bad::new(&bad)? };
    let misdeeds: Vec<Misdeed> =
        Misdeed::ALL.into_iter().filter(|it| it.name().contains(&scale.misdeed)).collect();
    println!(
        "{:.0} calls a second of a tenant that means well; {} misdeeds of another, and two control \
         runs, about {:.0} s ...",
        scale.good,
        misdeeds.len(),
        (misdeeds.len() + 2) as f64 * (seconds(scale.span) + 3.0)
    );
    let mut control = Control::default();
    control.add(stage.good.calls(scale)?);
    let rows = misdeeds.into_iter().map(|it| stage.play(it)).collect::<Result<Vec<_>>>()?;
    control.add(stage.good.calls(scale)?);
    let rows = stage.again(&mut control, rows)?;
    let rested = rested(&Rest::new(&endpoints))?;
    let verdict = Verdict { scale, control: &control, rows: &rows, rested };
    print!("{}", verdict.text());
    if let Some(path) = &scale.measured {
        std::fs::write(path, serde_json::to_string_pretty(&verdict.figures())?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    for sid in sids {
        desk.post(&format!("/v1/Operator/Accounts/{sid}"), &[("Status", "closed")])?;
    }
    Ok(verdict.is_right())
}

impl Stage<'_> {
    /// The good tenant's calls while the other one misbehaves.
    fn play(&self, misdeed: Misdeed) -> Result<Row> {
        let stop = AtomicBool::new(false);
        let (heard, done) = std::thread::scope(|scope| {
            let bad = scope.spawn(|| self.bad.misbehave(misdeed, &stop));
            std::thread::sleep(Duration::from_nanos(EDGE));
            let heard = self.good.calls(self.scale);
            stop.store(true, Ordering::Relaxed);
            (heard, bad.join())
        });
        let done = done.map_err(|_| anyhow!("the bad tenant's thread died"))??;
        Ok(Row { misdeed, heard: heard?, done })
    }

    /// Rows that are not right are played once more, after another control run.
    fn again(&self, control: &mut Control, rows: Vec<Row>) -> Result<Vec<Row>> {
        let bad =
            |control: &Control, row: &Row| !table::faults(self.scale, control, row).is_empty();
        if rows.iter().any(|row| bad(control, row)) {
            control.add(self.good.calls(self.scale)?);
        }
        let once_more = |row: Row| {
            if !bad(control, &row) {
                return Ok(row);
            }
            println!("{}: once more ...", row.misdeed.name());
            self.play(row.misdeed)
        };
        rows.into_iter().map(once_more).collect()
    }
}

/// A main account of its own, whose numbers loopback may call.
fn account(desk: &Rest, endpoints: &Endpoints, name: &str) -> Result<Endpoints> {
    let made = desk.post("/v1/Operator/Accounts", &[("FriendlyName", name)])?;
    let endpoints = endpoints_of(&made, endpoints)?;
    let digits = endpoints.account_sid.trim_start_matches("AC");
    Rest::new(&endpoints).post(
        &format!("SIP/IpAccessControlLists/AL{digits}/IpAddresses.json"),
        &[("IpAddress", "127.0.0.0"), ("CidrPrefixLength", "8"), ("FriendlyName", "demo")],
    )?;
    Ok(endpoints)
}

/// The switch as an account sees it that was made just now.
fn endpoints_of(made: &Value, endpoints: &Endpoints) -> Result<Endpoints> {
    let text = |field: &str| {
        made[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {made}"))
    };
    let (account_sid, auth_token) = (text("sid")?, text("auth_token")?);
    Ok(Endpoints { account_sid, auth_token, ..endpoints.clone() })
}

/// How long it took until no call stood and the switch said that all is well; None if it did not.
fn rested(rest: &Rest) -> Result<Option<u64>> {
    let began = mono();
    loop {
        let metrics = rest.text("/metrics")?;
        let live = metrics.lines().find_map(|line| line.strip_prefix("tandem_calls_live "));
        let health: Value = serde_json::from_str(&rest.text("/healthz")?).unwrap_or_default();
        let is_well = health["status"].as_str().is_none_or(|status| status == "ok");
        if live == Some("0") && is_well {
            return Ok(Some(mono() - began));
        }
        if mono() - began > REST_MAX {
            println!("calls live: {}; health: {health}", live.unwrap_or("-"));
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
const fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
