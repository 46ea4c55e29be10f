//! `tandem demo strangers`: floods of strangers at a hundred times the honest rate, from one
//! address and from a thousand, while a trunk and an application's callers place their calls.
//!
//! ```text
//!   trunk 127.0.4.1 ------INVITE, RTP----> switch --> callee 127.0.4.254      (static route)
//!   callers 127.0.4.3 ----INVITE, RTP----> switch --webhook--> callee 127.0.4.2
//!   strangers 127.16.n.n --INVITE, REGISTER, OPTIONS, INFO, junk--> switch
//! ```
//!
//! Each row is judged against control runs without strangers: every honest call set up, RTP lost
//! and late as there; and what strangers got back, datagrams and bytes, against what they sent
//! (GOALS.md S4 and S9). A bad row is played once more, for the machine may have been busy.

mod honest;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::stranger::{Aim, Kind};
use anyhow::{Context, Result, anyhow, bail};

use crate::clock::{MS, parse_duration};
use crate::flood::{FIRST, Flooded, Strangers};
use honest::{Heard, Stage};
use table::{Control, Left, Verdict};

/// The networks that calls are taken from while `tandem up --demo` runs; the rest of loopback are
/// strangers.
pub const HONEST: &str = "127.0.0.0/21";
/// The route that `tandem up --demo` makes for the honest trunk.
pub const TRUNK_HOST: &str = "strangers.demo.invalid";
/// See [`TRUNK_HOST`].
pub const TRUNK_TARGET: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 4, 254)), 5_098);

/// Where the trunk's calls come from.
const TRUNK: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// Addresses of the many.
const MANY: u32 = 1_000;
/// A flood begins so long before the honest calls, and what comes back is heard so long after.
const EDGE: u64 = 200 * MS;

/// How much, and how it is judged.
#[derive(Clone, Debug, clap::Args)]
pub struct Scale {
    /// Honest calls a second by the trunk; an application takes a fifth as many (strangers)
    #[arg(long, default_value_t = 20.0)]
    pub honest: f64,
    /// Strangers send so many times as much (strangers)
    #[arg(long, default_value_t = 100.0)]
    pub times: f64,
    /// Honest calls begin for so long, in each row (strangers)
    #[arg(long, default_value = "1.5s", value_parser = parse_duration)]
    pub row: u64,
    /// Only rows whose name has this in it (strangers)
    #[arg(long, default_value = "")]
    pub only: String,
    /// Where the callee of the trunk's route is (strangers)
    #[arg(long, default_value_t = TRUNK_TARGET)]
    pub trunk_target: SocketAddr,
    /// Do not judge loss and delay: the machine is not ours alone (strangers)
    #[arg(long)]
    pub untimed: bool,
    /// Write what was measured as JSON (strangers)
    #[arg(long)]
    pub figures: Option<PathBuf>,
}

/// Where strangers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    One,
    Many,
    /// The trunk's own address, as if somebody forged it.
    Trunk,
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Many => "1,000",
            Self::Trunk => "the trunk's",
        }
    }
}

/// One row of the table, measured.
#[derive(Clone, Debug)]
struct Row {
    kind: Kind,
    from: From,
    honest: Heard,
    flooded: Flooded,
}

/// All strangers.
struct Crowd {
    one: Strangers,
    many: Strangers,
    trunk: Strangers,
}

pub(super) fn run(args: &super::Args) -> Result<bool> {
    let endpoints = super::endpoints(args)?;
    let scale = &args.strangers;
    let switch: SocketAddr = endpoints.sip_address.parse().context("sip_address is no address")?;
    if !switch.ip().is_loopback() || switch.is_ipv6() {
        bail!("the switch takes SIP on {switch}: this demonstration wants it on 127.0.0.0/8");
    }
    let stage = Stage::new(&endpoints, scale, switch)?;
    let aim = Aim { switch, known: stage.known(), old_tags: vec![stage.old_tag()?] };
    let mut crowd = Crowd::new(&aim)?;
    let rows = rows(&scale.only);
    println!(
        "{:.0} calls a second by a trunk, {:.0} by an application's callers; strangers send {:.0} \
         messages a second; {} rows and two control runs, about {:.0} s ...",
        scale.honest,
        scale.honest / 5.0,
        scale.honest * scale.times,
        rows.len(),
        (rows.len() + 2) as f64 * (seconds(scale.row) + 2.0)
    );
    let (mut control, made) = (Control::default(), stage.legs_created()?);
    control.add(stage.calls()?);
    let mut measured = Vec::new();
    for (kind, from) in rows {
        measured.push(play(&stage, &mut crowd, (kind, from))?);
    }
    control.add(stage.calls()?);
    again(&stage, &mut crowd, &mut control, &mut measured)?;
    let honest = control.legs() + measured.iter().map(|row| row.honest.legs).sum::<u64>();
    let left = Left {
        rows: stage.rows_of_strangers()?,
        legs: stage.legs_created()?.saturating_sub(made + honest),
    };
    let verdict = Verdict::new(scale, &control, &measured, left);
    let verdict = verdict.with_worst([crowd.one.worst(), crowd.many.worst()]);
    print!("{}", verdict.text());
    if let Some(path) = &scale.figures {
        std::fs::write(path, serde_json::to_string_pretty(&verdict.figures())?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(verdict.is_right())
}

/// What is played, floods that leave something behind last.
fn rows(only: &str) -> Vec<(Kind, From)> {
    let quiet = [Kind::Junk, Kind::Options, Kind::Register, Kind::Info];
    let both = |kind| [(kind, From::One), (kind, From::Many)];
    let mut rows: Vec<_> = quiet.into_iter().flat_map(both).collect();
    rows.push((Kind::Options, From::Trunk));
    rows.extend([Kind::Invite, Kind::InviteKnown].into_iter().flat_map(both));
    rows.retain(|(kind, from)| format!("{} {}", kind.name(), from.name()).contains(only));
    rows
}

/// Rows that are not right are played once more, after another control run.
fn again(
    stage: &Stage<'_>,
    crowd: &mut Crowd,
    control: &mut Control,
    measured: &mut [Row],
) -> Result<()> {
    let bad = |control: &Control, row: &Row| !table::faults(stage.scale, control, row).is_empty();
    if measured.iter().any(|row| bad(control, row)) {
        control.add(stage.calls()?);
    }
    for row in measured {
        if bad(control, row) {
            println!("{} from {}: once more ...", row.kind.name(), row.from.name());
            control.first_tries += row.honest.legs;
            *row = play(stage, crowd, (row.kind, row.from))?;
        }
    }
    Ok(())
}

/// Honest calls in the midst of strangers.
fn play(stage: &Stage<'_>, crowd: &mut Crowd, (kind, from): (Kind, From)) -> Result<Row> {
    let strangers = crowd.of(from);
    let (stop, rate) = (AtomicBool::new(false), stage.scale.honest * stage.scale.times);
    let (honest, flood) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| strangers.flood(kind, rate, u64::MAX, Some(&stop)));
        std::thread::sleep(std::time::Duration::from_nanos(EDGE));
        let honest = stage.calls();
        stop.store(true, Ordering::Relaxed);
        (honest, flood.join())
    });
    let flood = flood.map_err(|_| anyhow!("the strangers' thread died"))??;
    strangers.listen(EDGE)?;
    Ok(Row { kind, from, honest: honest?, flooded: strangers.count(flood) })
}

impl Crowd {
    fn new(aim: &Aim) -> Result<Self> {
        let after = Ipv4Addr::from_bits(FIRST.to_bits() + 0x100);
        Ok(Self {
            one: Strangers::new(FIRST, 1, aim.clone())?,
            many: Strangers::new(after, MANY, aim.clone())?,
            trunk: Strangers::new(TRUNK, 1, aim.clone())?,
        })
    }

    fn of(&mut self, from: From) -> &mut Strangers {
        match from {
            From::One => &mut self.one,
            From::Many => &mut self.many,
            From::Trunk => &mut self.trunk,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
const fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
