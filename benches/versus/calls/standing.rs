//! `versus standing`: what a call costs beside so many dialogs that stand. Each call that begins
//! has the oldest one end, as where calls come and go; calls have all of their media ports open.

use std::path::Path;

use super::phones::Standing;
use super::switch::{API, CALLEE_PORT, Switch};
use super::{CLEAN, Carrier, in_place};
use crate::bed::{self, Names, PEER, PHONES, TANDEM};
use crate::{Failure, Options};

/// Dialogs that stand, two a call.
const STEPS: [usize; 4] = [200, 10_000, 25_000, 50_000];
/// Calls a second that they are made at.
const FILL: f64 = 600.0;

pub(crate) fn measure(names: &Names, options: &Options) -> Result<(), Failure> {
    in_place(names, |napi, scratch| run((names, napi), options, scratch))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn run((names, napi): (&Names, u32), options: &Options, scratch: &Path) -> Result<(), Failure> {
    let mut switch = Switch::configured(names, scratch, &configuration())?;
    switch.line().called_from((PEER, 5_060).into());
    let rate = options.rate.unwrap_or(500.0);
    let count = (rate * options.millis as f64 / 1e3) as usize;
    let mut standing = Standing::default();
    let mut least = Vec::new();
    println!("| dialogs | us of the core a call, least | the dataplane's | answered, ms | p99 |");
    println!("|---|---|---|---|---|");
    for dialogs in STEPS {
        standing.most = dialogs / 2;
        let missing = standing.most.saturating_sub(standing.calls.len());
        let filled = switch.line().renew((FILL, missing), &mut standing)?;
        if filled.lost() > CLEAN {
            return Err(format!("{dialogs} dialogs: {} stand", standing.calls.len() * 2).into());
        }
        let mut costs: Vec<(f64, f64, f64, f64)> = Vec::new();
        for _ in 0..options.rounds {
            let used = |switch: &Switch| {
                let sum = |pids: Vec<u32>| pids.into_iter().map(bed::threads_nanos).sum::<u64>();
                let receive = bed::thread_nanos(napi);
                (sum(switch.pids()) + receive, sum(switch.carrying()) + receive)
            };
            let before = used(&switch);
            let placed = switch.line().renew((rate, count), &mut standing)?;
            let after = used(&switch);
            if placed.lost() > CLEAN {
                return Err(format!("{dialogs} dialogs: calls fail").into());
            }
            let each = |nanos: u64| nanos as f64 / 1e3 / count as f64;
            costs.push((
                each(after.0 - before.0),
                each(after.1 - before.1),
                placed.percentile(50) / 1e3,
                placed.percentile(99) / 1e3,
            ));
        }
        costs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let carried = costs.iter().map(|cost| cost.1).fold(f64::INFINITY, f64::min);
        let (all, _, answered, p99) = costs[0];
        println!("| {dialogs} | {all:.1} | {carried:.1} | {answered:.2} | {p99:.2} |");
        least.push(carried);
    }
    let [first, .., last] = least.as_slice() else { return Ok(()) };
    println!(
        "\nbeside {} dialogs a call costs the dataplane {:.2} x what it does beside {}",
        STEPS[STEPS.len() - 1],
        last / first,
        STEPS[0]
    );
    Ok(())
}

/// Either side has its own listener and media address: one has not ports enough for all.
fn configuration() -> String {
    format!(
        "[dataplane]\nshards = 1\npin = false\n\
         [[dataplane.listener]]\nname = \"in\"\nbind = \"{TANDEM}:5060\"\nmedia = \"in\"\n\
         [[dataplane.listener]]\nname = \"out\"\nbind = \"{PEER}:5060\"\nmedia = \"out\"\n\
         [[dataplane.media]]\nname = \"in\"\nbind = \"{TANDEM}\"\nports = [8192, 65279]\n\
         [[dataplane.media]]\nname = \"out\"\nbind = \"{PEER}\"\nports = [8192, 65279]\n\
         [dataplane.limits]\nlegs = 54000\n[dataplane.timers]\nmedia_timeout_s = 0\n\
         [dataplane.guard]\nsource_rate = 0\n\
         [controlplane]\nhttp = \"{TANDEM}:{API}\"\nfirst_account = \"Bench\"\n\
         [controlplane.api]\naccount_rate = 0\nsource_rate = 0\n\
         [[grant]]\naccount = \"\"\ndomains = [\"bench\"]\n\
         [[trunk]]\nname = \"bench\"\nsources = [\"{PHONES}/32\"]\nlistener = \"out\"\n\
         targets = [\"{PHONES}:{CALLEE_PORT}\"]\nring_s = 60\n"
    )
}
