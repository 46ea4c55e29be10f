//! Carriers that ask who calls: what SIPp's own digest says of ours.

use std::time::Duration;

use tests::bed::{Bed, Ports, Setup, Web, require};

use super::run::Plan;
use super::{NUMBER, legs};

const USER: &str = "tandem-trunk";
const PASSWORD: &str = "with: a colon";
const TALK: Duration = Duration::from_millis(500);

fn carrier() -> Plan<'static> {
    Plan::new("callee_challenges").with("__USER__", USER).with("__PASSWORD__", PASSWORD)
}

/// A statically routed call: the trunk's credentials.
#[test]
fn a_trunk_shows_its_own() {
    if !require("sipp") {
        return;
    }
    let mut ports = Ports::take();
    let (at, media) = (ports.address(), ports.address());
    let more = format!(
        "\n[[trunk]]\nname = \"asks\"\nprefix = \"9\"\nsources = [\"127.0.0.0/8\"]\n\
         targets = [\"{at}\"]\nusername = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
    );
    let mut bed = Setup { more, ..Setup::default() }.start_on(ports);
    let callee = carrier().answer(&bed, at, media);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, "9555", media);
    caller.finish();
    callee.finish();
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
    for name in ["dataplane", "controlplane"] {
        let log = std::fs::read_to_string(bed.data().join("log").join(format!("{name}.log")));
        assert!(!log.unwrap_or_default().contains(PASSWORD), "no log has it");
    }
}

/// An application's call: those of the document.
#[test]
fn a_document_gives_its_own() {
    if !require("sipp") {
        return;
    }
    let mut bed = Bed::start();
    let (at, media) = (bed.ports.address(), bed.ports.address());
    let web = Web::start(move |asked| match asked.target.as_str() {
        "/voice" => format!(
            "<Response><Dial answerOnBridge=\"true\"><Sip username=\"{USER}\" \
             password=\"{PASSWORD}\">sip:callee@{at}</Sip></Dial></Response>"
        ),
        _ => String::new(),
    });
    let _ = bed.number(NUMBER, &web.url("/voice"), &web.url("/status"));
    let callee = carrier().answer(&bed, at, media);
    let caller = Plan::new("caller").talk(TALK).call(&mut bed, NUMBER, media);
    caller.finish();
    callee.finish();
    for leg in legs(&bed) {
        assert_eq!(leg["status"], "completed", "{leg}");
    }
}
