//! Targets of trunks that do not take a call: the next one is asked, or the one that they name.

use tests::bed::{Ports, Setup, require};

use super::{Body, Flow, Plan, legs};

/// A call to a trunk whose first target plays `refuses`; the second one answers.
fn goes_on(settings: &str, second_is_target: bool, refuses: impl FnOnce(&str) -> Flow) {
    let mut ports = Ports::take();
    let (one, two, media) = (ports.address(), ports.address(), ports.address());
    let targets =
        if second_is_target { format!("\"{one}\", \"{two}\"") } else { format!("\"{one}\"") };
    let more = format!(
        "\n[[trunk]]\nname = \"goes-on\"\nprefix = \"9\"\nsources = [\"127.0.0.0/8\"]\n\
         targets = [{targets}]\n{settings}"
    );
    let mut bed = Setup { more, ..Setup::default() }.start_on(ports);
    let first = Plan::of(&refuses(&two.to_string())).answer(&bed, one, media);
    let second = Plan::new("callee").answer_beside(&bed, two, media);
    let caller = Flow::caller().calls().pause(500).hangs_up();
    let caller = Plan::of(&caller).call(&mut bed, "9555", media);
    first.finish();
    caller.finish();
    second.finish();
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
}

#[test]
fn the_next_target_is_asked_after_a_503() {
    if require("sipp") {
        goes_on("", true, |_| {
            let flow = Flow::callee().hears("INVITE");
            let flow = flow.responds("503 Service Unavailable", "s", "", Body::Nothing);
            flow.hears("ACK").pause(200)
        });
    }
}

#[test]
fn a_redirection_is_followed() {
    if require("sipp") {
        goes_on("redirect = \"follow\"\n", false, |two| {
            let flow = Flow::callee().hears("INVITE");
            let contact = format!("Contact: <sip:9555@{two}>\n");
            // The contact of a redirection is where to go, not where it comes from.
            let flow = flow.redirects(&contact);
            flow.hears("ACK").pause(200)
        });
    }
}
