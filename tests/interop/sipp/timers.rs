//! Session timers (RFC 4028) of the shortest interval, 90 s: refreshed by us, by the far end, and
//! by nobody. The three calls stand side by side, for the better part of their interval.

use tests::bed::{Bed, Ports, Setup, require};

use super::{Body, FIRST, Flow, Plan, Sipp};

/// A statically routed call whose caller plays `flow`; the callee takes no session timer.
fn call(bed: &mut Bed, flow: &Flow, names: [&str; 2], prefix: &str, at: u16) -> [Sipp; 2] {
    let media = bed.ports.address();
    let callee = Flow::callee().answers_call().hears_bye();
    let at = (bed.sip.ip(), at).into();
    let callee = Plan::of(&callee).long().start_as(bed, names[1], at, media);
    let own = bed.ports.address();
    let target = bed.sip.to_string();
    let caller = Plan::of(flow).long().arguments(&["-s", &format!("{prefix}555"), &target]);
    [caller.start_as(bed, names[0], own, media), callee]
}

/// A caller that wants a timer of 90 s with this refresher.
fn wants(refresher: &str) -> Flow {
    let more = format!("Supported: timer\nSession-Expires: 90;refresher={refresher}\n");
    let flow = Flow::caller().request("INVITE", &more, FIRST).may(&[100, 180, 183]);
    let agreed = format!("90;refresher={refresher}");
    flow.takes_with(200, &[("Session-Expires:", &agreed)]).acknowledges()
}

#[test]
fn sessions_are_refreshed_by_either_side_and_end_without() {
    if !require("sipp") {
        return;
    }
    let mut ports = Ports::take();
    let targets: [_; 3] = [(); 3].map(|()| ports.address());
    let more: String = targets
        .iter()
        .zip(7..)
        .map(|(at, prefix)| {
            format!(
                "\n[[trunk]]\nname = \"timer-{prefix}\"\nprefix = \"{prefix}\"\n\
                 sources = [\"127.0.0.0/8\"]\ntargets = [\"{at}\"]\n"
            )
        })
        .collect();
    // No media is sent: that ends no call here.
    let more = more + "\n[dataplane.timers]\nmedia_timeout_s = 0\n";
    let mut bed = Setup { more, ..Setup::default() }.start_on(ports);
    // Ours comes at half the interval; what it describes, if it does, is as before.
    let ours = wants("uas").hears_either("UPDATE", "INVITE").pause(2_000).hangs_up();
    let by_us = call(&mut bed, &ours, ["ours", "ours-callee"], "7", targets[0].port());
    // Theirs by UPDATE without a description; beyond the interval the call stands still.
    let theirs = wants("uac").pause(45_000);
    let timer = "Supported: timer\nSession-Expires: 90;refresher=uac\n";
    let theirs = theirs.request("UPDATE", timer, Body::Nothing);
    let theirs = theirs.takes_with(200, &[("Session-Expires:", "90;refresher=uac")]);
    let theirs = theirs.pause(50_000).hangs_up();
    let by_them = call(&mut bed, &theirs, ["theirs", "theirs-callee"], "8", targets[1].port());
    // Nobody: the switch ends it before the interval is over.
    let nobody = wants("uac").hears_within("BYE", 92_000);
    let nobody = nobody.answers("200 OK", "", Body::Nothing).pause(300);
    let by_nobody = call(&mut bed, &nobody, ["nobody", "nobody-callee"], "9", targets[2].port());
    for side in by_us.into_iter().chain(by_nobody).chain(by_them) {
        side.finish_within(std::time::Duration::from_secs(110));
    }
}
